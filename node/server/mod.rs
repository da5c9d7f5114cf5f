//! The root: reads what is on the disk, wires every part, and takes them down in order.

mod access;
mod audit;
pub mod backups;
pub mod bootstrap;
mod clients;
mod compactor;
mod corruption;
mod discovery;
mod expiry;
pub mod file_hash;
mod force_new_cluster;
pub mod import;
mod join;
mod listen;
mod memory;
pub mod offline;
mod publish;
mod registers;
pub mod restore;
mod security;
mod shutdown;
mod space;
mod stall;
mod versions;
mod workshop;
mod world;

use crate::apply::{self, Applier, Outcome, Published, Waiters, Worker};
use crate::auth::{Access, SimpleTokens};
use crate::clock::Clock;
use crate::config::{Gate, Settings};
use crate::defect;
use crate::disk::{Disk, RealDisk};
use crate::lease::{Lessor, min_ttl_secs};
use crate::logging::notify_ready;
use crate::logging::shutdown::{Signal, Signals};
use crate::net::{Reach, Sockets};
use crate::raft::{
    ChangeRules, Consensus, Limits, OnApplied, Parts, RunningConsensus, StateFiles, Timing, WAS_REMOVED,
};
use crate::threads::Threads;
use crate::wal;
use crate::watch::{self as watching, Hub};
use anyhow::Context;
use bootstrap::{Ground, Tools};
use registers::Registers;
use security::Secured;
use std::future::Future;
use std::path::PathBuf;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

pub use discovery::{DiscoveryError, log_failure};
pub use listen::{Listener, Listeners};
pub use world::{Observer, World};

/// Why a member ended, other than by an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    BySignal(Signal),
    /// It was removed from the cluster.
    Removed,
}

/// Ends the process at once, with a line that says why: log or state failed, and nothing that was not written may be
/// acknowledged or served (DESIGN D9).
pub type EndProcess = Arc<dyn Fn(&dyn std::error::Error) + Send + Sync>;

/// The state cannot be read or written. Storage does not know the path that its file has in the end.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {cause}", path = path.display())]
pub struct StateFailed<'e> {
    pub path: PathBuf,
    pub cause: &'e dyn std::error::Error,
}

/// Runs a member until it is told to stop.
///
/// # Errors
/// What kept it from starting, or ended it: each is final for the process.
pub fn run(settings: &Settings, end_process: EndProcess) -> anyhow::Result<Ended> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("start runtime")?;
    defect::serve_points().context("serve failpoints")?;
    runtime.block_on(async {
        let mut signals = Signals::listen().context("listen for signals")?;
        let secured = Secured::open(settings)?;
        let listeners = listen::bind(&settings.urls, &secured).await?;
        let mut stop = pin!(signals.wait());
        let settled = tokio::select! {
            settled = discovery::settle(settings, &RealDisk) => settled?,
            signal = &mut stop => return Ok(Ended::BySignal(signal)),
        };
        let sockets = Sockets { from: listen::calls_come_from(settings) };
        let tls = secured.to_peers(settled.peer_server_name)?;
        let world = World::real(Reach { dial: Arc::new(sockets), tls });
        run_member(&settled.settings, world, listeners, end_process, stop).await
    })
}

/// Runs a member in a world until it is told to `stop`.
///
/// # Errors
/// As [`run`].
pub async fn run_member(
    settings: &Settings,
    world: World,
    listeners: Listeners,
    end_process: EndProcess,
    stop: impl Future<Output = Signal>,
) -> anyhow::Result<Ended> {
    let registers = Registers::new().context("register metrics")?;
    let tools = Tools { world: &world, wal_metrics: &registers.wal, storage_metrics: &registers.storage };
    let log_failed = Arc::clone(&end_process);
    let joining = join::identity(settings, &world).await?;
    let ground = bootstrap::open(settings, &tools, joining, Box::new(move |error| log_failed(&error)))?;
    let node = Node::start(settings, &registers, world, ground, end_process).await?;
    let ended = node.serve(settings, &registers, listeners, pin!(stop)).await;
    node.stop().await;
    ended
}

/// A member that takes part in its cluster, whether or not it serves clients yet.
struct Node {
    running: RunningConsensus,
    consensus: Consensus,
    worker: Worker,
    published: Published,
    hub: Arc<Hub>,
    clock: Arc<dyn Clock>,
    threads: Threads,
    disk: Arc<dyn Disk>,
    end_process: EndProcess,
    state_path: PathBuf,
    room: space::Room,
    removed: Arc<Notify>,
    wal: wal::Wal,
    audit: Option<audit::AuditLog>,
    last_index_found: u64,
    /// It had a log when it was started.
    has_run_before: bool,
    /// Held to the end.
    _lock: Box<dyn crate::disk::DiskLock>,
}

impl Node {
    async fn start(
        settings: &Settings,
        registers: &Registers,
        world: World,
        ground: Ground,
        end_process: EndProcess,
    ) -> anyhow::Result<Node> {
        let World { disk, clock, threads, reach, segment_bytes, cache_bytes, observer } = world;
        let audit = settings.log.audit.as_ref();
        let audit = audit.map(|settings| audit::AuditLog::open(settings, registers.api.audit.clone())).transpose()?;
        let room = space::Room::new(Arc::clone(&disk), settings, segment_bytes);
        let Ground { identity, wal, storage, state_path, last_index, has_run_before, lock } = ground;
        let timing = Timing {
            heartbeat: settings.raft.heartbeat_interval,
            election: settings.raft.election_timeout(),
            silence: settings.raft.peer_silence(),
        };
        let lessor = Arc::new(Lessor::new(min_ttl_secs(timing.election), registers.lease.clone()));
        let tokens = SimpleTokens::new(settings.auth.token_ttl, Arc::clone(&clock));
        let access = Arc::new(Access::new(tokens, registers.auth.clone()));
        let read = || format!("read {}", state_path.display());
        let mut applier = Applier::open(apply::Parts {
            storage,
            lessor: Arc::clone(&lessor),
            access,
            local: identity.member,
            mvcc_metrics: registers.mvcc.clone(),
            cluster_metrics: registers.cluster.clone(),
            alarm_metrics: registers.alarm.clone(),
        })
        .with_context(read)?;
        let published = applier.published();
        let snapshot = applier.snapshot().with_context(read)?;
        let applied = (snapshot.applied, snapshot.membership.clone());
        // It pins a version of the state file.
        drop(snapshot);
        let waiters = Arc::new(Waiters::default());
        let (state_failed, path) = (Arc::clone(&end_process), state_path.clone());
        let worker = Worker::start(apply::Start {
            applier,
            settings: apply::Settings {
                slice_rows: settings.compaction.batch_limit.max(1),
                compaction_rest: settings.compaction.sleep_interval,
                warn_after: settings.observe.warn_apply_duration,
                ..Default::default()
            },
            log_synced: wal.synced(),
            waiters: Arc::clone(&waiters),
            metrics: registers.apply.clone(),
            on_fatal: Box::new(move |fatal| state_failed(&StateFailed { path, cause: &fatal })),
            clock: Arc::clone(&clock),
            threads: threads.clone(),
        })
        .context("start apply")?;
        let watching = watching::Settings { threads: threads.clone(), ..Default::default() };
        let hub = Hub::new(published.views.clone(), watching, registers.watch.clone());
        let removed = Arc::new(Notify::new());
        let follower = versions::Follower::start(identity, Arc::clone(&published.cluster), Arc::clone(&end_process))
            .with_context(read)?;
        let on_applied = connect(&hub, &lessor, &clock, &removed, follower, observer);
        let running = Consensus::start(Parts {
            identity,
            timing,
            limits: Limits {
                max_request_bytes: settings.limits.max_request_bytes,
                snapshot_count: settings.raft.snapshot_count,
                snapshot_catchup_entries: settings.raft.snapshot_catchup_entries,
                snapshot_timeout: SNAPSHOT_TIMEOUT,
                pre_vote: settings.raft.pre_vote,
                stands_at_once: settings.raft.initial_election_tick_advance,
                changes: ChangeRules {
                    strict: settings.raft.strict_reconfig_check,
                    max_learners: settings.raft.max_learners,
                },
                promotes_learners: settings.raft.auto_promote_learners,
                prioritises: settings.gates.enabled(Gate::PriorityRequest),
            },
            clock: Arc::clone(&clock),
            wal: wal.clone(),
            worker: worker.clone(),
            waiters,
            lessor,
            on_applied,
            applied,
            state_files: StateFiles::new(
                Arc::clone(&disk),
                state_path.clone(),
                cache_bytes,
                registers.storage.clone(),
                threads.clone(),
                Arc::clone(&end_process),
            ),
            reach,
            cluster: Arc::clone(&published.cluster),
            views: published.views.clone(),
            removed: Arc::clone(&removed),
            metrics: registers.raft.clone(),
        })
        .await?;
        if published.cluster.load().members.is_removed(identity.member) {
            removed.notify_one();
        }
        Ok(Node {
            consensus: running.consensus.clone(),
            running,
            worker,
            published,
            hub,
            clock,
            threads,
            disk,
            end_process,
            state_path,
            room,
            removed,
            wal,
            audit,
            last_index_found: last_index,
            has_run_before,
            _lock: lock,
        })
    }

    /// Serves peers at once and clients when the state is as new as the log that was found.
    async fn serve(
        &self,
        settings: &Settings,
        registers: &Registers,
        listeners: Listeners,
        mut stop: Pin<&mut impl Future<Output = Signal>>,
    ) -> anyhow::Result<Ended> {
        let (stop_serving, stopping) = watch::channel(false);
        let mut background = JoinSet::new();
        let mut serving = JoinSet::new();
        for listener in listeners.peer {
            tracing::info!(address = %listener.url, "serving peer traffic");
            background.spawn(listen::serve_peers(listener, self.consensus.clone(), stopping.clone()));
        }
        let (consensus, published) = (self.consensus.clone(), self.published.clone());
        if settings.gates.enabled(Gate::LeaseCheckpoint) {
            let (lessor, clock) = (Arc::clone(&published.lessor), Arc::clone(&self.clock));
            background.spawn(expiry::checkpoint(consensus.clone(), lessor, clock));
        }
        let (lessor, access) = (Arc::clone(&published.lessor), Arc::clone(&published.access));
        background.spawn(expiry::run(consensus.clone(), lessor, access, Arc::clone(&self.clock)));
        background.spawn(stall::run(consensus.clone(), self.wal.clone()));
        let (quota_bytes, sizes) = (space::quota_bytes(settings), registers.storage.clone());
        space::log_quota(quota_bytes);
        let alarm = space::SpaceAlarm {
            consensus: consensus.clone(),
            alarms: Arc::clone(&published.alarms),
            room: self.room.clone(),
            total_bytes: Box::new(move || sizes.sizes().0),
            quota_bytes,
            may_clear: settings.storage.auto_disarm,
        };
        background.spawn(alarm.run());
        if let Some(automatic) = settings.compaction.automatic {
            background.spawn(compactor::run(automatic, consensus.clone(), published.views.clone()));
        }
        let checks = corruption::Checks {
            consensus: consensus.clone(),
            alarms: Arc::clone(&published.alarms),
            metrics: registers.corruption.clone(),
        };
        checks.start(settings, &mut background);
        let cluster = Arc::clone(&published.cluster);
        background.spawn(versions::end_downgrade(consensus.clone(), Arc::clone(&cluster), settings.downgrade_check));
        background.spawn(versions::negotiate(consensus, cluster));
        let views = published.views.clone();
        background.spawn(async move {
            let mut age = tokio::time::interval(PAGE_AGE);
            loop {
                age.tick().await;
                views.tick();
            }
        });
        let (hub, end_process) = (Arc::clone(&self.hub), Arc::clone(&self.end_process));
        let path = self.state_path.clone();
        background.spawn(async move {
            if let Err(error) = hub.catch_up().await {
                end_process(&StateFailed { path, cause: &error });
            }
        });
        let (backups, door) = settings
            .backup
            .as_ref()
            .map(|backup| backups::Backups::new(self, backup, registers.backup.clone()))
            .unzip();
        if let Some(backups) = backups {
            background.spawn(backups.run());
        }
        let clients = clients::Clients::new(self, settings, registers, door)?;
        clients.serve_metrics(listeners.metrics, &mut serving, &stopping);
        let ended = tokio::select! {
            ended = self.until_ended(stop.as_mut()) => ended,
            begun = self.begin(settings, &checks) => match begun {
                Ok(()) => {
                    clients.serve(listeners.client, listeners.client_http, &mut serving, &mut background, &stopping);
                    tracing::info!("ready to serve client requests");
                    notify_ready();
                    self.until_ended(stop).await
                }
                Err(inconsistent) => Err(inconsistent.into()),
            }
        };
        shutdown::hand_over(&self.consensus).await;
        clients.stop();
        self.hub.close();
        stop_serving.send_replace(true);
        while serving.join_next().await.is_some() {}
        background.shutdown().await;
        ended
    }

    /// Returns once clients may be served.
    ///
    /// # Errors
    /// They must not be.
    async fn begin(&self, settings: &Settings, checks: &corruption::Checks) -> Result<(), corruption::Inconsistent> {
        self.await_recovery().await;
        if self.has_run_before && settings.gates.enabled(Gate::InitialCorruptCheck) {
            corruption::check_at_start(checks).await.inspect_err(|error| {
                tracing::error!(%error, "checkInitialHashKV failed");
            })?;
        }
        publish::attributes(&self.consensus, settings).await;
        Ok(())
    }

    /// All that was in the log when it was opened is applied, or a leader has cut it off. Until then even a read that
    /// may be stale would show less than this member has shown before.
    async fn await_recovery(&self) {
        let mut applied = self.worker.applied();
        loop {
            let reached = *applied.borrow_and_update();
            if reached >= self.last_index_found.min(self.consensus.last_log().index) {
                return;
            }
            // A cut-off tail has no event here.
            tokio::time::timeout(self.consensus.timing().heartbeat, applied.changed()).await.ok();
        }
    }

    async fn until_ended(&self, stop: Pin<&mut impl Future<Output = Signal>>) -> anyhow::Result<Ended> {
        tokio::select! {
            signal = stop => Ok(Ended::BySignal(signal)),
            () = self.removed.notified() => {
                // For the answer to whoever asked for it, and for the others to learn of the commit from a leader that goes.
                tokio::time::sleep(REMOVAL_DELAY).await;
                tracing::warn!(error = WAS_REMOVED, "server error");
                tracing::warn!("data-dir used by this member must be removed");
                Ok(Ended::Removed)
            }
            () = self.running.ended() => anyhow::bail!("consensus ended"),
        }
    }

    async fn stop(self) {
        if let Err(error) = self.running.stop().await {
            tracing::warn!(%error, "consensus had ended before");
        }
        // The log first: closing the state makes all of it durable, and it must not be ahead of the log.
        if let Err(error) = self.wal.close() {
            tracing::warn!(%error, "the log had ended before");
        }
        if let Err(error) = self.worker.close().await {
            tracing::warn!(%error, "apply had ended before");
        }
        if let Some(audit) = self.audit {
            audit.close();
        }
    }
}

/// The step in which the index versions that pages are read from grow old.
const PAGE_AGE: Duration = Duration::from_secs(10);
/// Between the removal of this member and its end (etcd waits as long).
const REMOVAL_DELAY: Duration = Duration::from_secs(1);
/// A snapshot may be large and its receiver slow.
const SNAPSHOT_TIMEOUT: Duration = Duration::from_secs(600);

/// What follows from each applied batch, before its requests are answered.
fn connect(
    hub: &Arc<Hub>,
    lessor: &Arc<Lessor>,
    clock: &Arc<dyn Clock>,
    removed: &Arc<Notify>,
    follower: versions::Follower,
    observer: Option<Observer>,
) -> OnApplied {
    let (events, restored) = (Arc::clone(hub), Arc::clone(hub));
    let follower = Arc::new(follower);
    let restored_follower = Arc::clone(&follower);
    let (lessor, clock, removed) = (Arc::clone(lessor), Arc::clone(clock), Arc::clone(removed));
    let applied = move |outcome: &Outcome| {
        events.publish(&outcome.events);
        lessor.schedule_granted(clock.now());
        if let Some(Observer(observe)) = &observer {
            observe(outcome.applied);
        }
        if outcome.cluster_changed {
            follower.look();
        }
        if outcome.removed {
            removed.notify_one();
        }
    };
    OnApplied::new(applied, move || {
        restored.restored();
        restored_follower.look();
    })
}

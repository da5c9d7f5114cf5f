//! The handle through which the node proposes, reads and asks who leads.

mod leader;
mod members;
mod report;
mod requests;

pub use report::{Progress, RaftReport, Role};
pub use requests::RequestError;

use super::calling_back;
use super::catching_up;
use super::config::openraft_config;
use super::defragment::{self, DefragmentError};
use super::hash::HASHES_AT_ONCE;
use super::late;
use super::leadership::Leadership;
use super::log_store::{LogStore, SharedConfState};
use super::may_change::ChangeRules;
use super::membership;
use super::metrics::Metrics;
use super::network::{Identity, PeerClients, PeerParts, Purpose, Timing};
use super::propose::{self, Queued};
use super::read_index;
use super::request_id::RequestIds;
use super::state_files::StateFiles;
use super::state_machine::{OnApplied, StateMachine};
use super::types::{self, TypeConfig};
use crate::apply::{Waiters, Worker};
use crate::clock::Clock;
use crate::cluster::ClusterState;
use crate::lease::Lessor;
use crate::mvcc::Views;
use crate::net::Reach;
use crate::types::{ClusterId, LogPosition, MemberId};
use crate::wal::Wal;
use arc_swap::ArcSwap;
use bytes::Bytes;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::Fatal;
use openraft::{Raft, RaftMetrics};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tonic::Status;

/// Bounds that come from the operator.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Marshalled bytes of one request.
    pub max_request_bytes: usize,
    /// Entries between two snapshots, which is what lets the log be purged.
    pub snapshot_count: u64,
    /// Entries kept behind a snapshot for followers that are a little late.
    pub snapshot_catchup_entries: u64,
    pub snapshot_timeout: Duration,
    pub pre_vote: bool,
    /// If not, a member that starts stands for election only after a whole timeout (etcd's
    /// `--initial-election-tick-advance=false`). One that is alone stands at once in any case, as in etcd.
    pub stands_at_once: bool,
    pub changes: ChangeRules,
    /// Learners that have caught up are promoted without being asked for.
    pub promotes_learners: bool,
    /// Leases may be revoked while apply is too far behind for others (etcd's gate PriorityRequest).
    pub prioritises: bool,
}

/// What [`Consensus::start`] connects.
#[derive(Debug)]
pub struct Parts {
    pub identity: Identity,
    pub timing: Timing,
    pub limits: Limits,
    pub clock: Arc<dyn Clock>,
    pub wal: Wal,
    pub worker: Worker,
    /// What the state holds: the last applied entry and the encoded membership.
    pub applied: (LogPosition, Option<Bytes>),
    pub state_files: StateFiles,
    pub waiters: Arc<Waiters>,
    pub lessor: Arc<Lessor>,
    pub on_applied: OnApplied,
    /// How peers are reached.
    pub reach: Reach,
    /// What apply knows of the members.
    pub cluster: Arc<ArcSwap<ClusterState>>,
    /// The keys as they are applied.
    pub views: Views,
    /// Is told when peers say that this member was removed.
    pub removed: Arc<Notify>,
    pub metrics: Metrics,
}

/// Where this member stands. Indexes are from 1; zero is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RaftStatus {
    pub term: u64,
    pub committed: u64,
    pub applied: u64,
    /// Last entry in this member's log.
    pub last_log: u64,
    pub leader: Option<MemberId>,
}

/// A member's part in the cluster. Cheap to clone.
#[derive(Clone)]
pub struct Consensus {
    inner: Arc<Inner>,
}

struct Inner {
    identity: Identity,
    timing: Timing,
    max_request_bytes: usize,
    prioritises: bool,
    raft: Raft<TypeConfig, StateMachine>,
    wal: Wal,
    worker: Worker,
    state_files: Arc<StateFiles>,
    waiters: Arc<Waiters>,
    lessor: Arc<Lessor>,
    clock: Arc<dyn Clock>,
    leadership: Leadership,
    /// The term of the last applied entry; it grows after the answers to the entries of earlier terms were given.
    applied_term: watch::Receiver<u64>,
    leader: watch::Receiver<Option<MemberId>>,
    peers: PeerClients,
    request_ids: RequestIds,
    proposals: mpsc::Sender<Queued>,
    reads: mpsc::Sender<read_index::Waiting>,
    defragmentations: mpsc::Sender<defragment::Asked>,
    defragmenting: watch::Receiver<bool>,
    counters: Counters,
    changes: ChangeRules,
    cluster: Arc<ArcSwap<ClusterState>>,
    views: Views,
    hashing: Semaphore,
    /// Is told when another member says that this one was removed.
    maybe_removed: Notify,
    leaving: mpsc::Sender<membership::Leaving>,
}

/// Counted here, exposed by `metrics`.
#[derive(Debug, Default)]
pub struct Counters {
    pub slow_read_indexes: AtomicU64,
    pub failed_read_indexes: AtomicU64,
    pub failed_proposals: AtomicU64,
    pub pending_proposals: AtomicU64,
    pub leader_changes: AtomicU64,
    /// When the present leader was first seen, in ticks; zero: never.
    leader_since: AtomicU64,
}

impl std::fmt::Debug for Consensus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Consensus").field("identity", &self.inner.identity).finish_non_exhaustive()
    }
}

/// A started member and the tasks behind it.
#[derive(Debug)]
pub struct RunningConsensus {
    pub consensus: Consensus,
    tasks: JoinSet<()>,
}

impl Consensus {
    /// Opens the member on its log and state and lets it take part.
    ///
    /// # Errors
    /// The settings contradict each other, or log and state do not fit together.
    pub async fn start(parts: Parts) -> anyhow::Result<RunningConsensus> {
        let config = openraft_config(parts.timing, &parts.limits)?;
        let conf_state = SharedConfState::default();
        let log_store = LogStore::new(parts.wal.clone(), Arc::clone(&conf_state));
        let state_files = Arc::new(parts.state_files);
        let (term_applied, applied_term) = watch::channel(parts.applied.0.term);
        let state_machine = StateMachine::new(
            parts.worker.clone(),
            Arc::clone(&parts.waiters),
            parts.on_applied.clone(),
            conf_state,
            Arc::clone(&state_files),
            parts.applied,
            term_applied,
        );
        for peer in parts.cluster.load().members.iter().filter(|member| member.id != parts.identity.member) {
            parts.metrics.know(parts.identity.member, peer.id);
        }
        let peers = PeerClients::new(PeerParts {
            identity: parts.identity,
            timing: parts.timing,
            reach: parts.reach,
            files: Arc::clone(&state_files),
            clock: Arc::clone(&parts.clock),
            cluster: Arc::clone(&parts.cluster),
            removed: parts.removed,
            metrics: parts.metrics,
        });
        let raft = Raft::build(parts.identity.member.0, config, peers.clone(), log_store, state_machine).await?;
        let (proposals, proposal_queue) = mpsc::channel(propose::QUEUE_LEN + propose::URGENT_LEN);
        let (reads, read_queue) = mpsc::channel(read_index::QUEUE_LEN);
        let (defragmentations, defragment_queue) = mpsc::channel(defragment::QUEUE_LEN);
        let (leaving, leaving_queue) = mpsc::channel(membership::LEAVING_LEN);
        let (defragment_active, defragmenting) = watch::channel(false);
        let (leader_known, leader) = watch::channel(None);
        let inner = Inner {
            identity: parts.identity,
            timing: parts.timing,
            max_request_bytes: parts.limits.max_request_bytes,
            prioritises: parts.limits.prioritises,
            wal: parts.wal,
            worker: parts.worker,
            state_files,
            applied_term,
            waiters: parts.waiters,
            lessor: parts.lessor,
            leadership: Leadership::new(parts.identity.member, parts.timing.election, Arc::clone(&parts.clock)),
            request_ids: RequestIds::new(parts.identity.member, parts.clock.wall()),
            clock: parts.clock,
            leader,
            peers,
            proposals,
            reads,
            defragmentations,
            defragmenting,
            counters: Counters::default(),
            changes: parts.limits.changes,
            cluster: parts.cluster,
            views: parts.views,
            hashing: Semaphore::new(HASHES_AT_ONCE),
            maybe_removed: Notify::new(),
            leaving,
            raft,
        };
        let consensus = Consensus { inner: Arc::new(inner) };
        let mut tasks = JoinSet::new();
        tasks.spawn(propose::run(consensus.clone(), proposal_queue));
        tasks.spawn(read_index::run(consensus.clone(), read_queue));
        tasks.spawn(defragment::run(consensus.clone(), defragment_queue, defragment_active));
        tasks.spawn(consensus.clone().follow_leadership(leader_known));
        tasks.spawn(consensus.clone().ask_when_lost());
        tasks.spawn(membership::take_leave(consensus.clone(), leaving_queue));
        tasks.spawn(late::run(consensus.clone()));
        tasks.spawn(calling_back::run(consensus.clone()));
        tasks.spawn(catching_up::run(consensus.clone(), parts.limits.promotes_learners));
        if !parts.limits.stands_at_once {
            consensus.inner.raft.runtime_config().elect(false);
            tasks.spawn(consensus.clone().stand_later());
        }
        consensus.inner.raft.run();
        if consensus.is_single_voter() {
            // Nobody else can lead: there is nothing to wait for.
            consensus.inner.raft.trigger().elect(false).await?;
        }
        Ok(RunningConsensus { consensus, tasks })
    }

    pub fn identity(&self) -> Identity {
        self.inner.identity
    }

    pub fn member_id(&self) -> MemberId {
        self.inner.identity.member
    }

    pub fn cluster_id(&self) -> ClusterId {
        self.inner.identity.cluster
    }

    pub fn timing(&self) -> Timing {
        self.inner.timing
    }

    pub fn counters(&self) -> &Counters {
        &self.inner.counters
    }

    pub fn status(&self) -> RaftStatus {
        let watched = self.inner.raft.metrics();
        let metrics = watched.borrow_watched();
        let committed = metrics.local_committed.as_ref().map_or(0, |id| id.index() + 1);
        let applied = self.inner.worker.applied_index();
        RaftStatus {
            term: metrics.current_term,
            committed: committed.max(applied),
            applied,
            last_log: metrics.last_log_index.map_or(0, |index| index + 1),
            leader: self.inner.leadership.leader(&metrics),
        }
    }

    /// The present term; what each answer says of it.
    pub fn term(&self) -> u64 {
        self.inner.raft.metrics().borrow_watched().current_term
    }

    pub(super) fn raft(&self) -> &Raft<TypeConfig, StateMachine> {
        &self.inner.raft
    }

    pub(super) fn metrics(&self) -> RaftMetrics<TypeConfig> {
        self.inner.raft.metrics().borrow_watched().clone()
    }

    fn is_single_voter(&self) -> bool {
        let watched = self.inner.raft.metrics();
        let metrics = watched.borrow_watched();
        let mut voters = metrics.membership_config.membership().voter_ids();
        voters.next() == Some(self.member_id().0) && voters.next().is_none()
    }

    pub(super) fn is_awaited(&self, request_id: u64) -> bool {
        self.inner.waiters.is_waiting(request_id)
    }

    pub(super) fn applied_watch(&self) -> watch::Receiver<u64> {
        self.inner.worker.applied()
    }

    /// Waits until an entry of a later term than `term` is applied here.
    pub(super) async fn applied_beyond_term(&self, term: u64) {
        // It ends early only with the node.
        self.inner.applied_term.clone().wait_for(|applied| *applied > term).await.ok();
    }

    /// The present term and the last entry known to be committed, for judging what peers say.
    pub(super) fn term_and_committed(&self) -> (u64, LogPosition) {
        let watched = self.inner.raft.metrics();
        let metrics = watched.borrow_watched();
        (metrics.current_term, types::position_or_zero(metrics.local_committed.as_ref()))
    }

    /// The term of an entry in this member's log.
    pub(super) fn term_at(&self, index: u64) -> Option<u64> {
        self.inner.wal.term_at(index)
    }

    pub(super) fn worker(&self) -> &Worker {
        &self.inner.worker
    }

    /// Makes this member's state file as small as its rows allow, without a pause. It goes on if the caller leaves.
    ///
    /// # Errors
    /// Why it is as it was.
    pub async fn defragment(&self) -> Result<(), DefragmentError> {
        let (asked, done) = oneshot::channel();
        self.inner.defragmentations.try_send(asked).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => DefragmentError::QueueFull,
            mpsc::error::TrySendError::Closed(_) => DefragmentError::Stopped,
        })?;
        done.await.map_err(|_| DefragmentError::Stopped)?
    }

    /// Whether the state file is being defragmented.
    pub fn defragmenting(&self) -> watch::Receiver<bool> {
        self.inner.defragmenting.clone()
    }

    pub(super) fn views(&self) -> &Views {
        &self.inner.views
    }

    pub(super) fn hashing(&self) -> &Semaphore {
        &self.inner.hashing
    }

    pub(super) fn state_files(&self) -> &Arc<StateFiles> {
        &self.inner.state_files
    }

    pub(super) fn count_slow_read_index(&self) {
        self.inner.counters.slow_read_indexes.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_failed_read_index(&self) {
        self.inner.counters.failed_read_indexes.fetch_add(1, Ordering::Relaxed);
    }

    /// # Errors
    /// `Unavailable` if the member is unknown or has no usable URL.
    pub(super) fn peer_client(&self, to: MemberId, purpose: Purpose) -> Result<super::network::Client, Status> {
        let watched = self.inner.raft.metrics();
        let metrics = watched.borrow_watched();
        let peer = metrics.membership_config.membership().get_node(&to.0);
        let urls = &peer.ok_or_else(|| Status::unavailable("unknown member"))?.urls;
        self.inner.peers.client(to, urls, purpose)
    }

    /// The last entry of the log of this member.
    pub fn last_log(&self) -> LogPosition {
        self.inner.wal.last()
    }

    pub(super) fn lessor(&self) -> &Lessor {
        &self.inner.lessor
    }

    pub(super) fn now(&self) -> crate::clock::Ticks {
        self.inner.clock.now()
    }
}

impl RunningConsensus {
    /// Stops taking part. What was accepted but not applied stays in the log.
    ///
    /// # Errors
    /// The core had ended before, by an error of log or state.
    pub async fn stop(mut self) -> Result<(), Fatal<TypeConfig>> {
        let stopped = self.consensus.inner.raft.shutdown().await;
        self.tasks.shutdown().await;
        stopped.map_err(|_| Fatal::Panicked)
    }

    /// Resolves when the core has ended by itself: an error of the disk, which ends the process (DESIGN D9).
    pub async fn ended(&self) {
        let (raft, mut server) = (&self.consensus.inner.raft, self.consensus.inner.raft.server_metrics());
        // Its other metrics change with every entry. With the core goes the sender of these, so that nothing is missed.
        while raft.metrics().borrow_watched().running_state.is_ok() && server.changed().await.is_ok() {}
    }
}

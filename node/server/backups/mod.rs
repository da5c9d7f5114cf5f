//! Backups that a member makes by itself: full ones by schedule or when asked, and between them segments of the log. The leader
//! alone does what is scheduled. Two that take themselves for it do no harm: what they store is the same under other names.
//! All of it runs aside; no request waits for it, and memory is a few pieces of a file.

mod drill;
pub mod files;
mod follow;
mod make;

use super::{EndProcess, Node, StateFailed};
use crate::api::{BackupDoor, BackupJob, BackupRhythm};
use crate::apply::Worker;
use crate::backup::Metrics;
use crate::backup::archive::{self, Manifest, Pinned, Stop, Taken};
use crate::backup::destination::{Destination, Folder};
use crate::clock::{Clock, Ticks};
use crate::config::backup::Backup;
use crate::disk::Disk;
use crate::lease::min_ttl_secs;
use crate::mvcc::{ReadError, Views};
use crate::raft::Consensus;
use crate::storage::StorageError;
use crate::threads::{Stopping, Threads, Work};
use crate::wal::Wal;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, SystemTime};
use tokio::sync::{mpsc, watch};

/// Who may wait for a backup or a drill beside the one that is being made.
const QUEUE_LEN: usize = 4;
/// Extension of the state file that a drill makes beside the live one.
pub const DRILL: &str = "drill";

/// Makes backups until it is dropped.
pub struct Backups {
    shared: Shared,
    jobs: mpsc::Receiver<BackupJob>,
    _guard: StopGuard,
}

/// What runs aside ends soon after the task is gone: the process waits for it.
struct StopGuard(Stop);

impl Drop for StopGuard {
    fn drop(&mut self) {
        self.0.set();
    }
}

#[derive(Clone)]
struct Shared {
    settings: Backup,
    destination: Arc<dyn Destination>,
    consensus: Consensus,
    worker: Worker,
    views: Views,
    wal: Wal,
    disk: Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
    threads: Threads,
    metrics: Metrics,
    rhythm: Arc<watch::Sender<BackupRhythm>>,
    /// A full backup must reach this entry: segments begin behind it.
    full_due_at: Arc<AtomicU64>,
    state_path: PathBuf,
    end_process: EndProcess,
    stop: Stop,
}

impl fmt::Debug for Backups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backups").field("settings", &self.shared.settings).finish_non_exhaustive()
    }
}

impl Backups {
    /// For a member that has a place for them, with the door for its operators.
    pub(super) fn new(node: &Node, settings: &Backup, metrics: Metrics) -> (Self, BackupDoor) {
        let folder = Folder::new(Arc::clone(&node.disk), settings.directory.path().to_owned());
        let (jobs, queue) = mpsc::channel(QUEUE_LEN);
        let (rhythm, seen) = watch::channel(BackupRhythm {
            schedule: settings.schedule.as_ref().map(ToString::to_string).unwrap_or_default(),
            delta_interval_millis: settings.delta_interval.map_or(0, |interval| interval.as_millis() as u64),
            ..BackupRhythm::default()
        });
        let stop = Stop::default();
        let shared = Shared {
            settings: settings.clone(),
            destination: Arc::new(folder),
            consensus: node.consensus.clone(),
            worker: node.worker.clone(),
            views: node.published.views.clone(),
            wal: node.wal.clone(),
            disk: Arc::clone(&node.disk),
            clock: Arc::clone(&node.clock),
            threads: node.threads.clone(),
            metrics,
            rhythm: Arc::new(rhythm),
            full_due_at: Arc::default(),
            state_path: node.state_path.clone(),
            end_process: Arc::clone(&node.end_process),
            stop: stop.clone(),
        };
        let door = BackupDoor {
            destination: Arc::clone(&shared.destination),
            prefix: archive::prefix(shared.consensus.cluster_id()),
            retention: settings.retention,
            jobs,
            rhythm: seen,
            stop: stop.clone(),
        };
        (Self { shared, jobs: queue, _guard: StopGuard(stop) }, door)
    }

    /// Runs until it is dropped.
    pub async fn run(self) {
        let Self { shared, jobs, _guard } = self;
        shared.sweep().await;
        tokio::join!(make::run(shared.clone(), jobs), follow::run(shared));
    }
}

impl Shared {
    /// Runs what blocks. The runtime ends with the member, and this with it.
    async fn aside<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Stopping> {
        self.threads.run(Work::Read, work).await
    }

    fn prefix(&self) -> String {
        archive::prefix(self.consensus.cluster_id())
    }

    /// Removes what a crash of this member left half done.
    async fn sweep(&self) {
        let shared = self.clone();
        let swept = self.aside(move || {
            let Shared { destination, consensus, clock, .. } = &shared;
            archive::sweep(destination.as_ref(), consensus.cluster_id(), consensus.member_id(), clock.wall())
        });
        match swept.await {
            Ok(Ok(removed)) if removed.is_empty() => {}
            Ok(Ok(removed)) => tracing::info!(count = removed.len(), "removed halves of backups"),
            Ok(Err(error)) => tracing::warn!(%error, "failed to look for halves of backups"),
            Err(Stopping) => {}
        }
    }

    /// What a manifest says of a state.
    fn taken(&self, state: &Pinned, created: SystemTime, hash_kv: Option<u32>) -> Taken {
        Taken {
            cluster: self.consensus.cluster_id(),
            member: self.consensus.member_id(),
            created,
            at: state.at,
            compact_revision: state.compact_revision,
            hash_kv,
            lease_min_ttl_secs: min_ttl_secs(self.consensus.timing().election),
        }
    }

    /// The state cannot be read: the member ends (DESIGN D9).
    fn unreadable(&self, error: &StorageError) {
        (self.end_process)(&StateFailed { path: self.state_path.clone(), cause: error });
    }

    /// None if the store was compacted since the state was pinned.
    fn hash_kv(&self, state: &Pinned) -> Option<u32> {
        match self.views.load().hash_kv(state.at.revision) {
            Ok(hash) if hash.compact_revision == state.compact_revision => Some(hash.hash),
            Err(ReadError::Storage(error)) => {
                self.unreadable(&error);
                None
            }
            Ok(_) | Err(ReadError::Compacted { .. } | ReadError::FutureRevision { .. } | ReadError::TooLarge) => None,
        }
    }

    fn unix_secs(&self) -> i64 {
        crate::clock::unix_secs(self.clock.wall())
    }

    fn succeeded(&self, backup: &Manifest, took: Duration) {
        self.metrics.succeeded(backup, took, self.unix_secs());
        tracing::info!(
            name = backup.name,
            kind = backup.kind.as_str(),
            revision = backup.to.revision,
            index = backup.to.index,
            bytes = backup.bytes,
            ?took,
            "stored and verified a backup"
        );
    }
}

/// Longer and longer pauses after failures.
#[derive(Clone, Copy, Debug, Default)]
struct Retry {
    failures: u32,
    not_before: Ticks,
}

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const MAX_PAUSE: Duration = Duration::from_secs(300);

impl Retry {
    fn is_due(self, now: Ticks) -> bool {
        now >= self.not_before
    }

    fn failed(&mut self, now: Ticks) -> Duration {
        let pause = FIRST_PAUSE.saturating_mul(1 << self.failures.min(16)).min(MAX_PAUSE);
        self.failures += 1;
        self.not_before = now.saturating_add(pause);
        pause
    }

    fn succeeded(&mut self) {
        *self = Self::default();
    }
}

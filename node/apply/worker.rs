//! The handle of the apply thread. Callers hand over whole batches and wait for one answer each (D16). A few puts they
//! apply themselves while the thread has nothing to do.

use super::applier::WARN_AFTER;
use super::executor::{Executor, len_bytes};
use super::metrics::Metrics;
use super::moving::{Move, Rename, StateFile};
use super::thread::{Shared, Thread, unless_fatal};
use super::{Applier, Committed, Fatal, Outcome, StateSnapshot, Waiters};
use crate::clock::Clock;
use crate::storage::{Copy, Storage, StorageError};
use crate::threads::{Threads, Work};
use crate::types::LogPosition;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};

#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Applied entries after which a commit is durable: what a replay after a crash may have to do.
    pub durable_entries: u64,
    /// The same in bytes of log.
    pub durable_bytes: u64,
    /// The same in time, if there is anything to make durable.
    pub durable_interval: Duration,
    /// Rows that a slice of a compaction looks at, at most.
    pub slice_rows: usize,
    /// How long a compaction rests after every so many rows.
    pub compaction_rest: Duration,
    /// Entries that take longer are logged.
    pub warn_after: Duration,
    /// Jobs that may wait; a caller beyond waits to hand over its own.
    pub max_jobs: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            durable_entries: 10_000,
            durable_bytes: 64 * 1024 * 1024,
            durable_interval: Duration::from_secs(10),
            slice_rows: 1000,
            compaction_rest: Duration::ZERO,
            warn_after: WARN_AFTER,
            max_jobs: 64,
        }
    }
}

/// Up to so many puts of together so many bytes are applied by the caller, if the thread waits: to wake it, and to be
/// woken by it, costs more than applying them. Nor has each such batch a commit of its own.
const SMALL_BATCH: (usize, u64) = (4, 16 * 1024);

pub(super) fn is_small(batch: &[Committed]) -> bool {
    let (max_entries, max_bytes) = SMALL_BATCH;
    batch.len() <= max_entries && batch.iter().all(|entry| entry.payload.is_put()) && len_bytes(batch) <= max_bytes
}

/// The thread has stopped: after a close or a fatal error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("apply has stopped")]
pub struct Stopped;

/// A job, and the room that it takes in the queue.
pub(super) type Queued = (Job, OwnedSemaphorePermit);

pub(super) enum Job {
    Apply { batch: Vec<Committed>, reply: oneshot::Sender<Outcome> },
    Install { storage: Storage, reply: oneshot::Sender<LogPosition> },
    Pin { reply: oneshot::Sender<StateSnapshot> },
    StateFile { reply: oneshot::Sender<StateFile> },
    MoveTo { copy: Box<Copy>, rename: Rename, reply: oneshot::Sender<Move> },
    Moved { synced: Result<(), StorageError>, reply: oneshot::Sender<()> },
    WhenDurable(WhenDurable),
    Close { reply: oneshot::Sender<()> },
}

/// What waits for the next durable commit.
#[derive(Debug)]
pub(super) enum WhenDurable {
    Answer(oneshot::Sender<LogPosition>),
    Snapshot(oneshot::Sender<StateSnapshot>),
}

/// A handle of the apply thread. Cheap to clone.
#[derive(Clone)]
pub struct Worker {
    /// Not a channel of std: that wakes the thread under a lock which the thread then needs, and on a busy core waits for.
    jobs: mpsc::UnboundedSender<Queued>,
    room: Arc<Semaphore>,
    max_jobs: usize,
    executor: Shared,
    threads: Threads,
    durable_applied: Arc<AtomicU64>,
    applied: watch::Receiver<u64>,
    compacted: watch::Receiver<i64>,
}

impl std::fmt::Debug for Worker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Worker").field("applied", &self.applied_index()).finish_non_exhaustive()
    }
}

/// What the thread is given at its start.
pub struct Start {
    pub applier: Applier,
    pub settings: Settings,
    /// Up to which index the local log is on disk.
    pub log_synced: Arc<AtomicU64>,
    /// Whose requests need an answer.
    pub waiters: Arc<Waiters>,
    pub metrics: Metrics,
    /// Called once, on the thread, when it cannot go on. The node must stop (D9).
    pub on_fatal: Box<dyn FnOnce(Fatal) + Send>,
    pub clock: Arc<dyn Clock>,
    pub threads: Threads,
}

impl std::fmt::Debug for Start {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Start").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// What the thread shows to the holders of a [`Worker`].
pub(super) struct Shown {
    pub applied: watch::Sender<u64>,
    pub compacted: watch::Sender<i64>,
    pub durable: Arc<AtomicU64>,
}

impl Worker {
    /// Starts the worker. It ends with [`Self::close`], with the last handle, or with a fatal error.
    pub fn start(start: Start) -> std::io::Result<Worker> {
        let (settings, threads) = (start.settings, start.threads.clone());
        let (jobs, queue) = mpsc::unbounded_channel();
        let position = start.applier.applied();
        let (applied_sender, applied) = watch::channel(position.index);
        let (compacted_sender, compacted) = watch::channel(start.applier.compacted());
        let durable_applied = Arc::new(AtomicU64::new(position.index));
        let shown = Shown { applied: applied_sender, compacted: compacted_sender, durable: durable_applied.clone() };
        let executor = Shared::new(Executor::new(start, shown));
        threads.start("apply", Thread::new(executor.clone(), queue), Thread::run, Thread::run_on_runtime)?;
        let (max_jobs, room) = (settings.max_jobs, Arc::new(Semaphore::new(settings.max_jobs)));
        Ok(Worker { jobs, room, max_jobs, executor, threads, durable_applied, applied, compacted })
    }

    async fn send(&self, job: Job) -> Result<(), Stopped> {
        let permit = self.room.clone().acquire_owned().await.map_err(|_| Stopped)?;
        self.jobs.send((job, permit)).map_err(|_| Stopped)
    }

    pub(super) async fn call<R>(&self, job: impl FnOnce(oneshot::Sender<R>) -> Job) -> Result<R, Stopped> {
        let (reply, answer) = oneshot::channel();
        self.send(job(reply)).await?;
        answer.await.map_err(|_| Stopped)
    }

    /// Applies committed entries, which continue those applied before. When it returns they are visible to readers.
    pub async fn apply(&self, batch: Vec<Committed>) -> Result<Outcome, Stopped> {
        if is_small(&batch) && self.room.available_permits() == self.max_jobs {
            if let Threads::OnRuntime(pace) = &self.threads {
                pace.wait(Work::Apply).await;
            }
            if let Some(mut slot) = self.executor.try_lock()
                && let Some(executor) = slot.as_mut().filter(|executor| executor.may_take(&batch))
            {
                let applied = executor.apply(batch, false);
                return unless_fatal(&mut slot, applied).ok_or(Stopped);
            }
        }
        self.call(|reply| Job::Apply { batch, reply }).await
    }

    /// Makes the state durable and says up to which entry.
    pub async fn commit_durably(&self) -> Result<LogPosition, Stopped> {
        self.call(|reply| Job::WhenDurable(WhenDurable::Answer(reply))).await
    }

    /// The state as it is.
    pub async fn pin(&self) -> Result<StateSnapshot, Stopped> {
        self.call(|reply| Job::Pin { reply }).await
    }

    /// The state as it is after a durable commit.
    pub async fn snapshot(&self) -> Result<StateSnapshot, Stopped> {
        self.call(|reply| Job::WhenDurable(WhenDurable::Snapshot(reply))).await
    }

    /// Goes on with another state, that of a received snapshot, which is durable in its file. Answers its position.
    pub async fn install(&self, storage: Storage) -> Result<LogPosition, Stopped> {
        self.call(|reply| Job::Install { storage, reply }).await
    }

    /// Makes the state durable if the log allows it, and ends the thread. What is not durable is applied again
    /// at the next start.
    pub async fn close(&self) -> Result<(), Stopped> {
        self.call(|reply| Job::Close { reply }).await
    }

    /// Waits until a compaction at `revision` or above has removed its last row.
    pub async fn wait_compacted(&self, revision: i64) -> Result<(), Stopped> {
        let mut compacted = self.compacted.clone();
        compacted.wait_for(|&finished| finished >= revision).await.map(drop).map_err(|_| Stopped)
    }

    /// The index up to which the state survives a crash. The log may be purged behind it.
    pub fn durable_applied(&self) -> u64 {
        self.durable_applied.load(Ordering::Acquire)
    }

    /// The index of the last entry that readers see.
    pub fn applied_index(&self) -> u64 {
        *self.applied.borrow()
    }

    /// Follows [`Self::applied_index`].
    pub fn applied(&self) -> watch::Receiver<u64> {
        self.applied.clone()
    }
}

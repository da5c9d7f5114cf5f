//! The apply thread. It owns the [`Applier`] and takes jobs one by one; in between it compacts in slices and makes
//! the state durable. Callers hand over whole batches and wait for one answer each (D16).
//!
//! A commit is durable after [`Settings::durable_entries`], [`Settings::durable_bytes`] or
//! [`Settings::durable_interval`], but never past what the local log has synced: otherwise a crash could leave a
//! state that is ahead of its log (reference/storage.md 3.3).

use super::metrics::Metrics;
use super::{Applier, Committed, Fatal, Outcome, StateSnapshot, Waiters};
use crate::storage::{Durability, Storage};
use crate::types::LogPosition;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, oneshot, watch};

/// A batch that takes longer is warned about (etcd `--warning-apply-duration`).
const SLOW_BATCH: Duration = Duration::from_millis(100);

/// A slice of a compaction should not keep a batch waiting for longer.
const SLICE_TIME: Duration = Duration::from_millis(2);

/// How often to look whether the log has been synced, when something waits for it.
const LOG_POLL: Duration = Duration::from_millis(1);

/// How long apply pauses for the log when a durable commit is overdue by as much as its own limit.
const LOG_PATIENCE: Duration = Duration::from_secs(1);

/// How far a sleep of the thread goes when there is nothing to do.
const IDLE: Duration = Duration::from_secs(3600);

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
            max_jobs: 64,
        }
    }
}

/// The thread has stopped: after a close or a fatal error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("apply has stopped")]
pub struct Stopped;

#[derive(Debug)]
enum Job {
    Apply { batch: Vec<Committed>, reply: oneshot::Sender<Outcome> },
    Install { storage: Storage, reply: oneshot::Sender<LogPosition> },
    WhenDurable(WhenDurable),
    Close { reply: oneshot::Sender<()> },
}

/// What waits for the next durable commit.
#[derive(Debug)]
enum WhenDurable {
    Answer(oneshot::Sender<LogPosition>),
    Snapshot(oneshot::Sender<StateSnapshot>),
}

/// A handle of the apply thread. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Worker {
    jobs: mpsc::Sender<(Job, tokio::sync::OwnedSemaphorePermit)>,
    room: Arc<Semaphore>,
    durable_applied: Arc<AtomicU64>,
    applied: watch::Receiver<u64>,
    compacted: watch::Receiver<i64>,
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
}

impl std::fmt::Debug for Start {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Start").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Worker {
    /// Starts the thread. It ends with [`Self::close`], with the last handle, or with a fatal error.
    pub fn start(start: Start) -> std::io::Result<Worker> {
        let Start { applier, settings, log_synced, waiters, metrics, on_fatal } = start;
        let (jobs, queue) = mpsc::channel();
        let position = applier.applied();
        metrics.set_applied(position.index);
        let (applied_sender, applied) = watch::channel(position.index);
        let (compacted_sender, compacted) = watch::channel(applier.compacted());
        let durable_applied = Arc::new(AtomicU64::new(position.index));
        let thread = Thread {
            applier,
            slice_rows: settings.slice_rows,
            settings,
            queue,
            log_synced,
            waiters,
            metrics,
            durable_applied: durable_applied.clone(),
            applied: applied_sender,
            compacted: compacted_sender,
            undurable: Undurable::default(),
            when_durable: Vec::new(),
        };
        thread::Builder::new().name("apply".into()).spawn(move || thread.run(on_fatal))?;
        let room = Arc::new(Semaphore::new(settings.max_jobs));
        Ok(Worker { jobs, room, durable_applied, applied, compacted })
    }

    async fn send(&self, job: Job) -> Result<(), Stopped> {
        let permit = self.room.clone().acquire_owned().await.map_err(|_| Stopped)?;
        self.jobs.send((job, permit)).map_err(|_| Stopped)
    }

    async fn call<R>(&self, job: impl FnOnce(oneshot::Sender<R>) -> Job) -> Result<R, Stopped> {
        let (reply, answer) = oneshot::channel();
        self.send(job(reply)).await?;
        answer.await.map_err(|_| Stopped)
    }

    /// Applies committed entries, which continue those applied before. When it returns they are visible to readers.
    pub async fn apply(&self, batch: Vec<Committed>) -> Result<Outcome, Stopped> {
        self.call(|reply| Job::Apply { batch, reply }).await
    }

    /// Makes the state durable and says up to which entry.
    pub async fn commit_durably(&self) -> Result<LogPosition, Stopped> {
        self.call(|reply| Job::WhenDurable(WhenDurable::Answer(reply))).await
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
    pub fn applied(&self) -> watch::Receiver<u64> {
        self.applied.clone()
    }
}

/// What was applied since the last durable commit.
#[derive(Debug)]
struct Undurable {
    entries: u64,
    bytes: u64,
    since: Instant,
}

impl Default for Undurable {
    fn default() -> Self {
        Self { entries: 0, bytes: 0, since: Instant::now() }
    }
}

impl Undurable {
    fn add(&mut self, entries: u64, bytes: u64) {
        if self.entries == 0 {
            self.since = Instant::now();
        }
        self.entries += entries;
        self.bytes += bytes;
    }

    /// True if a durable commit is due; with a `factor` above one, if it is overdue by that much.
    fn is_due(&self, settings: &Settings, factor: u64) -> bool {
        self.entries >= settings.durable_entries * factor
            || self.bytes >= settings.durable_bytes * factor
            || (factor == 1 && self.entries > 0 && self.since.elapsed() >= settings.durable_interval)
    }
}

struct Thread {
    applier: Applier,
    settings: Settings,
    queue: mpsc::Receiver<(Job, tokio::sync::OwnedSemaphorePermit)>,
    log_synced: Arc<AtomicU64>,
    waiters: Arc<Waiters>,
    metrics: Metrics,
    durable_applied: Arc<AtomicU64>,
    applied: watch::Sender<u64>,
    compacted: watch::Sender<i64>,
    undurable: Undurable,
    when_durable: Vec<WhenDurable>,
    /// Rows of the next slice, fewer than the setting if the last ones took too long.
    slice_rows: usize,
}

/// Whether the thread goes on.
#[derive(PartialEq, Eq)]
enum Next {
    Job,
    End,
}

impl Thread {
    fn run(mut self, on_fatal: Box<dyn FnOnce(Fatal) + Send>) {
        loop {
            match self.step() {
                Ok(Next::Job) => {}
                Ok(Next::End) => return,
                Err(fatal) => {
                    tracing::error!(error = &fatal as &dyn std::error::Error, "apply stopped");
                    return on_fatal(fatal);
                }
            }
        }
    }

    fn step(&mut self) -> Result<Next, Fatal> {
        match self.queue.recv_timeout(self.pause()) {
            Ok((job, _permit)) => {
                if self.run_job(job)? == Next::End {
                    return Ok(Next::End);
                }
            }
            Err(mpsc::RecvTimeoutError::Timeout) => {}
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                self.commit_at_end()?;
                return Ok(Next::End);
            }
        }
        self.compact_a_slice()?;
        if self.wants_durable() && self.log_has(self.applier.applied().index) {
            self.commit_durably()?;
        }
        Ok(Next::Job)
    }

    /// How long to wait for a job before there is something else to do.
    fn pause(&self) -> Duration {
        if self.applier.is_compacting() {
            Duration::ZERO
        } else if self.wants_durable() {
            LOG_POLL
        } else if self.undurable.entries > 0 {
            self.settings.durable_interval.saturating_sub(self.undurable.since.elapsed())
        } else {
            IDLE
        }
    }

    fn run_job(&mut self, job: Job) -> Result<Next, Fatal> {
        match job {
            Job::Apply { batch, reply } => {
                let outcome = self.apply(batch)?;
                answer(reply, outcome);
            }
            Job::Install { storage, reply } => {
                let position = self.applier.install(storage)?;
                self.publish(position);
                self.now_durable(position)?;
                answer(reply, position);
            }
            Job::WhenDurable(waiting) => self.when_durable.push(waiting),
            Job::Close { reply } => {
                self.commit_at_end()?;
                answer(reply, ());
                return Ok(Next::End);
            }
        }
        Ok(Next::Job)
    }

    fn apply(&mut self, batch: Vec<Committed>) -> Result<Outcome, Fatal> {
        let last_index = batch.last().map_or(0, |entry| entry.position.index);
        if self.undurable.is_due(&self.settings, 2) {
            self.wait_for_log(last_index);
        }
        let bytes = batch.iter().map(|entry| entry.payload.len_bytes() as u64).sum();
        self.undurable.add(batch.len() as u64, bytes);
        let is_durable = self.wants_durable() && self.log_has(last_index);
        let durability = if is_durable { Durability::Durable } else { Durability::Volatile };

        let start = Instant::now();
        let waiters = self.waiters.clone();
        let mut outcome = self.applier.apply_batch(batch, &|request_id| waiters.is_waiting(request_id), durability)?;
        let took = start.elapsed();
        self.metrics.observe(&std::mem::take(&mut outcome.commands), took);
        if took > SLOW_BATCH {
            self.metrics.count_slow();
            let (took, expected) = (format!("{took:?}"), format!("{SLOW_BATCH:?}"));
            tracing::warn!(took, "expected-duration" = expected, "apply request took too long");
        }
        self.publish(outcome.applied);
        if is_durable {
            self.now_durable(outcome.applied)?;
        }
        Ok(outcome)
    }

    /// Lets those go on who wait for this entry. Its rows are published already.
    fn publish(&self, applied: LogPosition) {
        self.metrics.set_applied(applied.index);
        self.applied.send_replace(applied.index);
        self.compacted.send_if_modified(|compacted| {
            std::mem::replace(compacted, self.applier.compacted()) != self.applier.compacted()
        });
    }

    fn wants_durable(&self) -> bool {
        !self.when_durable.is_empty() || self.undurable.is_due(&self.settings, 1)
    }

    fn log_has(&self, index: u64) -> bool {
        self.log_synced.load(Ordering::Acquire) >= index
    }

    /// Waits until the log has synced `index`, but not for ever. True if it has.
    fn wait_for_log(&self, index: u64) -> bool {
        let start = Instant::now();
        while !self.log_has(index) {
            if start.elapsed() >= LOG_PATIENCE {
                return false;
            }
            thread::sleep(LOG_POLL);
        }
        true
    }

    fn commit_durably(&mut self) -> Result<(), Fatal> {
        if self.undurable.entries > 0 {
            self.applier.commit_durably()?;
        }
        self.now_durable(self.applier.applied())
    }

    fn commit_at_end(&mut self) -> Result<(), Fatal> {
        if self.wait_for_log(self.applier.applied().index) {
            self.commit_durably()?;
        }
        Ok(())
    }

    fn now_durable(&mut self, position: LogPosition) -> Result<(), Fatal> {
        self.undurable = Undurable::default();
        self.durable_applied.store(position.index, Ordering::Release);
        for waiting in self.when_durable.drain(..) {
            match waiting {
                WhenDurable::Answer(reply) => answer(reply, position),
                WhenDurable::Snapshot(reply) => answer(reply, self.applier.snapshot()?),
            }
        }
        Ok(())
    }

    fn compact_a_slice(&mut self) -> Result<(), Fatal> {
        if !self.applier.is_compacting() {
            return Ok(());
        }
        let start = Instant::now();
        self.applier.compaction_slice(self.slice_rows)?;
        // A replay would remove the rows again, but only a durable commit lets the file reuse their space.
        self.undurable.add(self.slice_rows as u64, 0);
        self.slice_rows = if start.elapsed() > SLICE_TIME {
            (self.slice_rows / 2).max(1)
        } else {
            (self.slice_rows * 2).min(self.settings.slice_rows)
        };
        let finished = self.applier.compacted();
        self.compacted.send_if_modified(|compacted| std::mem::replace(compacted, finished) != finished);
        Ok(())
    }
}

/// The caller may have given up, which changes nothing here.
fn answer<R>(reply: oneshot::Sender<R>, value: R) {
    drop(reply.send(value));
}

//! Does the jobs of the apply thread with the [`Applier`]; in between it compacts in slices and makes the state durable.
//!
//! A commit is durable after [`Settings::durable_entries`], [`Settings::durable_bytes`] or
//! [`Settings::durable_interval`], but never past what the local log has synced: otherwise a crash could leave a
//! state that is ahead of its log (reference/storage.md 3.3).

use super::metrics::Metrics;
use super::moving::{self, Move, StateFile};
use super::pace::Pace;
use super::worker::{Job, Settings, Shown, Start, WhenDurable, is_small};
use super::{Applier, Committed, Fatal, Outcome, Waiters};
use crate::clock::{Clock, Ticks};
use crate::defect::{self, Defect};
use crate::storage::Durability;
use crate::threads::Threads;
use crate::types::LogPosition;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// A slice of a compaction should not keep a batch waiting for longer.
const SLICE_TIME: Duration = Duration::from_millis(2);

/// How often to look whether the log has been synced, when something waits for it.
const LOG_POLL: Duration = Duration::from_millis(1);

/// How long apply pauses for the log when a durable commit is overdue by as much as its own limit.
const LOG_PATIENCE: Duration = Duration::from_secs(1);

/// How far a sleep of the thread goes when there is nothing to do.
const IDLE: Duration = Duration::from_secs(3600);

/// What was applied since the last durable commit.
#[derive(Debug, Default)]
struct Undurable {
    entries: u64,
    bytes: u64,
    since: Ticks,
}

impl Undurable {
    fn add(&mut self, entries: u64, bytes: u64, now: Ticks) {
        if self.entries == 0 {
            self.since = now;
        }
        self.entries += entries;
        self.bytes += bytes;
    }

    /// True if a durable commit is due; with a `factor` above one, if it is overdue by that much.
    fn is_due(&self, settings: &Settings, factor: u64, now: Ticks) -> bool {
        self.entries >= settings.durable_entries * factor
            || self.bytes >= settings.durable_bytes * factor
            || (factor == 1 && self.entries > 0 && now.since(self.since) >= settings.durable_interval)
    }
}

pub(super) struct Executor {
    applier: Applier,
    settings: Settings,
    log_synced: Arc<AtomicU64>,
    waiters: Arc<Waiters>,
    metrics: Metrics,
    on_fatal: Option<Box<dyn FnOnce(Fatal) + Send>>,
    clock: Arc<dyn Clock>,
    threads: Threads,
    shown: Shown,
    undurable: Undurable,
    when_durable: Vec<WhenDurable>,
    /// Rows of the next slice, fewer than the setting if the last ones took too long.
    slice_rows: usize,
    pace: Pace,
    /// The state has moved to a file whose name is not durable: what is committed to it is not either.
    has_no_name: bool,
}

/// Whether the thread goes on.
#[derive(PartialEq, Eq)]
pub(super) enum Next {
    Job,
    End,
}

impl Executor {
    pub fn new(start: Start, shown: Shown) -> Self {
        let Start { mut applier, settings, log_synced, waiters, metrics, on_fatal, clock, threads } = start;
        metrics.set_applied(applier.applied().index);
        applier.warn_after(settings.warn_after);
        let (undurable, when_durable, slice_rows) = (Undurable::default(), Vec::new(), settings.slice_rows);
        let pace = Pace::new(settings.slice_rows, settings.compaction_rest);
        Self {
            applier,
            settings,
            log_synced,
            waiters,
            metrics,
            on_fatal: Some(on_fatal),
            clock,
            threads,
            shown,
            undurable,
            when_durable,
            slice_rows,
            pace,
            has_no_name: false,
        }
    }

    /// Does a job if there is one, and then what may be due.
    pub fn step(&mut self, job: Option<Job>) -> Result<Next, Fatal> {
        if let Some(job) = job
            && self.run_job(job)? == Next::End
        {
            return Ok(Next::End);
        }
        self.compact_a_slice()?;
        if self.wants_durable() && self.log_has(self.applier.applied().index) {
            self.commit_durably()?;
        }
        Ok(Next::Job)
    }

    /// The last call: it will not go on.
    pub fn fail(mut self, fatal: Fatal) {
        tracing::error!(error = &fatal as &dyn std::error::Error, "apply stopped");
        if let Some(on_fatal) = self.on_fatal.take() {
            on_fatal(fatal);
        }
    }

    /// True if a batch may be applied in between: when the thread waits, and nothing that takes long could come with it.
    /// The first batch after a durable commit is never one, since the thread must learn that there is something to make
    /// durable; nor is one after which a commit is due.
    pub fn may_take(&self, batch: &[Committed]) -> bool {
        if defect::may_wait() {
            return false;
        }
        let entries = self.undurable.entries + batch.len() as u64;
        let bytes = self.undurable.bytes + len_bytes(batch);
        let has_room = entries < self.settings.durable_entries && bytes < self.settings.durable_bytes;
        self.undurable.entries > 0 && has_room && !self.wants_durable() && !self.applier.is_compacting()
    }

    /// How long to wait for a job before there is something else to do.
    pub fn pause(&self) -> Duration {
        let until_durable = if self.has_no_name || self.wants_durable() {
            LOG_POLL
        } else if self.undurable.entries > 0 {
            self.settings.durable_interval.saturating_sub(self.clock.now().since(self.undurable.since))
        } else {
            IDLE
        };
        match self.applier.is_compacting() {
            true if self.applier.storage().copy_is_behind() => until_durable.min(LOG_POLL),
            true => until_durable.min(self.pace.wait(self.clock.now())),
            false => until_durable,
        }
    }

    fn run_job(&mut self, job: Job) -> Result<Next, Fatal> {
        match job {
            Job::Apply { batch, reply } => {
                let outcome = self.apply(batch, true)?;
                answer(reply, outcome);
            }
            Job::Install { storage, reply } => {
                let position = self.applier.install(storage)?;
                self.publish(position);
                self.now_durable(position)?;
                answer(reply, position);
            }
            Job::StateFile { reply } => {
                let (storage, compact_revision) = (self.applier.storage().clone(), self.applier.compact_revision());
                answer(reply, StateFile { storage, compact_revision });
            }
            Job::Pin { reply } => answer(reply, self.applier.snapshot()?),
            Job::MoveTo { copy, rename, reply } => {
                let (durable, log) = (&self.shown.durable, &self.log_synced);
                let bounds = (durable.load(Ordering::Acquire), log.load(Ordering::Acquire));
                let moved = moving::move_to(&mut self.applier, copy, rename, bounds)?;
                self.has_no_name |= matches!(moved, Move::Done { .. });
                answer(reply, moved);
            }
            Job::Moved { synced, reply } => {
                synced?;
                self.has_no_name = false;
                answer(reply, ());
            }
            Job::WhenDurable(WhenDurable::Snapshot(reply)) if defect::on(Defect::PurgedBeforeDurable) => {
                answer(reply, self.applier.snapshot()?);
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

    /// Applies entries; if a durable commit is due with them and it `may_sync`, they are part of it.
    pub fn apply(&mut self, batch: Vec<Committed>, may_sync: bool) -> Result<Outcome, Fatal> {
        // An empty batch brings the state nowhere, but not back either.
        let last_index = batch.last().map_or(self.applier.applied().index, |entry| entry.position.index);
        if self.undurable.is_due(&self.settings, 2, self.clock.now()) {
            self.wait_for_log(last_index);
        }
        self.undurable.add(batch.len() as u64, len_bytes(&batch), self.clock.now());
        let is_durable = may_sync && self.wants_durable() && self.log_has(last_index);

        let start = Instant::now();
        let (applier, waiters) = (&mut self.applier, &self.waiters);
        let is_waited_for = |request_id| waiters.is_waiting(request_id);
        let mut outcome = match is_durable {
            true => applier.apply_batch(batch, &is_waited_for, Durability::Durable)?,
            false if is_small(&batch) => applier.apply_few(batch, &is_waited_for)?,
            false => applier.apply_batch(batch, &is_waited_for, Durability::Volatile)?,
        };
        let took = start.elapsed();
        self.metrics.observe(&std::mem::take(&mut outcome.commands), took);
        self.metrics.count_slow(outcome.slow);
        self.publish(outcome.applied);
        if is_durable {
            self.now_durable(outcome.applied)?;
        }
        Ok(outcome)
    }

    /// Lets those go on who wait for this entry. Its rows are published already.
    fn publish(&self, applied: LogPosition) {
        self.metrics.set_applied(applied.index);
        self.shown.applied.send_replace(applied.index);
        self.publish_compacted();
    }

    fn publish_compacted(&self) {
        let finished = self.applier.compacted();
        self.shown.compacted.send_if_modified(|compacted| std::mem::replace(compacted, finished) != finished);
    }

    fn wants_durable(&self) -> bool {
        let is_due = !self.when_durable.is_empty() || self.undurable.is_due(&self.settings, 1, self.clock.now());
        is_due && !self.has_no_name
    }

    fn log_has(&self, index: u64) -> bool {
        self.log_synced.load(Ordering::Acquire) >= index
    }

    /// Waits until the log has synced `index`, but not for ever. True if it has.
    fn wait_for_log(&self, index: u64) -> bool {
        let start = self.clock.now();
        while !self.log_has(index) {
            // The runtime's thread must not wait: the log is written on it too.
            let waits = matches!(self.threads, Threads::Own);
            if !waits || self.clock.now().since(start) >= LOG_PATIENCE {
                return false;
            }
            std::thread::sleep(LOG_POLL);
        }
        true
    }

    fn commit_durably(&mut self) -> Result<(), Fatal> {
        if self.undurable.entries > 0 {
            self.applier.commit(Durability::Durable)?;
        }
        self.now_durable(self.applier.applied())
    }

    pub fn commit_at_end(&mut self) -> Result<(), Fatal> {
        if self.wait_for_log(self.applier.applied().index) {
            self.commit_durably()?;
        }
        Ok(())
    }

    fn now_durable(&mut self, position: LogPosition) -> Result<(), Fatal> {
        self.undurable = Undurable::default();
        self.shown.durable.store(position.index, Ordering::Release);
        for waiting in self.when_durable.drain(..) {
            match waiting {
                WhenDurable::Answer(reply) => answer(reply, position),
                WhenDurable::Snapshot(reply) => answer(reply, self.applier.snapshot()?),
            }
        }
        Ok(())
    }

    fn compact_a_slice(&mut self) -> Result<(), Fatal> {
        if !self.applier.is_compacting() || !self.pace.wait(self.clock.now()).is_zero() {
            return Ok(());
        }
        // Whoever copies the state has to repeat all that goes.
        if self.applier.storage().copy_is_behind() {
            return Ok(());
        }
        let start = self.clock.now();
        let rows = self.pace.slice(self.slice_rows);
        self.applier.compaction_slice(rows)?;
        let end = self.clock.now();
        self.pace.did(rows, end);
        // A replay would remove the rows again, but only a durable commit lets the file reuse their space.
        self.undurable.add(rows as u64, 0, end);
        self.slice_rows = if end.since(start) > SLICE_TIME {
            (self.slice_rows / 2).max(1)
        } else {
            (self.slice_rows * 2).min(self.settings.slice_rows)
        };
        self.publish_compacted();
        Ok(())
    }
}

/// How much log it took.
pub(super) fn len_bytes(batch: &[Committed]) -> u64 {
    batch.iter().map(|entry| entry.payload.len_bytes() as u64).sum()
}

/// The caller may have given up, which changes nothing here.
fn answer<R>(reply: oneshot::Sender<R>, value: R) {
    drop(reply.send(value));
}

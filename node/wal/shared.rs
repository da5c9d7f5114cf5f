//! What the handles and the writer share: the log in memory and the queue of what is to be written. The lock is
//! held for work on memory only, never over file operations or callbacks.

use super::OnFatal;
use super::entry::{Entry, HardState};
use super::error::WalError;
use super::log::Log;
use super::segment::Segment;
use crate::defect::{self, Point};
use crate::types::LogPosition;
use keelstone_proto::raftpb::ConfState;
use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// Called once from the writer when the request is durable, or with the error that ended the log. Called by the
/// caller's thread if the request is refused at once.
pub type Done = Box<dyn FnOnce(io::Result<()>) + Send>;

/// About what a record costs beside its data, for the bound of a batch.
const RECORD_BYTES: usize = 40;

/// One request, to be written in the order of the queue.
pub(crate) enum Job {
    Append {
        entries: Vec<Entry>,
        done: Done,
    },
    HardState {
        state: HardState,
        done: Done,
    },
    /// A snapshot record. `restart`: the entries before it are void.
    Snapshot {
        position: LogPosition,
        conf_state: ConfState,
        restart: bool,
        done: Done,
    },
}

impl Job {
    pub(crate) fn purge(position: LogPosition, conf_state: ConfState, done: Done) -> Self {
        Job::Snapshot { position, conf_state, restart: false, done }
    }

    pub(crate) fn restart(position: LogPosition, conf_state: ConfState, done: Done) -> Self {
        Job::Snapshot { position, conf_state, restart: true, done }
    }
}

/// A job and, for appends, up to where its entries are still part of the log.
pub(crate) struct Queued {
    pub(crate) job: Job,
    pub(crate) valid_to: u64,
    bytes: usize,
}

/// What the writer takes at once.
#[derive(Default)]
pub(crate) struct Batch {
    pub(crate) jobs: Vec<Queued>,
    /// The commit index to write, as far as the entries are written.
    pub(crate) commit: u64,
    /// Last entry of the log that was written before this batch.
    pub(crate) written: u64,
}

impl Batch {
    /// True if the log begins anew behind a received state.
    pub(crate) fn begins_anew(&self) -> bool {
        self.jobs.iter().any(|queued| matches!(queued.job, Job::Snapshot { restart: true, .. }))
    }
}

/// Entries of one append, as written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Written {
    /// Place of the append in the batch.
    pub(crate) job: usize,
    pub(crate) first: u64,
    /// How many of the offsets are its.
    pub(crate) len: usize,
}

/// A truncation that jobs queued before it have not heard of.
#[derive(Debug)]
struct Cut {
    /// Jobs with a lower number are affected.
    before_job: u64,
    after_index: u64,
}

pub(crate) struct State {
    pub(crate) log: Log,
    pub(crate) hard_state: HardState,
    queue: VecDeque<Queued>,
    /// Number of the next job to be queued; the queue holds the last ones.
    next_job: u64,
    /// Number of the first job of the batch that the writer has, or of the first in the queue.
    first_pending: u64,
    cuts: Vec<Cut>,
    /// Entries of the log up to here are written and synced, or a synced snapshot record stands for them.
    synced: u64,
    /// Index up to which a synced snapshot record stands for the entries.
    synced_snapshot: u64,
    writer_sleeps: bool,
    stopping: bool,
    failure: Option<(io::ErrorKind, String)>,
}

pub(crate) struct Shared {
    state: Mutex<State>,
    wake: Condvar,
    /// As `wake`, for a writer that is a task.
    bell: Notify,
    synced: Arc<AtomicU64>,
    tail_bytes: usize,
    on_fatal: OnFatal,
}

impl Shared {
    pub(crate) fn new(log: Log, hard_state: HardState, tail_bytes: usize, on_fatal: OnFatal) -> Self {
        let synced = log.last().index;
        let state = State {
            synced,
            synced_snapshot: log.purged().index,
            log,
            hard_state,
            queue: VecDeque::new(),
            next_job: 0,
            first_pending: 0,
            cuts: Vec::new(),
            writer_sleeps: false,
            stopping: false,
            failure: None,
        };
        Self {
            state: Mutex::new(state),
            wake: Condvar::new(),
            bell: Notify::new(),
            synced: Arc::new(AtomicU64::new(synced)),
            tail_bytes,
            on_fatal,
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn synced(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.synced)
    }

    pub(crate) fn synced_index(&self) -> u64 {
        self.synced.load(Ordering::Acquire)
    }

    pub(crate) fn append(&self, entries: Vec<Entry>, done: Done) {
        let mut state = self.lock();
        let Some(first) = entries.first().map(|entry| entry.index) else {
            // Nothing to write, yet in order behind what was asked for before.
            return self.queue(state, Job::Append { entries, done }, 0);
        };
        let contiguous = (first..).zip(&entries).all(|(index, entry)| entry.index == index);
        if !contiguous || !state.log.accepts(first) {
            drop(state);
            return done(Err(io::ErrorKind::InvalidInput.into()));
        }
        if first <= state.log.last().index {
            self.truncate(&mut state, first - 1);
        }
        let mut bytes = 0;
        for entry in &entries {
            bytes += RECORD_BYTES + entry.data.len();
            state.log.push(entry.clone());
        }
        self.queue(state, Job::Append { entries, done }, bytes);
    }

    pub(crate) fn save_hard_state(&self, wanted: HardState, done: Done) {
        let mut state = self.lock();
        let commit = state.hard_state.commit.max(wanted.commit);
        state.hard_state = HardState { commit, ..wanted };
        let job = Job::HardState { state: state.hard_state, done };
        self.queue(state, job, RECORD_BYTES);
    }

    pub(crate) fn save_commit(&self, commit: u64) {
        let mut state = self.lock();
        state.hard_state.commit = state.hard_state.commit.max(commit);
    }

    pub(crate) fn truncate_after(&self, index: u64) {
        let mut state = self.lock();
        if index < state.log.last().index {
            self.truncate(&mut state, index);
        }
    }

    fn truncate(&self, state: &mut State, index: u64) {
        state.log.truncate_after(index);
        if state.first_pending < state.next_job {
            let before_job = state.next_job;
            state.cuts.push(Cut { before_job, after_index: index });
        }
        state.synced = state.synced.min(index);
        self.synced.store(state.synced, Ordering::Release);
    }

    /// Queues a [`Job::Snapshot`] and brings the log in memory to what it says.
    pub(crate) fn snapshot(&self, job: Job) {
        let Job::Snapshot { position, conf_state, restart, done } = job else { return };
        let mut state = self.lock();
        if position.index <= state.log.purged().index && !restart {
            // Nothing to write, yet in order.
            return self.queue(state, Job::Append { entries: Vec::new(), done }, 0);
        }
        let restart = restart || state.log.term_at(position.index) != Some(position.term);
        let committed = state.hard_state.commit.min(state.log.last().index);
        if restart && (position.index < committed || position.index == 0) {
            // Committed entries cannot conflict with a snapshot.
            drop(state);
            return done(Err(io::ErrorKind::InvalidInput.into()));
        }
        if restart {
            let before_job = state.next_job;
            state.cuts.push(Cut { before_job, after_index: 0 });
            defect::reach(Point::RaftBeforeApplySnap);
            state.log = Log::behind(position);
            defect::reach(Point::RaftAfterApplySnap);
            state.synced = state.synced_snapshot;
        } else {
            state.log.purge(position);
        }
        state.hard_state.commit = state.hard_state.commit.max(position.index);
        self.synced.store(state.synced, Ordering::Release);
        self.queue(state, Job::Snapshot { position, conf_state, restart, done }, RECORD_BYTES);
    }

    fn queue(&self, mut state: MutexGuard<'_, State>, job: Job, bytes: usize) {
        if state.stopping {
            drop(state);
            let done = match job {
                Job::Append { done, .. } | Job::HardState { done, .. } | Job::Snapshot { done, .. } => done,
            };
            return done(Err(io::Error::new(io::ErrorKind::BrokenPipe, "the log is closed")));
        }
        state.next_job += 1;
        state.queue.push_back(Queued { job, valid_to: u64::MAX, bytes });
        // A writer that is at work looks at the queue before it sleeps.
        let wake = std::mem::take(&mut state.writer_sleeps);
        drop(state);
        if wake {
            self.wake_writer();
        }
    }

    pub(crate) fn stop(&self) {
        self.lock().stopping = true;
        self.wake_writer();
    }

    fn wake_writer(&self) {
        self.wake.notify_one();
        self.bell.notify_one();
    }

    /// As the waiting of [`Self::take`], for a writer that is a task. False once the log is closed.
    pub(crate) async fn await_work(&self, patience: Patience) -> bool {
        loop {
            {
                let mut state = self.lock();
                if state.stopping || !state.queue.is_empty() {
                    return !state.stopping;
                }
                state.writer_sleeps = true;
            }
            match patience {
                Patience::None => return true,
                Patience::Once(delay) => {
                    if tokio::time::timeout(delay, self.bell.notified()).await.is_err() {
                        return true;
                    }
                }
                Patience::Endless => self.bell.notified().await,
            }
        }
    }

    /// The log is of no use any more.
    pub(crate) fn fail(&self, error: WalError) {
        self.lock().failure.get_or_insert((error.kind(), error.to_string()));
        (self.on_fatal)(error);
    }

    /// The error that ended the log, if one did.
    pub(crate) fn outcome(&self) -> io::Result<()> {
        match &self.lock().failure {
            Some((kind, text)) => Err(io::Error::new(*kind, text.clone())),
            None => Ok(()),
        }
    }

    /// Takes queued jobs up to `limit_bytes`, and always one if there is one. A batch without jobs: nothing was
    /// queued, or, after `patience`, there is only a commit index to write. `None`: stopped, and all is taken.
    pub(crate) fn take(&self, limit_bytes: usize, patience: Patience) -> Option<Batch> {
        let mut state = self.lock();
        while state.queue.is_empty() {
            if state.stopping {
                return None;
            }
            match patience {
                Patience::None => break,
                Patience::Once(delay) => {
                    state.writer_sleeps = true;
                    let (woken, timeout) = self.wake.wait_timeout(state, delay).unwrap_or_else(PoisonError::into_inner);
                    state = woken;
                    if timeout.timed_out() {
                        break;
                    }
                }
                Patience::Endless => {
                    state.writer_sleeps = true;
                    state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
        state.writer_sleeps = false;
        Some(state.take_batch(limit_bytes))
    }

    /// Notes that a batch is written and synced. Returns up to which index the log is purged durably.
    pub(crate) fn finish(&self, batch: Finished<'_>) -> u64 {
        let mut state = self.lock();
        let mut units = batch.units;
        for written in batch.written {
            let (own, rest) = units.split_at(written.len);
            units = rest;
            let valid_to = state.valid_to(state.first_pending + written.job as u64);
            let valid = valid_to.saturating_add(1).saturating_sub(written.first);
            let valid = own.len().min(usize::try_from(valid).unwrap_or(usize::MAX));
            state.log.place(written.first, &own[..valid], batch.segment);
        }
        state.first_pending += batch.jobs as u64;
        let first_pending = state.first_pending;
        state.cuts.retain(|cut| cut.before_job > first_pending);
        state.synced_snapshot = state.synced_snapshot.max(batch.snapshot);
        let places = &state.log.places;
        state.synced = if places.is_empty() { state.synced.max(batch.snapshot) } else { places.end() - 1 };
        state.log.evict(self.tail_bytes);
        self.synced.store(state.synced, Ordering::Release);
        state.synced_snapshot
    }
}

/// How long to wait for work.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Patience {
    None,
    Once(Duration),
    Endless,
}

/// Report of a batch.
pub(crate) struct Finished<'a> {
    pub(crate) jobs: usize,
    pub(crate) written: &'a [Written],
    /// Offsets of the entries of all of `written`.
    pub(crate) units: &'a [u32],
    pub(crate) segment: &'a Arc<Segment>,
    /// Index of the newest snapshot record, or 0.
    pub(crate) snapshot: u64,
}

impl State {
    /// Up to which index the entries of an append are still part of the log.
    fn valid_to(&self, job: u64) -> u64 {
        self.cuts.iter().filter(|cut| job < cut.before_job).map(|cut| cut.after_index).min().unwrap_or(u64::MAX)
    }

    /// Takes jobs up to `limit_bytes`, or one; without any, only the commit index.
    pub(crate) fn take_batch(&mut self, limit_bytes: usize) -> Batch {
        let mut batch = Batch { jobs: Vec::new(), commit: self.hard_state.commit, written: self.synced };
        let mut bytes = 0;
        while let Some(next) = self.queue.front()
            && (batch.jobs.is_empty() || bytes + next.bytes <= limit_bytes)
            && let Some(mut queued) = self.queue.pop_front()
        {
            bytes += queued.bytes;
            queued.valid_to = self.valid_to(self.first_pending + batch.jobs.len() as u64);
            batch.jobs.push(queued);
        }
        batch
    }
}

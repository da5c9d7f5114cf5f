//! The handle to the log: what is in it, and the queue to the thread that writes it.

use super::record;
use super::segment::Segment;
use super::writer::{self, Job, Queue};
use super::{Done, Entry, HardState, Identity, Metrics, OnFatal, Settings, WalError, codec};
use crate::disk::{Disk, File};
use crate::types::LogPosition;
use keelstone_proto::raftpb::ConfState;
use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;

/// The Raft log. Cheap to clone; the thread ends with [`Wal::close`].
#[derive(Clone)]
pub struct Wal {
    shared: Arc<Shared>,
    thread: Arc<Mutex<Option<JoinHandle<()>>>>,
}

impl fmt::Debug for Wal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wal").field("purged", &self.purged()).field("last", &self.last()).finish_non_exhaustive()
    }
}

pub(super) struct Shared {
    pub state: Mutex<State>,
    pub queue: Queue,
    /// Entries up to here are durable in this log.
    pub synced: Arc<AtomicU64>,
}

impl Shared {
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of this lock panics")
    }
}

/// Where a written entry stands, to read it back. The checksum before it lets one record be verified alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    segment: u32,
    crc_before: u32,
    offset: u32,
}

impl Place {
    /// Sequences and offsets fit: a log would have to cut four billion segments, or a segment outgrow 4 GiB.
    pub fn new(segment: u64, offset: u64, crc_before: u32) -> Self {
        Self { segment: segment as u32, crc_before, offset: offset as u32 }
    }
}

/// What is in the log. Indexes `purged.index + 1 ..= last` are in `tail`, in `places`, or in both.
#[derive(Debug)]
pub(super) struct State {
    pub segments: VecDeque<Segment>,
    pub purged: LogPosition,
    pub hard_state: HardState,
    /// The newest entries, without gaps up to the last.
    tail: VecDeque<Entry>,
    tail_bytes: usize,
    max_tail_bytes: usize,
    /// Of entries from `purged.index + 1`, as far as they are written.
    places: VecDeque<Place>,
    /// Counts truncations, so that a write that began before one does not vouch for what came after.
    pub epoch: u64,
}

impl State {
    pub fn new(
        segments: VecDeque<Segment>,
        entries: VecDeque<Entry>,
        places: VecDeque<Place>,
        purged: LogPosition,
        hard_state: HardState,
        max_tail_bytes: usize,
    ) -> Self {
        let tail_bytes = entries.iter().map(cost).sum();
        let mut state =
            Self { segments, purged, hard_state, tail: entries, tail_bytes, max_tail_bytes, places, epoch: 0 };
        state.shed();
        state
    }

    pub fn last(&self) -> LogPosition {
        // The newest entry is never shed.
        self.tail.back().map_or(self.purged, Entry::position)
    }

    fn tail_start(&self) -> u64 {
        self.tail.front().map_or(self.purged.index + 1, |entry| entry.index)
    }

    fn push(&mut self, entry: Entry) {
        self.tail_bytes += cost(&entry);
        self.tail.push_back(entry);
    }

    /// `newest` is the entry at `index`, if it is not in the tail.
    fn truncate_after(&mut self, index: u64, newest: Option<Entry>) {
        while self.tail.back().is_some_and(|entry| entry.index > index) {
            if let Some(entry) = self.tail.pop_back() {
                self.tail_bytes -= cost(&entry);
            }
        }
        if let Some(entry) = newest {
            self.tail_bytes += cost(&entry);
            self.tail.push_back(entry);
        }
        self.epoch += 1;
    }

    /// Records where a written entry stands; it replaces what stood at its index.
    pub fn place(&mut self, index: u64, place: Place) {
        let Some(at) = index.checked_sub(self.purged.index + 1) else {
            return;
        };
        self.places.truncate(usize::try_from(at).unwrap_or(usize::MAX));
        self.places.push_back(place);
    }

    pub fn forget_places_after(&mut self, index: u64) {
        let keep = index.saturating_sub(self.purged.index);
        self.places.truncate(usize::try_from(keep).unwrap_or(usize::MAX));
    }

    /// Drops the oldest entries from memory while there are too many, as far as they can be read back.
    pub fn shed(&mut self) {
        let placed = self.purged.index + self.places.len() as u64;
        while self.tail_bytes > self.max_tail_bytes && self.tail.len() > 1 && self.tail_start() <= placed {
            if let Some(entry) = self.tail.pop_front() {
                self.tail_bytes -= cost(&entry);
            }
        }
    }

    pub fn purge(&mut self, upto: LogPosition) {
        let gone = usize::try_from(upto.index.saturating_sub(self.purged.index)).unwrap_or(usize::MAX);
        self.places.drain(..gone.min(self.places.len()));
        while self.tail.front().is_some_and(|entry| entry.index <= upto.index) {
            if let Some(entry) = self.tail.pop_front() {
                self.tail_bytes -= cost(&entry);
            }
        }
        self.purged = upto;
    }

    pub fn reset(&mut self, at: LogPosition) {
        self.tail.clear();
        self.tail_bytes = 0;
        self.places.clear();
        self.purged = at;
        self.epoch += 1;
    }

    fn file_of(&self, segment: u32) -> Option<(Arc<dyn File>, PathBuf)> {
        let found = self.segments.iter().find(|known| known.sequence as u32 == segment)?;
        Some((Arc::clone(&found.file), found.path.clone()))
    }
}

/// Memory of an entry, about.
fn cost(entry: &Entry) -> usize {
    entry.data.len() + 64
}

impl Wal {
    #[expect(clippy::too_many_arguments, reason = "the parts of one construction, named at its one call")]
    pub(super) fn start(
        disk: Arc<dyn Disk>,
        dir: PathBuf,
        identity: Identity,
        settings: Settings,
        state: State,
        (crc, end): (u32, u64),
        metrics: Metrics,
        on_fatal: OnFatal,
    ) -> Wal {
        let synced = Arc::new(AtomicU64::new(state.last().index));
        let shared = Arc::new(Shared { state: Mutex::new(state), queue: Queue::default(), synced });
        let writer = writer::Writer::new(Arc::clone(&shared), disk, dir, identity, settings, (crc, end), metrics, on_fatal);
        let thread = std::thread::Builder::new().name("wal".to_owned()).spawn(move || writer.run());
        // Without threads nothing works; there is nobody to tell yet.
        let thread = thread.expect("the system can start a thread");
        Wal { shared, thread: Arc::new(Mutex::new(Some(thread))) }
    }

    /// Adds entries, readable at once. The first must follow the last entry; `done` is called when they are durable.
    pub fn append(&self, entries: Vec<Entry>, done: Done) {
        let epoch = {
            let mut state = self.shared.state();
            for entry in &entries {
                state.push(entry.clone());
            }
            state.epoch
        };
        self.shared.queue.push(Job::Append { entries, epoch, done });
    }

    /// Makes term, vote and commit index durable, after all that was asked before.
    pub fn save_hard_state(&self, hard_state: HardState, done: Done) {
        self.shared.state().hard_state = hard_state;
        self.shared.queue.push(Job::HardState { hard_state, done });
    }

    /// Remembers the commit index; it is written with the next entries.
    pub fn save_commit(&self, commit: u64) {
        let mut state = self.shared.state();
        state.hard_state.commit = state.hard_state.commit.max(commit);
    }

    /// Forgets the entries after `index`. As in etcd's format nothing is written: the next entry replaces them.
    ///
    /// # Errors
    /// The entry at `index` is no longer in memory and cannot be read back.
    pub fn truncate_after(&self, index: u64) -> Result<(), WalError> {
        let shed = {
            let state = self.shared.state();
            index > state.purged.index && index < state.tail_start()
        };
        // The last entry is always in memory.
        let newest = if shed { self.read(index..index + 1)?.pop() } else { None };
        {
            let mut state = self.shared.state();
            state.truncate_after(index, newest);
            self.shared.synced.fetch_min(index, Ordering::AcqRel);
        }
        self.shared.queue.push(Job::Truncate { after: index });
        Ok(())
    }

    /// Gives up the entries up to `upto`, which a snapshot covers. `done` once that is durable.
    pub fn purge(&self, upto: LogPosition, conf_state: ConfState, done: Done) {
        self.shared.queue.push(Job::Purge { upto, conf_state, done });
    }

    /// An installed snapshot replaces the whole log, which goes on behind `at`.
    pub fn reset_to(&self, at: LogPosition, conf_state: ConfState, done: Done) {
        {
            let mut state = self.shared.state();
            state.reset(at);
            self.shared.synced.fetch_min(at.index, Ordering::AcqRel);
        }
        self.shared.queue.push(Job::Reset { at, conf_state, done });
    }

    /// The entries of `range`, all of them.
    ///
    /// # Errors
    /// One is not in the log, or cannot be read back.
    pub fn read(&self, range: Range<u64>) -> Result<Vec<Entry>, WalError> {
        self.read_limited(range.start, range.end, usize::MAX)
    }

    /// The entries from `start` before `end`, as many as fit into `max_bytes` of data, at least one.
    ///
    /// # Errors
    /// One is not in the log, or cannot be read back.
    pub fn read_limited(&self, start: u64, end: u64, max_bytes: usize) -> Result<Vec<Entry>, WalError> {
        if start >= end {
            return Ok(Vec::new());
        }
        let mut budget = max_bytes;
        let mut entries = Vec::new();
        let mut next = start;
        while next < end {
            let on_disk = {
                let state = self.shared.state();
                let last = state.last().index;
                if start <= state.purged.index || end - 1 > last {
                    let first = state.purged.index + 1;
                    return Err(WalError::OutOfRange { start, end, first, last });
                }
                let tail_start = state.tail_start();
                if next >= tail_start {
                    let skip = usize::try_from(next - tail_start).unwrap_or(usize::MAX);
                    let take = usize::try_from(end - next).unwrap_or(usize::MAX);
                    for entry in state.tail.iter().skip(skip).take(take) {
                        if !entries.is_empty() && entry.data.len() > budget {
                            return Ok(entries);
                        }
                        budget = budget.saturating_sub(entry.data.len());
                        entries.push(entry.clone());
                    }
                    return Ok(entries);
                }
                let at = usize::try_from(next - state.purged.index - 1).unwrap_or(usize::MAX);
                let place = state.places.get(at).copied().ok_or(WalError::Ended)?;
                let (file, path) = state.file_of(place.segment).ok_or(WalError::Ended)?;
                (place, file, path)
            };
            let (place, file, path) = on_disk;
            let entry = read_back(place, file.as_ref(), &path)?;
            if !entries.is_empty() && entry.data.len() > budget {
                return Ok(entries);
            }
            budget = budget.saturating_sub(entry.data.len());
            entries.push(entry);
            next += 1;
        }
        Ok(entries)
    }

    pub fn hard_state(&self) -> HardState {
        self.shared.state().hard_state
    }

    /// The last entry, or what was purged last if there is none behind it.
    pub fn last(&self) -> LogPosition {
        self.shared.state().last()
    }

    /// The first entry that can be read, if there is any.
    pub fn first_index(&self) -> u64 {
        self.shared.state().purged.index + 1
    }

    pub fn purged(&self) -> LogPosition {
        self.shared.state().purged
    }

    /// Entries up to the value are durable in this log.
    pub fn synced_index(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.shared.synced)
    }

    /// Writes what was asked so far and ends the thread.
    pub fn close(&self) {
        self.shared.queue.push(Job::Close);
        let thread = self.thread.lock().expect("no holder of this lock panics").take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("log thread panicked");
        }
    }
}

/// Reads one entry from its file and verifies it.
fn read_back(place: Place, file: &dyn File, path: &std::path::Path) -> Result<Entry, WalError> {
    let offset = u64::from(place.offset);
    let mut frame = [0; record::FRAME_BYTES];
    file.read_at(offset, &mut frame).map_err(WalError::io("read", path))?;
    let field = u64::from_le_bytes(frame);
    let corrupt = || WalError::Corrupt { path: path.to_path_buf(), offset };
    let length = (field & 0x00ff_ffff_ffff_ffff) + (field >> 56 & 0x7);
    let file_length = file.len().map_err(WalError::io("read length of", path))?;
    if offset + length > file_length {
        return Err(corrupt());
    }
    let mut record = vec![0; record::FRAME_BYTES + usize::try_from(length).map_err(|_| corrupt())?];
    file.read_at(offset, &mut record).map_err(WalError::io("read", path))?;
    let found = record::read(&record, offset, place.crc_before).map_err(|_| corrupt())?;
    codec::entry_from_bytes(&found.data).ok_or_else(corrupt)
}

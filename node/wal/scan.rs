//! What the records of a log say, taken one after the other.

use super::encode::kind;
use super::entry::{HardState, Identity};
use super::error::{Corruption, WalError};
use super::log::Log;
use super::places::{Places, Terms, to_units};
use super::reader::{
    Bad, EntryView, ReadError, Record, RecordReader, parse_hard_state, parse_metadata, parse_snapshot,
};
use super::segment::{Segment, SegmentName};
use crate::types::LogPosition;
use keelstone_proto::raftpb::ConfState;
use std::sync::Arc;

/// What one read of a file fetches.
const CHUNK_BYTES: u64 = 1 << 20;

/// The log as far as it was read.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    crc: Option<u32>,
    identity: Option<Identity>,
    hard_state: HardState,
    snapshots: Vec<(LogPosition, ConfState)>,
    entries: Option<Entries>,
    restart: Option<Restart>,
    /// The records read last, if they are snapshot records beyond the commit index.
    unfinished: Option<Unfinished>,
    /// The first segment does not begin the log.
    head: Option<SegmentName>,
    last_written: u64,
}

/// Entries found, from the first one seen.
#[derive(Debug)]
struct Entries {
    first: u64,
    places: Places,
    terms: Terms,
}

/// A snapshot record that the entries before it do not lead to, until a hard state confirms it.
#[derive(Debug)]
struct Restart {
    index: u64,
    /// The entries before it.
    before: Option<Entries>,
    /// How many snapshot records there were before it.
    snapshots: usize,
}

/// How to undo the last records.
#[derive(Debug)]
struct Unfinished {
    offset: u64,
    crc: Option<u32>,
    snapshots: usize,
    last_written: u64,
}

/// The result of a scan.
pub(crate) struct Found {
    pub(crate) crc: u32,
    pub(crate) identity: Identity,
    pub(crate) hard_state: HardState,
    pub(crate) snapshot: LogPosition,
    pub(crate) conf_state: ConfState,
    pub(crate) log: Log,
    pub(crate) last_written: u64,
}

impl Entries {
    fn from(first: u64) -> Self {
        Self { first, places: Places::starting_at(first), terms: Terms::default() }
    }

    fn has(&self, position: LogPosition) -> bool {
        (self.first..self.places.end()).contains(&position.index)
            && self.terms.get(position.index) == Some(position.term)
    }
}

impl Scan {
    /// The log begins with segment `name`; the ones before were deleted.
    pub(crate) fn head_missing(&mut self, name: SegmentName) {
        self.head = Some(name);
        self.last_written = name.first_index.saturating_sub(1);
    }

    /// Reads one segment; sets its end. Returns the record at which it stopped, if one did not check.
    pub(crate) fn segment(&mut self, segment: &Arc<Segment>) -> Result<Option<Bad>, WalError> {
        let corrupt = |offset, what| WalError::Corrupt { file: segment.path.clone(), offset, what };
        let mut reader = RecordReader::new(segment.file.clone(), 0, segment.end(), self.crc, CHUNK_BYTES);
        let bad = loop {
            let crc = reader.crc();
            match reader.next() {
                Ok(Some(record)) => {
                    let offset = record.offset;
                    self.record(record, crc, segment).map_err(|what| corrupt(offset, what))?;
                }
                Ok(None) => break None,
                Err(ReadError::Bad(bad)) => break Some(bad),
                Err(ReadError::Io(source)) => {
                    return Err(WalError::Io { action: "read", path: segment.path.clone(), source });
                }
            }
        };
        // A segment gets its name only once its head is synced.
        if reader.offset() == 0 {
            return Err(corrupt(0, bad.map_or(Corruption::NoSeed, |bad| bad.what)));
        }
        self.crc = reader.crc();
        segment.set_end(reader.offset());
        Ok(bad)
    }

    /// Takes one record; `crc` is the checksum before it.
    fn record(&mut self, record: Record<'_>, crc: Option<u32>, segment: &Arc<Segment>) -> Result<(), Corruption> {
        let unfinished = self.unfinished.take();
        match record.kind {
            kind::METADATA => {
                let identity = parse_metadata(record.data)?;
                if self.identity.is_some_and(|known| known != identity) {
                    return Err(Corruption::Identity);
                }
                self.identity = Some(identity);
            }
            kind::ENTRY => {
                let entry = EntryView::parse(record.data)?;
                let units = to_units(record.offset).ok_or(Corruption::Misplaced(entry.index))?;
                self.entry(entry.term, entry.index, units, segment)?;
            }
            kind::HARD_STATE => {
                self.hard_state = self.next_state(parse_hard_state(record.data)?)?;
                if self.restart.as_ref().is_some_and(|restart| self.hard_state.commit >= restart.index) {
                    self.restart = None;
                }
                self.pass_covered();
            }
            kind::SNAPSHOT => {
                let (position, conf_state) = parse_snapshot(record.data)?;
                if position.index > self.hard_state.commit {
                    let (snapshots, last_written) = (self.snapshots.len(), self.last_written);
                    let begun = Unfinished { offset: record.offset, crc, snapshots, last_written };
                    self.unfinished = Some(unfinished.unwrap_or(begun));
                }
                self.snapshot(position, conf_state)?;
            }
            kind::CHECKSUM => {}
            other => return Err(Corruption::RecordType(other)),
        }
        Ok(())
    }

    /// The type of a record is not under its checksum. An entry whose type was damaged reads as a hard state that goes
    /// back: it has no term.
    fn next_state(&self, state: HardState) -> Result<HardState, Corruption> {
        let (before, commit_before) = (self.hard_state.term, self.hard_state.commit);
        if state.term < before || state.commit < commit_before {
            return Err(Corruption::StateGoesBack { term: state.term, before, commit: state.commit, commit_before });
        }
        Ok(state)
    }

    fn entry(&mut self, term: u64, index: u64, units: u32, segment: &Arc<Segment>) -> Result<(), Corruption> {
        if index == 0 || term == 0 {
            return Err(Corruption::ZeroIndex);
        }
        // What stands behind a snapshot that counts says nothing any more (etcd ReadAll). Taken in, it would break the
        // row of the entries that follow the snapshot.
        if index <= self.covered() {
            return Ok(());
        }
        // A restart that was never confirmed, and the log went on where it was.
        let first_after = self.entries.as_ref().is_some_and(|entries| entries.places.is_empty());
        if first_after && self.restart.as_ref().is_some_and(|restart| index != restart.index + 1) {
            self.undo_restart();
        }
        // The first entry of a log whose head is gone may replace some that went with it.
        if self.entries.is_none() && index > self.known_from() {
            return Err(Corruption::Gap { expected: self.known_from(), found: index });
        }
        let entries = self.entries.get_or_insert_with(|| Entries::from(index));
        if index < entries.first {
            *entries = Entries::from(index);
        }
        if !entries.places.put(index, units, segment) {
            return Err(Corruption::Gap { expected: entries.places.end(), found: index });
        }
        entries.terms.put(index, term);
        self.last_written = index;
        Ok(())
    }

    /// The highest index that a snapshot record read so far stands for, if the commit index covers it.
    fn covered(&self) -> u64 {
        let commit = self.hard_state.commit;
        self.snapshots.iter().map(|(position, _)| position.index).filter(|index| *index <= commit).max().unwrap_or(0)
    }

    /// Entries that end before what a snapshot covers say nothing either: the next one follows the snapshot.
    fn pass_covered(&mut self) {
        let next = self.covered() + 1;
        if let Some(entries) = self.entries.as_mut().filter(|entries| entries.places.end() < next) {
            *entries = Entries::from(next);
        }
    }

    /// From which index on the files hold what was written.
    fn known_from(&self) -> u64 {
        let head = self.head.map_or(1, |name| name.first_index.max(1));
        self.entries.as_ref().map_or(head, |entries| entries.first)
    }

    fn snapshot(&mut self, position: LogPosition, conf_state: ConfState) -> Result<(), Corruption> {
        if position.index == 0 {
            return Ok(());
        }
        // Whether the log led to a record that is older than what is left of it cannot be seen, and does not
        // matter: if it did not, the next entry replaces those seen, and a newer record stands for the rest.
        let leads_here = self.entries.as_ref().is_some_and(|entries| entries.has(position));
        if !leads_here && position.index >= self.known_from() {
            // Undoing this one must not undo another one with entries of its own.
            if let Some(first) = self.unconfirmed() {
                return Err(Corruption::UncommittedSnapshot(first - 1));
            }
            let before = self.entries.replace(Entries::from(position.index + 1));
            if position.index > self.hard_state.commit {
                let snapshots = self.snapshots.len();
                let restart = self.restart.get_or_insert(Restart { index: 0, before, snapshots });
                restart.index = position.index;
            }
        }
        self.last_written = self.last_written.max(position.index);
        self.snapshots.push((position, conf_state));
        Ok(())
    }

    /// The first of the entries that stand behind a snapshot record which no hard state has confirmed.
    fn unconfirmed(&self) -> Option<u64> {
        let entries = self.entries.as_ref().filter(|entries| self.restart.is_some() && !entries.places.is_empty());
        entries.map(|entries| entries.first)
    }

    fn undo_restart(&mut self) {
        if let Some(restart) = self.restart.take() {
            self.entries = restart.before;
            self.snapshots.truncate(restart.snapshots);
        }
    }

    /// Draws the conclusions; `last` is the last segment, whose end may move before its last record.
    pub(crate) fn finish(mut self, last: &Segment) -> Result<Found, WalError> {
        // Its hard state is in the same write, and did not arrive. Were the record left, a later commit index would
        // make it count.
        if let Some(unfinished) = self.unfinished.take() {
            last.set_end(unfinished.offset);
            self.crc = unfinished.crc;
            self.snapshots.truncate(unfinished.snapshots);
            self.last_written = unfinished.last_written;
        }
        let corrupt = |what| WalError::Corrupt { file: last.path.clone(), offset: last.end(), what };
        if let Some(first) = self.unconfirmed() {
            return Err(corrupt(Corruption::UncommittedSnapshot(first - 1)));
        }
        // Those that stay must not be taken for the beginning of the entries that are written next.
        let from = self.restart.as_ref().map_or(usize::MAX, |restart| restart.snapshots);
        let staying: Vec<u64> = self.snapshots.iter().skip(from).map(|(position, _)| position.index).collect();
        self.undo_restart();
        let end = self.entries.as_ref().map_or(0, |entries| entries.places.end());
        if let Some(index) = staying.into_iter().find(|index| *index < end) {
            return Err(corrupt(Corruption::UncommittedSnapshot(index)));
        }
        let commit = self.hard_state.commit;
        let counts = |(position, _): &(LogPosition, ConfState)| position.index <= commit;
        let (snapshot, conf_state) = self.snapshots.into_iter().rev().find(counts).unwrap_or_default();
        let identity = self.identity.ok_or_else(|| corrupt(Corruption::NoIdentity))?;
        let crc = self.crc.ok_or_else(|| corrupt(Corruption::NoSeed))?;

        let mut entries = self.entries.unwrap_or_else(|| Entries::from(snapshot.index + 1));
        if entries.first > snapshot.index + 1 {
            return Err(corrupt(Corruption::MissingHead { first: entries.first }));
        }
        entries.places.drop_before(snapshot.index + 1);
        entries.terms.drop_before(snapshot.index + 1);
        let log = Log::found(snapshot, entries.terms, entries.places);
        let last_index = log.last().index;
        if commit > last_index {
            return Err(corrupt(Corruption::Commit { commit, last: last_index }));
        }
        let (hard_state, last_written) = (self.hard_state, self.last_written);
        Ok(Found { crc, identity, hard_state, snapshot, conf_state, log, last_written })
    }
}

//! The log as its readers see it: pure data, no files are touched here.

use super::entry::Entry;
use super::places::{Places, Terms};
use super::segment::Segment;
use crate::types::LogPosition;
use std::collections::VecDeque;
use std::sync::Arc;

/// What an entry in memory costs beside its data.
const ENTRY_BYTES: usize = size_of::<Entry>();

/// Entries `purged.index + 1 ..= last`. Invariant: each of them is in the tail or has a place.
#[derive(Debug)]
pub(crate) struct Log {
    purged: LogPosition,
    last_index: u64,
    terms: Terms,
    /// The newest entries, up to the last one.
    tail: VecDeque<Entry>,
    tail_bytes: usize,
    /// A prefix of the log: what is written.
    pub(crate) places: Places,
}

impl Log {
    /// An empty log behind `purged`.
    pub(crate) fn behind(purged: LogPosition) -> Self {
        Self {
            purged,
            last_index: purged.index,
            terms: Terms::default(),
            tail: VecDeque::new(),
            tail_bytes: 0,
            places: Places::starting_at(purged.index + 1),
        }
    }

    /// A log that was found in the files.
    pub(crate) fn found(purged: LogPosition, terms: Terms, places: Places) -> Self {
        let last_index = places.end() - 1;
        Self { purged, last_index, terms, tail: VecDeque::new(), tail_bytes: 0, places }
    }

    pub(crate) fn purged(&self) -> LogPosition {
        self.purged
    }

    pub(crate) fn last(&self) -> LogPosition {
        match self.terms.get(self.last_index) {
            Some(term) if self.last_index > self.purged.index => LogPosition { term, index: self.last_index },
            _ => self.purged,
        }
    }

    pub(crate) fn term_at(&self, index: u64) -> Option<u64> {
        if index == self.purged.index {
            return Some(self.purged.term);
        }
        if index > self.purged.index && index <= self.last_index { self.terms.get(index) } else { None }
    }

    /// True if entries with these indexes, which are contiguous, can come next.
    pub(crate) fn accepts(&self, first_index: u64) -> bool {
        first_index > self.purged.index && first_index <= self.last_index + 1
    }

    /// Adds an entry behind the last.
    pub(crate) fn push(&mut self, entry: Entry) {
        self.terms.put(entry.index, entry.term);
        self.last_index = entry.index;
        self.tail_bytes += ENTRY_BYTES + entry.data.len();
        self.tail.push_back(entry);
    }

    pub(crate) fn truncate_after(&mut self, index: u64) {
        let index = index.max(self.purged.index);
        while self.tail.back().is_some_and(|entry| entry.index > index)
            && let Some(entry) = self.tail.pop_back()
        {
            self.tail_bytes -= ENTRY_BYTES + entry.data.len();
        }
        self.last_index = self.last_index.min(index);
        self.terms.truncate_after(index);
        self.places.truncate_after(index);
    }

    /// Drops the entries up to `position`, which is in the log.
    pub(crate) fn purge(&mut self, position: LogPosition) {
        self.purged = position;
        while self.tail.front().is_some_and(|entry| entry.index <= position.index) {
            self.pop_front();
        }
        if position.index == self.last_index {
            self.terms.clear();
        }
        self.terms.drop_before(position.index + 1);
        self.places.drop_before(position.index + 1);
    }

    /// Forgets entries of the tail that are written, oldest first, until it is within `limit_bytes`.
    pub(crate) fn evict(&mut self, limit_bytes: usize) {
        let written = self.places.end();
        while self.tail_bytes > limit_bytes && self.tail.front().is_some_and(|entry| entry.index < written) {
            self.pop_front();
        }
    }

    fn pop_front(&mut self) {
        if let Some(entry) = self.tail.pop_front() {
            self.tail_bytes -= ENTRY_BYTES + entry.data.len();
        }
    }

    /// Index of the first entry in memory, or of the next one to come.
    pub(crate) fn tail_start(&self) -> u64 {
        self.last_index + 1 - self.tail.len() as u64
    }

    /// Entries in memory from `index` on.
    pub(crate) fn tail_from(&self, index: u64) -> impl Iterator<Item = &Entry> {
        let skip = index.saturating_sub(self.tail_start());
        self.tail.range(usize::try_from(skip).unwrap_or(usize::MAX).min(self.tail.len())..)
    }

    /// Notes that entries from `first` on were written to `segment`, at `units`.
    pub(crate) fn place(&mut self, first: u64, units: &[u32], segment: &Arc<Segment>) {
        for (index, &units) in (first..).zip(units) {
            if index > self.last_index || !self.places.put(index, units, segment) {
                return;
            }
        }
    }
}

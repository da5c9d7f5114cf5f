//! Where the written entries stand in the files, and the term of each entry: what the log keeps in memory of
//! entries that it does not keep themselves. Four bytes an entry.

use super::segment::Segment;
use std::collections::VecDeque;
use std::sync::Arc;

/// Records begin at multiples of this, so that 32 bits reach 32 GiB into a segment.
const UNIT_BYTES: u64 = 8;

/// Entries that are looked up at once: the caller holds a lock.
const STRETCH_ENTRIES: u64 = 4096;

/// Offsets of the records of entries `first..first + len`, without gaps.
#[derive(Debug)]
pub(crate) struct Places {
    first: u64,
    offsets: VecDeque<u32>,
    /// Which segment, from which index on. The first one covers `first`, if there are offsets.
    runs: VecDeque<Run>,
    /// The entry placed last, void or not.
    last: Option<(u32, Arc<Segment>)>,
}

/// Entries from `from` on that stand in one segment.
#[derive(Debug)]
struct Run {
    from: u64,
    segment: Arc<Segment>,
    /// A record of the segment before the first of these that is still here, in units; none before the first of all.
    before: Option<u32>,
}

/// Successive entries from `from` on, all in one segment.
#[derive(Debug)]
pub(crate) struct Stretch {
    pub(crate) segment: Arc<Segment>,
    pub(crate) from: u64,
    /// Offset of each record, in the units of this file.
    units: Vec<u32>,
    /// Where to begin to read: at an earlier record, so that the checksum chain covers `from`.
    pub(crate) offset: u64,
}

impl Stretch {
    /// Indexes and offsets of the records, in order. Void records may stand between them.
    pub(crate) fn places(&self) -> impl Iterator<Item = (u64, u64)> {
        (self.from..).zip(self.units.iter().map(|&units| u64::from(units) * UNIT_BYTES))
    }

    pub(crate) fn to(&self) -> u64 {
        self.from + self.units.len() as u64
    }
}

/// An offset as it is kept. `None` if it is no multiple of eight or too far out.
pub(crate) fn to_units(offset: u64) -> Option<u32> {
    if offset.is_multiple_of(UNIT_BYTES) { u32::try_from(offset / UNIT_BYTES).ok() } else { None }
}

impl Places {
    /// None; the next one to come is `first`.
    pub(crate) fn starting_at(first: u64) -> Self {
        Self { first, offsets: VecDeque::new(), runs: VecDeque::new(), last: None }
    }

    /// One behind the last.
    pub(crate) fn end(&self) -> u64 {
        self.first + self.offsets.len() as u64
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.offsets.is_empty()
    }

    /// Adds the place of entry `index`, replacing those from there on. One before the first is ignored.
    /// False if it would leave a gap.
    pub(crate) fn put(&mut self, index: u64, units: u32, segment: &Arc<Segment>) -> bool {
        if index < self.first {
            return true;
        }
        if index > self.end() {
            return false;
        }
        self.truncate_after(index - 1);
        self.offsets.push_back(units);
        if self.runs.back().is_none_or(|run| !Arc::ptr_eq(&run.segment, segment)) {
            let before = self.last.take().filter(|(_, last)| Arc::ptr_eq(last, segment)).map(|(units, _)| units);
            self.runs.push_back(Run { from: index, segment: segment.clone(), before });
        }
        self.last = Some((units, segment.clone()));
        true
    }

    pub(crate) fn truncate_after(&mut self, index: u64) {
        if index + 1 >= self.end() {
            return;
        }
        let keep = (index + 1).saturating_sub(self.first);
        self.offsets.truncate(usize::try_from(keep).expect("no more than there are"));
        while self.runs.back().is_some_and(|run| run.from > index) {
            self.runs.pop_back();
        }
    }

    /// Drops those before `first`. If none are left, the next to come is `first`.
    pub(crate) fn drop_before(&mut self, first: u64) {
        let dropped = first.saturating_sub(self.first).min(self.offsets.len() as u64);
        let last_dropped = self.offsets.drain(..usize::try_from(dropped).expect("no more than there are")).next_back();
        self.first = self.first.max(first);
        while self.runs.get(1).is_some_and(|run| run.from <= self.first) {
            self.runs.pop_front();
        }
        if let Some(run) = self.runs.front_mut().filter(|run| run.from < first) {
            run.before = last_dropped.or(run.before);
        }
        if self.offsets.is_empty() {
            self.runs.clear();
        }
        // Gives back what a long backlog took.
        if self.offsets.capacity() > 4096 && self.offsets.len() < self.offsets.capacity() / 4 {
            self.offsets.shrink_to(self.offsets.len() * 2);
        }
    }

    /// The entries of `[from, to)` by segment; all of them must be there. May stop short, but not before the first.
    pub(crate) fn stretches(&self, from: u64, to: u64) -> Vec<Stretch> {
        let mut stretches = Vec::new();
        let (mut from, to) = (from, to.min(from.saturating_add(STRETCH_ENTRIES)));
        while from < to {
            let run = self.runs.partition_point(|run| run.from <= from) - 1;
            let Run { from: start, segment, before } = &self.runs[run];
            let end = self.runs.get(run + 1).map_or(to, |next| to.min(next.from));
            // Never at the entry itself: its checksum is that of all before.
            let offset = if from > (*start).max(self.first) {
                self.offset(from - 1)
            } else {
                before.map_or(0, |units| u64::from(units) * UNIT_BYTES)
            };
            let skip = usize::try_from(from - self.first).expect("an index that is there");
            let len = usize::try_from(end - from).expect("at most one round");
            let units = self.offsets.range(skip..skip + len).copied().collect();
            stretches.push(Stretch { segment: segment.clone(), from, units, offset });
            from = end;
        }
        stretches
    }

    fn offset(&self, index: u64) -> u64 {
        u64::from(self.offsets[usize::try_from(index - self.first).expect("an index that is there")]) * UNIT_BYTES
    }
}

/// Terms of entries, as runs of equal ones.
#[derive(Debug, Default)]
pub(crate) struct Terms {
    /// First index of each run and its term; a run lasts until the next.
    runs: VecDeque<(u64, u64)>,
}

impl Terms {
    /// The term of an entry that exists at or after the first run.
    pub(crate) fn get(&self, index: u64) -> Option<u64> {
        let run = self.runs.partition_point(|(from, _)| *from <= index).checked_sub(1)?;
        Some(self.runs[run].1)
    }

    /// Sets the term of entry `index`, which becomes the last.
    pub(crate) fn put(&mut self, index: u64, term: u64) {
        if self.runs.back().is_some_and(|(from, _)| *from >= index) {
            self.truncate_after(index - 1);
        }
        if self.runs.back().is_none_or(|(_, last)| *last != term) {
            self.runs.push_back((index, term));
        }
    }

    pub(crate) fn truncate_after(&mut self, index: u64) {
        while self.runs.back().is_some_and(|(from, _)| *from > index) {
            self.runs.pop_back();
        }
    }

    pub(crate) fn drop_before(&mut self, first: u64) {
        while self.runs.get(1).is_some_and(|(from, _)| *from <= first) {
            self.runs.pop_front();
        }
    }

    pub(crate) fn clear(&mut self) {
        self.runs.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::super::segment::SegmentName;
    use super::*;
    use crate::disk::{Disk, MemoryDisk};
    use std::path::PathBuf;

    fn segment(sequence: u64) -> Arc<Segment> {
        let path = PathBuf::from(sequence.to_string());
        let file = MemoryDisk::new().create(&path).unwrap();
        Arc::new(Segment::new(SegmentName { sequence, first_index: 0 }, path, file, 0))
    }

    fn listed(places: &Places, from: u64, to: u64) -> Vec<(u64, u64, u64)> {
        let stretches = places.stretches(from, to);
        let each = |stretch: &Stretch| {
            let sequence = stretch.segment.name.sequence;
            stretch.places().map(move |(index, offset)| (sequence, index, offset)).collect::<Vec<_>>()
        };
        stretches.iter().flat_map(each).collect()
    }

    #[test]
    fn places_follow_truncations_and_purges_across_segments() {
        let (first, second) = (segment(0), segment(1));
        let mut places = Places::starting_at(5);
        for index in 5..8 {
            assert!(places.put(index, index as u32, &first));
        }
        for index in 8..11 {
            assert!(places.put(index, index as u32, &second));
        }
        assert!(!places.put(12, 1, &second), "a gap");
        assert!(places.put(4, 1, &second), "one that is purged is no news");
        // The tail from 7 on is replaced, in the second segment.
        assert!(places.put(7, 100, &second));
        assert_eq!(listed(&places, 5, 8), [(0, 5, 40), (0, 6, 48), (1, 7, 800)]);
        places.drop_before(7);
        assert_eq!((places.end(), listed(&places, 7, 8)), (8, vec![(1, 7, 800)]));
        places.drop_before(9);
        assert!(places.is_empty() && places.end() == 9);
        assert!(places.put(9, 200, &second));
        assert_eq!(listed(&places, 9, 10), [(1, 9, 1600)]);
    }

    #[test]
    fn terms_are_found_by_index() {
        let mut terms = Terms::default();
        for (index, term) in [(1, 1), (2, 1), (3, 2), (4, 5), (5, 5)] {
            terms.put(index, term);
        }
        assert_eq!([1, 2, 3, 4, 5].map(|index| terms.get(index)), [1, 1, 2, 5, 5].map(Some));
        terms.put(4, 6);
        assert_eq!([3, 4].map(|index| terms.get(index)), [Some(2), Some(6)]);
        terms.drop_before(4);
        assert_eq!((terms.get(2), terms.get(4)), (None, Some(6)));
    }
}

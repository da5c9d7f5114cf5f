//! A leaf: consecutive keys, the newest change of each, and what those changes superseded.
//!
//! A leaf is copied at most once per published version, so a copy must be cheap: keys are shared, changes
//! are plain memory. Superseded changes first go to a short list of the leaf, and from there in bulk to
//! the histories, because each history has a reference count, which a copy of the leaf must not touch
//! for every key.

use super::super::history::{Change, History};
use super::keys::{Keys, separator};
use std::sync::Arc;

/// A leaf splits above this many keys,
const MAX_KEYS: usize = 64;
/// or above this many bytes of keys, unless it has only a few.
const MAX_KEY_BYTES: usize = 32 << 10;
const MIN_SPLIT_KEYS: usize = 4;
/// Superseded changes that a leaf lists itself.
const MAX_RECENT: usize = 32;

#[derive(Clone, Debug, Default)]
pub(super) struct Leaf {
    keys: Arc<Keys>,
    newest: Vec<Change>,
    /// Newest changes that are no tombstones.
    live: usize,
    /// Superseded changes by slot, oldest first; newer than all of `histories`.
    recent: Vec<(u16, Change)>,
    /// By slot; empty if no slot has one.
    histories: Arc<Vec<Option<Arc<History>>>>,
}

impl Leaf {
    pub(super) fn len(&self) -> usize {
        self.newest.len()
    }

    pub(super) fn live(&self) -> usize {
        self.live
    }

    pub(super) fn key(&self, slot: usize) -> &[u8] {
        self.keys.get(slot)
    }

    pub(super) fn search(&self, key: &[u8]) -> Result<usize, usize> {
        self.keys.search(key)
    }

    pub(super) fn newest(&self, slot: usize) -> &Change {
        &self.newest[slot]
    }

    /// The last change of a slot at or before `revision`.
    pub(super) fn last_at(&self, slot: usize, revision: i64) -> Option<Change> {
        let newest = self.newest[slot];
        if newest.main <= revision {
            return Some(newest);
        }
        let of_slot = |(of, change): &&(u16, Change)| usize::from(*of) == slot && change.main <= revision;
        if let Some((_, change)) = self.recent.iter().rev().find(of_slot) {
            return Some(*change);
        }
        self.histories.get(slot)?.as_ref()?.last_at(revision)
    }

    /// Live keys in slots below `slot`.
    pub(super) fn live_below(&self, slot: usize) -> usize {
        self.newest[..slot].iter().filter(|change| !change.tombstone).count()
    }

    /// Heap bytes that a copy of this leaf allocates.
    pub(super) fn copy_bytes(&self) -> usize {
        size_of::<Self>() + size_of_val(&self.newest[..]) + size_of_val(&self.recent[..])
    }

    /// Heap bytes of this leaf with all that only it holds; histories by their table alone.
    pub(super) fn heap_bytes(&self) -> usize {
        size_of::<Self>()
            + self.keys.heap_bytes()
            + size_of::<Change>() * self.newest.capacity()
            + size_of::<(u16, Change)>() * self.recent.capacity()
            + 8 * self.histories.capacity()
    }

    pub(super) fn supersede(&mut self, slot: usize, change: Change) {
        let old = std::mem::replace(&mut self.newest[slot], change);
        self.live = self.live - usize::from(!old.tombstone) + usize::from(!change.tombstone);
        self.recent.push((slot as u16, old));
        if self.recent.len() >= MAX_RECENT {
            self.file_recent();
        }
    }

    fn file_recent(&mut self) {
        let histories = Arc::make_mut(&mut self.histories);
        histories.resize(self.newest.len(), None);
        for (slot, change) in std::mem::take(&mut self.recent) {
            Arc::make_mut(histories[usize::from(slot)].get_or_insert_default()).push(change);
        }
    }

    pub(super) fn insert(&mut self, slot: usize, key: &[u8], change: Change) {
        Arc::make_mut(&mut self.keys).insert(slot, key);
        if self.newest.len() == self.newest.capacity() {
            self.newest.reserve_exact(8);
        }
        self.newest.insert(slot, change);
        self.live += usize::from(!change.tombstone);
        self.recent.iter_mut().filter(|(of, _)| usize::from(*of) >= slot).for_each(|(of, _)| *of += 1);
        if !self.histories.is_empty() {
            Arc::make_mut(&mut self.histories).insert(slot, None);
        }
    }

    /// Splits off the upper part if the leaf is too large, with a key that separates the two.
    /// `inserted` is where the last key went: keys that come in order leave full leaves behind.
    pub(super) fn split(&mut self, inserted: usize) -> Option<(Box<[u8]>, Leaf)> {
        let len = self.len();
        if len <= MAX_KEYS && (self.keys.byte_len() <= MAX_KEY_BYTES || len < MIN_SPLIT_KEYS) {
            return None;
        }
        let at = if inserted == len - 1 { inserted } else { len / 2 };
        let key = separator(self.key(at - 1), self.key(at)).into();
        let right = self.part(at..len);
        *self = self.part(0..at);
        Some((key, right))
    }

    fn part(&self, range: std::ops::Range<usize>) -> Leaf {
        let newest = self.newest[range.clone()].to_vec();
        let recent = self.recent.iter().filter(|(of, _)| range.contains(&usize::from(*of)));
        let histories = self.histories.get(range.clone()).unwrap_or_default();
        Leaf {
            live: newest.iter().filter(|change| !change.tombstone).count(),
            newest,
            recent: recent.map(|(of, change)| (*of - range.start as u16, *change)).collect(),
            histories: Arc::new(tidy(histories.to_vec())),
            keys: Arc::new(self.keys.part(range)),
        }
    }

    /// Takes over all of `right`, whose keys are above ours, if one leaf can hold both.
    pub(super) fn absorb(&mut self, right: &Leaf) -> bool {
        let fits =
            self.len() + right.len() <= MAX_KEYS && self.keys.byte_len() + right.keys.byte_len() <= MAX_KEY_BYTES;
        if !fits {
            return false;
        }
        let offset = self.len();
        if !self.histories.is_empty() || !right.histories.is_empty() {
            let histories = Arc::make_mut(&mut self.histories);
            histories.resize(offset, None);
            histories.extend(right.histories.iter().cloned());
            histories.resize(offset + right.len(), None);
        }
        self.keys = Arc::new(self.keys.joined(&right.keys));
        self.newest.extend_from_slice(&right.newest);
        self.live += right.live;
        self.recent.extend(right.recent.iter().map(|(of, change)| (*of + offset as u16, *change)));
        if self.recent.len() >= MAX_RECENT {
            self.file_recent();
        }
        true
    }

    /// True if [`Self::compact`] at `revision` may find something to drop.
    pub(super) fn is_compactable(&self, revision: i64) -> bool {
        !self.recent.is_empty()
            || !self.histories.is_empty()
            || (self.live < self.len() && self.newest.iter().any(|change| change.is_dead_at(revision)))
    }

    /// Drops what a compaction at `revision` drops, and returns how many keys went with it.
    pub(super) fn compact(&mut self, revision: i64) -> usize {
        // By slot: the revision of the change that superseded the one looked at.
        let mut next: Vec<i64> = self.newest.iter().map(|change| change.main).collect();
        let mut kept = Vec::with_capacity(self.recent.len());
        for (slot, change) in self.recent.iter().rev() {
            let superseded = std::mem::replace(&mut next[usize::from(*slot)], change.main);
            if superseded > revision && !change.is_dead_at(revision) {
                kept.push((*slot, *change));
            }
        }
        kept.reverse();
        self.recent = kept;
        if !self.histories.is_empty() {
            let histories = self.histories.iter().zip(&next).map(|(history, superseded)| {
                let mut history = history.clone().filter(|_| *superseded > revision)?;
                Arc::make_mut(&mut history).compact(revision).then_some(history)
            });
            self.histories = Arc::new(tidy(histories.collect()));
        }
        let keep: Vec<bool> = self.newest.iter().map(|change| !change.is_dead_at(revision)).collect();
        let gone = keep.iter().filter(|keep| !**keep).count();
        if gone > 0 {
            self.retain(&keep);
        }
        gone
    }

    /// Keeps the marked slots. The others are dead, so nothing but their newest change is left of them.
    fn retain(&mut self, keep: &[bool]) {
        let mut renumbered = Vec::with_capacity(keep.len());
        let mut slots = 0u16;
        for keep in keep {
            renumbered.push(slots);
            slots += u16::from(*keep);
        }
        self.keys = Arc::new(self.keys.filtered(keep));
        let marked = |slot: usize| keep[slot];
        self.newest = (0..keep.len()).filter(|slot| marked(*slot)).map(|slot| self.newest[slot]).collect();
        self.recent.retain_mut(|(slot, _)| {
            let marked = keep[usize::from(*slot)];
            *slot = renumbered[usize::from(*slot)];
            marked
        });
        let histories = self.histories.iter().zip(keep).filter(|(_, keep)| **keep);
        self.histories = Arc::new(histories.map(|(history, _)| history.clone()).collect());
    }
}

fn tidy(histories: Vec<Option<Arc<History>>>) -> Vec<Option<Arc<History>>> {
    if histories.iter().all(Option::is_none) { Vec::new() } else { histories }
}

//! From keys to their revisions, in memory: a persistent B+tree. A clone is O(1) and stays as it is while
//! the original goes on; counting the live keys of an interval is O(log n); a change costs the same for
//! a key with a million revisions as for a new one (D5).
//!
//! What etcd calls generations is in the changes themselves: each carries version and creation.

mod keys;
mod leaf;
mod node;
#[cfg(test)]
mod tests;

use super::history::Change;
use super::revision::Revision;
use crate::types::KeyInterval;
use leaf::Leaf;
use node::Node;
use std::iter;
use std::ops::ControlFlow;
use std::sync::Arc;

/// Every key with a change that is not compacted, deleted ones included.
#[derive(Clone, Debug)]
pub struct KeyIndex {
    root: Arc<Node>,
    keys: usize,
    /// Bytes of nodes copied because an older version shares them, ever: what a held clone pins is at most
    /// what was copied since.
    copied_bytes: u64,
}

impl Default for KeyIndex {
    fn default() -> Self {
        Self { root: Arc::new(Node::Leaf(Leaf::default())), keys: 0, copied_bytes: 0 }
    }
}

impl KeyIndex {
    /// Keys held, deleted ones included until they are compacted.
    pub fn len(&self) -> usize {
        self.keys
    }

    pub fn is_empty(&self) -> bool {
        self.keys == 0
    }

    /// Keys that exist now.
    pub fn live(&self) -> usize {
        self.root.live()
    }

    pub fn copied_bytes(&self) -> u64 {
        self.copied_bytes
    }

    /// Bytes on the heap, histories of keys with many revisions left out. Walks all nodes.
    pub fn heap_bytes(&self) -> usize {
        self.root.heap_bytes()
    }

    /// The newest put of a key that exists now.
    pub fn get(&self, key: &[u8]) -> Option<Change> {
        self.get_at(key, i64::MAX)
    }

    /// The put that made the key what it was at `revision`; `None` if it did not exist then.
    pub fn get_at(&self, key: &[u8], revision: i64) -> Option<Change> {
        self.last_at(key, revision).filter(|change| !change.tombstone)
    }

    /// The last change at or before `revision`, be it a tombstone.
    pub fn last_at(&self, key: &[u8], revision: i64) -> Option<Change> {
        let leaf = self.root.leaf(key);
        leaf.search(key).ok().and_then(|slot| leaf.last_at(slot, revision))
    }

    /// Keys of the interval that exist now.
    pub fn count(&self, interval: &KeyInterval) -> usize {
        match interval {
            KeyInterval::One(key) => usize::from(self.get(key).is_some()),
            interval if interval.is_empty() => 0,
            KeyInterval::Range { start, end } => {
                let up_to = end.as_ref().map_or_else(|| self.live(), |end| self.root.rank(end));
                up_to - self.root.rank(start)
            }
        }
    }

    /// Keys of the interval that existed at `revision`. Walks all of them: [`Self::count`] does not.
    pub fn count_at(&self, interval: &KeyInterval, revision: i64) -> usize {
        let mut count = 0;
        self.visit_at(interval, revision, |_, _| {
            count += 1;
            ControlFlow::Continue(())
        });
        count
    }

    /// Shows the keys of the interval that existed at `revision`, in order, with their put of then.
    pub fn visit_at(
        &self,
        interval: &KeyInterval,
        revision: i64,
        mut visit: impl FnMut(&[u8], Change) -> ControlFlow<()>,
    ) {
        match interval {
            KeyInterval::One(key) => {
                // There is nothing after it, so whether it breaks does not matter.
                let _only = self.get_at(key, revision).map(|change| visit(key, change));
            }
            interval if interval.is_empty() => {}
            KeyInterval::Range { start, end } => {
                let _end = self.root.walk(start, end.as_deref(), &mut |leaf: &Leaf, slots| {
                    for slot in slots {
                        let change = leaf.last_at(slot, revision);
                        if let Some(change) = change.filter(|change| !change.tombstone) {
                            visit(leaf.key(slot), change)?;
                        }
                    }
                    ControlFlow::Continue(())
                });
            }
        }
    }

    /// Records a put at `revision`, which must be above all before. Returns version and creation with it.
    pub fn put(&mut self, key: &[u8], revision: Revision) -> Change {
        let make = |before: Option<&Change>| {
            let before = before.filter(|before| !before.tombstone);
            Change {
                main: revision.main,
                sub: narrow(revision.sub),
                created: before.map_or(revision.main, |before| before.created),
                version: before.map_or(0, |before| before.version) + 1,
                tombstone: false,
            }
        };
        self.change(iter::once((key, make))).expect("a put changes one key")
    }

    /// Records a delete of a key that exists, at a `revision` above all before.
    pub fn delete(&mut self, key: &[u8], revision: Revision) {
        self.restore(iter::once((key, revision, None)));
    }

    /// Records changes found in storage: of puts with their creation and version, or of tombstones. Sorted by key,
    /// and those of a key by revision; those of neighbours are found together.
    pub fn restore<'k>(&mut self, changes: impl Iterator<Item = (&'k [u8], Revision, Option<(i64, i64)>)>) {
        self.change(changes.map(|(key, revision, put)| {
            let (created, version) = put.unwrap_or_default();
            let (main, sub) = (revision.main, narrow(revision.sub));
            (key, move |_: Option<&Change>| Change { main, sub, created, version, tombstone: put.is_none() })
        }));
    }

    /// Returns the last change.
    fn change<'k, M>(&mut self, changes: impl Iterator<Item = (&'k [u8], M)>) -> Option<Change>
    where
        M: FnOnce(Option<&Change>) -> Change,
    {
        let (mut changes, mut last) = (changes.peekable(), None);
        while changes.peek().is_some() {
            let mut changed = Node::change(&mut self.root, None, &mut changes, &mut self.copied_bytes);
            Node::grow(&mut self.root, &mut changed);
            self.keys += changed.inserted;
            last = changed.last;
        }
        last
    }

    /// True if a compaction at `revision` would keep any change from up to then.
    pub fn keeps_any_at(&self, revision: i64, mut counts: impl FnMut(&Change) -> bool) -> bool {
        let mut found = false;
        let _end = self.root.walk(&[], None, &mut |leaf: &Leaf, mut slots| {
            found = slots.any(|slot| leaf.last_at(slot, revision).is_some_and(|change| counts(&change)));
            if found { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        found
    }

    /// Forgets what a compaction at `revision` drops, from the key `from` on, in at most `budget_leaves`
    /// leaves. Returns where to go on, or `None` at the end. Keeps, as the rows do, the last change of a
    /// key up to `revision`, unless it is a tombstone from before.
    pub fn compact(&mut self, revision: i64, from: &[u8], budget_leaves: usize) -> Option<Box<[u8]>> {
        let mut from: Box<[u8]> = from.into();
        for _ in 0..budget_leaves {
            // Taken before: a leaf that joins its neighbour must be looked at again for the neighbour's keys.
            let next = self.root.leaf_end(&from).map(Box::from);
            if self.root.leaf(&from).is_compactable(revision) {
                self.keys -= Node::compact(&mut self.root, &from, revision, &mut self.copied_bytes);
                Node::shrink(&mut self.root);
            }
            from = next?;
        }
        Some(from)
    }
}

/// A transaction has far fewer changes than this.
fn narrow(sub: i64) -> u32 {
    u32::try_from(sub).expect("a transaction has fewer than 2^32 changes")
}

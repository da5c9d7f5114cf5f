//! Which watchers want a key? Single keys are found by hashing; ranges by an interval tree, in
//! O(log n + found) whatever the ranges are. Watchers of one interval share one entry.

use super::watcher::Slot;
use crate::types::KeyInterval;
use bytes::Bytes;
use slab::Slab;
use std::cmp::Ordering;
use std::collections::{BTreeSet, HashMap};

/// An index of watchers by interval. Iteration order is a function of the calls made, not of memory.
#[derive(Debug, Default)]
pub(super) struct Group {
    /// Looked up only, never iterated.
    by_key: HashMap<Bytes, BTreeSet<Slot>>,
    ranges: RangeTree,
    len: usize,
}

impl Group {
    pub fn len(&self) -> usize {
        self.len
    }

    /// Adds a watcher that is not in the group.
    pub fn insert(&mut self, interval: &KeyInterval, slot: Slot) {
        let added = match interval {
            KeyInterval::One(key) => self.by_key.entry(key.clone()).or_default().insert(slot),
            KeyInterval::Range { start, end } => self.ranges.insert(start, end.as_ref(), slot),
        };
        self.len += usize::from(added);
    }

    /// Removes a watcher, given the interval it was added with.
    pub fn remove(&mut self, interval: &KeyInterval, slot: Slot) {
        let removed = match interval {
            KeyInterval::One(key) => match self.by_key.get_mut(key) {
                Some(slots) => {
                    let removed = slots.remove(&slot);
                    if slots.is_empty() {
                        self.by_key.remove(key);
                    }
                    removed
                }
                None => false,
            },
            KeyInterval::Range { start, end } => self.ranges.remove(start, end.as_ref(), slot),
        };
        self.len -= usize::from(removed);
    }

    /// Appends the watchers of `key` to `found`, each once.
    pub fn find(&self, key: &[u8], found: &mut Vec<Slot>) {
        if let Some(slots) = self.by_key.get(key) {
            found.extend(slots);
        }
        self.ranges.find(self.ranges.root, key, found);
    }
}

type Link = Option<usize>;

/// A treap of intervals by (start, end). Each node knows which node below it, or itself, ends last:
/// a subtree whose last end is at or below the key holds no match.
#[derive(Debug)]
struct RangeTree {
    nodes: Slab<Node>,
    root: Link,
    /// State of the generator of priorities. Its sequence only shapes the tree.
    seed: u64,
}

#[derive(Debug)]
struct Node {
    start: Bytes,
    /// `None`: open.
    end: Option<Bytes>,
    slots: BTreeSet<Slot>,
    /// Invariant: not below the priorities of its children.
    priority: u64,
    left: Link,
    right: Link,
    /// The node of this subtree with the last end.
    last: usize,
}

impl Default for RangeTree {
    fn default() -> Self {
        Self { nodes: Slab::new(), root: None, seed: 0x9e37_79b9_7f4a_7c15 }
    }
}

/// Orders ends: an open one is last.
fn compare_ends(a: Option<&Bytes>, b: Option<&Bytes>) -> Ordering {
    match (a, b) {
        (Some(a), Some(b)) => a.cmp(b),
        (None, None) => Ordering::Equal,
        (None, Some(_)) => Ordering::Greater,
        (Some(_), None) => Ordering::Less,
    }
}

impl RangeTree {
    fn insert(&mut self, start: &Bytes, end: Option<&Bytes>, slot: Slot) -> bool {
        if let Some(at) = self.locate(start, end) {
            return self.nodes[at].slots.insert(slot);
        }
        let priority = self.next_priority();
        let last = self.nodes.vacant_key();
        let node = self.nodes.insert(Node {
            start: start.clone(),
            end: end.cloned(),
            slots: BTreeSet::from([slot]),
            priority,
            left: None,
            right: None,
            last,
        });
        let (below, above) = self.split(self.root, start, end);
        let below = self.merge(below, Some(node));
        self.root = self.merge(below, above);
        true
    }

    fn remove(&mut self, start: &Bytes, end: Option<&Bytes>, slot: Slot) -> bool {
        let Some(at) = self.locate(start, end) else { return false };
        let removed = self.nodes[at].slots.remove(&slot);
        if self.nodes[at].slots.is_empty() {
            self.root = self.unlink(self.root, at);
            self.nodes.remove(at);
        }
        removed
    }

    fn find(&self, link: Link, key: &[u8], found: &mut Vec<Slot>) {
        let Some(at) = link else { return };
        let node = &self.nodes[at];
        if !self.ends_after(node.last, key) {
            return;
        }
        self.find(node.left, key, found);
        if node.start.as_ref() > key {
            return;
        }
        if self.ends_after(at, key) {
            found.extend(&node.slots);
        }
        self.find(node.right, key, found);
    }

    fn ends_after(&self, at: usize, key: &[u8]) -> bool {
        self.nodes[at].end.as_ref().is_none_or(|end| end.as_ref() > key)
    }

    fn locate(&self, start: &Bytes, end: Option<&Bytes>) -> Link {
        let mut link = self.root;
        while let Some(at) = link {
            link = match self.compare(at, start, end) {
                Ordering::Equal => return Some(at),
                Ordering::Greater => self.nodes[at].left,
                Ordering::Less => self.nodes[at].right,
            };
        }
        None
    }

    /// The node at `at` against an interval.
    fn compare(&self, at: usize, start: &Bytes, end: Option<&Bytes>) -> Ordering {
        let node = &self.nodes[at];
        node.start.cmp(start).then_with(|| compare_ends(node.end.as_ref(), end))
    }

    /// Splits a subtree into what is below an interval that it does not hold, and what is above.
    fn split(&mut self, link: Link, start: &Bytes, end: Option<&Bytes>) -> (Link, Link) {
        let Some(at) = link else { return (None, None) };
        if self.compare(at, start, end) == Ordering::Less {
            let (below, above) = self.split(self.nodes[at].right, start, end);
            self.nodes[at].right = below;
            self.refresh(at);
            (Some(at), above)
        } else {
            let (below, above) = self.split(self.nodes[at].left, start, end);
            self.nodes[at].left = above;
            self.refresh(at);
            (below, Some(at))
        }
    }

    /// Joins two subtrees, all of `below` being below all of `above`.
    fn merge(&mut self, below: Link, above: Link) -> Link {
        let (Some(low), Some(high)) = (below, above) else { return below.or(above) };
        if self.nodes[low].priority >= self.nodes[high].priority {
            self.nodes[low].right = self.merge(self.nodes[low].right, above);
            self.refresh(low);
            Some(low)
        } else {
            self.nodes[high].left = self.merge(below, self.nodes[high].left);
            self.refresh(high);
            Some(high)
        }
    }

    /// Takes the node `target` out of a subtree that holds it.
    fn unlink(&mut self, link: Link, target: usize) -> Link {
        let at = link?;
        if at == target {
            let node = &self.nodes[at];
            return self.merge(node.left, node.right);
        }
        let (start, end) = (self.nodes[target].start.clone(), self.nodes[target].end.clone());
        if self.compare(at, &start, end.as_ref()) == Ordering::Greater {
            self.nodes[at].left = self.unlink(self.nodes[at].left, target);
        } else {
            self.nodes[at].right = self.unlink(self.nodes[at].right, target);
        }
        self.refresh(at);
        Some(at)
    }

    /// Recomputes `last` of a node whose children are right.
    fn refresh(&mut self, at: usize) {
        let node = &self.nodes[at];
        let mut last = at;
        for child in [node.left, node.right].into_iter().flatten() {
            let candidate = self.nodes[child].last;
            if compare_ends(self.nodes[candidate].end.as_ref(), self.nodes[last].end.as_ref()).is_gt() {
                last = candidate;
            }
        }
        self.nodes[at].last = last;
    }

    /// xorshift64: spread is all that is asked of it.
    fn next_priority(&mut self) -> u64 {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        self.seed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn interval() -> impl Strategy<Value = KeyInterval> {
        let key = prop::collection::vec(0u8..4, 0..3).prop_map(Bytes::from);
        (key.clone(), key, 0..4).prop_map(|(a, b, shape)| match shape {
            0 => KeyInterval::One(a),
            1 => KeyInterval::Range { start: a, end: None },
            _ => KeyInterval::Range { start: a, end: Some(b) },
        })
    }

    proptest! {
        #[test]
        fn a_group_finds_what_a_scan_over_all_intervals_finds(
            steps in prop::collection::vec((interval(), any::<bool>(), 0usize..40), 1..120),
            keys in prop::collection::vec(prop::collection::vec(0u8..5, 0..4), 20),
        ) {
            let (mut group, mut plain) = (Group::default(), Vec::<(KeyInterval, Slot)>::new());
            for (number, (interval, add, victim)) in steps.into_iter().enumerate() {
                if add || plain.is_empty() {
                    group.insert(&interval, Slot(number));
                    plain.push((interval, Slot(number)));
                } else {
                    let (interval, slot) = plain.remove(victim % plain.len());
                    group.remove(&interval, slot);
                }
                prop_assert_eq!(group.len(), plain.len());
            }
            for key in keys {
                let mut found = Vec::new();
                group.find(&key, &mut found);
                found.sort();
                let mut wanted: Vec<_> =
                    plain.iter().filter(|(interval, _)| interval.contains(&key)).map(|&(_, slot)| slot).collect();
                wanted.sort();
                prop_assert_eq!(found, wanted);
            }
        }
    }

    #[test]
    fn ten_thousand_ranges_in_order_make_no_deep_tree() {
        let mut group = Group::default();
        for number in 0..10_000usize {
            let start = Bytes::from(format!("/{number:05}/"));
            let end = Bytes::from(format!("/{number:05}0"));
            group.insert(&KeyInterval::Range { start, end: Some(end) }, Slot(number));
        }
        fn depth(tree: &RangeTree, link: Link) -> usize {
            link.map_or(0, |at| 1 + depth(tree, tree.nodes[at].left).max(depth(tree, tree.nodes[at].right)))
        }
        assert!(depth(&group.ranges, group.ranges.root) < 60);
        let mut found = Vec::new();
        group.find(b"/04711/x", &mut found);
        assert_eq!(found, [Slot(4711)]);
    }
}

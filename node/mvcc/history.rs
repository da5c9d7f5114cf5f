//! The superseded changes of one key: a persistent log. Appending costs the same at the millionth change
//! as at the first, also while older copies of the log are held; a lookup is a binary search.

use super::revision::Revision;
use std::sync::Arc;

const CHUNK_CHANGES: usize = 64;
const FANOUT: usize = 64;

/// One change of a key, with all that the index knows of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    pub main: i64,
    /// Revision of the put that created the key. Without meaning in a tombstone.
    pub created: i64,
    /// Puts since the creation, from 1. Without meaning in a tombstone.
    pub version: i64,
    pub sub: u32,
    pub tombstone: bool,
}

impl Change {
    pub fn revision(&self) -> Revision {
        Revision { main: self.main, sub: i64::from(self.sub) }
    }

    /// True if a compaction at `revision` removes this change although nothing supersedes it up to there.
    /// A tombstone at the very revision stays, for watchers that start there (etcd #19179).
    pub fn is_dead_at(&self, revision: i64) -> bool {
        self.tombstone && self.main < revision
    }
}

/// Changes in ascending order of revision.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// All but the last up to `CHUNK_CHANGES` changes. All paths from the root to a chunk are equally long.
    full: Option<Arc<Node>>,
    tail: Vec<Change>,
}

#[derive(Clone, Debug)]
enum Node {
    Chunk(Box<[Change]>),
    Branch(Vec<Arc<Node>>),
}

impl History {
    pub fn push(&mut self, change: Change) {
        self.tail.push(change);
        if self.tail.len() < CHUNK_CHANGES {
            return;
        }
        let chunk = Arc::new(Node::Chunk(std::mem::take(&mut self.tail).into_boxed_slice()));
        let Some(mut root) = self.full.take() else {
            self.full = Some(chunk);
            return;
        };
        self.full = Some(match append(&mut root, chunk) {
            None => root,
            Some(beside) => Arc::new(Node::Branch(vec![root, beside])),
        });
    }

    /// The last change at or before `revision`.
    pub fn last_at(&self, revision: i64) -> Option<Change> {
        if self.tail.first().is_some_and(|first| first.main <= revision) {
            return last_of(&self.tail, revision);
        }
        let mut node = self.full.as_deref()?;
        loop {
            match node {
                Node::Chunk(changes) => return last_of(changes, revision),
                Node::Branch(children) => {
                    let after = children.partition_point(|child| child.first_main() <= revision);
                    node = children.get(after.checked_sub(1)?)?;
                }
            }
        }
    }

    /// Drops what a compaction at `revision` drops: all before the last change at or before it, and that one
    /// too if it is a tombstone from before. False if nothing is left.
    pub fn compact(&mut self, revision: i64) -> bool {
        if self.tail.first().is_some_and(|first| first.main <= revision) {
            self.full = None;
            self.tail.drain(..first_kept(&self.tail, revision));
            self.tail.shrink_to_fit();
        } else if let Some(root) = self.full.take() {
            self.full = compact(&root, revision);
        }
        self.full.is_some() || !self.tail.is_empty()
    }
}

impl Node {
    fn first_main(&self) -> i64 {
        match self {
            Node::Chunk(changes) => changes[0].main,
            Node::Branch(children) => children[0].first_main(),
        }
    }
}

/// Puts `chunk` at the right edge below `node`. A node that does not fit is given back, to stand beside it.
fn append(node: &mut Arc<Node>, chunk: Arc<Node>) -> Option<Arc<Node>> {
    let Node::Branch(children) = Arc::make_mut(node) else { return Some(chunk) };
    let last = children.last_mut().expect("a branch has children");
    let beside = append(last, chunk)?;
    if children.len() < FANOUT {
        children.push(beside);
        return None;
    }
    Some(Arc::new(Node::Branch(vec![beside])))
}

fn last_of(changes: &[Change], revision: i64) -> Option<Change> {
    let after = changes.partition_point(|change| change.main <= revision);
    changes.get(after.checked_sub(1)?).copied()
}

/// Index of the first change that outlives a compaction at `revision`; the length if none does.
fn first_kept(changes: &[Change], revision: i64) -> usize {
    let Some(last) = changes.partition_point(|change| change.main <= revision).checked_sub(1) else { return 0 };
    if changes[last].is_dead_at(revision) { last + 1 } else { last }
}

fn compact(node: &Arc<Node>, revision: i64) -> Option<Arc<Node>> {
    match node.as_ref() {
        Node::Chunk(changes) => match &changes[first_kept(changes, revision)..] {
            [] => None,
            kept if kept.len() == changes.len() => Some(node.clone()),
            kept => Some(Arc::new(Node::Chunk(kept.into()))),
        },
        Node::Branch(children) => {
            let Some(last) = children.partition_point(|child| child.first_main() <= revision).checked_sub(1) else {
                return Some(node.clone());
            };
            let first = compact(&children[last], revision);
            let kept: Vec<_> = first.into_iter().chain(children[last + 1..].iter().cloned()).collect();
            (!kept.is_empty()).then(|| Arc::new(Node::Branch(kept)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn change(main: i64, sub: u32, tombstone: bool) -> Change {
        Change { main, created: 1, version: 1, sub, tombstone }
    }

    fn naive_last(changes: &[Change], revision: i64) -> Option<Change> {
        changes.iter().rev().find(|change| change.main <= revision).copied()
    }

    fn naive_compact(changes: &mut Vec<Change>, revision: i64) {
        let Some(last) = changes.iter().rposition(|change| change.main <= revision) else { return };
        let dead = changes[last].tombstone && changes[last].main < revision;
        changes.drain(..last + usize::from(dead));
    }

    proptest! {
        #![proptest_config(crate::mvcc::tests::cases())]
        #[test]
        fn a_history_is_a_list_of_changes(
            steps in proptest::collection::vec((0..3i64, any::<bool>(), 0..400u32), 0..6000),
        ) {
            let (mut history, mut naive, mut main) = (History::default(), Vec::new(), 1);
            for (n, (step, tombstone, dice)) in steps.into_iter().enumerate() {
                main += step;
                let change = change(main, n as u32, tombstone);
                let before = history.clone();
                history.push(change);
                prop_assert_eq!(before.last_at(i64::MAX), naive.last().copied());
                naive.push(change);
                if dice == 0 {
                    let revision = main - main / 3;
                    history.compact(revision);
                    naive_compact(&mut naive, revision);
                }
            }
            for revision in 0..=main + 1 {
                prop_assert_eq!(history.last_at(revision), naive_last(&naive, revision));
            }
        }
    }

    #[test]
    fn copies_stay_as_they_were_and_a_push_shares_all_but_the_edge() {
        let mut history = History::default();
        (0..300_000).for_each(|main| history.push(change(main, 0, false)));
        let copy = history.clone();
        (300_000..300_100).for_each(|main| history.push(change(main, 0, false)));
        assert_eq!(copy.last_at(i64::MAX).unwrap().main, 299_999);
        assert_eq!(history.last_at(i64::MAX).unwrap().main, 300_099);
        assert_eq!(history.last_at(4711).unwrap().main, 4711);
        let (Some(Node::Branch(old)), Some(Node::Branch(new))) = (copy.full.as_deref(), history.full.as_deref()) else {
            panic!("long histories have branches")
        };
        assert!(Arc::ptr_eq(&old[0], &new[0]));
        assert!(history.compact(300_050));
        assert_eq!(history.last_at(300_049), None);
        assert!(copy.last_at(17).is_some());
    }
}

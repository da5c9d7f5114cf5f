//! The nodes of the index and the changes that go through several of them. Nodes are shared between
//! versions and copied on the way down when they are, so a node is copied once per published version.

use super::super::history::Change;
use super::keys::Keys;
use super::leaf::Leaf;
use std::iter::Peekable;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;

/// Children of a branch. Small, since a copy of a branch counts a reference to each.
const MAX_CHILDREN: usize = 32;

#[derive(Clone, Debug)]
pub(super) enum Node {
    Leaf(Leaf),
    Branch(Branch),
}

/// `children[i]` holds the keys from `separators[i - 1]` to below `separators[i]`.
#[derive(Clone, Debug)]
pub(super) struct Branch {
    separators: Arc<Keys>,
    children: Vec<Arc<Node>>,
    /// Live keys below each child.
    live: Vec<usize>,
}

/// What [`Node::change`] did.
#[derive(Default)]
pub(super) struct Changed {
    /// The change that was recorded last.
    pub(super) last: Option<Change>,
    /// Keys that are new.
    pub(super) inserted: usize,
    /// The new neighbour on the right, and the key that separates it.
    split: Option<(Box<[u8]>, Arc<Node>)>,
}

/// Access to a node that no other version shares, copying it first where one does.
fn unshared<'n>(node: &'n mut Arc<Node>, copied_bytes: &mut u64) -> &'n mut Node {
    if Arc::get_mut(node).is_none() {
        *copied_bytes += node.copy_bytes() as u64;
    }
    Arc::make_mut(node)
}

impl Node {
    pub(super) fn live(&self) -> usize {
        match self {
            Node::Leaf(leaf) => leaf.live(),
            Node::Branch(branch) => branch.live.iter().sum(),
        }
    }

    fn copy_bytes(&self) -> usize {
        match self {
            Node::Leaf(leaf) => leaf.copy_bytes(),
            Node::Branch(branch) => size_of::<Branch>() + 16 * branch.children.len(),
        }
    }

    /// Heap bytes of all nodes below and with this one.
    pub(super) fn heap_bytes(&self) -> usize {
        match self {
            Node::Leaf(leaf) => leaf.heap_bytes(),
            Node::Branch(branch) => {
                let own = size_of::<Branch>() + 16 * branch.children.capacity() + branch.separators.heap_bytes();
                own + branch.children.iter().map(|child| child.heap_bytes()).sum::<usize>()
            }
        }
    }

    /// The leaf in whose reach `key` is.
    pub(super) fn leaf(&self, key: &[u8]) -> &Leaf {
        let mut node = self;
        loop {
            match node {
                Node::Leaf(leaf) => return leaf,
                Node::Branch(branch) => node = &branch.children[branch.child_of(key)],
            }
        }
    }

    /// Live keys below `key`.
    pub(super) fn rank(&self, key: &[u8]) -> usize {
        let (mut node, mut below) = (self, 0);
        loop {
            match node {
                Node::Leaf(leaf) => {
                    let (Ok(slot) | Err(slot)) = leaf.search(key);
                    return below + leaf.live_below(slot);
                }
                Node::Branch(branch) => {
                    let child = branch.child_of(key);
                    below += branch.live[..child].iter().sum::<usize>();
                    node = &branch.children[child];
                }
            }
        }
    }

    /// Shows the slots of `[start, end)`, leaf by leaf, until `visit` breaks.
    pub(super) fn walk<V>(&self, start: &[u8], end: Option<&[u8]>, visit: &mut V) -> ControlFlow<()>
    where
        V: FnMut(&Leaf, Range<usize>) -> ControlFlow<()>,
    {
        match self {
            Node::Leaf(leaf) => {
                let (Ok(from) | Err(from)) = leaf.search(start);
                let to = end.map_or(leaf.len(), |end| {
                    let (Ok(to) | Err(to)) = leaf.search(end);
                    to
                });
                if from < to { visit(leaf, from..to) } else { ControlFlow::Continue(()) }
            }
            Node::Branch(branch) => {
                for child in branch.child_of(start)..branch.children.len() {
                    let begins_at_end = child > 0 && end.is_some_and(|end| branch.separators.get(child - 1) >= end);
                    if begins_at_end {
                        break;
                    }
                    branch.children[child].walk(start, end, visit)?;
                }
                ControlFlow::Continue(())
            }
        }
    }

    /// Where the leaf that `key` belongs to ends, exclusively; `None` for the last one.
    pub(super) fn leaf_end(&self, key: &[u8]) -> Option<&[u8]> {
        let (mut node, mut end) = (self, None);
        while let Node::Branch(branch) = node {
            let child = branch.child_of(key);
            if child < branch.separators.len() {
                end = Some(branch.separators.get(child));
            }
            node = &branch.children[child];
        }
        end
    }

    /// Records the changes that come next: up to the first of a key at or above `end`, or until this node splits.
    /// They are sorted by key; each is made from the newest change so far.
    pub(super) fn change<'k, M>(
        node: &mut Arc<Node>,
        end: Option<&[u8]>,
        changes: &mut Peekable<impl Iterator<Item = (&'k [u8], M)>>,
        copied_bytes: &mut u64,
    ) -> Changed
    where
        M: FnOnce(Option<&Change>) -> Change,
    {
        let mut changed = Changed::default();
        let is_here = |(key, _): &(&[u8], M)| end.is_none_or(|end| *key < end);
        match unshared(node, copied_bytes) {
            Node::Leaf(leaf) => {
                while let Some((key, make)) = changes.next_if(is_here) {
                    match leaf.search(key) {
                        Ok(slot) => {
                            let change = make(Some(leaf.newest(slot)));
                            leaf.supersede(slot, change);
                            changed.last = Some(change);
                        }
                        Err(slot) => {
                            let change = make(None);
                            leaf.insert(slot, key, change);
                            changed.last = Some(change);
                            changed.inserted += 1;
                            if let Some((key, right)) = leaf.split(slot) {
                                changed.split = Some((key, Arc::new(Node::Leaf(right))));
                                break;
                            }
                        }
                    }
                }
            }
            Node::Branch(branch) => {
                while let Some((key, _)) = changes.peek().filter(|next| is_here(next)) {
                    let child = branch.child_of(key);
                    let end = if child < branch.separators.len() { Some(branch.separators.get(child)) } else { end };
                    let below = Node::change(&mut branch.children[child], end, changes, copied_bytes);
                    branch.live[child] = branch.children[child].live();
                    changed.last = below.last;
                    changed.inserted += below.inserted;
                    if let Some((key, right)) = below.split {
                        branch.insert(child + 1, &key, right);
                        changed.split = branch.split();
                        if changed.split.is_some() {
                            break;
                        }
                    }
                }
            }
        }
        changed
    }

    /// Puts a new root above `root` if the change split it.
    pub(super) fn grow(root: &mut Arc<Node>, changed: &mut Changed) {
        let Some((key, right)) = changed.split.take() else { return };
        let mut separators = Keys::default();
        separators.push(&key);
        let live = vec![root.live(), right.live()];
        let children = vec![root.clone(), right];
        *root = Arc::new(Node::Branch(Branch { separators: Arc::new(separators), children, live }));
    }

    /// Compacts the leaf that `key` belongs to and joins what became too small. Returns how many keys went.
    pub(super) fn compact(node: &mut Arc<Node>, key: &[u8], revision: i64, copied_bytes: &mut u64) -> usize {
        match unshared(node, copied_bytes) {
            Node::Leaf(leaf) => leaf.compact(revision),
            Node::Branch(branch) => {
                let child = branch.child_of(key);
                let gone = Node::compact(&mut branch.children[child], key, revision, copied_bytes);
                if gone > 0 {
                    branch.join(child, copied_bytes);
                }
                gone
            }
        }
    }

    /// Takes a root with a single child away.
    pub(super) fn shrink(root: &mut Arc<Node>) {
        while let Node::Branch(Branch { children, .. }) = root.as_ref()
            && let [only] = &children[..]
        {
            *root = only.clone();
        }
    }

    fn is_empty(&self) -> bool {
        match self {
            Node::Leaf(leaf) => leaf.len() == 0,
            Node::Branch(branch) => branch.children.iter().all(|child| child.is_empty()),
        }
    }
}

impl Branch {
    fn child_of(&self, key: &[u8]) -> usize {
        match self.separators.search(key) {
            Ok(at) => at + 1,
            Err(at) => at,
        }
    }

    fn insert(&mut self, child: usize, separator: &[u8], node: Arc<Node>) {
        self.live[child - 1] = self.children[child - 1].live();
        self.live.insert(child, node.live());
        self.children.insert(child, node);
        Arc::make_mut(&mut self.separators).insert(child - 1, separator);
    }

    fn split(&mut self) -> Option<(Box<[u8]>, Arc<Node>)> {
        let len = self.children.len();
        if len <= MAX_CHILDREN {
            return None;
        }
        let at = len / 2;
        let key = self.separators.get(at - 1).into();
        let right = self.part(at..len);
        *self = self.part(0..at);
        Some((key, Arc::new(Node::Branch(right))))
    }

    fn part(&self, range: Range<usize>) -> Branch {
        Branch {
            separators: Arc::new(self.separators.part(range.start..range.end - 1)),
            children: self.children[range.clone()].to_vec(),
            live: self.live[range].to_vec(),
        }
    }

    /// Removes a child that is empty, or joins it with the one on its right or left if they fit in one.
    fn join(&mut self, child: usize, copied_bytes: &mut u64) {
        if self.children.len() < 2 {
            return;
        }
        if self.children[child].is_empty() {
            // Its reach goes to the neighbour on its left, or for the first to the one on its right.
            self.remove(child, child.saturating_sub(1));
            return;
        }
        let left = if child + 1 < self.children.len() { child } else { child - 1 };
        let right = self.children[left + 1].clone();
        let joined = match (unshared(&mut self.children[left], copied_bytes), right.as_ref()) {
            (Node::Leaf(left), Node::Leaf(right)) => left.absorb(right),
            (Node::Branch(node), Node::Branch(right)) => node.absorb(self.separators.get(left), right),
            // All leaves are at one depth.
            _ => false,
        };
        if joined {
            self.live[left] += self.live[left + 1];
            self.remove(left + 1, left);
        }
    }

    fn remove(&mut self, child: usize, separator: usize) {
        self.children.remove(child);
        self.live.remove(child);
        let mut keep = vec![true; self.separators.len()];
        keep[separator] = false;
        self.separators = Arc::new(self.separators.filtered(&keep));
    }

    fn absorb(&mut self, separator: &[u8], right: &Branch) -> bool {
        if self.children.len() + right.children.len() > MAX_CHILDREN {
            return false;
        }
        let mut separators = self.separators.part(0..self.separators.len());
        separators.push(separator);
        self.separators = Arc::new(separators.joined(&right.separators));
        self.children.extend(right.children.iter().cloned());
        self.live.extend_from_slice(&right.live);
        true
    }
}

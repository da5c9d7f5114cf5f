//! The tree of one bucket, built from its rows in order. Children are written before their branch, so that a branch knows
//! the pages it names, and only one open node a level is held: the pages of a bucket stand in post-order.
//!
//! Invariant: a branch has two children at least. bbolt relies on that when it deletes (its node.go, rebalance).

use super::layout::{
    BRANCH, ELEMENT_BYTES, FREE_LIST_PAGE, LEAF, MAX_KEY_BYTES, PAGE_BYTES, PAGE_HEADER_BYTES, page_header,
};
use bytes::{Bytes, BytesMut};

/// Finished pages, in the order of the file.
#[derive(Debug)]
pub struct Pages {
    /// What was not yet taken.
    pub out: BytesMut,
    /// The id that the next page has.
    pub next: u64,
}

impl Pages {
    /// Behind the pages that a file begins with.
    pub fn new() -> Self {
        Self { out: BytesMut::new(), next: FREE_LIST_PAGE + 1 }
    }

    /// Writes a leaf and returns its page. `flags` are those of every element.
    pub fn leaf(&mut self, flags: u32, rows: &[(Bytes, Bytes)]) -> u64 {
        let data_bytes: usize = rows.iter().map(|(key, value)| key.len() + value.len()).sum();
        let id = self.begin(LEAF, rows.len(), data_bytes);
        let mut pos = rows.len() * ELEMENT_BYTES;
        for (key, value) in rows {
            for field in [flags, pos as u32, key.len() as u32, value.len() as u32] {
                self.out.extend_from_slice(&field.to_le_bytes());
            }
            pos = pos + key.len() + value.len() - ELEMENT_BYTES;
        }
        for (key, value) in rows {
            self.out.extend_from_slice(key);
            self.out.extend_from_slice(value);
        }
        self.end(PAGE_HEADER_BYTES + rows.len() * ELEMENT_BYTES + data_bytes);
        id
    }

    fn branch(&mut self, children: &[Child]) -> u64 {
        let data_bytes: usize = children.iter().map(|child| child.first_key.len()).sum();
        let id = self.begin(BRANCH, children.len(), data_bytes);
        let mut pos = children.len() * ELEMENT_BYTES;
        for child in children {
            self.out.extend_from_slice(&(pos as u32).to_le_bytes());
            self.out.extend_from_slice(&(child.first_key.len() as u32).to_le_bytes());
            self.out.extend_from_slice(&child.page.to_le_bytes());
            pos = pos + child.first_key.len() - ELEMENT_BYTES;
        }
        for child in children {
            self.out.extend_from_slice(&child.first_key);
        }
        self.end(PAGE_HEADER_BYTES + children.len() * ELEMENT_BYTES + data_bytes);
        id
    }

    fn begin(&mut self, flags: u16, count: usize, data_bytes: usize) -> u64 {
        let id = self.next;
        let pages = (PAGE_HEADER_BYTES + count * ELEMENT_BYTES + data_bytes).div_ceil(PAGE_BYTES);
        self.next += pages as u64;
        // `Tree` keeps a node below 256 elements and two rows, both far from the bounds of these fields.
        self.out.extend_from_slice(&page_header(id, flags, count as u16, pages as u32 - 1));
        id
    }

    fn end(&mut self, node_bytes: usize) {
        let fill = node_bytes.next_multiple_of(PAGE_BYTES) - node_bytes;
        self.out.resize(self.out.len() + fill, 0);
    }
}

#[derive(Debug)]
struct Child {
    /// A copy: a slice would keep the whole piece of rows that it was read with.
    first_key: Box<[u8]>,
    page: u64,
}

/// A node that may get more elements.
#[derive(Debug)]
struct Open<T> {
    elements: Vec<T>,
    bytes: usize,
}

impl<T> Default for Open<T> {
    fn default() -> Self {
        Self { elements: Vec::new(), bytes: PAGE_HEADER_BYTES }
    }
}

impl<T> Open<T> {
    /// True if an element with so much data needs no further page.
    fn has_room(&self, data_bytes: usize) -> bool {
        self.bytes + ELEMENT_BYTES + data_bytes <= self.bytes.next_multiple_of(PAGE_BYTES)
    }

    fn push(&mut self, element: T, data_bytes: usize) {
        self.elements.push(element);
        self.bytes += ELEMENT_BYTES + data_bytes;
    }
}

/// The open nodes of a bucket.
#[derive(Debug, Default)]
pub struct Tree {
    leaf: Open<(Bytes, Bytes)>,
    /// From the level above the leaves upwards.
    branches: Vec<Open<Child>>,
}

impl Tree {
    /// Adds a row, whose key is neither empty nor longer than [`MAX_KEY_BYTES`] and comes after all before it.
    pub fn push(&mut self, key: Bytes, value: Bytes, pages: &mut Pages) {
        let data_bytes = key.len() + value.len();
        if !self.leaf.elements.is_empty() && !self.leaf.has_room(data_bytes) {
            let child = self.close_leaf(pages);
            self.add(0, child, pages);
        }
        self.leaf.push((key, value), data_bytes);
    }

    /// Writes what is open. The root, or `None` if there was no row.
    pub fn finish(mut self, pages: &mut Pages) -> Option<u64> {
        if self.leaf.elements.is_empty() {
            return None;
        }
        let mut child = self.close_leaf(pages);
        let mut level = 0;
        while level < self.branches.len() {
            self.add(level, child, pages);
            child = close_branch(&std::mem::take(&mut self.branches[level]).elements, pages);
            level += 1;
        }
        Some(child.page)
    }

    fn close_leaf(&mut self, pages: &mut Pages) -> Child {
        let rows = std::mem::take(&mut self.leaf).elements;
        Child { first_key: rows[0].0.as_ref().into(), page: pages.leaf(0, &rows) }
    }

    fn add(&mut self, level: usize, child: Child, pages: &mut Pages) {
        if level == self.branches.len() {
            self.branches.push(Open::default());
        }
        let open = &mut self.branches[level];
        let key_bytes = child.first_key.len();
        debug_assert!(key_bytes <= MAX_KEY_BYTES);
        // The last child goes over to the next branch, so that it will have two, whatever comes.
        if open.elements.len() >= 3 && !open.has_room(key_bytes) {
            let mut full = std::mem::take(open).elements;
            let last = full.pop().expect("three at least");
            let last_bytes = last.first_key.len();
            open.push(last, last_bytes);
            open.push(child, key_bytes);
            let parent = close_branch(&full, pages);
            self.add(level + 1, parent, pages);
        } else {
            open.push(child, key_bytes);
        }
    }
}

fn close_branch(children: &[Child], pages: &mut Pages) -> Child {
    Child { first_key: children[0].first_key.clone(), page: pages.branch(children) }
}

//! A database that somebody else wrote, read page by page. Nothing of it is believed: ids, lengths, orders and ranges are
//! checked before use, and a bad page is named. Rows come in ascending order or not at all, so a walk always ends.
//!
//! Memory: a leaf of at most [`MAX_LEAF_BYTES`], and a small branch a level. None is reserved before the file has the bytes.

use super::layout::{BUCKET_BYTES, META_BYTES, Meta, PAGE_HEADER_BYTES, u64_at};
use super::node::{Header, Kind, Node};
use super::{BoltError, Damage, MetaDamage};
use crate::disk::File;
use bytes::Bytes;
use std::sync::Arc;

/// A leaf is larger than a page if a value is; requests of etcd are far below this.
const MAX_LEAF_BYTES: u64 = 512 << 20;
/// bbolt splits what is larger than a page and has more than a few keys, of 32 KiB at most.
const MAX_BRANCH_BYTES: u64 = 1 << 20;
/// Branches have two children at least, and commonly a hundred.
const MAX_DEPTH: usize = 48;
/// etcd has ten.
const MAX_BUCKETS: usize = 1_024;

/// An open file.
#[derive(Clone, Debug)]
pub struct Database {
    file: Arc<dyn File>,
    meta: Meta,
}

/// A bucket of it.
#[derive(Clone, Debug)]
pub struct Bucket {
    pub name: Bytes,
    root: Root,
}

#[derive(Clone, Debug)]
enum Root {
    Page(u64),
    /// In the value of the page's element.
    Inline(u64, Node),
}

impl Database {
    /// Opens the database that lies in the first `database_bytes` of a file.
    ///
    /// # Errors
    /// No meta page is valid, or the file ends too early.
    pub fn open(file: Arc<dyn File>, database_bytes: u64) -> Result<Self, BoltError> {
        let meta = newest_meta(file.as_ref(), database_bytes)?;
        let is_there = meta.pages.checked_mul(meta.page_bytes.into()).is_some_and(|bytes| bytes <= database_bytes);
        if !is_there {
            let Meta { pages, page_bytes, .. } = meta;
            return Err(BoltError::Truncated { pages, page_bytes, bytes: database_bytes });
        }
        Ok(Self { file, meta })
    }

    /// What the pages of the database occupy. The file may be longer.
    pub fn total_bytes(&self) -> u64 {
        self.meta.pages * u64::from(self.meta.page_bytes)
    }

    /// All buckets, in the order of their names.
    ///
    /// # Errors
    /// A page on the way is damaged, or there are more than a thousand.
    pub fn buckets(&self) -> Result<Vec<Bucket>, BoltError> {
        let mut elements = Elements::new(self, &Root::Page(self.meta.root))?;
        let mut buckets = Vec::new();
        while let Some((page, node, element)) = elements.next().transpose()? {
            if buckets.len() == MAX_BUCKETS {
                return Err(BoltError::TooManyBuckets { max: MAX_BUCKETS });
            }
            let damaged = |damage| BoltError::Page { page, damage };
            if !node.is_bucket(element) {
                return Err(damaged(Damage::RowAmongBuckets { element }));
            }
            let root = root_of(page, element, &node.value(element)).map_err(damaged)?;
            buckets.push(Bucket { name: Bytes::copy_from_slice(&node.key(element)), root });
        }
        Ok(buckets)
    }

    /// The rows of a bucket in order.
    ///
    /// # Errors
    /// The way to its first row is damaged.
    pub fn rows(&self, bucket: &Bucket) -> Result<Rows<'_>, BoltError> {
        Ok(Rows { elements: Elements::new(self, &bucket.root)?, has_failed: false })
    }

    fn node(&self, page: u64) -> Result<Node, BoltError> {
        let damaged = |damage| BoltError::Page { page, damage };
        let Meta { pages, page_bytes, .. } = self.meta;
        if page >= pages {
            return Err(damaged(Damage::Outside { pages }));
        }
        let page_bytes = u64::from(page_bytes);
        let mut header = [0; PAGE_HEADER_BYTES];
        read(self.file.as_ref(), page * page_bytes, &mut header)?;
        let header = Header::parse(&header).map_err(damaged)?;
        if header.id != page {
            return Err(damaged(Damage::WrongId { found: header.id }));
        }
        if u64::from(header.overflow) >= pages - page {
            return Err(damaged(Damage::OverflowOutside { overflow: header.overflow, pages }));
        }
        let bytes = (u64::from(header.overflow) + 1) * page_bytes;
        let max = match header.kind {
            Kind::Branch => MAX_BRANCH_BYTES,
            Kind::Leaf => MAX_LEAF_BYTES,
        };
        if bytes > max {
            return Err(damaged(Damage::TooLarge { bytes, max }));
        }
        let mut buffer = vec![0; bytes as usize];
        read(self.file.as_ref(), page * page_bytes, &mut buffer)?;
        Node::parse(header, buffer.into()).map_err(damaged)
    }
}

/// The header of a bucket, and its node if it is inline.
fn root_of(page: u64, element: usize, value: &Bytes) -> Result<Root, Damage> {
    let short = Damage::BucketTooShort { element, bytes: value.len() };
    if value.len() < BUCKET_BYTES {
        return Err(short);
    }
    match u64_at(value, 0) {
        0 => {
            let inline = value.slice(BUCKET_BYTES..);
            let header = Header::parse(inline.first_chunk().ok_or(short)?)?;
            if header.kind == Kind::Branch {
                return Err(Damage::InlineBranch);
            }
            Ok(Root::Inline(page, Node::parse(header, inline)?))
        }
        root => Ok(Root::Page(root)),
    }
}

fn read(file: &dyn File, offset: u64, out: &mut [u8]) -> Result<(), BoltError> {
    let len = out.len();
    file.read_at(offset, out).map_err(|source| BoltError::Io { offset, len, source })
}

/// Of two meta pages the valid one with the later transaction. The second stands at a place that the first tells; if that
/// is damaged, all places are tried.
fn newest_meta(file: &dyn File, database_bytes: u64) -> Result<Meta, BoltError> {
    let meta_at = |offset: u64| {
        let mut bytes = [0; META_BYTES];
        if offset + (PAGE_HEADER_BYTES + META_BYTES) as u64 > database_bytes {
            return Err(BoltError::TooShort { bytes: database_bytes });
        }
        read(file, offset + PAGE_HEADER_BYTES as u64, &mut bytes)?;
        Ok(Meta::parse(&bytes))
    };
    match meta_at(0)? {
        Ok(first) => Ok(match meta_at(first.page_bytes.into())? {
            Ok(second) if second.transaction > first.transaction => second,
            Ok(_) | Err(_) => first,
        }),
        Err(first) => {
            let mut second = None;
            for offset in Meta::page_sizes() {
                match meta_at(offset) {
                    Ok(Ok(found)) if u64::from(found.page_bytes) == offset => return Ok(found),
                    // The next size may be it.
                    Ok(Ok(_)) => {}
                    Ok(Err(found)) => second = Some(likelier(second, found)),
                    Err(BoltError::TooShort { .. }) => break,
                    Err(error) => return Err(error),
                }
            }
            Err(second
                .map_or(BoltError::TooShort { bytes: database_bytes }, |second| BoltError::NoMeta { first, second }))
        }
    }
}

/// Where there is a magic number, there is the page.
fn likelier(known: Option<MetaDamage>, found: MetaDamage) -> MetaDamage {
    known.filter(|_| matches!(found, MetaDamage::Magic { .. })).unwrap_or(found)
}

/// The way through a tree: branches from the root down, and the leaf.
#[derive(Debug)]
struct Elements<'a> {
    database: &'a Database,
    branches: Vec<Branch>,
    /// Page, node and next element.
    leaf: (u64, Node, usize),
}

#[derive(Debug)]
struct Branch {
    node: Node,
    /// The child that comes next.
    next: usize,
    /// No key below it reaches this.
    end: Option<Bytes>,
}

impl<'a> Elements<'a> {
    fn new(database: &'a Database, root: &Root) -> Result<Self, BoltError> {
        let (page, node) = match root {
            Root::Inline(page, node) => (*page, node.clone()),
            Root::Page(page) => (*page, database.node(*page)?),
        };
        let mut elements = Self { database, branches: Vec::new(), leaf: (page, node, 0) };
        elements.go_down(None)?;
        Ok(elements)
    }

    /// From the node in the leaf's place down to its first leaf.
    fn go_down(&mut self, mut end: Option<Bytes>) -> Result<(), BoltError> {
        while self.leaf.1.kind == Kind::Branch {
            let (page, node, _) = self.leaf.clone();
            if self.branches.len() == MAX_DEPTH {
                return Err(BoltError::Page { page, damage: Damage::TooDeep { max: MAX_DEPTH } });
            }
            self.branches.push(Branch { node, next: 0, end });
            end = self.enter_child()?;
        }
        Ok(())
    }

    /// Puts the next child of the lowest branch into the leaf's place, and answers what ends its range.
    fn enter_child(&mut self) -> Result<Option<Bytes>, BoltError> {
        let branch = self.branches.last_mut().expect("it was pushed or has a child left");
        let (element, page) = (branch.next, branch.node.child(branch.next));
        branch.next += 1;
        let end = if branch.next < branch.node.len() { Some(branch.node.key(branch.next)) } else { branch.end.clone() };
        let first = branch.node.key(element);
        let node = self.database.node(page)?;
        node.check_range(&first, end.as_ref()).map_err(|damage| BoltError::Page { page, damage })?;
        self.leaf = (page, node, 0);
        Ok(end)
    }

    fn advance(&mut self) -> Result<Option<(u64, Node, usize)>, BoltError> {
        loop {
            let (page, node, next) = &mut self.leaf;
            if *next < node.len() {
                *next += 1;
                return Ok(Some((*page, node.clone(), *next - 1)));
            }
            while self.branches.last().is_some_and(|branch| branch.next == branch.node.len()) {
                self.branches.pop();
            }
            if self.branches.is_empty() {
                return Ok(None);
            }
            let end = self.enter_child()?;
            self.go_down(end)?;
        }
    }
}

impl Iterator for Elements<'_> {
    type Item = Result<(u64, Node, usize), BoltError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.advance().transpose()
    }
}

/// Iterates over the rows of a bucket. Ends with the first error.
#[derive(Debug)]
pub struct Rows<'a> {
    elements: Elements<'a>,
    has_failed: bool,
}

impl Rows<'_> {
    fn row(&mut self) -> Result<Option<(Bytes, Bytes)>, BoltError> {
        let Some((page, node, element)) = self.elements.advance()? else { return Ok(None) };
        if node.is_bucket(element) {
            return Err(BoltError::Page { page, damage: Damage::BucketAmongRows { element } });
        }
        Ok(Some((node.key(element), node.value(element))))
    }
}

impl Iterator for Rows<'_> {
    /// Slices of the leaf's memory: what is kept long should be copied.
    type Item = Result<(Bytes, Bytes), BoltError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.has_failed {
            return None;
        }
        let row = self.row();
        self.has_failed = row.is_err();
        row.transpose()
    }
}

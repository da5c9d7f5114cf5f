//! A database from front to back: buckets in the order of their names, rows in theirs. The head names the root and the
//! count of pages, which are known at the end only; so one goes over the rows twice, and drops the pages of the first time.

use super::layout::{self, IS_BUCKET, MAX_KEY_BYTES, MAX_VALUE_BYTES, PAGE_BYTES};
use super::tree::{Pages, Tree};
use bytes::{Bytes, BytesMut};

/// A row that a bbolt file cannot hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unwritable {
    #[error("bucket {bucket}: a row has an empty key")]
    EmptyKey { bucket: &'static str },
    #[error("bucket {bucket}: a key has {bytes} bytes, a bbolt file holds at most {MAX_KEY_BYTES}")]
    KeyTooLong { bucket: &'static str, bytes: usize },
    #[error("bucket {bucket}: a value has {bytes} bytes, a bbolt file holds at most {MAX_VALUE_BYTES}")]
    ValueTooLong { bucket: &'static str, bytes: usize },
}

/// Where the head points to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    root: u64,
    pages: u64,
}

impl Plan {
    /// Length of the database.
    pub fn bytes(&self) -> u64 {
        self.pages * PAGE_BYTES as u64
    }
}

/// Turns rows into pages.
#[derive(Debug)]
pub struct Writer {
    pages: Pages,
    /// The bucket that gets rows.
    open: Option<(&'static str, Tree)>,
    /// Name and header of each finished bucket.
    buckets: Vec<(Bytes, Bytes)>,
}

impl Writer {
    /// Drops or keeps its pages, as the caller likes: to count them.
    pub fn new() -> Self {
        Self { pages: Pages::new(), open: None, buckets: Vec::new() }
    }

    /// Writes the head that a first pass planned, and goes on behind it.
    pub fn planned(plan: &Plan) -> Self {
        let mut writer = Self::new();
        writer.pages.out.extend_from_slice(&layout::head(plan.root, plan.pages));
        writer
    }

    /// Begins the next bucket, which exists even if no row follows.
    pub fn bucket(&mut self, name: &'static str) {
        self.close_bucket();
        self.open = Some((name, Tree::default()));
    }

    /// Adds a row to the bucket, after all that are there.
    ///
    /// # Errors
    /// The format has no place for it.
    ///
    /// # Panics
    /// No bucket was begun.
    pub fn row(&mut self, key: Bytes, value: Bytes) -> Result<(), Unwritable> {
        let (bucket, tree) = self.open.as_mut().expect("a row is in a bucket");
        let bucket = *bucket;
        match (key.len(), value.len()) {
            (0, _) => Err(Unwritable::EmptyKey { bucket }),
            (bytes, _) if bytes > MAX_KEY_BYTES => Err(Unwritable::KeyTooLong { bucket, bytes }),
            (_, bytes) if bytes > MAX_VALUE_BYTES => Err(Unwritable::ValueTooLong { bucket, bytes }),
            _ => {
                tree.push(key, value, &mut self.pages);
                Ok(())
            }
        }
    }

    /// Writes the bucket of buckets, which is the last page.
    pub fn finish(&mut self) -> Plan {
        self.close_bucket();
        let root = self.pages.leaf(IS_BUCKET, &std::mem::take(&mut self.buckets));
        Plan { root, pages: self.pages.next }
    }

    /// The bytes that are finished and were not yet taken. To be cut off at its front.
    pub fn finished(&mut self) -> &mut BytesMut {
        &mut self.pages.out
    }

    fn close_bucket(&mut self) {
        if let Some((name, tree)) = self.open.take() {
            let header = match tree.finish(&mut self.pages) {
                Some(root) => Bytes::copy_from_slice(&layout::bucket(root)),
                None => Bytes::copy_from_slice(&layout::empty_bucket()),
            };
            self.buckets.push((Bytes::from_static(name.as_bytes()), header));
        }
    }
}

impl Default for Writer {
    fn default() -> Self {
        Self::new()
    }
}

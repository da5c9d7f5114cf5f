//! Rows that readers see and the state file does not have yet: the last few puts. A commit costs more than what they
//! change, so it comes once for some dozens of them. A crash loses no more than without: such commits are volatile anyway.

use super::revision::{Revision, RowKey};
use super::rows::PendingRows;
use bytes::Bytes;
use std::ops::{Bound, RangeBounds};
use std::sync::{Arc, OnceLock};

const MAX_ROWS: usize = 64;
const MAX_BYTES: usize = 64 << 10;

/// The rows behind those of a version, ascending. One run is shared by the views of all batches since the commit; each view
/// sees as many rows as there were.
#[derive(Clone, Debug, Default)]
pub(super) struct Recent {
    run: Arc<[OnceLock<(RowKey, Bytes)>]>,
    len: usize,
    bytes: usize,
}

impl Recent {
    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// True if these rows may wait too.
    pub(super) fn has_room(&self, rows: &PendingRows) -> bool {
        self.len + rows.len() <= MAX_ROWS && self.bytes + rows.len_bytes() <= MAX_BYTES
    }

    /// With these rows behind, for which there must be room. To be called on the last of a run only.
    pub(super) fn with(&self, rows: &PendingRows) -> Self {
        let run = if self.is_empty() { (0..MAX_ROWS).map(|_| OnceLock::new()).collect() } else { self.run.clone() };
        let mut len = self.len;
        for (key, row) in rows.iter() {
            let is_new = run[len].set((*key, Bytes::copy_from_slice(row))).is_ok();
            assert!(is_new, "a run of rows has one end");
            len += 1;
        }
        Self { run, len, bytes: self.bytes + rows.len_bytes() }
    }

    pub(super) fn get(&self, revision: Revision) -> Option<&Bytes> {
        // Mostly the row is long in the file.
        let first = self.iter().next()?.0.revision();
        if revision < first {
            return None;
        }
        self.iter().find(|(key, _)| key.revision() == revision).map(|(_, row)| row)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&RowKey, &Bytes)> {
        self.run[..self.len].iter().filter_map(OnceLock::get).map(|(key, row)| (key, row))
    }

    pub(super) fn within(&self, bounds: (Bound<&[u8]>, Bound<&[u8]>)) -> impl Iterator<Item = (&RowKey, &Bytes)> {
        self.iter().filter(move |(key, _)| RangeBounds::<[u8]>::contains(&bounds, key.as_bytes()))
    }
}

//! The rows of a batch before its commit: encoded once, end to end in one buffer, and read back by the
//! transactions of the same batch. At the commit they go to the table in one ascending run.

use super::record;
use super::revision::{Revision, RowKey};
use keelstone_proto::mvccpb::KeyValue;

/// A larger buffer is given back after its batch.
const MAX_SPARE_BYTES: usize = 4 << 20;

#[derive(Debug, Default)]
pub(super) struct PendingRows {
    bytes: Vec<u8>,
    /// Ascending; each with where its row ends in `bytes`.
    keys: Vec<(RowKey, usize)>,
}

impl PendingRows {
    pub(super) fn push(&mut self, key: RowKey, kv: &KeyValue) {
        record::encode(kv, &mut self.bytes);
        self.keys.push((key, self.bytes.len()));
    }

    pub(super) fn get(&self, revision: Revision) -> Option<&[u8]> {
        let at = self.keys.binary_search_by_key(&revision, |(key, _)| key.revision()).ok()?;
        Some(self.row(at))
    }

    fn row(&self, at: usize) -> &[u8] {
        let start = at.checked_sub(1).map_or(0, |before| self.keys[before].1);
        &self.bytes[start..self.keys[at].1]
    }

    pub(super) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    pub(super) fn len_bytes(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&RowKey, &[u8])> {
        (0..self.keys.len()).map(|at| (&self.keys[at].0, self.row(at)))
    }

    pub(super) fn clear(&mut self) {
        if self.bytes.capacity() > MAX_SPARE_BYTES {
            *self = Self::default();
        }
        self.bytes.clear();
        self.keys.clear();
    }
}

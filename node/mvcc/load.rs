//! The index of a state file, built when it is opened.
//!
//! Rows come by revision, so their keys are scattered over the whole index, and each insert would miss the
//! processor's caches on every level. Sorted in runs, neighbours are inserted together: two to three times as
//! fast, with bounded memory.

use super::key_index::KeyIndex;
use super::record::Record;
use super::revision::Revision;
use super::view::parse_row_key;
use crate::defect::{self, Defect};
use crate::storage::{StorageError, Table, Version};
use crate::types::LeaseId;
use bytes::Bytes;
use std::ops::{Bound, ControlFlow, Range};

/// Rows of a run.
const RUN_ROWS: usize = 128 << 10;
/// Bytes of keys that end a run early.
const RUN_BYTES: usize = 16 << 20;

/// What the rows of the key table say.
pub(super) struct Loaded {
    pub(super) index: KeyIndex,
    /// Main revision of the last row; zero without any.
    pub(super) last_main: i64,
    /// Keys that exist and have a lease.
    pub(super) attachments: Vec<(Bytes, LeaseId)>,
}

/// Rows that are not in the index yet.
#[derive(Default)]
struct Run {
    keys: Vec<u8>,
    changes: Vec<Loose>,
}

struct Loose {
    key: Range<usize>,
    revision: Revision,
    put: Option<(i64, i64)>,
}

pub(super) fn load(version: &Version) -> Result<Loaded, StorageError> {
    let (mut index, mut run) = (KeyIndex::default(), Run::default());
    let mut last_main = 0;
    let mut leased: Vec<(Bytes, Revision, LeaseId)> = Vec::new();
    version.scan(Table::Key, (Bound::Unbounded, Bound::Unbounded), |row_key, row| {
        let key = parse_row_key(row_key)?;
        let record =
            Record::parse(row).ok_or_else(|| StorageError::Malformed { table: Table::Key, row: row_key.to_vec() })?;
        if !(key.is_tombstone() && defect::on(Defect::RevisionUsedTwice)) {
            last_main = key.revision().main;
        }
        // A row without a key only moves the revision (`etcdutl snapshot restore --bump-revision`).
        if !record.key.is_empty() {
            let put = (!key.is_tombstone()).then_some((record.create_revision, record.version));
            run.push(record.key, key.revision(), put, &mut index);
            if record.lease != 0 {
                leased.push((Bytes::copy_from_slice(record.key), key.revision(), LeaseId(record.lease)));
            }
        }
        Ok::<_, StorageError>(ControlFlow::Continue(()))
    })?;
    run.insert_into(&mut index);
    let is_newest = |key: &Bytes, revision: Revision| index.get(key).is_some_and(|put| put.revision() == revision);
    leased.retain(|(key, revision, _)| is_newest(key, *revision));
    let attachments = leased.into_iter().map(|(key, _, lease)| (key, lease)).collect();
    Ok(Loaded { index, last_main, attachments })
}

impl Run {
    fn push(&mut self, key: &[u8], revision: Revision, put: Option<(i64, i64)>, index: &mut KeyIndex) {
        let start = self.keys.len();
        self.keys.extend_from_slice(key);
        self.changes.push(Loose { key: start..self.keys.len(), revision, put });
        if self.changes.len() >= RUN_ROWS || self.keys.len() >= RUN_BYTES {
            self.insert_into(index);
        }
    }

    fn insert_into(&mut self, index: &mut KeyIndex) {
        let keys = &self.keys;
        // Stable: the changes of one key stay in the order of their revisions.
        self.changes.sort_by(|one, other| keys[one.key.clone()].cmp(&keys[other.key.clone()]));
        for Loose { key, revision, put } in self.changes.drain(..) {
            index.restore(&keys[key], revision, put);
        }
        self.keys.clear();
    }
}

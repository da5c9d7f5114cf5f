//! The store as its one writer has it: the apply thread.

use super::compaction::Compactions;
use super::hash::CompactionHashes;
use super::key_index::KeyIndex;
use super::metrics::Metrics;
use super::record::Record;
use super::retained::Retained;
use super::revision::{Revision, RowKey};
use super::rows::PendingRows;
use super::view::{Shared, View, Views, parse_row_key};
use super::write::WriteBatch;
use crate::storage::{Storage, StorageError, Table, Version};
use crate::types::LeaseId;
use bytes::Bytes;
use std::ops::{Bound, ControlFlow};
use std::sync::Arc;

/// etcd's `meta` rows of a compaction: a 17-byte revision each.
pub(super) const SCHEDULED_KEY: &[u8] = b"scheduledCompactRev";
pub(super) const FINISHED_KEY: &[u8] = b"finishedCompactRev";

/// Keys by revision, for one writer. Readers use [`Views`].
#[derive(Debug)]
pub struct Store {
    pub(super) storage: Storage,
    /// With the changes of the open batch.
    pub(super) index: KeyIndex,
    pub(super) revision: i64,
    pub(super) compacted: i64,
    /// Rows of the open batch.
    pub(super) rows: PendingRows,
    pub(super) compactions: Compactions,
    /// The state before the open batch.
    pub(super) last: Arc<View>,
    pub(super) views: Views,
}

/// A store just opened.
#[derive(Debug)]
pub struct Opened {
    pub store: Store,
    /// The lease of every key that exists and has one, for the lessor.
    pub attachments: Vec<(Bytes, LeaseId)>,
}

/// What the rows say.
struct Scanned {
    index: KeyIndex,
    last_main: i64,
    attachments: Vec<(Bytes, LeaseId)>,
}

impl Store {
    /// Builds the index from the rows: about a second for a million. The revision is the highest that a row
    /// or a mark of a compaction names (etcd #17780). A compaction that was scheduled and not finished
    /// counts as done for readers and goes on with the next slices.
    pub fn open(storage: Storage, metrics: Metrics) -> Result<Opened, StorageError> {
        let version = storage.version()?;
        let Scanned { index, last_main, attachments } = scan(&version)?;
        let scheduled = compact_mark(&version, SCHEDULED_KEY)?;
        let finished = compact_mark(&version, FINISHED_KEY)?;
        let compacted = scheduled.max(finished).unwrap_or(-1);
        let revision = last_main.max(compacted).max(1);
        let compactions = match scheduled {
            Some(scheduled) if Some(scheduled) > finished => Compactions::resumed(scheduled, finished.unwrap_or(-1)),
            _ => Compactions::default(),
        };
        metrics.keys.set(index.live() as f64);
        metrics.current_revision.set(revision as f64);
        metrics.compact_revision.set(compacted as f64);
        let shared = Shared { retained: Retained::default(), hashes: CompactionHashes::default(), metrics };
        let view = View { index: index.clone(), revision, compacted, version, shared: Arc::new(shared) };
        let last = Arc::new(view);
        let views = Views::new(last.clone());
        let rows = PendingRows::default();
        let store = Self { storage, index, revision, compacted, rows, compactions, last, views };
        Ok(Opened { store, attachments })
    }

    /// Where readers find each batch as soon as it is committed.
    pub fn views(&self) -> Views {
        self.views.clone()
    }

    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// The lowest revision that can be read; -1 if nothing was compacted.
    pub fn compacted(&self) -> i64 {
        self.compacted
    }

    pub fn storage(&self) -> &Storage {
        &self.storage
    }

    /// True if [`WriteBatch::compaction_slice`] has something to do.
    pub fn is_compacting(&self) -> bool {
        !self.compactions.is_idle()
    }

    /// Starts a batch. One that is dropped without a commit leaves the store unusable: the node must stop,
    /// as after any failure of storage.
    pub fn begin(&mut self) -> Result<WriteBatch<'_>, StorageError> {
        WriteBatch::new(self)
    }

    pub(super) fn metrics(&self) -> &Metrics {
        &self.last.shared.metrics
    }
}

fn scan(version: &Version) -> Result<Scanned, StorageError> {
    let mut index = KeyIndex::default();
    let mut last_main = 0;
    let mut leased: Vec<(Bytes, Revision, LeaseId)> = Vec::new();
    version.scan(Table::Key, (Bound::Unbounded, Bound::Unbounded), |row_key, row| {
        let key = parse_row_key(row_key)?;
        let record =
            Record::parse(row).ok_or_else(|| StorageError::Malformed { table: Table::Key, row: row_key.to_vec() })?;
        last_main = key.revision().main;
        // A row without a key only moves the revision (`etcdutl snapshot restore --bump-revision`).
        if !record.key.is_empty() {
            let put = (!key.is_tombstone()).then_some((record.create_revision, record.version));
            index.restore(record.key, key.revision(), put);
            if record.lease != 0 {
                leased.push((Bytes::copy_from_slice(record.key), key.revision(), LeaseId(record.lease)));
            }
        }
        Ok::<_, StorageError>(ControlFlow::Continue(()))
    })?;
    let is_newest = |key: &Bytes, revision: Revision| index.get(key).is_some_and(|put| put.revision() == revision);
    leased.retain(|(key, revision, _)| is_newest(key, *revision));
    let attachments = leased.into_iter().map(|(key, _, lease)| (key, lease)).collect();
    Ok(Scanned { index, last_main, attachments })
}

fn compact_mark(version: &Version, key: &[u8]) -> Result<Option<i64>, StorageError> {
    let Some(mark) = version.get(Table::Meta, key)? else { return Ok(None) };
    match RowKey::parse(&mark) {
        Some(revision) => Ok(Some(revision.revision().main)),
        None => Err(StorageError::Malformed { table: Table::Meta, row: key.to_vec() }),
    }
}

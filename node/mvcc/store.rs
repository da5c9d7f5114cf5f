//! The store as its one writer has it: the apply thread.

use super::compaction::Compactions;
use super::hash::CompactionHashes;
use super::key_index::KeyIndex;
use super::load::{self, Loaded, load};
use super::metrics::Metrics;
use super::recent::Recent;
use super::retained::Retained;
use super::revision::RowKey;
use super::rows::PendingRows;
use super::view::{Shared, View, Views, parse_row_key};
use super::write::WriteBatch;
use crate::storage::{Storage, StorageError, Table, Version};
use crate::types::LeaseId;
use bytes::Bytes;
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

impl Store {
    /// Builds the index from the rows. The revision is the highest that a row
    /// or a mark of a compaction names (etcd #17780). A compaction that was scheduled and not finished
    /// counts as done for readers and goes on with the next slices.
    pub fn open(storage: Storage, metrics: Metrics) -> Result<Opened, StorageError> {
        Self::load(storage, metrics, None)
    }

    /// As [`Self::open`] for a state that takes the place of another, as from a Raft snapshot: whoever has
    /// `views` finds the new state there from now on.
    pub fn install(storage: Storage, views: Views) -> Result<Opened, StorageError> {
        let metrics = views.load().shared.metrics.clone();
        Self::load(storage, metrics, Some(views))
    }

    /// Goes on in another file that holds the same state, between two batches. Index, compactions and what was put off
    /// stay.
    pub fn move_to(&mut self, storage: Storage) -> Result<(), StorageError> {
        self.last = Arc::new(View { version: storage.version()?, ..View::clone(&self.last) });
        self.storage = storage;
        self.views.publish(self.last.clone());
        Ok(())
    }

    fn load(storage: Storage, metrics: Metrics, views: Option<Views>) -> Result<Opened, StorageError> {
        let version = storage.version()?;
        let Loaded { index, last_main, attachments } = load(&version)?;
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
        let (index_of_view, recent, shared) = (index.clone(), Recent::default(), Arc::new(shared));
        let view = View { index: index_of_view, revision, compacted, version, recent, shared };
        let last = Arc::new(view);
        let views = match views {
            Some(views) => {
                views.publish(last.clone());
                views
            }
            None => Views::new(last.clone()),
        };
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

    /// True if there are rows that the next commit has to bring along.
    pub fn has_put_off(&self) -> bool {
        !self.last.recent.is_empty()
    }

    /// Shows the state to readers: what the version holds, with the recent rows.
    pub(super) fn publish(&mut self, version: Version, recent: Recent) -> Arc<View> {
        let view = Arc::new(View {
            index: self.index.clone(),
            revision: self.revision,
            compacted: self.compacted,
            version,
            recent,
            shared: self.last.shared.clone(),
        });
        let metrics = self.metrics();
        metrics.keys.set(view.index.live() as f64);
        metrics.current_revision.set(view.revision as f64);
        metrics.compact_revision.set(view.compacted as f64);
        self.last = view.clone();
        self.views.publish(view.clone());
        view
    }

    pub(super) fn metrics(&self) -> &Metrics {
        &self.last.shared.metrics
    }
}

/// Reads what [`Store::open`] reads, and keeps nothing.
///
/// # Errors
/// What `open` would fail with.
pub fn check_rows(version: &Version) -> Result<(), StorageError> {
    compact_mark(version, SCHEDULED_KEY)?;
    compact_mark(version, FINISHED_KEY)?;
    load::check(version)
}

/// The newest revision of a state, and the lowest one that can be read (-1 if nothing was compacted), as [`Store::open`] finds
/// them.
///
/// # Errors
/// They cannot be read.
pub fn revisions(version: &Version) -> Result<(i64, i64), StorageError> {
    let (scheduled, finished) = (compact_mark(version, SCHEDULED_KEY)?, compact_mark(version, FINISHED_KEY)?);
    let compacted = scheduled.max(finished).unwrap_or(-1);
    let last = version.last_key_row()?.map_or(Ok(0), |row| parse_row_key(&row).map(|key| key.revision().main))?;
    Ok((last.max(compacted).max(1), compacted))
}

/// The compact revision that rows of `meta` give; -1 without a mark.
///
/// # Errors
/// A mark is none of etcd's.
pub fn compacted_of(row: impl Fn(&[u8]) -> Option<Bytes>) -> Result<i64, StorageError> {
    let mark = |key: &[u8]| row(key).map(|mark| parse_mark(key, &mark)).transpose();
    Ok(mark(SCHEDULED_KEY)?.max(mark(FINISHED_KEY)?).unwrap_or(-1))
}

pub(super) fn compact_mark(version: &Version, key: &[u8]) -> Result<Option<i64>, StorageError> {
    version.get(Table::Meta, key)?.map(|mark| parse_mark(key, &mark)).transpose()
}

fn parse_mark(key: &[u8], mark: &[u8]) -> Result<i64, StorageError> {
    match RowKey::parse(mark) {
        Some(revision) => Ok(revision.revision().main),
        None => Err(StorageError::Malformed { table: Table::Meta, row: key.to_vec() }),
    }
}

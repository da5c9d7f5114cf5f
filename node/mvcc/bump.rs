//! A state at rest whose revision is moved on, so that what clients remember of a cluster before it was restored lies in the
//! past of this one (`etcdutl snapshot restore --bump-revision --mark-compacted`, etcd `etcdutl/snapshot`).

use super::revision::{MAX_MAIN, Revision, RowKey};
use super::store::{FINISHED_KEY, SCHEDULED_KEY, compact_mark};
use crate::storage::{Batch, StorageError, Table, Version};

/// From which revision to which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bump {
    pub from: i64,
    pub to: i64,
}

#[derive(Debug, thiserror::Error)]
pub enum BumpError {
    #[error("revision {from} cannot be increased by {by}: the highest is {max}", max = MAX_MAIN)]
    TooFar { from: i64, by: u64 },
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Puts a record without a key `by` revisions behind the newest, and marks that one as to be compacted. `batch` begins at
/// `version`, whose rows were checked. Unlike etcd, which looks at records alone, we count from the mark of a compaction where
/// that is higher: else the revision could go back after all.
///
/// # Errors
/// There is no such revision.
pub fn bump(version: &Version, batch: &mut Batch, by: u64) -> Result<Bump, BumpError> {
    let last = version.last_key_row()?.and_then(|row| RowKey::parse(&row)).map(|key| key.revision().main);
    let (scheduled, finished) = (compact_mark(version, SCHEDULED_KEY)?, compact_mark(version, FINISHED_KEY)?);
    let from = last.max(scheduled).max(finished).unwrap_or_default();
    let to = i64::try_from(by).ok().and_then(|by| from.checked_add(by)).filter(|to| *to <= MAX_MAIN);
    let to = to.ok_or(BumpError::TooFar { from, by })?;
    let revision = RowKey::new(Revision { main: to, sub: 0 }, false);
    batch.put(Table::Key, revision.as_bytes(), &[]);
    batch.put(Table::Meta, SCHEDULED_KEY, revision.as_bytes());
    Ok(Bump { from, to })
}

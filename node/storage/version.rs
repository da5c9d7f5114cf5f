//! A pinned reading of the state file.

use super::{Meta, Row, Storage, StorageError, Table};
use redb::{ReadOnlyTable, ReadTransaction, ReadableDatabase, ReadableTable};
use std::ops::{Bound, ControlFlow};
use std::sync::Arc;

/// The state of one commit, for any number of readers in any thread. Cheap to clone.
#[derive(Clone)]
pub struct Version(Arc<Inner>);

struct Inner {
    /// Opened once: the table that almost every read needs.
    keys: ReadOnlyTable<&'static [u8], &'static [u8]>,
    transaction: ReadTransaction,
    /// Dropped last: redb refuses reads once the database is closed.
    storage: Storage,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.storage.metrics.open_reads.dec();
    }
}

impl std::fmt::Debug for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Version").finish_non_exhaustive()
    }
}

impl Version {
    pub(super) fn new(storage: Storage) -> Result<Self, StorageError> {
        let transaction = storage.database.begin_read()?;
        let keys = transaction.open_table(Table::Key.definition())?;
        storage.metrics.open_reads.inc();
        Ok(Self(Arc::new(Inner { keys, transaction, storage })))
    }

    /// Shows the value to `read`; `None` if there is no such row.
    pub fn get_with<R>(
        &self,
        table: Table,
        key: &[u8],
        read: impl FnOnce(&[u8]) -> R,
    ) -> Result<Option<R>, StorageError> {
        let value = match table {
            Table::Key => self.0.keys.get_owned(key)?,
            other => self.0.transaction.open_table(other.definition())?.get_owned(key)?,
        };
        Ok(value.map(|value| read(value.value())))
    }

    pub fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
        self.get_with(table, key, <[u8]>::to_vec)
    }

    /// Shows the rows of an interval in order until `visit` breaks or fails.
    pub fn scan<E: From<StorageError>>(
        &self,
        table: Table,
        interval: (Bound<&[u8]>, Bound<&[u8]>),
        mut visit: impl FnMut(&[u8], &[u8]) -> Result<ControlFlow<()>, E>,
    ) -> Result<(), E> {
        let opened;
        let rows = match table {
            Table::Key => &self.0.keys,
            other => {
                opened = self.0.transaction.open_table(other.definition()).map_err(StorageError::from)?;
                &opened
            }
        };
        for row in rows.range::<&[u8]>(interval).map_err(StorageError::from)? {
            let (key, value) = row.map_err(StorageError::from)?;
            if visit(key.value(), value.value())?.is_break() {
                break;
            }
        }
        Ok(())
    }

    /// All rows of a small table, in order.
    pub fn rows(&self, table: Table) -> Result<Vec<Row>, StorageError> {
        let mut all = Vec::new();
        self.scan::<StorageError>(table, (Bound::Unbounded, Bound::Unbounded), |key, value| {
            all.push((key.to_vec(), value.to_vec()));
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(all)
    }

    /// The last row of the key table, if any.
    pub fn last_key_row(&self) -> Result<Option<Vec<u8>>, StorageError> {
        Ok(self.0.keys.last()?.map(|(key, _)| key.value().to_vec()))
    }

    /// What the `meta` table says about the node itself.
    pub fn meta(&self) -> Result<Meta, StorageError> {
        Meta::read(|key| self.get(Table::Meta, key))
    }
}

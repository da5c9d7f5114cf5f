//! A write transaction: rows of any table, all or nothing.

use super::changes::Changes;
use super::{Storage, StorageError, Table, meta};
use crate::defect::{self, Point};
use redb::{ReadableTable, WriteTransaction};
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// From so many rows on it is worth to look whether they lie behind all that a table has.
const MANY_ROWS: usize = 8;

/// When a commit survives a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// With the next durable commit. Visible to readers at once; costs no disk write.
    Volatile,
    /// On return. Two-phase and with the allocator's state, so that opening after a crash is quick.
    Durable,
}

/// What becomes of a row that [`Batch::sweep`] shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Keep,
    Remove,
}

/// What a [`Batch::sweep`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sweep {
    pub visited_rows: usize,
    pub removed_rows: usize,
    /// Where to go on: the last row seen. `None` if the interval is done.
    pub last: Option<Vec<u8>>,
}

/// The one write transaction. Dropped without a commit, it leaves nothing.
pub struct Batch {
    /// None before the first row goes in: there are batches that are never committed.
    transaction: Option<WriteTransaction>,
    storage: Storage,
    /// Rows that were set, or removed, one by one. Written with the commit, in order: opening a table costs as much as
    /// writing some rows to it.
    single: Changes,
    /// Rows that sweeps removed.
    swept: Vec<(Table, Vec<Vec<u8>>)>,
    /// Bytes of all rows, with what this batch has written.
    row_bytes: u64,
}

impl std::fmt::Debug for Batch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Batch").field("row_bytes", &self.row_bytes).finish_non_exhaustive()
    }
}

impl Batch {
    pub(super) fn begin(storage: &Storage) -> Result<Self, StorageError> {
        storage.trouble.check()?;
        let row_bytes = storage.usage.row_bytes.load(Ordering::Relaxed);
        Ok(Self { transaction: None, storage: storage.clone(), single: BTreeMap::new(), swept: Vec::new(), row_bytes })
    }

    pub(super) fn create_tables(&mut self) -> Result<(), StorageError> {
        let transaction = begun(&mut self.transaction, &self.storage)?;
        for table in Table::ALL {
            transaction.open_table(table.definition())?;
        }
        self.put(Table::Meta, meta::FORMAT_KEY, &super::FORMAT.to_be_bytes());
        Ok(())
    }

    /// True if nothing has changed so far.
    pub fn is_empty(&self) -> bool {
        self.transaction.is_none() && self.single.is_empty()
    }

    /// Sets a row.
    pub fn put(&mut self, table: Table, key: &[u8], value: &[u8]) {
        self.single.insert((table, key.to_vec()), Some(value.to_vec()));
    }

    /// Removes a row if it is there.
    pub fn remove(&mut self, table: Table, key: &[u8]) {
        self.single.insert((table, key.to_vec()), None);
    }

    /// Adds rows behind the last one, in ascending order: the quick way, with one handle and one descent. Of a state that
    /// is in use only the key table: who copies it looks for such rows there alone.
    pub fn append<'r>(
        &mut self,
        table: Table,
        rows: impl Iterator<Item = (&'r [u8], &'r [u8])>,
    ) -> Result<(), StorageError> {
        let mut open = begun(&mut self.transaction, &self.storage)?.open_table(table.definition())?;
        self.row_bytes += append_to(&mut open, table, rows)?;
        Ok(())
    }

    /// Shows up to `budget_rows` rows of `(after, end)` to `judge`, in order, and removes those it says.
    pub fn sweep(
        &mut self,
        table: Table,
        (after, end): (Bound<&[u8]>, &[u8]),
        budget_rows: usize,
        mut judge: impl FnMut(&[u8], &[u8]) -> Result<Fate, StorageError>,
    ) -> Result<Sweep, StorageError> {
        let mut rows = begun(&mut self.transaction, &self.storage)?.open_table(table.definition())?;
        let (mut visited_rows, mut last, mut done, mut doomed) = (0, None, true, Vec::new());
        for row in rows.range::<&[u8]>((after, Bound::Excluded(end)))? {
            if visited_rows == budget_rows {
                done = false;
                break;
            }
            let (key, value) = row?;
            visited_rows += 1;
            if judge(key.value(), value.value())? == Fate::Remove {
                self.row_bytes -= (key.value().len() + value.value().len()) as u64;
                doomed.push(key.value().to_vec());
            }
            if visited_rows == budget_rows {
                last = Some(key.value().to_vec());
            }
        }
        let last = if done { None } else { last };
        if let (Some(first), Some(end)) = (doomed.first(), doomed.last()) {
            // One pass over the leaves in between costs a tenth of removing row by row.
            let mut next = doomed.iter().peekable();
            let interval = (Bound::Included(first.as_slice()), Bound::Included(end.as_slice()));
            rows.retain_in::<&[u8], _>(interval, |key, _| next.next_if(|doomed| doomed.as_slice() == key).is_none())?;
        }
        let removed_rows = doomed.len();
        self.swept.push((table, doomed));
        Ok(Sweep { visited_rows, removed_rows, last })
    }

    /// Makes the batch visible, and durable if asked. A [`super::Version`] taken from now on sees it.
    pub fn commit(mut self, durability: Durability) -> Result<(), StorageError> {
        // Not every failed call is an error of redb's.
        self.storage.trouble.check()?;
        let single = self.write_single_rows()?;
        let Batch { transaction, storage, swept, row_bytes, .. } = self;
        let mut transaction = transaction.map_or_else(|| storage.database.begin_write(), Ok)?;
        let mut recorded = storage.recorder.lock();
        match durability {
            Durability::Volatile => {
                transaction.set_durability(redb::Durability::None)?;
                transaction.commit()?;
            }
            Durability::Durable => {
                transaction.set_durability(redb::Durability::Immediate)?;
                transaction.set_two_phase_commit(true);
                transaction.set_quick_repair(true);
                defect::reach(Point::BeforeCommit);
                let start = Instant::now();
                transaction.commit()?;
                defect::reach(Point::AfterCommit);
                storage.metrics.commit_seconds.observe(start.elapsed().as_secs_f64());
            }
        }
        if let Some(changes) = recorded.as_mut() {
            // A row that is set and swept in one batch is gone: nothing does both.
            changes.extend(single);
            for (table, rows) in swept {
                changes.extend(rows.into_iter().map(|row| ((table, row), None)));
            }
        }
        storage.usage.row_bytes.store(row_bytes, Ordering::Relaxed);
        drop(recorded);
        storage.show_sizes();
        Ok(())
    }

    /// Writes what waits for the commit, and with it the sizes. Returns what it was.
    fn write_single_rows(&mut self) -> Result<Changes, StorageError> {
        let single = std::mem::take(&mut self.single);
        let transaction = begun(&mut self.transaction, &self.storage)?;
        // Last, for the sizes are those after all else.
        let others = Table::ALL.into_iter().filter(|table| *table != Table::Meta);
        for table in others.chain([Table::Meta]) {
            let rows = single.range((table, Vec::new())..).take_while(|((of, _), _)| *of == table);
            let mut rows = rows.map(|((_, key), value)| (&key[..], value.as_deref())).peekable();
            if table != Table::Meta && rows.peek().is_none() {
                continue;
            }
            let mut open = transaction.open_table(table.definition())?;
            // Many leases at once have ascending ids.
            let last = if single.len() < MANY_ROWS { None } else { open.last()?.map(|(key, _)| key.value().to_vec()) };
            while let Some((key, value)) = rows.next_if(|(key, _)| last.as_ref().is_none_or(|last| *key <= &last[..])) {
                let replaced = match value {
                    Some(value) => open.insert(key, value)?,
                    None => open.remove(key)?,
                };
                self.row_bytes += value.map_or(0, |value| key.len() + value.len()) as u64;
                self.row_bytes -= replaced.map_or(0, |replaced| key.len() + replaced.value().len()) as u64;
            }
            if rows.peek().is_some() {
                self.row_bytes += append_to(&mut open, table, rows.filter_map(|(key, value)| Some((key, value?))))?;
            }
            if table == Table::Meta {
                let sizes = (self.storage.usage.written_end.load(Ordering::Relaxed), self.row_bytes);
                // The row has a fixed size, so it is not counted: counting would change what it says.
                open.insert(meta::SIZES_KEY, &meta::encode_sizes(sizes)[..])?;
            }
        }
        Ok(single)
    }
}

fn begun<'t>(
    transaction: &'t mut Option<WriteTransaction>,
    storage: &Storage,
) -> Result<&'t mut WriteTransaction, StorageError> {
    Ok(match transaction {
        Some(transaction) => transaction,
        None => {
            defect::reach(Point::BeforeStartDBTxn);
            let begun = transaction.insert(storage.database.begin_write()?);
            defect::reach(Point::AfterStartDBTxn);
            begun
        }
    })
}

/// Returns the bytes of the rows, which are behind the last one and ascend.
fn append_to<'r>(
    open: &mut redb::Table<'_, &'static [u8], &'static [u8]>,
    table: Table,
    rows: impl Iterator<Item = (&'r [u8], &'r [u8])>,
) -> Result<u64, StorageError> {
    let mut bytes = 0;
    let mut cursor = open.upper_bound_mut(Bound::<&[u8]>::Unbounded)?;
    for (key, value) in rows {
        cursor.insert_before(key, value).map_err(|error| match error {
            redb::CursorError::Storage(error) => error.into(),
            // The only other reason, and all there will be in this version of redb.
            _ => StorageError::Unordered { table, row: key.to_vec() },
        })?;
        bytes += (key.len() + value.len()) as u64;
    }
    cursor.close()?;
    Ok(bytes)
}

//! A second file with the same state, made while the first goes on changing (D11). Rows lie there without gaps, so it
//! is as small as it can be.
//!
//! Each step looks at the newest version: it repeats there what has changed among the rows that the copy has, and adds
//! rows that it has not. No version is pinned for longer than a step, so that the first file can go on reusing its
//! pages.
//!
//! Invariant: after a step, what the copy has is what that step's version has up to the same place. Once it has come to
//! the end it is that version, applied index and all ([`Copy::whole_at`]).

use super::changes::Changes;
use super::{Batch, Durability, Metrics, Storage, StorageError, Table, Version, meta};
use crate::defect::{self, Point};
use crate::disk;
use crate::types::LogPosition;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Rows read at once, in bytes of keys and values, about.
const CHUNK_BYTES: usize = 256 * 1024;

/// Why there is no copy.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The state itself cannot be read. Ends the node, as any such failure (D9).
    #[error("read the state: {0}")]
    Source(#[source] StorageError),
    /// The state is as it was; the copy is of no use.
    #[error("write the copy: {0}")]
    Target(#[source] StorageError),
    /// Its rows are not as many bytes as those of the state: it must not take the state's place.
    #[error("the copy has {copied} bytes of rows and the state has {state}")]
    Different { copied: u64, state: u64 },
    #[error("the state is being copied already")]
    Busy,
}

/// What a step has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Keys and values that were added or changed.
    pub copied_bytes: usize,
    /// The copy is what the state was when the step began.
    pub is_whole: bool,
}

/// A copy in the making. Dropped, it leaves the state as it is; the caller removes the file.
#[derive(Debug)]
pub struct Copy {
    source: Storage,
    target: Storage,
    /// The table that comes next, with the last of its rows that was copied; `None` when only the key table is left.
    small: Option<(Table, Option<Vec<u8>>)>,
    /// The last row of the key table that was copied.
    last_key: Option<Vec<u8>>,
    whole_at: Option<LogPosition>,
    durable_at: Option<LogPosition>,
}

impl Drop for Copy {
    fn drop(&mut self) {
        self.source.end_recording();
    }
}

impl Copy {
    /// Begins a copy of `source` in an empty `file`.
    pub fn begin(source: &Storage, file: Arc<dyn disk::File>, cache_bytes: usize) -> Result<Self, CopyError> {
        let target = Storage::create(file, cache_bytes, Metrics::detached()).map_err(CopyError::Target)?;
        if !source.begin_recording() {
            return Err(CopyError::Busy);
        }
        let small = next_small(None).map(|table| (table, None));
        Ok(Self { source: source.clone(), target, small, last_key: None, whole_at: None, durable_at: None })
    }

    /// True if it is a copy of this open file.
    pub fn is_of(&self, storage: &Storage) -> bool {
        Arc::ptr_eq(&self.source.database, &storage.database)
    }

    /// The entry that the copy stands at; `None` while rows are missing.
    pub fn whole_at(&self) -> Option<LogPosition> {
        self.whole_at
    }

    /// The entry that the copy would stand at after a crash; `None` if it would not be whole.
    pub fn durable_at(&self) -> Option<LogPosition> {
        self.durable_at
    }

    /// Changes of rows, beside new rows, that the next step will repeat.
    pub fn waiting_changes(&self) -> usize {
        self.source.waiting_changes()
    }

    /// Goes on for about `budget_bytes`.
    ///
    /// # Errors
    /// After one the copy is of no use.
    pub fn step(&mut self, budget_bytes: usize, durability: Durability) -> Result<Step, CopyError> {
        defect::error_at(Point::DefragdbFail).map_err(|error| CopyError::Target(error.into()))?;
        let (version, changes) = self.source.take_changes().map_err(CopyError::Source)?;
        let mut batch = self.target.begin().map_err(CopyError::Target)?;
        let mut copied_bytes = self.repeat(changes, &mut batch);
        let mut ended = false;
        while !ended && copied_bytes < budget_bytes {
            let (bytes, is_end) = self.copy_chunk(&version, &mut batch)?;
            (copied_bytes, ended) = (copied_bytes + bytes, is_end);
        }
        batch.commit(durability).map_err(CopyError::Target)?;
        self.whole_at = None;
        if ended {
            let meta = version.meta().map_err(CopyError::Source)?;
            let copied = self.target.usage.row_bytes.load(Ordering::Relaxed);
            let (_, state) = meta.sizes;
            if copied != state {
                return Err(CopyError::Different { copied, state });
            }
            self.whole_at = Some(meta.applied);
        }
        if durability == Durability::Durable {
            self.durable_at = self.whole_at;
        }
        Ok(Step { copied_bytes, is_whole: ended })
    }

    /// The finished copy, in place of the state from now on: it counts into the state's metrics. What is left of the
    /// old file is for those who still read it.
    pub fn into_storage(self) -> Storage {
        let storage = Storage { metrics: self.source.metrics.clone(), ..self.target.clone() };
        self.source.retire();
        storage.show_sizes();
        storage
    }

    /// Changes of rows that were not copied yet are seen when they are.
    fn repeat(&self, changes: Changes, batch: &mut Batch) -> usize {
        let mut bytes = 0;
        for ((table, key), value) in changes {
            if !self.has_passed(table, &key) || meta::is_of_the_file(table, &key) {
                continue;
            }
            bytes += key.len() + value.as_ref().map_or(0, Vec::len);
            match value {
                Some(value) => batch.put(table, &key, &value),
                None => batch.remove(table, &key),
            }
        }
        bytes
    }

    fn has_passed(&self, table: Table, key: &[u8]) -> bool {
        let up_to = |last: &Option<Vec<u8>>| last.as_ref().is_some_and(|last| key <= &last[..]);
        match (table, &self.small) {
            (Table::Key, _) => up_to(&self.last_key),
            (_, None) => true,
            (table, Some((next, last))) => table < *next || (table == *next && up_to(last)),
        }
    }

    /// Adds the next rows. Returns their bytes, and whether they were the last.
    fn copy_chunk(&mut self, version: &Version, batch: &mut Batch) -> Result<(usize, bool), CopyError> {
        let (table, after) = match &self.small {
            Some((table, after)) => (*table, after.as_deref()),
            None => (Table::Key, self.last_key.as_deref()),
        };
        let after = after.map_or(Bound::Unbounded, Bound::Excluded);
        let rows = version.chunk(table, after, CHUNK_BYTES).map_err(CopyError::Source)?;
        if table == Table::Meta {
            // Its rows stand among those of the file.
            let of_the_state = rows.iter().filter(|(key, _)| !meta::is_of_the_file(table, key));
            of_the_state.for_each(|(key, value)| batch.put(table, key, value));
        } else {
            let rows = rows.iter().map(|(key, value)| (&key[..], &value[..]));
            batch.append(table, rows).map_err(CopyError::Target)?;
        }
        let bytes = rows.iter().map(|(key, value)| key.len() + value.len()).sum();
        // A chunk ends early only at the end of its table.
        let is_end = bytes < CHUNK_BYTES;
        let last = rows.last().map(|(key, _)| key.to_vec());
        match &mut self.small {
            None => self.last_key = last.or(self.last_key.take()),
            Some((table, _)) if is_end => self.small = next_small(Some(*table)).map(|table| (table, None)),
            Some((_, after)) => *after = last,
        }
        Ok((bytes, is_end && table == Table::Key))
    }
}

/// The small table behind `table`. The key table, which grows at its end, comes last.
fn next_small(table: Option<Table>) -> Option<Table> {
    Table::ALL.into_iter().filter(|next| *next != Table::Key).find(|next| table.is_none_or(|table| *next > table))
}

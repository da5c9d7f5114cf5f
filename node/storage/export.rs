//! The whole state in pieces, for a Raft snapshot, and back into a new file (D10). Memory is bounded by
//! one chunk on either side. Tables come in [`Table::ALL`] order, rows in theirs.

use super::{Batch, Durability, Metrics, Storage, StorageError, Table, Version, meta};
use crate::disk;
use bytes::{Bytes, BytesMut};
use std::ops::{Bound, ControlFlow};
use std::sync::Arc;

/// Some consecutive rows of one table. Every row is a slice of one buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    pub table: Table,
    pub rows: Vec<(Bytes, Bytes)>,
}

/// Iterates over all rows of a version as [`Chunk`]s of about the asked size (at least one row each).
#[derive(Debug)]
pub struct Export {
    version: Version,
    chunk_bytes: usize,
    /// The table that comes next, and the last row of it that was given out.
    next: Option<(Table, Option<Bytes>)>,
}

impl Version {
    /// All of this version, in chunks of about `chunk_bytes`.
    pub fn export(&self, chunk_bytes: usize) -> Export {
        Export { version: self.clone(), chunk_bytes, next: Some((Table::ALL[0], None)) }
    }
}

impl Iterator for Export {
    type Item = Result<Chunk, StorageError>;

    fn next(&mut self) -> Option<Self::Item> {
        while let Some((table, after)) = self.next.take() {
            let from = after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
            match self.version.chunk(table, from, self.chunk_bytes) {
                Err(error) => return Some(Err(error)),
                Ok(rows) => match rows.last().map(|(key, _)| key.clone()) {
                    Some(last) => {
                        self.next = Some((table, Some(last)));
                        return Some(Ok(Chunk { table, rows }));
                    }
                    None => self.next = Table::ALL.into_iter().find(|next| *next > table).map(|next| (next, None)),
                },
            }
        }
        None
    }
}

impl Version {
    /// Rows from a place on, of together `chunk_bytes` or just over; fewer only at the end of the table.
    pub(super) fn chunk(
        &self,
        table: Table,
        from: Bound<&[u8]>,
        chunk_bytes: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, StorageError> {
        let mut data = BytesMut::with_capacity(chunk_bytes);
        let mut lengths = Vec::new();
        self.scan::<StorageError>(table, (from, Bound::Unbounded), |key, value| {
            data.extend_from_slice(key);
            data.extend_from_slice(value);
            lengths.push((key.len(), value.len()));
            Ok(if data.len() < chunk_bytes { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
        })?;
        let mut data = data.freeze();
        Ok(lengths.into_iter().map(|(key, value)| (data.split_to(key), data.split_to(value))).collect())
    }
}

/// Writes chunks into a new file. Nothing of it counts before [`Import::finish`].
#[derive(Debug)]
pub struct Import {
    storage: Storage,
    batch: Batch,
}

impl Import {
    /// Starts in an empty `file`.
    pub fn new(file: Arc<dyn disk::File>, cache_bytes: usize, metrics: Metrics) -> Result<Self, StorageError> {
        let storage = Storage::create(file, cache_bytes, metrics)?;
        let batch = storage.begin()?;
        Ok(Self { storage, batch })
    }

    /// Takes the next chunk of an export. Rows must ascend within a table.
    pub fn push(&mut self, chunk: &Chunk) -> Result<(), StorageError> {
        if chunk.table == Table::Meta {
            for (key, value) in chunk.rows.iter().filter(|(key, _)| !meta::is_of_the_file(Table::Meta, key)) {
                self.batch.put(Table::Meta, key, value);
            }
            return Ok(());
        }
        self.batch.append(chunk.table, chunk.rows.iter().map(|(key, value)| (key.as_ref(), value.as_ref())))
    }

    /// Makes all of it durable. The caller renames the file into place and syncs the directory.
    pub fn finish(self) -> Result<Storage, StorageError> {
        self.batch.commit(Durability::Durable)?;
        Ok(self.storage)
    }
}

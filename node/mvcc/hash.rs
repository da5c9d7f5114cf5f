//! etcd's hashes, to the number (`server/storage/mvcc/hash.go`, `backend.go`): members compare them to find
//! corruption, and operators compare them with those of an exported file.

use super::key_index::KeyIndex;
use super::query::ReadError;
use super::record::Record;
use super::revision::{RowKey, end_of};
use super::view::{View, parse_row_key};
use crate::storage::{StorageError, Table, is_own_row};
use std::ops::{Bound, ControlFlow};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Hashes of compactions kept, as in etcd.
const MAX_KEPT: usize = 10;

/// The hash of the key table up to a revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KvHash {
    /// CRC-32C.
    pub hash: u32,
    /// The compact revision that the hash was made for: only hashes with the same one can be compared.
    pub compact_revision: i64,
    pub hash_revision: i64,
}

/// The newest hashes that compactions made on their way.
#[derive(Debug, Default)]
pub(super) struct CompactionHashes(Mutex<Vec<KvHash>>);

impl CompactionHashes {
    pub(super) fn keep(&self, hash: KvHash) {
        let mut kept = self.lock();
        kept.push(hash);
        kept.sort_by_key(|kept| kept.hash_revision);
        let surplus = kept.len().saturating_sub(MAX_KEPT);
        kept.drain(..surplus);
    }

    /// That of a compaction at `revision`. Zero asks for the current revision, though etcd takes it for the revision
    /// as soon as anybody has compacted at zero, and from then on sees no difference between its members.
    fn of(&self, revision: i64) -> Option<KvHash> {
        if revision == 0 {
            return None;
        }
        self.lock().iter().find(|kept| kept.hash_revision == revision).copied()
    }

    pub(super) fn all(&self) -> Vec<KvHash> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<KvHash>> {
        // A panic ends the process, so a poisoned lock is never seen.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes rows in order, and skips those that a member which compacted earlier or later may not have.
#[derive(Clone, Debug)]
pub(super) struct KvHasher {
    crc: u32,
    compact_revision: i64,
    hash_revision: i64,
    /// etcd skips nothing if its set of rows to keep is empty.
    keeps_any: bool,
}

impl KvHasher {
    pub(super) fn new(compact_revision: i64, hash_revision: i64, keeps_any: bool) -> Self {
        let crc = crc32c::crc32c(Table::Key.name().as_bytes());
        Self { crc, compact_revision, hash_revision, keeps_any }
    }

    /// True if only rows that are kept count from here down.
    pub(super) fn asks_for(&self, key: &RowKey) -> bool {
        self.keeps_any && key.revision().main <= self.compact_revision
    }

    /// `kept` matters only for rows that the hasher asks for.
    pub(super) fn write(&mut self, key: &RowKey, row: &[u8], kept: bool) {
        let main = key.revision().main;
        let skipped = main > self.hash_revision
            || (self.asks_for(key) && !kept)
            || (main == self.compact_revision && key.is_tombstone());
        if !skipped {
            self.crc = crc32c::crc32c_append(self.crc, key.as_bytes());
            self.crc = crc32c::crc32c_append(self.crc, row);
        }
    }

    pub(super) fn finish(&self) -> KvHash {
        KvHash { hash: self.crc, compact_revision: self.compact_revision, hash_revision: self.hash_revision }
    }
}

impl View {
    /// The hash of all revisions up to `revision` (zero: the current). Reads the whole table: not for the
    /// runtime's thread. A compaction's hash is given again as it was, with its own compact revision.
    pub fn hash_kv(&self, revision: i64) -> Result<KvHash, ReadError> {
        if let Some(kept) = self.shared.hashes.of(revision) {
            return Ok(kept);
        }
        let start = Instant::now();
        let hash_revision = match revision {
            0 => self.revision,
            compacted if compacted > 0 && compacted < self.compacted => {
                return Err(ReadError::Compacted { compacted: self.compacted });
            }
            future if future > self.revision => return Err(ReadError::FutureRevision { current: self.revision }),
            revision => revision,
        };
        let keeps_any = self.index.keeps_any_at(hash_revision, |change| !change.tombstone);
        let mut hasher = KvHasher::new(self.compacted, hash_revision, keeps_any);
        let end = end_of(hash_revision);
        self.scan(Table::Key, (Bound::Unbounded, Bound::Excluded(&end[..])), |row_key, row| {
            let key = parse_row_key(row_key)?;
            let kept =
                hasher.asks_for(&key) && is_newest(&self.index, &key, row, hash_revision)? && !key.is_tombstone();
            hasher.write(&key, row, kept);
            Ok::<_, StorageError>(ControlFlow::Continue(()))
        })?;
        self.shared.metrics.hash_revision_seconds.observe(start.elapsed().as_secs_f64());
        Ok(hasher.finish())
    }

    /// The hashes of the last compactions, oldest first.
    pub fn compaction_hashes(&self) -> Vec<KvHash> {
        self.shared.hashes.all()
    }

    /// The hash of all tables, for tests: members differ in it even when healthy. Our own rows are left out.
    pub fn hash(&self) -> Result<u32, StorageError> {
        const IGNORED: [&[u8]; 3] = [b"consistent_index", b"term", b"storageVersion"];
        let start = Instant::now();
        let mut crc = 0;
        for table in Table::ALL {
            crc = crc32c::crc32c_append(crc, table.name().as_bytes());
            self.scan::<StorageError>(table, (Bound::Unbounded, Bound::Unbounded), |key, value| {
                let ignored = (table == Table::Meta && IGNORED.contains(&key)) || is_own_row(table, key);
                if !ignored {
                    crc = crc32c::crc32c_append(crc, key);
                    crc = crc32c::crc32c_append(crc, value);
                }
                Ok(ControlFlow::Continue(()))
            })?;
        }
        self.shared.metrics.hash_seconds.observe(start.elapsed().as_secs_f64());
        Ok(crc)
    }
}

/// True if the row holds the last change of its key up to `revision`.
pub(super) fn is_newest(index: &KeyIndex, key: &RowKey, row: &[u8], revision: i64) -> Result<bool, StorageError> {
    let record = Record::parse(row)
        .ok_or_else(|| StorageError::Malformed { table: Table::Key, row: key.as_bytes().to_vec() })?;
    Ok(index.last_at(record.key, revision).is_some_and(|change| change.revision() == key.revision()))
}

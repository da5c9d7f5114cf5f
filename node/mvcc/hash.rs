//! etcd's hashes, to the number (`server/storage/mvcc/hash.go`, `backend.go`): members compare them to find
//! corruption, and operators compare them with those of an exported file.

use super::key_index::KeyIndex;
use super::query::ReadError;
use super::record::Record;
use super::revision::{RowKey, end_of};
use super::store::{FINISHED_KEY, compact_mark};
use super::view::{View, parse_row_key};
use crate::storage::{StorageError, Table, is_own_row};
use std::ops::{Bound, ControlFlow};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

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
    /// False if a member that holds the same may have another hash for the same two revisions: where no key is left to
    /// be kept, etcd counts rows that a compaction is about to remove, and a compaction counts its own tombstone as kept.
    pub is_comparable: bool,
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
    /// See [`KvHash`].
    pub(super) is_comparable: bool,
}

impl KvHasher {
    pub(super) fn new(compact_revision: i64, hash_revision: i64, keeps_any: bool) -> Self {
        let crc = crc32c::crc32c(Table::Key.name().as_bytes());
        Self { crc, compact_revision, hash_revision, keeps_any, is_comparable: true }
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
        let Self { crc, compact_revision, hash_revision, is_comparable, .. } = *self;
        KvHash { hash: crc, compact_revision, hash_revision, is_comparable }
    }
}

/// A hash in the making, for whoever must not keep others waiting. It pins its view.
#[derive(Debug)]
pub struct Hashing {
    view: Arc<View>,
    hasher: KvHasher,
    /// Rows behind this one are still to come.
    after: Option<Vec<u8>>,
    took: Duration,
}

impl Hashing {
    /// Goes on for about so many bytes of rows, and gives the hash at the end. Not for the runtime's thread.
    pub fn slice(&mut self, budget_bytes: usize) -> Result<Option<KvHash>, StorageError> {
        let start = Instant::now();
        self.after = self.view.hash_rows(&mut self.hasher, self.after.as_deref(), budget_bytes)?;
        self.took += start.elapsed();
        if self.after.is_some() {
            return Ok(None);
        }
        self.view.shared.metrics.hash_revision_seconds.observe(self.took.as_secs_f64());
        Ok(Some(self.hasher.finish()))
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
        let mut hasher = self.hasher(revision)?;
        self.hash_rows(&mut hasher, None, usize::MAX)?;
        self.shared.metrics.hash_revision_seconds.observe(start.elapsed().as_secs_f64());
        Ok(hasher.finish())
    }

    /// Begins what [`Self::hash_kv`] does in one go, but that a compaction's hash is not given again: see
    /// [`Self::compaction_hash`].
    pub fn hashing(self: &Arc<Self>, revision: i64) -> Result<Hashing, ReadError> {
        let hasher = self.hasher(revision)?;
        Ok(Hashing { view: Arc::clone(self), hasher, after: None, took: Duration::ZERO })
    }

    fn hasher(&self, revision: i64) -> Result<KvHasher, ReadError> {
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
        let is_settled = || Ok::<_, StorageError>(compact_mark(&self.version, FINISHED_KEY)? >= Some(self.compacted));
        hasher.is_comparable = keeps_any || self.compacted < 0 || is_settled()?;
        Ok(hasher)
    }

    /// Shows the hasher rows from behind `after` on, for about so many bytes. Returns where to go on, if not at the end.
    fn hash_rows(
        &self,
        hasher: &mut KvHasher,
        after: Option<&[u8]>,
        budget_bytes: usize,
    ) -> Result<Option<Vec<u8>>, StorageError> {
        let hash_revision = hasher.hash_revision;
        let end = end_of(hash_revision);
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let (mut bytes, mut last) = (0_usize, None);
        self.scan(Table::Key, (from, Bound::Excluded(&end[..])), |row_key, row| {
            let key = parse_row_key(row_key)?;
            let kept =
                hasher.asks_for(&key) && is_newest(&self.index, &key, row, hash_revision)? && !key.is_tombstone();
            hasher.write(&key, row, kept);
            bytes = bytes.saturating_add(row_key.len() + row.len());
            if bytes < budget_bytes {
                return Ok::<_, StorageError>(ControlFlow::Continue(()));
            }
            last = Some(row_key.to_vec());
            Ok(ControlFlow::Break(()))
        })?;
        Ok(last)
    }

    /// The hash that a compaction at `revision` made, if it is one of the last.
    pub fn compaction_hash(&self, revision: i64) -> Option<KvHash> {
        self.shared.hashes.of(revision)
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

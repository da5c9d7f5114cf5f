//! An import that nobody starts on, and whether the keys of its state are those of the database that it was made of: the
//! HashKV of both, each read by itself.

use super::source::row_of;
use super::{Imported, Places, Tools, build};
use crate::backup::bolt::Database;
use crate::disk::{Disk, RealDisk};
use crate::mvcc::{self, KvHash, RowKey, ShowRow, Store, compacted_of, hash_rows};
use crate::storage::{self, Storage, StorageError, Table};
use crate::types::OnProgress;
use crate::wal;
use anyhow::Context;
use prometheus::Registry;
use std::path::Path;
use std::sync::Arc;

const CACHE_BYTES: usize = 32 << 20;
/// The log is thrown away: no room is held for it.
const SEGMENT_BYTES: u64 = 1 << 20;

/// What came of a rehearsal.
#[derive(Clone, Debug)]
pub struct Rehearsed {
    pub imported: Imported,
    /// Of etcd's database, and of what was made of it.
    pub theirs: KvHash,
    pub ours: KvHash,
}

/// Imports what lies in `from` into the empty folder `scratch`, and compares. `from` is only read.
///
/// # Errors
/// Why it cannot be taken over.
pub fn rehearse(from: &Places, scratch: &Path, on_progress: OnProgress<'_>) -> anyhow::Result<Rehearsed> {
    let registry = Registry::new();
    let wal_metrics = wal::Metrics::register(&registry).context("register metrics")?;
    let storage_metrics = storage::Metrics::register(&registry).context("register metrics")?;
    let mvcc_metrics = mvcc::Metrics::register(&registry).context("register metrics")?;
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let tools = Tools {
        disk: &disk,
        segment_bytes: SEGMENT_BYTES,
        cache_bytes: CACHE_BYTES,
        wal_metrics: &wal_metrics,
        storage_metrics: &storage_metrics,
    };
    let state = scratch.join("state.redb");
    let imported = build(&tools, from, (&state, &scratch.join("wal")), on_progress)?;
    let theirs = hash_of_database(&*disk, &imported.database)?;
    let ours = hash_of_state(&*disk, &state, (CACHE_BYTES, storage_metrics), mvcc_metrics)?;
    Ok(Rehearsed { imported, theirs, ours })
}

/// At the current revision. Reads the file thrice.
fn hash_of_database(disk: &dyn Disk, path: &Path) -> anyhow::Result<KvHash> {
    let hash = || -> anyhow::Result<KvHash> {
        let file = disk.open_to_read(path)?;
        let len = file.len()?;
        let database = Database::open(file, len)?;
        let buckets = database.buckets()?;
        let keys = buckets.iter().find(|bucket| bucket.name == Table::Key.name());
        let marks = [b"scheduledCompactRev".as_slice(), b"finishedCompactRev"]
            .map(|mark| row_of(&database, Table::Meta, mark).map(|row| (mark, row)));
        let marks = marks.into_iter().collect::<anyhow::Result<Vec<_>>>()?;
        let mark = |key: &[u8]| marks.iter().find(|(mark, _)| *mark == key).and_then(|(_, row)| row.clone());
        let compacted = compacted_of(mark)?;
        let scan = |show: ShowRow<'_, anyhow::Error>| {
            let Some(keys) = keys else { return Ok(()) };
            for row in database.rows(keys)? {
                let (key, value) = row?;
                show(&key, &value)?;
            }
            Ok(())
        };
        let mut last_main = 0;
        scan(&mut |key, _| {
            last_main = RowKey::parse(key).map_or(last_main, |key| key.revision().main);
            Ok(())
        })?;
        hash_rows::<anyhow::Error>((last_main.max(compacted).max(1), compacted), scan)
    };
    hash().with_context(|| format!("hash {}", path.display()))
}

/// At the current revision.
fn hash_of_state(
    disk: &dyn Disk,
    path: &Path,
    (cache_bytes, metrics): (usize, storage::Metrics),
    mvcc_metrics: mvcc::Metrics,
) -> anyhow::Result<KvHash> {
    let open = || -> Result<Store, StorageError> {
        let storage = Storage::open(disk.open(path)?, cache_bytes, metrics)?;
        Ok(Store::open(storage, mvcc_metrics)?.store)
    };
    let store = open().with_context(|| format!("open {}", path.display()))?;
    Ok(store.views().load().hash_kv(0)?)
}

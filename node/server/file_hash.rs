//! The hash of the keys in a file that nobody serves: a database of etcd, or a state file of ours. It is read as a member reads
//! its state, from a scratch file that has no name, so that the file is not touched (etcd's tool opens it to write).

use super::bootstrap::{LOCK_FILE, is_there, try_lock};
use crate::backup::bolt::Database;
use crate::backup::{self, Loaded};
use crate::disk::{Disk, File, RealDisk, open_to_read};
use crate::mvcc::{self, KvHash, Store};
use crate::storage::{self, Import, Storage, is_state_file};
use anyhow::Context;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// What redb may keep of the scratch file in memory.
const CACHE_BYTES: usize = 32 << 20;
const COPY_BYTES: u64 = 1 << 20;

/// The hash of all revisions up to `revision`; zero asks for the newest.
///
/// # Errors
/// In the words of etcd's tool for a revision that is not there. The file cannot be read, or a member has it open.
pub fn hash_kv_of_file(path: &Path, revision: i64) -> anyhow::Result<KvHash> {
    let file = open_to_read(path)?;
    let scratch = scratch_file().context("make a scratch file")?;
    let metrics = storage::Metrics::detached();
    let storage = if is_state_file(file.as_ref())? {
        let _lock = lock_beside(path)?;
        copy(file.as_ref(), scratch.as_ref())?;
        Storage::open(scratch, CACHE_BYTES, metrics)?
    } else {
        let (bytes, _) = backup::database_bytes(file.len()?);
        let database = Database::open(file, bytes)?;
        let Loaded { storage, .. } = backup::load(&database, Import::new(scratch, CACHE_BYTES, metrics)?, &[])?;
        storage
    };
    let metrics = mvcc::Metrics::register(&prometheus::Registry::new()).context("register metrics")?;
    let store = Store::open(storage, metrics)?.store;
    Ok(store.views().load().hash_kv(revision)?)
}

/// Gone with the process.
fn scratch_file() -> io::Result<Arc<dyn File>> {
    let path = std::env::temp_dir().join(format!("keelstone-hashkv-{}", std::process::id()));
    if RealDisk.exists(&path)? {
        RealDisk.remove_file(&path)?;
    }
    let file = RealDisk.create(&path)?;
    RealDisk.remove_file(&path)?;
    Ok(file)
}

/// A copy of a file that changes is no state.
fn lock_beside(path: &Path) -> anyhow::Result<Option<Box<dyn crate::disk::DiskLock>>> {
    let lock = path.with_file_name(LOCK_FILE);
    if !is_there(&RealDisk, &lock)? {
        return Ok(None);
    }
    let in_use = || format!("{} is in use by another process", path.display());
    try_lock(&RealDisk, &lock)?.with_context(in_use).map(Some)
}

fn copy(from: &dyn File, to: &dyn File) -> io::Result<()> {
    let (len, mut offset, mut buffer) = (from.len()?, 0, vec![0; COPY_BYTES as usize]);
    while offset < len {
        let part = &mut buffer[..(len - offset).min(COPY_BYTES) as usize];
        from.read_at(offset, part)?;
        to.write_at(offset, part)?;
        offset += part.len() as u64;
    }
    Ok(())
}

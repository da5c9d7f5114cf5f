//! Work on a data directory that no server has: its lock, its state file, and a copy of that without gaps.

use super::bootstrap::{LOCK_FILE, STATE_FILE, is_there, try_lock};
use crate::config::go_io_error;
use crate::disk::{Disk, DiskLock, RealDisk, parent_of};
use crate::raft::{self, Shrunk};
use crate::storage::{self, Copy, Durability, Storage};
use crate::types::OnProgress;
use anyhow::{Context, anyhow, bail};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Copied by one commit.
const SLICE_BYTES: usize = 64 << 20;
/// What redb may keep of a file in memory.
const CACHE_BYTES: usize = 64 << 20;
/// Kept free on the disk beside the copy.
const RESERVE_BYTES: u64 = 1 << 20;
/// Between looks whether the directory is free.
const LOCK_POLL: Duration = Duration::from_millis(50);

/// An open state file, and the lock of its directory.
#[derive(Debug)]
pub struct Offline {
    pub storage: Storage,
    path: PathBuf,
    /// Dropped last.
    _lock: Box<dyn DiskLock>,
}

impl Offline {
    /// Opens the state of a data directory. Waits for its lock for `patience`; zero: without end (etcdutl `--timeout`).
    ///
    /// # Errors
    /// There is no state; a server has it for longer; it cannot be read.
    pub fn open(data_dir: &Path, patience: Duration) -> anyhow::Result<Self> {
        let member_dir = data_dir.join("member");
        let path = member_dir.join(STATE_FILE);
        std::fs::metadata(&path).map_err(|error| anyhow!("stat {}: {}", path.display(), go_io_error(&error)))?;
        let lock = lock_within(&member_dir, patience)?;
        let file = RealDisk.open(&path).with_context(|| format!("open {}", path.display()))?;
        let storage = Storage::open(file, CACHE_BYTES, storage::Metrics::detached())
            .with_context(|| format!("open {}", path.display()))?;
        Ok(Self { storage, path, _lock: lock })
    }

    /// Puts a copy without gaps in the place of the state file.
    ///
    /// # Errors
    /// The state is as it was.
    pub fn defragment(self, on_progress: OnProgress<'_>) -> anyhow::Result<()> {
        let done = defragment(&RealDisk, &self.path, self.storage, CACHE_BYTES, on_progress);
        done.map(drop).map_err(|(error, _)| error)
    }
}

fn lock_within(member_dir: &Path, patience: Duration) -> anyhow::Result<Box<dyn DiskLock>> {
    let begun = Instant::now();
    loop {
        if let Some(lock) = try_lock(&RealDisk, &member_dir.join(LOCK_FILE))? {
            return Ok(lock);
        }
        if !patience.is_zero() && begun.elapsed() >= patience {
            bail!("timeout: {} is in use by a server", member_dir.display());
        }
        std::thread::sleep(LOCK_POLL);
    }
}

/// Copies an open state into a file beside it, and renames that over it. A crash leaves the one or the other, which hold
/// the same. Answers the copy, open.
///
/// # Errors
/// Why there is none, and the state as it was.
pub fn defragment(
    disk: &dyn Disk,
    path: &Path,
    storage: Storage,
    cache_bytes: usize,
    on_progress: OnProgress<'_>,
) -> Result<Storage, (anyhow::Error, Storage)> {
    let (begun, before) = (Instant::now(), storage.stats());
    raft::say_defragmenting(path, before);
    let beside = path.with_extension(raft::COPIED);
    let folder = parent_of(path);
    let copied = make_copy(disk, folder, &beside, &storage, cache_bytes, on_progress).and_then(|copy| {
        disk.rename(&beside, path).with_context(|| format!("rename to {}", path.display()))?;
        Ok(copy)
    });
    match copied {
        Ok(copy) => {
            // From here on nothing may reach the old file.
            let copy = copy.into_storage();
            match disk.sync_dir(folder).with_context(|| format!("sync {}", folder.display())) {
                Ok(()) => {
                    raft::say_defragmented(path, &Shrunk { before, after: copy.stats() }, begun.elapsed());
                    Ok(copy)
                }
                Err(error) => Err((error, copy)),
            }
        }
        Err(error) => match remove_if_there(disk, &beside) {
            Ok(()) => Err((error, storage)),
            Err(left) => Err((left.context(error), storage)),
        },
    }
}

fn make_copy(
    disk: &dyn Disk,
    folder: &Path,
    beside: &Path,
    storage: &Storage,
    cache_bytes: usize,
    on_progress: OnProgress<'_>,
) -> anyhow::Result<Copy> {
    let in_use_bytes = storage.stats().in_use_bytes;
    // Rows of a fresh file take a little more than they do in the estimate.
    let needed = in_use_bytes + in_use_bytes / 4 + RESERVE_BYTES;
    let available = disk.available_bytes(folder).context("ask for the room that the disk has")?;
    if available < needed {
        bail!("defragmenting needs {needed} bytes for a copy of the state, and the disk has {available}");
    }
    remove_if_there(disk, beside)?;
    let file = disk.create(beside).with_context(|| format!("create {}", beside.display()))?;
    let mut copy = Copy::begin(storage, file, cache_bytes)?;
    let mut done = 0;
    loop {
        let step = copy.step(SLICE_BYTES, Durability::Durable)?;
        done += step.copied_bytes as u64;
        on_progress(done.min(in_use_bytes), in_use_bytes);
        if step.is_whole {
            return Ok(copy);
        }
    }
}

fn remove_if_there(disk: &dyn Disk, path: &Path) -> anyhow::Result<()> {
    if is_there(disk, path)? {
        disk.remove_file(path).with_context(|| format!("remove {}", path.display()))?;
    }
    Ok(())
}

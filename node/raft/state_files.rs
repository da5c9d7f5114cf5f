//! Where a received snapshot becomes the state file.

use crate::disk::Disk;
use crate::storage::{self, Import, StorageError};
use crate::threads::Threads;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The folder of the state file, and how files in it are made.
#[derive(Debug)]
pub struct StateFiles {
    disk: Arc<dyn Disk>,
    /// The live state file.
    path: PathBuf,
    cache_bytes: usize,
    metrics: storage::Metrics,
    /// Where whole states are read and written.
    pub threads: Threads,
}

impl StateFiles {
    pub fn new(
        disk: Arc<dyn Disk>,
        path: PathBuf,
        cache_bytes: usize,
        metrics: storage::Metrics,
        threads: Threads,
    ) -> Self {
        Self { disk, path, cache_bytes, metrics, threads }
    }

    /// Begins a file beside the live one; what an earlier attempt left is removed.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn begin_import(&self) -> Result<(PathBuf, Import), StorageError> {
        let path = self.path.with_extension("redb.received");
        if self.disk.exists(&path)? {
            self.disk.remove_file(&path)?;
        }
        let file = self.disk.create(&path)?;
        Ok((path, Import::new(file, self.cache_bytes, self.metrics.clone())?))
    }

    /// Puts a durable file in the place of the live one, durably.
    ///
    /// # Errors
    /// The rename or the sync of the folder failed.
    pub fn put_in_place(&self, received: &Path) -> io::Result<()> {
        self.disk.rename(received, &self.path)?;
        self.disk.sync_dir(self.path.parent().unwrap_or(Path::new(".")))
    }
}

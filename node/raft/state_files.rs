//! Where a received snapshot becomes the state file.

use crate::defect::{self, Defect};
use crate::disk::Disk;
use crate::storage::{self, Import, StorageError};
use crate::threads::Threads;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Instead of the state file's extension while it is received.
pub const RECEIVED: &str = "redb.received";

/// Ends the node: a file of it cannot be read or written (DESIGN D9). What comes after counts for nothing.
pub type OnFatal = Arc<dyn Fn(&dyn std::error::Error) + Send + Sync>;

/// The place beside the live file, where a state is received, and the right to it: one has it from its first row until
/// it is installed or given up. That its sender gave up is not enough: what is whole may still be installed.
#[derive(Debug)]
pub struct ReceivedFile {
    path: PathBuf,
    _only_one: OwnedSemaphorePermit,
}

impl ReceivedFile {
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// The folder of the state file, and how files in it are made. Whatever fails here ends the node.
pub struct StateFiles {
    disk: Arc<dyn Disk>,
    /// The live state file.
    path: PathBuf,
    /// One receives at a time: that fills a disk, and there is one name for it.
    receiving: Arc<Semaphore>,
    cache_bytes: usize,
    metrics: storage::Metrics,
    /// Where whole states are read and written.
    pub threads: Threads,
    on_fatal: OnFatal,
}

/// A file of the state could not be read or written. The node ends because of it.
#[derive(Debug, thiserror::Error)]
#[error("{action} {path}: {cause}", path = path.display())]
pub struct StateFileError {
    action: &'static str,
    path: PathBuf,
    cause: StorageError,
}

impl fmt::Debug for StateFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StateFiles").field("path", &self.path).finish_non_exhaustive()
    }
}

impl StateFiles {
    pub fn new(
        disk: Arc<dyn Disk>,
        path: PathBuf,
        cache_bytes: usize,
        metrics: storage::Metrics,
        threads: Threads,
        on_fatal: OnFatal,
    ) -> Self {
        Self { disk, path, receiving: Arc::new(Semaphore::new(1)), cache_bytes, metrics, threads, on_fatal }
    }

    /// The live state file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Passes on what was done with a file of the state; an error ends the node.
    ///
    /// # Errors
    /// That of `done`.
    pub fn check<R>(
        &self,
        action: &'static str,
        path: &Path,
        done: Result<R, impl Into<StorageError>>,
    ) -> Result<R, StateFileError> {
        done.map_err(|cause| {
            let error = StateFileError { action, path: path.to_owned(), cause: cause.into() };
            (self.on_fatal)(&error);
            error
        })
    }

    /// Begins a file beside the live one; what an earlier attempt left is removed. `None` while another one is there.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn begin_import(&self) -> Result<Option<(ReceivedFile, Import)>, StateFileError> {
        let Ok(only_one) = Arc::clone(&self.receiving).try_acquire_owned() else { return Ok(None) };
        let path = self.path.with_extension(RECEIVED);
        if self.check("look for", &path, self.disk.exists(&path))? {
            self.check("remove", &path, self.disk.remove_file(&path))?;
        }
        let file = self.check("create", &path, self.disk.create(&path))?;
        let import = Import::new(file, self.cache_bytes, self.metrics.clone());
        let import = self.check("create", &path, import)?;
        Ok(Some((ReceivedFile { path, _only_one: only_one }, import)))
    }

    /// Puts a durable file in the place of the live one, durably.
    ///
    /// # Errors
    /// The rename or the sync of the folder failed.
    pub fn put_in_place(&self, received: ReceivedFile) -> Result<(), StateFileError> {
        self.check("rename to", &self.path, self.disk.rename(&received.path, &self.path))?;
        if defect::on(Defect::ReceivedStateNotSynced) {
            return Ok(());
        }
        let folder = self.path.parent().unwrap_or(Path::new("."));
        self.check("sync", folder, self.disk.sync_dir(folder))
    }
}

impl From<StateFileError> for io::Error {
    fn from(error: StateFileError) -> Self {
        io::Error::other(error)
    }
}

//! Where a received snapshot, or a copy without gaps, becomes the state file.

use crate::defect::{self, Defect, Point};
use crate::disk::{Disk, parent_of};
use crate::storage::{self, Copy, CopyError, Import, Storage, StorageError};
use crate::threads::Threads;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Instead of the state file's extension while it is received.
pub const RECEIVED: &str = "redb.received";

/// The same while it is copied to be defragmented.
pub const COPIED: &str = "redb.defrag";

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

    /// The place for a copy of the state, as soon as no other file is made beside the live one.
    pub async fn place_for_copy(&self) -> Option<ReceivedFile> {
        let only_one = Arc::clone(&self.receiving).acquire_owned().await.ok()?;
        Some(ReceivedFile { path: self.path.with_extension(COPIED), _only_one: only_one })
    }

    /// Begins a copy of the open state file there.
    ///
    /// # Errors
    /// The file cannot be made. The state is as it was.
    pub fn begin_copy(&self, of: &Storage, place: &ReceivedFile) -> Result<Copy, CopyError> {
        let room = defect::error_at(Point::DefragOpenFileError).and_then(|()| self.remove_copy(place));
        let created = room.and_then(|()| self.disk.create(&place.path));
        let file = created.map_err(|error| CopyError::Target(error.into()))?;
        Copy::begin(of, file, self.cache_bytes)
    }

    /// Removes a copy, if there is one.
    ///
    /// # Errors
    /// It is there and stays.
    pub fn remove_copy(&self, place: &ReceivedFile) -> io::Result<()> {
        if self.disk.exists(&place.path)? { self.disk.remove_file(&place.path) } else { Ok(()) }
    }

    /// Bytes that files beside the state may take.
    ///
    /// # Errors
    /// The system does not say.
    pub fn available_bytes(&self) -> io::Result<u64> {
        self.disk.available_bytes(self.folder())
    }

    pub fn metrics(&self) -> &storage::Metrics {
        &self.metrics
    }

    fn folder(&self) -> &Path {
        parent_of(&self.path)
    }

    /// Puts a durable file in the place of the live one, durably.
    ///
    /// # Errors
    /// The rename or the sync of the folder failed.
    pub fn put_in_place(&self, received: &ReceivedFile) -> Result<(), StateFileError> {
        self.rename_into_place(received)?;
        if defect::on(Defect::ReceivedStateNotSynced) {
            return Ok(());
        }
        self.sync_folder()
    }

    /// The first half of [`Self::put_in_place`]: a crash may find either file.
    ///
    /// # Errors
    /// The rename failed.
    pub fn rename_into_place(&self, beside: &ReceivedFile) -> Result<(), StateFileError> {
        self.check("rename to", &self.path, self.disk.rename(&beside.path, &self.path))
    }

    /// The second half.
    ///
    /// # Errors
    /// The sync of the folder failed.
    pub fn sync_folder(&self) -> Result<(), StateFileError> {
        self.check("sync", self.folder(), self.disk.sync_dir(self.folder()))
    }
}

impl From<StateFileError> for io::Error {
    fn from(error: StateFileError) -> Self {
        io::Error::other(error)
    }
}

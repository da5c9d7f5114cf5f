//! Work on files that the writer does not wait for: the next segment is made ahead of its use, and segments that
//! are not needed any more are deleted.

use super::error::WalError;
use crate::disk::{Disk, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

/// How such work is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Background {
    /// On a thread that lives as long as the work.
    Threads,
    /// At once, by the caller; in simulations.
    Inline,
}

/// Work in progress or its result.
#[derive(Debug)]
enum Task<T> {
    Running(JoinHandle<Result<T, WalError>>),
    Done(Result<T, WalError>),
}

impl<T: Send + 'static> Task<T> {
    fn start(background: Background, work: impl FnOnce() -> Result<T, WalError> + Send + 'static) -> Self {
        match background {
            Background::Inline => Task::Done(work()),
            Background::Threads => {
                let spawned = thread::Builder::new().name("wal-files".into()).spawn(work);
                let failed = |source| {
                    Err(WalError::Io { action: "start a thread for log files in", path: PathBuf::new(), source })
                };
                spawned.map_or_else(|source| Task::Done(failed(source)), Task::Running)
            }
        }
    }

    fn is_done(&self) -> bool {
        match self {
            Task::Running(thread) => thread.is_finished(),
            Task::Done(_) => true,
        }
    }

    fn wait(self) -> Result<T, WalError> {
        match self {
            Task::Done(result) => result,
            Task::Running(thread) => thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
        }
    }
}

/// An empty, preallocated file that waits to become a segment.
#[derive(Debug)]
pub(crate) struct Spare {
    pub(crate) path: PathBuf,
    pub(crate) file: Arc<dyn File>,
}

/// Makes spares and deletes old files.
#[derive(Debug)]
pub(crate) struct Preparer {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    segment_bytes: u64,
    background: Background,
    /// Spares alternate between two names: one may be renamed while the next is made.
    made: u64,
    spare: Option<Task<Spare>>,
    deletion: Option<Task<()>>,
}

impl Preparer {
    /// Begins to make the first spare. Spares that an earlier process left must be gone.
    pub(crate) fn start(disk: Arc<dyn Disk>, dir: &Path, segment_bytes: u64, background: Background) -> Self {
        let mut preparer =
            Self { disk, dir: dir.to_owned(), segment_bytes, background, made: 0, spare: None, deletion: None };
        preparer.make_spare();
        preparer
    }

    /// The spare, waiting for it if need be; the next one is then begun by [`Self::make_spare`].
    pub(crate) fn take_spare(&mut self) -> Result<Spare, WalError> {
        match self.spare.take().map(Task::wait) {
            Some(Ok(spare)) => Ok(spare),
            // Perhaps there was no space then and is now.
            Some(Err(_)) | None => make_spare(&*self.disk, &self.dir, self.made, self.segment_bytes),
        }
    }

    pub(crate) fn make_spare(&mut self) {
        self.made += 1;
        let (disk, dir, number, bytes) = (self.disk.clone(), self.dir.clone(), self.made, self.segment_bytes);
        self.spare = Some(Task::start(self.background, move || make_spare(&*disk, &dir, number, bytes)));
    }

    /// True while files are being deleted.
    pub(crate) fn is_deleting(&self) -> bool {
        self.deletion.as_ref().is_some_and(|task| !task.is_done())
    }

    /// Deletes `paths` in this order. Reports an error of the deletion before.
    pub(crate) fn delete(&mut self, paths: Vec<PathBuf>) -> Result<(), WalError> {
        self.finish_deletion()?;
        let (disk, dir) = (self.disk.clone(), self.dir.clone());
        self.deletion = Some(Task::start(self.background, move || {
            for path in paths {
                disk.remove_file(&path).map_err(|source| WalError::Io { action: "delete", path, source })?;
                // One at a time: were a later one gone and an earlier one back after a crash, etcd's tools would
                // find files that do not join on.
                let synced = disk.sync_dir(&dir);
                synced.map_err(|source| WalError::Io { action: "sync directory", path: dir.clone(), source })?;
            }
            Ok(())
        }));
        // What was done at once failed at once.
        if self.background == Background::Inline { self.finish_deletion() } else { Ok(()) }
    }

    fn finish_deletion(&mut self) -> Result<(), WalError> {
        self.deletion.take().map_or(Ok(()), Task::wait)
    }

    /// Waits for all work and removes the spare.
    pub(crate) fn stop(&mut self) -> Result<(), WalError> {
        let deleted = self.finish_deletion();
        // A spare that could not be made is no loss any more.
        if let Some(Ok(spare)) = self.spare.take().map(Task::wait) {
            let path = spare.path;
            self.disk.remove_file(&path).map_err(|source| WalError::Io { action: "delete", path, source })?;
        }
        deleted
    }
}

fn make_spare(disk: &dyn Disk, dir: &Path, number: u64, bytes: u64) -> Result<Spare, WalError> {
    let path = dir.join(format!("{}.tmp", number % 2));
    let fail = |action, source| WalError::Io { action, path: path.clone(), source };
    if disk.exists(&path).map_err(|source| fail("look for", source))? {
        // Left by an attempt that failed half-way.
        disk.remove_file(&path).map_err(|source| fail("delete", source))?;
    }
    let file = disk.create(&path).map_err(|source| fail("create", source))?;
    file.allocate(bytes).map_err(|source| fail("allocate", source))?;
    Ok(Spare { path, file })
}

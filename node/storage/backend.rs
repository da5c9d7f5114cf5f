//! redb's file, on the node's own notion of a file, so that tests can fail and tear it (D14). redb's
//! locks are left out: the node holds one on the data directory.
//!
//! The first error is the last thing that happens here: redb goes on after some failed writes, which is a retry, and a
//! disk that failed once is not to be trusted (D9).

use super::Usage;
use super::sums::BlockSums;
use crate::disk::File;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

#[derive(Debug)]
pub(super) struct Backend {
    file: Arc<dyn File>,
    sums: BlockSums,
    usage: Arc<Usage>,
    trouble: Arc<Trouble>,
}

/// What went wrong with the file, for those who know redb only.
#[derive(Debug, Default)]
pub(super) struct Trouble {
    first: OnceLock<FileError>,
    /// Where the last read began.
    last_read: AtomicU64,
    /// The file has been replaced.
    retired: AtomicBool,
}

/// A call that failed.
#[derive(Clone, Debug)]
struct FileError {
    action: &'static str,
    /// Where in the file, if it is about a place.
    offset: Option<u64>,
    kind: io::ErrorKind,
    cause: String,
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { action, offset, cause, .. } = self;
        match offset {
            Some(offset) => write!(f, "{action} at offset {offset}: {cause}"),
            None => write!(f, "{action}: {cause}"),
        }
    }
}

impl std::error::Error for FileError {}

impl From<FileError> for io::Error {
    fn from(error: FileError) -> Self {
        io::Error::new(error.kind, error)
    }
}

/// Another file has taken the place of this one, which keeps what it had then.
#[derive(Debug, thiserror::Error)]
#[error("another file has taken the place of this one")]
struct Replaced;

impl Trouble {
    /// An error if some call has failed.
    pub fn check(&self) -> io::Result<()> {
        self.first.get().map_or(Ok(()), |first| Err(first.clone().into()))
    }

    /// Nothing that is written reaches the file any more. Reads go on.
    pub fn retire(&self) {
        self.retired.store(true, Ordering::Release);
    }

    pub fn last_read(&self) -> u64 {
        self.last_read.load(Ordering::Relaxed)
    }
}

impl Backend {
    pub(super) fn new(file: Arc<dyn File>, usage: Arc<Usage>, trouble: Arc<Trouble>) -> Self {
        Self { file, sums: BlockSums::default(), usage, trouble }
    }

    /// As [`Self::call`], for what changes the file.
    fn change(
        &self,
        action: &'static str,
        offset: Option<u64>,
        call: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<()> {
        if self.trouble.retired.load(Ordering::Acquire) {
            return Err(io::Error::other(Replaced));
        }
        self.call(action, offset, call)
    }

    fn call<R>(
        &self,
        action: &'static str,
        offset: Option<u64>,
        call: impl FnOnce() -> io::Result<R>,
    ) -> io::Result<R> {
        self.trouble.check()?;
        call().map_err(|error| {
            let error = FileError { action, offset, kind: error.kind(), cause: error.to_string() };
            // Another thread may have met one in the meantime: the first is told.
            self.trouble.first.get_or_init(|| error.clone());
            error.into()
        })
    }
}

impl redb::StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        self.call("measure", None, || self.file.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.trouble.last_read.store(offset, Ordering::Relaxed);
        self.call("read", Some(offset), || {
            self.file.read_at(offset, out)?;
            Ok(self.sums.read(offset, out)?)
        })
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.change("resize", Some(len), || {
            self.usage.written_end.fetch_min(len, Ordering::Relaxed);
            self.sums.resized(len);
            self.file.set_len(len)
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        self.change("sync", None, || self.file.sync_data())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.change("write", Some(offset), || {
            self.usage.written_end.fetch_max(offset + data.len() as u64, Ordering::Relaxed);
            self.sums.written(offset, data);
            self.file.write_at(offset, data)
        })
    }
}

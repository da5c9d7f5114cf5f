//! The only way to files: log and state reach the disk through these two traits, so that a test can fail,
//! tear, delay and forget what was not synced (DESIGN D14). Knows nothing of what is stored.
//!
//! Contract that the callers rely on, as POSIX gives it: data written is durable after [`File::sync_data`];
//! a name created, renamed or removed is durable after [`Disk::sync_dir`] of its directory. An error of
//! either is final: callers end the process and never try again (D9).

mod memory;
mod real;

pub use memory::MemoryDisk;
pub use real::{RealDisk, open_to_read};

use std::fmt::Debug;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// An open file. Offsets and lengths in bytes.
pub trait File: Debug + Send + Sync {
    fn len(&self) -> io::Result<u64>;

    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Fills `out` from `offset`; `UnexpectedEof` if the file ends before.
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()>;

    /// Writes all of `data` at `offset`, extending the file where needed.
    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()>;

    /// Cuts or extends (with zeros) to `len`.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Reserves blocks for `[0, len)` and extends the file to it; what was not written reads as zeros.
    fn allocate(&self, len: u64) -> io::Result<()>;

    fn sync_data(&self) -> io::Result<()>;
}

/// A file system. Paths are absolute or relative to the process, as given by the operator.
pub trait Disk: Debug + Send + Sync {
    /// Creates a file that must not exist (mode 0600).
    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>>;
    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>>;
    /// Opens a file that is only read: it may be write-protected.
    fn open_to_read(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        self.open(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    /// Creates the directory and its parents (mode 0700); fine if it is there.
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;
    fn remove_dir_all(&self, path: &Path) -> io::Result<()>;
    /// Names in a directory, sorted; `NotFound` if there is none.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;
    fn exists(&self, path: &Path) -> io::Result<bool>;
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Takes an exclusive lock on `path` (created if missing) until the guard is dropped.
    /// `WouldBlock` if another process, or another guard of this one, holds it.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>>;
    /// Bytes that an unprivileged process may still write below `dir`.
    fn available_bytes(&self, dir: &Path) -> io::Result<u64>;
}

/// The directory whose sync makes the name of `path` durable. The root's is itself.
pub fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => path,
    }
}

/// Holds a lock until dropped.
pub trait DiskLock: Debug + Send + Sync {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parent_of_a_path_is_a_directory_that_can_be_synced() {
        let parents = [("/a/b", "/a"), ("/a", "/"), ("/", "/"), ("a/b", "a"), ("a/", "."), ("a", "."), (".", ".")];
        for (path, parent) in parents {
            assert_eq!(parent_of(Path::new(path)), Path::new(parent), "{path}");
        }
        for disk in [&RealDisk as &dyn Disk, &MemoryDisk::new()] {
            disk.sync_dir(parent_of(Path::new("a"))).unwrap();
            disk.sync_dir(parent_of(Path::new("/a"))).unwrap();
        }
    }
}

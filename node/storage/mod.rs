//! The state file: the only user of redb. Tables and row bytes are etcd's buckets and records
//! (`reference/etcd-surface.md` 6.1), so that what is stored here can be exported to etcd row by row.
//!
//! Invariants: one [`Batch`] at a time; a batch is visible to every [`Version`] taken after its commit
//! and to none before; after a crash the file equals its last durable commit; what is read is what was
//! written, or an error (redb's checksums at the open, [`sums`] from then on). Knows nothing of keys,
//! revisions or leases: rows are bytes here. Every error is final for the node (DESIGN D9).

mod backend;
mod batch;
mod changes;
mod copy;
mod error;
mod export;
mod meta;
mod metrics;
mod sums;
mod table;
mod version;

#[cfg(test)]
mod copy_tests;
#[cfg(test)]
pub(crate) mod memory;
#[cfg(test)]
mod tests;

pub use batch::{Batch, Durability, Fate, Sweep};
pub use copy::{Copy, CopyError, Step};
pub use error::StorageError;
pub use export::{Chunk, Export, Import};
pub use meta::{FORMAT, Meta, is_own_row};
pub use metrics::Metrics;
pub use table::Table;
pub use version::Version;

use crate::disk;
use backend::{Backend, Trouble};
use changes::Recorder;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// An open state file. Cheap to clone; the file closes when the last clone, batch and version are gone.
///
/// Closing makes volatile commits durable. So it must come after the log is synced; a process that ends
/// because the log failed must end without it (`exit` and `abort` do not drop).
#[derive(Clone, Debug)]
pub struct Storage {
    database: Arc<redb::Database>,
    usage: Arc<Usage>,
    trouble: Arc<Trouble>,
    recorder: Arc<Recorder>,
    metrics: Metrics,
}

/// What of the file is compared with its checksums when it is opened.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Check {
    /// It is empty.
    Nothing,
    Everything,
}

/// What the file of a new member takes: redb's header, and trees in two versions. etcd's takes a seventh of it.
pub const EMPTY_FILE_BYTES: i64 = 143_360;

/// Key and value of a row.
pub type Row = (Vec<u8>, Vec<u8>);

/// How large the state is. Kept by counting, since redb's own statistics read every page.
#[derive(Debug, Default)]
pub(crate) struct Usage {
    /// End of the last byte ever written to the file (it is sparse behind: redb grows it by doubling).
    written_end: AtomicU64,
    /// Keys and values of all rows of the last commit.
    row_bytes: AtomicU64,
}

/// Sizes as operators know them from etcd, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stats {
    /// What the file occupies. Does not shrink when rows go.
    pub total_bytes: u64,
    /// The part of it that rows need.
    pub in_use_bytes: u64,
}

/// What every file of redb begins with.
const MAGIC: [u8; 9] = *b"redb\x1a\x0a\xa9\x0d\x0a";

/// True if the file begins as a state file does.
///
/// # Errors
/// It cannot be read.
pub fn is_state_file(file: &dyn disk::File) -> io::Result<bool> {
    let mut head = [0; MAGIC.len()];
    match file.read_at(0, &mut head) {
        Ok(()) => Ok(head == MAGIC),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

impl Storage {
    /// Makes a state file in an empty `file`, with all tables, durable on return. The caller syncs the directory.
    pub fn create(file: Arc<dyn disk::File>, cache_bytes: usize, metrics: Metrics) -> Result<Self, StorageError> {
        if !file.is_empty()? {
            return Err(StorageError::NotEmpty);
        }
        let storage = Self::start(file, cache_bytes, metrics, Check::Nothing)?;
        let mut batch = storage.begin()?;
        batch.create_tables()?;
        batch.commit(Durability::Durable)?;
        Ok(storage)
    }

    /// Opens a state file as its last durable commit left it, after every page that counts was compared with its
    /// checksum. Refuses a file of a newer format.
    pub fn open(file: Arc<dyn disk::File>, cache_bytes: usize, metrics: Metrics) -> Result<Self, StorageError> {
        if file.is_empty()? {
            return Err(StorageError::Empty);
        }
        let storage = Self::start(file, cache_bytes, metrics, Check::Everything)?;
        let meta = storage.version()?.meta()?;
        match meta.format {
            Some(format) if format <= FORMAT => {}
            found => return Err(StorageError::Format { found }),
        }
        storage.usage.restore(meta.sizes);
        Ok(storage)
    }

    fn start(
        file: Arc<dyn disk::File>,
        cache_bytes: usize,
        metrics: Metrics,
        check: Check,
    ) -> Result<Self, StorageError> {
        let (usage, trouble) = (Arc::new(Usage::default()), Arc::new(Trouble::default()));
        let backend = Backend::new(file, usage.clone(), trouble.clone());
        let mut builder = redb::Builder::new();
        builder.set_cache_size(cache_bytes).set_check_integrity_on_open(check == Check::Everything);
        let database = builder.create_with_backend(backend).map_err(|error| match error {
            redb::DatabaseError::Storage(redb::StorageError::Corrupted(what)) => {
                StorageError::Corrupt { near: trouble.last_read(), what }
            }
            other => other.into(),
        })?;
        Ok(Self { database: Arc::new(database), usage, trouble, recorder: Arc::default(), metrics })
    }

    /// Starts the one write transaction; waits if there is another.
    pub fn begin(&self) -> Result<Batch, StorageError> {
        Batch::begin(self)
    }

    /// The state of the last commit, durable or not. It stays as it is while others write, and while it
    /// lives the file cannot reuse the pages that it needs: hold it for seconds, not for hours.
    pub fn version(&self) -> Result<Version, StorageError> {
        Version::new(self.clone())
    }

    pub fn stats(&self) -> Stats {
        self.usage.stats()
    }

    fn show_sizes(&self) {
        let stats = self.stats();
        self.metrics.total_bytes.set(stats.total_bytes as f64);
        self.metrics.in_use_bytes.set(stats.in_use_bytes as f64);
    }

    /// Another file has the state from now on. What has not reached this one, and what closing it would write, must not:
    /// until the other one's name is durable a crash may find this one, which then must be behind the log.
    fn retire(&self) {
        self.trouble.retire();
    }
}

impl Usage {
    fn restore(&self, sizes: (u64, u64)) {
        let (written_end, row_bytes) = sizes;
        // Opening wrote a header, which says nothing about the end.
        self.written_end.fetch_max(written_end, Ordering::Relaxed);
        self.row_bytes.store(row_bytes, Ordering::Relaxed);
    }

    fn stats(&self) -> Stats {
        let row_bytes = self.row_bytes.load(Ordering::Relaxed);
        // A full leaf page of redb spends 8 bytes a row on its end offsets; branches and fill make up about
        // an eighth more (measured on 1 M rows of 300 bytes). What is not yet written out counts too.
        let in_use_bytes = row_bytes + row_bytes / 8;
        Stats { total_bytes: self.written_end.load(Ordering::Relaxed).max(in_use_bytes), in_use_bytes }
    }
}

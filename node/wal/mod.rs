//! The Raft log on disk, in etcd's WAL format (DESIGN D3): entries, the hard state and snapshot marks, in
//! files that etcd's tools read and that etcd's own data directories hold.
//!
//! Invariants:
//! - one thread writes; what was queued first is on disk first, and callbacks fire in that order, each after the
//!   `fdatasync` that covers its records;
//! - a commit index in the files never points past the entries that stand before it;
//! - a segment is deleted only once a synced snapshot record and hard state make it unnecessary;
//! - a torn write is cut off at the very end only; anything else that does not check is refused.
//!
//! It does not know what entries mean, who leads, or openraft.

mod create;
mod encode;
mod entry;
mod error;
mod files;
mod log;
mod metrics;
mod places;
mod prepare;
mod read;
mod reader;
mod recover;
mod scan;
mod segment;
mod shared;
mod survey;
mod wire;
mod writer;

pub use create::{create, create_behind, exists};
pub use entry::{Entry, EntryKind, HardState, Identity, MAX_NUMBER};
pub use error::{Corruption, WalError};
pub use metrics::Metrics;
pub use recover::{Opened, Torn};
pub use shared::Done;
pub use survey::{Cut, Survey};
pub use writer::Writer;

use crate::disk::Disk;
use crate::threads::Threads;
use crate::types::LogPosition;
use keelstone_proto::raftpb::ConfState;
use shared::{Job, Shared};
use std::fmt;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Bounds of a log. The defaults are etcd's where etcd has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// A segment that has reached this length is closed. Segments are preallocated to it.
    pub segment_bytes: u64,
    /// Segments to keep when purging (`--max-wals`); 0 keeps all.
    pub max_segments: usize,
    /// The writer takes queued work up to this size into one write and one sync.
    pub batch_bytes: usize,
    /// Memory for the newest entries; older ones are read back from the files. Entries that are not written yet
    /// stay in memory whatever the bound.
    pub tail_bytes: usize,
    /// How long after the last write a commit index that came alone is written too.
    pub commit_delay: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            segment_bytes: 64_000_000,
            max_segments: 5,
            batch_bytes: 1 << 20,
            tail_bytes: 8 << 20,
            commit_delay: Duration::from_millis(250),
        }
    }
}

/// What to do when a file operation fails: the log is of no use any more (D9). Called from the writer, once, and from
/// those who read entries back.
pub type OnFatal = Box<dyn Fn(WalError) + Send + Sync>;

/// A handle of the log; clones share it. Dropping the last one stops the writer as [`Wal::close`] does, without
/// waiting for it.
#[derive(Clone)]
pub struct Wal {
    owner: Arc<Owner>,
}

struct Owner {
    shared: Arc<Shared>,
    writing: Mutex<Writing>,
}

/// Who writes.
enum Writing {
    /// A thread, to be waited for at the end.
    Thread(JoinHandle<()>),
    /// A task, which leaves the end to whoever closes the log.
    Task(Arc<Mutex<Writer>>),
    /// The caller of [`Writer::step`], or nobody any more.
    Nobody,
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.shared.stop();
    }
}

impl fmt::Debug for Wal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wal").field("first_index", &self.first_index()).field("last", &self.last()).finish()
    }
}

impl Wal {
    /// Reads the log in `dir`, cuts off a torn tail, and starts the writer.
    ///
    /// # Errors
    /// [`WalError::Missing`] if there is no log, [`WalError::Corrupt`] if it cannot be trusted, with the file and the
    /// offset, and [`WalError::Io`].
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        settings: Settings,
        metrics: Metrics,
        on_fatal: OnFatal,
        threads: &Threads,
    ) -> Result<(Wal, Opened), WalError> {
        let background = match threads {
            Threads::Own => prepare::Background::Threads,
            Threads::OnRuntime(_) => prepare::Background::Inline,
        };
        let (shared, mut writer, opened) = recover::open(disk, dir, settings, metrics, on_fatal, background)?;
        let writing = match threads {
            Threads::Own => {
                let thread = thread::Builder::new().name("wal".into()).spawn(move || writer.run());
                let failed = |source| WalError::Io { action: "start the log thread", path: dir.to_owned(), source };
                Writing::Thread(thread.map_err(failed)?)
            }
            Threads::OnRuntime(pace) => {
                let writer = Arc::new(Mutex::new(writer));
                tokio::spawn(Writer::run_on_runtime(Arc::clone(&writer), Arc::clone(pace)));
                Writing::Task(writer)
            }
        };
        Ok((Self::of(shared, writing), opened))
    }

    fn of(shared: Arc<Shared>, writing: Writing) -> Self {
        Self { owner: Arc::new(Owner { shared, writing: Mutex::new(writing) }) }
    }

    /// As [`Self::open`] without a writer of its own: nothing is written until the caller runs [`Writer::step`].
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_stepped(
        disk: Arc<dyn Disk>,
        dir: &Path,
        settings: Settings,
        metrics: Metrics,
        on_fatal: OnFatal,
    ) -> Result<(Wal, Writer, Opened), WalError> {
        let (shared, writer, opened) =
            recover::open(disk, dir, settings, metrics, on_fatal, prepare::Background::Inline)?;
        Ok((Self::of(shared, Writing::Nobody), writer, opened))
    }

    /// Adds entries behind the log, or over its tail if the first index is not above [`Self::last`]. They can be read at
    /// once; `done` is called from the writer after they are synced. Indexes must be contiguous, start at most one
    /// behind the last and above [`Self::purged`], else `done` gets `InvalidInput` and nothing changes.
    pub fn append(&self, entries: Vec<Entry>, done: Done) {
        self.owner.shared.append(entries, done);
    }

    /// Sets term and vote, and the commit index if it is higher; synced before `done`, in order with appends.
    pub fn save_hard_state(&self, state: HardState, done: Done) {
        self.owner.shared.save_hard_state(state, done);
    }

    /// Raises the commit index. Not synced: it rides on the next write, or is written a little later alone.
    pub fn save_commit(&self, commit: u64) {
        self.owner.shared.save_commit(commit);
    }

    /// Drops the entries behind `index`. The files learn of it from the next append; after a crash before that the
    /// dropped entries are back, as if the message that replaces them had not arrived.
    pub fn truncate_after(&self, index: u64) {
        self.owner.shared.truncate_after(index);
    }

    /// Drops the entries up to `position`, which must be applied durably elsewhere. If the log does not hold this very
    /// entry, it restarts behind `position`, as in [`Self::reset_to`]. `done` fires once this is synced; then
    /// segments that are not needed any more are deleted, oldest first, beyond [`Settings::max_segments`].
    /// A position at or before [`Self::purged`] changes nothing.
    pub fn purge(&self, position: LogPosition, conf_state: ConfState, done: Done) {
        self.owner.shared.snapshot(Job::purge(position, conf_state, done));
    }

    /// Restarts the log behind `position` with no entries, after a snapshot up to there was installed.
    pub fn reset_to(&self, position: LogPosition, conf_state: ConfState, done: Done) {
        self.owner.shared.snapshot(Job::restart(position, conf_state, done));
    }

    /// Entries of `range` that exist, in order; shorter than the range if it passes the end of the log.
    ///
    /// # Errors
    /// [`WalError::Purged`] if the range starts before [`Self::first_index`]; [`WalError::Io`] and [`WalError::Corrupt`]
    /// from reading old entries back.
    pub fn read(&self, range: Range<u64>) -> Result<Vec<Entry>, WalError> {
        self.read_limited(range.start, range.end, u64::MAX)
    }

    /// As [`Self::read`], but stops before the data would exceed `max_bytes`. At least one entry if `start` exists.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn read_limited(&self, start: u64, end: u64, max_bytes: u64) -> Result<Vec<Entry>, WalError> {
        self.owner.shared.read(start..end, max_bytes)
    }

    /// The term of an entry that is in the log, or of [`Self::purged`].
    pub fn term_at(&self, index: u64) -> Option<u64> {
        self.owner.shared.lock().log.term_at(index)
    }

    /// The newest state asked for, synced or not.
    pub fn hard_state(&self) -> HardState {
        self.owner.shared.lock().hard_state
    }

    /// The last entry, or [`Self::purged`] if there is none.
    pub fn last(&self) -> LogPosition {
        self.owner.shared.lock().log.last()
    }

    /// The index of the first entry, or of the one to come.
    pub fn first_index(&self) -> u64 {
        self.purged().index + 1
    }

    /// The last entry that was dropped from the head; index 0 if none was.
    pub fn purged(&self) -> LogPosition {
        self.owner.shared.lock().log.purged()
    }

    /// Entries up to this index are durable here.
    pub fn synced_index(&self) -> u64 {
        self.owner.shared.synced_index()
    }

    /// What [`Self::synced_index`] reads, for whoever looks often.
    pub fn synced(&self) -> Arc<AtomicU64> {
        self.owner.shared.synced()
    }

    /// Writes and syncs what is queued and the commit index, and waits for the writer to end. Later requests fail.
    /// Not to be called from a callback.
    ///
    /// # Errors
    /// The error that ended the log earlier, if any.
    pub fn close(&self) -> io::Result<()> {
        self.owner.shared.stop();
        let mut writing = self.owner.writing.lock().unwrap_or_else(PoisonError::into_inner);
        match std::mem::replace(&mut *writing, Writing::Nobody) {
            Writing::Thread(thread) => thread.join().map_err(|_| io::Error::other("the log thread panicked"))?,
            Writing::Task(writer) => {
                let mut writer = writer.lock().unwrap_or_else(PoisonError::into_inner);
                while writer.step() {}
            }
            Writing::Nobody => {}
        }
        self.owner.shared.outcome()
    }
}

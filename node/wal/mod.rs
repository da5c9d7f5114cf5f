//! The Raft log on disk, in etcd's WAL format: etcd's own tools read it (DESIGN D3).
//!
//! Invariants: one thread writes, and what it is asked is done in that order; a callback says that everything asked
//! before it is durable; a file error ends the log (D9). Entries are bytes here, and openraft is not known.
//!
//! A directory holds segments `<sequence>-<first index>.wal`, both as 16 hex digits. Each begins with the checksum
//! carried over, the identity and the hard state (the first one: an empty snapshot record instead).

mod codec;
mod log;
mod metrics;
mod open;
mod record;
mod segment;
mod writer;

#[cfg(test)]
mod tests;

pub use log::Wal;
pub use metrics::Metrics;
pub use open::{Opened, create, exists};

use crate::types::LogPosition;
use bytes::Bytes;
use std::io;
use std::path::PathBuf;

/// One entry of the log; indexes start at 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub term: u64,
    pub index: u64,
    pub kind: EntryKind,
    pub data: Bytes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    Normal,
    ConfChange,
}

impl Entry {
    pub fn position(&self) -> LogPosition {
        LogPosition { term: self.term, index: self.index }
    }
}

/// Term, vote and commit index; what a member must not forget.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HardState {
    pub term: u64,
    /// Zero: none.
    pub vote: u64,
    /// A quorum granted the vote. etcd has no such field; ours has a number far from etcd's.
    pub vote_committed: bool,
    pub commit: u64,
}

/// Whose log it is; written at the head of every segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    pub node_id: u64,
    pub cluster_id: u64,
}

#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// A segment is closed once it is longer.
    pub segment_bytes: u64,
    /// Segments that purge leaves, even if no entry in them is needed; zero keeps all.
    pub max_wals: u64,
    /// What one write and one sync carry, about.
    pub batch_bytes: usize,
    /// Entries kept in memory.
    pub tail_bytes: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { segment_bytes: 64_000_000, max_wals: 5, batch_bytes: 1024 * 1024, tail_bytes: 16 * 1024 * 1024 }
    }
}

/// Called once, from the writing thread, with the error that ended the log.
pub type OnFatal = Box<dyn Fn(&WalError) + Send + Sync>;
/// Called from the writing thread when a request is durable, or will never be.
pub type Done = Box<dyn FnOnce(io::Result<()>) + Send>;

/// Why the log cannot be opened, read or written.
#[derive(Debug, thiserror::Error)]
pub enum WalError {
    #[error("{action} {}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error("{}: record at offset {offset} is corrupt", path.display())]
    Corrupt { path: PathBuf, offset: u64 },
    #[error("{}: record at offset {offset} is cut off, and a later segment exists", path.display())]
    TornInside { path: PathBuf, offset: u64 },
    #[error("{}: {what} at offset {offset} cannot be read", path.display())]
    Undecodable { path: PathBuf, offset: u64, what: &'static str },
    #[error("{}: entry {found} at offset {offset} does not follow entry {last}", path.display())]
    Gap { path: PathBuf, offset: u64, last: u64, found: u64 },
    #[error("{}: segments are missing before it", path.display())]
    MissingSegment { path: PathBuf },
    #[error("{}: the identity differs from that of earlier segments", path.display())]
    OtherIdentity { path: PathBuf },
    #[error("{}: no log", path.display())]
    Missing { path: PathBuf },
    #[error("entries {start} to {end} are not in the log, which holds {first} to {last}")]
    OutOfRange { start: u64, end: u64, first: u64, last: u64 },
    #[error("the log has ended")]
    Ended,
}

impl WalError {
    fn io(action: &'static str, path: &std::path::Path) -> impl FnOnce(io::Error) -> WalError {
        let path = path.to_path_buf();
        move |source| WalError::Io { action, path, source }
    }
}

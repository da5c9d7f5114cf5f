//! Why a log cannot be used.

use std::io;
use std::path::PathBuf;
use thiserror::Error;

/// Every one but `Purged` and `Exists` is fatal for the node.
#[derive(Debug, Error)]
pub enum WalError {
    #[error("{action} {path}: {source}", path = path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error("corrupt log file {file} at offset {offset}: {what}", file = file.display())]
    Corrupt { file: PathBuf, offset: u64, what: Corruption },
    #[error("no log in {dir}", dir = dir.display())]
    Missing { dir: PathBuf },
    #[error("{dir} is there already", dir = dir.display())]
    Exists { dir: PathBuf },
    #[error("entry {wanted} was purged, the log starts at {first}")]
    Purged { wanted: u64, first: u64 },
}

/// What is wrong with a record.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum Corruption {
    #[error("the checksum is {found:08x}, the data has {computed:08x}")]
    Checksum { found: u32, computed: u32 },
    #[error("the file starts with checksum {found:08x}, the file before it ends with {computed:08x}")]
    Chain { found: u32, computed: u32 },
    #[error("the file does not start with a checksum record")]
    NoSeed,
    #[error("the length field {0:016x} is none")]
    LengthField(u64),
    #[error("a length field of zero with more behind it")]
    ZeroFrame,
    #[error("a record of {bytes} bytes does not fit into the remaining {rest}")]
    Length { bytes: u64, rest: u64 },
    #[error("a record cannot be decoded")]
    Malformed,
    #[error("a record of unknown type {0}")]
    RecordType(u64),
    #[error("an entry of type {0}, which etcd does not write")]
    EntryType(u64),
    #[error("entry {found} follows where {expected} is the next")]
    Gap { expected: u64, found: u64 },
    #[error("an entry of index or term 0")]
    ZeroIndex,
    #[error("a state of term {term} and commit index {commit} after one of {before} and {commit_before}")]
    StateGoesBack { term: u64, before: u64, commit: u64, commit_before: u64 },
    #[error("a number of {0}, which no log reaches")]
    TooLarge(u64),
    #[error("the ids of node and cluster differ from those before")]
    Identity,
    #[error("the log has no ids of node and cluster")]
    NoIdentity,
    #[error("the commit index {commit} is beyond the last entry {last}")]
    Commit { commit: u64, last: u64 },
    #[error("the entries before {first} are missing, and no snapshot record covers them")]
    MissingHead { first: u64 },
    #[error("entries stand behind a snapshot record of index {0} that is not committed")]
    UncommittedSnapshot(u64),
    #[error("entry {0} is not where it was written")]
    Misplaced(u64),
}

impl WalError {
    /// Another one that says the same: one is for the caller, one ends the node.
    pub(crate) fn again(&self) -> Self {
        match self {
            WalError::Io { action, path, source } => {
                let source = io::Error::new(source.kind(), source.to_string());
                WalError::Io { action, path: path.clone(), source }
            }
            WalError::Corrupt { file, offset, what } => {
                WalError::Corrupt { file: file.clone(), offset: *offset, what: *what }
            }
            WalError::Missing { dir } => WalError::Missing { dir: dir.clone() },
            WalError::Exists { dir } => WalError::Exists { dir: dir.clone() },
            WalError::Purged { wanted, first } => WalError::Purged { wanted: *wanted, first: *first },
        }
    }

    /// What a callback is told; the error itself goes to `on_fatal`.
    pub(crate) fn kind(&self) -> io::ErrorKind {
        match self {
            WalError::Io { source, .. } => source.kind(),
            WalError::Corrupt { .. } => io::ErrorKind::InvalidData,
            WalError::Missing { .. } | WalError::Purged { .. } => io::ErrorKind::NotFound,
            WalError::Exists { .. } => io::ErrorKind::AlreadyExists,
        }
    }
}

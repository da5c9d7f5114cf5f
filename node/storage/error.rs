//! What can go wrong with the state file. All of it ends the node (D9).

use super::Table;
use std::io;

/// A failure of the state file. Nobody retries: the process stops, and recovery starts from the last durable commit.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    #[error("state file: {0}")]
    Redb(Box<redb::Error>),
    /// A call on the file failed, or what it read is not what was written there; the text says which call and where.
    #[error("state file: {0}")]
    Io(io::Error),
    /// Found when the file is opened. `near` is the last place that was read.
    #[error("state file is corrupt near offset {near}: {what}")]
    Corrupt { near: u64, what: String },
    #[error("state file is not empty")]
    NotEmpty,
    #[error("state file is empty")]
    Empty,
    /// `None`: it has no format mark, so it is not ours.
    #[error("state file has format {found:?}, this build reads up to {}", super::FORMAT)]
    Format { found: Option<u32> },
    #[error("table {table} holds a malformed row {row:02x?}")]
    Malformed { table: Table, row: Vec<u8> },
    /// Something names a row that is not there: the file is corrupt.
    #[error("table {table} lacks the row {row:02x?}")]
    Missing { table: Table, row: Vec<u8> },
    /// An import must come in the order of an export.
    #[error("row {row:02x?} of table {table} is out of order")]
    Unordered { table: Table, row: Vec<u8> },
}

impl From<io::Error> for StorageError {
    fn from(error: io::Error) -> Self {
        StorageError::Io(error)
    }
}

macro_rules! from_redb {
    ($($error:ident)*) => { $(
        impl From<redb::$error> for StorageError {
            fn from(error: redb::$error) -> Self {
                match redb::Error::from(error) {
                    redb::Error::Io(error) => StorageError::Io(error),
                    error => StorageError::Redb(Box::new(error)),
                }
            }
        }
    )* };
}

from_redb!(StorageError TableError DatabaseError TransactionError SetDurabilityError CommitError);

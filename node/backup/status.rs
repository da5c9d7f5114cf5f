//! What a snapshot file holds, as `etcdutl snapshot status` counts it (etcd `etcdutl/snapshot/v3_snapshot.go`, Status).

use super::bolt::{BoltError, Database};
use super::verify::database_bytes;
use crate::disk;
use keelstone_proto::mvccpb::KeyValue;
use prost::Message;
use std::collections::HashSet;
use std::io;
use std::path::Path;

/// Length of a row's key in the bucket `key`: two numbers and a dash, and a letter behind that of a removal.
const REVISION_BYTES: usize = 17;
const REMOVED_BYTES: usize = REVISION_BYTES + 1;

/// The whole file in a few numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// CRC-32C of every bucket's name, keys and values, in order.
    pub hash: u32,
    /// Of the last row of `key`; zero without one.
    pub revision: i64,
    /// Keys that are there at that revision.
    pub total_keys: u64,
    /// Of the database, in bytes.
    pub total_bytes: u64,
    /// Storage version; empty if the file names none.
    pub version: String,
}

/// Why a file has no status.
#[derive(Debug, thiserror::Error)]
pub enum StatusError {
    #[error(transparent)]
    Open(io::Error),
    #[error(transparent)]
    Bolt(#[from] BoltError),
    #[error("bucket key: the row {row:02x?} is named by no revision")]
    Revision { row: Vec<u8> },
    #[error("bucket key: the row {row:02x?} holds no key and value: {source}")]
    Record { row: Vec<u8>, source: prost::DecodeError },
}

/// Reads every row. Keeps the keys that are there in memory, to count them.
///
/// # Errors
/// The file is damaged, or a row of `key` is not one of etcd's.
pub fn status(database: &Database) -> Result<Status, StatusError> {
    let mut status = Status { total_bytes: database.total_bytes(), ..Status::default() };
    let mut keys: HashSet<Box<[u8]>> = HashSet::new();
    for bucket in database.buckets()? {
        status.hash = crc32c::crc32c_append(status.hash, &bucket.name);
        for row in database.rows(&bucket)? {
            let (key, value) = row?;
            status.hash = crc32c::crc32c_append(status.hash, &key);
            status.hash = crc32c::crc32c_append(status.hash, &value);
            match bucket.name.as_ref() {
                b"key" => status.revision = count_key(&mut keys, &key, &value)?,
                b"meta" if key.as_ref() == b"storageVersion" => {
                    status.version = String::from_utf8_lossy(&value).into_owned();
                }
                _ => {}
            }
        }
    }
    status.total_keys = keys.len() as u64;
    Ok(status)
}

/// As [`status`], of a file on disk. Its digest is not compared, as etcdutl does not.
///
/// # Errors
/// It cannot be opened; and those of [`status`].
pub fn status_of_file(path: &Path) -> Result<Status, StatusError> {
    let file = disk::open_to_read(path).map_err(StatusError::Open)?;
    let (bytes, _) = database_bytes(file.len().map_err(StatusError::Open)?);
    status(&Database::open(file, bytes)?)
}

/// Returns the row's main revision.
fn count_key(keys: &mut HashSet<Box<[u8]>>, row: &[u8], value: &[u8]) -> Result<i64, StatusError> {
    let is_named = row.len() == REVISION_BYTES || row.len() == REMOVED_BYTES;
    let Some(main) = row.first_chunk().filter(|_| is_named) else {
        return Err(StatusError::Revision { row: row.to_vec() });
    };
    let record = KeyValue::decode(value).map_err(|source| StatusError::Record { row: row.to_vec(), source })?;
    if row.len() == REMOVED_BYTES {
        keys.remove(record.key.as_ref());
    } else {
        keys.insert(record.key.as_ref().into());
    }
    Ok(i64::from_be_bytes(*main))
}

//! The rows of `meta` that say where the state stands. Names and encodings are etcd's
//! (`server/storage/schema/bucket.go`), our own begin with `keelstone_`.
//!
//! | row | value |
//! | --- | --- |
//! | `consistent_index`, `term` | u64, big-endian: the last applied entry |
//! | `confState` | JSON of raft's ConfState |
//! | `storageVersion` | text, "3.7.0" |
//! | `keelstone_membership` | bytes of the consensus layer |
//! | `keelstone_format` | u32, big-endian: 1 |
//! | `keelstone_sizes` | two u64, big-endian: end of the file's written part, bytes of all rows |

use super::{Batch, StorageError, Table};
use crate::types::LogPosition;

/// The format this build writes; a file with a higher one is refused.
pub const FORMAT: u32 = 1;

pub(super) const FORMAT_KEY: &[u8] = b"keelstone_format";
pub(super) const SIZES_KEY: &[u8] = b"keelstone_sizes";
const INDEX_KEY: &[u8] = b"consistent_index";
const TERM_KEY: &[u8] = b"term";
const CONF_STATE_KEY: &[u8] = b"confState";
const STORAGE_VERSION_KEY: &[u8] = b"storageVersion";
const MEMBERSHIP_KEY: &[u8] = b"keelstone_membership";

/// What our own rows of `meta` begin with.
const OWN_PREFIX: &[u8] = b"keelstone_";

/// True for a row that etcd does not know: it describes this file or this node, not the state.
pub fn is_own_row(table: Table, key: &[u8]) -> bool {
    table == Table::Meta && key.starts_with(OWN_PREFIX)
}

/// True for the rows that describe the file they are in, not the state.
pub(super) fn is_of_the_file(table: Table, key: &[u8]) -> bool {
    table == Table::Meta && (key == FORMAT_KEY || key == SIZES_KEY)
}

/// The rows of `meta`, read together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    /// The last applied entry; zero before the first.
    pub applied: LogPosition,
    pub conf_state: Option<Vec<u8>>,
    pub storage_version: Option<String>,
    pub membership: Option<Vec<u8>>,
    pub format: Option<u32>,
    pub(super) sizes: (u64, u64),
}

impl Meta {
    pub(super) fn read(get: impl Fn(&[u8]) -> Result<Option<Vec<u8>>, StorageError>) -> Result<Self, StorageError> {
        let number = |key: &[u8]| {
            let row = get(key)?;
            row.map(|bytes| bytes.as_slice().try_into().map(u64::from_be_bytes).map_err(|_| malformed(key))).transpose()
        };
        let format = get(FORMAT_KEY)?
            .map(|bytes| bytes.as_slice().try_into().map(u32::from_be_bytes).map_err(|_| malformed(FORMAT_KEY)))
            .transpose()?;
        let storage_version = get(STORAGE_VERSION_KEY)?
            .map(|bytes| String::from_utf8(bytes).map_err(|_| malformed(STORAGE_VERSION_KEY)))
            .transpose()?;
        Ok(Self {
            applied: LogPosition {
                term: number(TERM_KEY)?.unwrap_or_default(),
                index: number(INDEX_KEY)?.unwrap_or_default(),
            },
            conf_state: get(CONF_STATE_KEY)?,
            storage_version,
            membership: get(MEMBERSHIP_KEY)?,
            format,
            sizes: get(SIZES_KEY)?.map_or(Ok((0, 0)), |bytes| decode_sizes(&bytes))?,
        })
    }
}

impl Batch {
    /// The entry that this batch brings the state to. Belongs into every batch of entries.
    pub fn set_applied(&mut self, applied: LogPosition) {
        self.put(Table::Meta, INDEX_KEY, &applied.index.to_be_bytes());
        self.put(Table::Meta, TERM_KEY, &applied.term.to_be_bytes());
    }

    /// JSON of raft's ConfState, for etcd's tools.
    pub fn set_conf_state(&mut self, json: &[u8]) {
        self.put(Table::Meta, CONF_STATE_KEY, json);
    }

    /// None: a schema of before etcd 3.6, which has no such row.
    pub fn set_storage_version(&mut self, version: Option<&str>) {
        match version {
            Some(version) => self.put(Table::Meta, STORAGE_VERSION_KEY, version.as_bytes()),
            None => self.remove(Table::Meta, STORAGE_VERSION_KEY),
        }
    }

    pub fn set_membership(&mut self, membership: &[u8]) {
        self.put(Table::Meta, MEMBERSHIP_KEY, membership);
    }
}

pub(super) fn encode_sizes((written_end, row_bytes): (u64, u64)) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&written_end.to_be_bytes());
    bytes[8..].copy_from_slice(&row_bytes.to_be_bytes());
    bytes
}

fn decode_sizes(bytes: &[u8]) -> Result<(u64, u64), StorageError> {
    let (end, rows) = bytes.split_first_chunk().ok_or_else(|| malformed(SIZES_KEY))?;
    let rows = rows.try_into().map_err(|_| malformed(SIZES_KEY))?;
    Ok((u64::from_be_bytes(*end), u64::from_be_bytes(rows)))
}

fn malformed(key: &[u8]) -> StorageError {
    StorageError::Malformed { table: Table::Meta, row: key.to_vec() }
}

//! A lease at rest, as etcd's `leasepb.Lease`: key = id as u64 big-endian, value = protobuf
//! `{1: id, 2: granted seconds, 3: checkpointed seconds}`, zero fields left out.

use crate::types::LeaseId;
use prost::Message;

/// Seconds are whole; a checkpoint of zero is none.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct LeaseRow {
    #[prost(int64, tag = "1")]
    pub id: i64,
    #[prost(int64, tag = "2")]
    pub ttl_secs: i64,
    #[prost(int64, tag = "3")]
    pub remaining_ttl_secs: i64,
}

impl LeaseRow {
    pub fn key(id: LeaseId) -> [u8; 8] {
        id.0.to_be_bytes()
    }

    pub fn value(&self) -> Vec<u8> {
        self.encode_to_vec()
    }

    /// Reads a row.
    pub fn from_row(key: &[u8], value: &[u8]) -> Result<Self, LeaseRowError> {
        let row = Self::decode(value)?;
        // Otherwise the lease would be revoked and its row stay.
        if Self::key(LeaseId(row.id)) != key {
            return Err(LeaseRowError::Key { id: LeaseId(row.id) });
        }
        Ok(row)
    }
}

/// A row of the table `lease` that etcd does not write.
#[derive(Debug, thiserror::Error)]
pub enum LeaseRowError {
    #[error("read lease row")]
    Decode(#[from] prost::DecodeError),
    #[error("lease {id} stands under the key of another")]
    Key { id: LeaseId },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_encoding_is_that_of_etcd() {
        assert_eq!(LeaseRow::key(LeaseId(0x0102)), [0, 0, 0, 0, 0, 0, 1, 2]);
        let row = LeaseRow { id: 5, ttl_secs: 300, remaining_ttl_secs: 0 };
        assert_eq!(row.value(), [0x08, 5, 0x10, 0xac, 0x02]);
        let key = LeaseRow::key(LeaseId(5));
        assert_eq!(LeaseRow::from_row(&key, &row.value()).expect("own row"), row);
        let other = LeaseRow::key(LeaseId(6));
        assert!(matches!(LeaseRow::from_row(&other, &row.value()), Err(LeaseRowError::Key { id: LeaseId(5) })));
    }
}

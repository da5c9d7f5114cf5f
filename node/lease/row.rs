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

    /// Reads the value of a row.
    pub fn from_value(value: &[u8]) -> Result<Self, prost::DecodeError> {
        Self::decode(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_encoding_is_that_of_etcd() {
        assert_eq!(LeaseRow::key(LeaseId(0x0102)), [0, 0, 0, 0, 0, 0, 1, 2]);
        let row = LeaseRow { id: 5, ttl_secs: 300, remaining_ttl_secs: 0 };
        assert_eq!(row.value(), [0x08, 5, 0x10, 0xac, 0x02]);
        assert_eq!(LeaseRow::from_value(&row.value()).expect("own row"), row);
    }
}

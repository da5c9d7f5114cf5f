//! The value of a row: etcd's `mvccpb.KeyValue`, read without copying.

use bytes::Bytes;
use keelstone_proto::mvccpb::KeyValue;
use prost::Message;
use prost::encoding::{WireType, decode_key, decode_varint, skip_field};

/// The fields of an encoded `KeyValue`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Record<'r> {
    pub key: &'r [u8],
    pub create_revision: i64,
    pub mod_revision: i64,
    pub version: i64,
    pub value: &'r [u8],
    pub lease: i64,
}

impl<'r> Record<'r> {
    /// Reads any valid protobuf encoding; `None` if it is not one.
    pub fn parse(mut row: &'r [u8]) -> Option<Self> {
        let mut record = Record::default();
        while !row.is_empty() {
            let (tag, wire_type) = decode_key(&mut row).ok()?;
            match (tag, wire_type) {
                (1, WireType::LengthDelimited) => record.key = take(&mut row)?,
                (2, WireType::Varint) => record.create_revision = number(&mut row)?,
                (3, WireType::Varint) => record.mod_revision = number(&mut row)?,
                (4, WireType::Varint) => record.version = number(&mut row)?,
                (5, WireType::LengthDelimited) => record.value = take(&mut row)?,
                (6, WireType::Varint) => record.lease = number(&mut row)?,
                _ => skip_field(wire_type, tag, &mut row, Default::default()).ok()?,
            }
        }
        Some(record)
    }
}

/// The decoded row; key and value are slices of it.
pub fn decode(row: &Bytes) -> Option<KeyValue> {
    let record = Record::parse(row)?;
    Some(KeyValue {
        key: row.slice_ref(record.key),
        create_revision: record.create_revision,
        mod_revision: record.mod_revision,
        version: record.version,
        value: row.slice_ref(record.value),
        lease: record.lease,
    })
}

/// Appends the row of `kv` to `out`: fields in ascending order, zeros left out.
pub fn encode(kv: &KeyValue, out: &mut Vec<u8>) {
    kv.encode_raw(out);
}

fn take<'r>(row: &mut &'r [u8]) -> Option<&'r [u8]> {
    let len = usize::try_from(decode_varint(row).ok()?).ok()?;
    let (taken, rest) = row.split_at_checked(len)?;
    *row = rest;
    Some(taken)
}

fn number(row: &mut &[u8]) -> Option<i64> {
    Some(decode_varint(row).ok()? as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_have_etcds_bytes() {
        let kv = KeyValue {
            key: Bytes::from_static(b"foo"),
            create_revision: 2,
            mod_revision: 300,
            version: 2,
            value: Bytes::from_static(b"bar"),
            lease: 0,
        };
        let mut row = Vec::new();
        encode(&kv, &mut row);
        assert_eq!(row, b"\x0a\x03foo\x10\x02\x18\xac\x02\x20\x02\x2a\x03bar");
        assert_eq!(decode(&Bytes::from(row)), Some(kv));
    }

    #[test]
    fn a_torn_row_is_refused() {
        assert_eq!(Record::parse(b"\x0a\x09foo"), None);
        assert_eq!(Record::parse(b"\x10"), None);
        // A bump record of `etcdutl snapshot restore` is empty.
        assert_eq!(Record::parse(b""), Some(Record::default()));
    }
}

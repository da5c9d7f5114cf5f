//! Messages of the Range call. A response is encoded as `RangeResponse` is, but its keys come out of the store
//! encoded and are copied as they are:
//! ```text
//! 0a len header   12 len row (for each key)   18 more   20 count
//! ```

use crate::admission::Taken;
use bytes::{BufMut, Bytes};
use keelstone_proto::etcdserverpb::{RangeRequest, RangeResponse, ResponseHeader};
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint, key_len};
use tonic::Status;
use tonic::codec::{BufferSettings, Codec, EncodeBuf, Encoder};
use tonic_prost::{ProstCodec, ProstDecoder};

const HEADER: u32 = 1;
const KVS: u32 = 2;
/// A request is short; a response brings its own length.
const BUFFERS: (usize, usize) = (512, 32 * 1024);

/// A response whose keys are encoded.
#[derive(Debug, Default)]
pub struct EncodedRange {
    pub header: ResponseHeader,
    /// Encoded `KeyValue`s.
    pub rows: Vec<Bytes>,
    pub more: bool,
    pub count: i64,
    /// For the rows, and for their copy.
    pub _taken: Option<Taken>,
}

impl EncodedRange {
    /// The fields behind the keys.
    fn tail(&self) -> RangeResponse {
        RangeResponse { more: self.more, count: self.count, ..RangeResponse::default() }
    }

    pub fn encoded_len(&self) -> usize {
        self.encoded_len_with(&self.header)
    }

    /// With another header.
    pub fn encoded_len_with(&self, header: &ResponseHeader) -> usize {
        let rows = self.rows.iter().map(|row| delimited_len(KVS, row.len())).sum::<usize>();
        delimited_len(HEADER, header.encoded_len()) + rows + self.tail().encoded_len()
    }

    pub fn encode(&self, out: &mut impl BufMut) {
        encode_key(HEADER, WireType::LengthDelimited, out);
        encode_varint(self.header.encoded_len() as u64, out);
        self.header.encode_raw(out);
        for row in &self.rows {
            encode_key(KVS, WireType::LengthDelimited, out);
            encode_varint(row.len() as u64, out);
            out.put_slice(row);
        }
        self.tail().encode_raw(out);
    }
}

fn delimited_len(field: u32, len: usize) -> usize {
    key_len(field) + prost::length_delimiter_len(len) + len
}

/// Of the Range call.
#[derive(Clone, Copy, Debug, Default)]
pub struct RangeCodec;

impl Codec for RangeCodec {
    type Encode = EncodedRange;
    type Decode = RangeRequest;
    type Encoder = RangeEncoder;
    type Decoder = ProstDecoder<RangeRequest>;

    fn encoder(&mut self) -> RangeEncoder {
        RangeEncoder
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstCodec::<RangeResponse, RangeRequest>::raw_decoder(BufferSettings::new(BUFFERS.0, BUFFERS.1))
    }
}

#[derive(Clone, Copy, Debug)]
pub struct RangeEncoder;

impl Encoder for RangeEncoder {
    type Item = EncodedRange;
    type Error = Status;

    fn encode(&mut self, item: EncodedRange, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.reserve(item.encoded_len());
        item.encode(out);
        Ok(())
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(BUFFERS.0, BUFFERS.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use keelstone_proto::mvccpb::KeyValue;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_bytes_are_those_of_the_generated_message(
            values in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 0..5),
            more in any::<bool>(),
            count in any::<i64>(),
            revision in any::<i64>(),
            term in any::<u64>(),
        ) {
            let header = ResponseHeader { revision, raft_term: term, ..ResponseHeader::default() };
            let kvs: Vec<_> = values
                .into_iter()
                .map(|value| KeyValue { key: "k".into(), value: value.into(), version: 1, ..KeyValue::default() })
                .collect();
            let rows = kvs.iter().map(|kv| kv.encode_to_vec().into()).collect();
            let encoded = EncodedRange { header, rows, more, count, _taken: None };
            let generated = RangeResponse { header: Some(header), kvs, more, count };
            let mut bytes = Vec::new();
            encoded.encode(&mut bytes);
            prop_assert_eq!(bytes.len(), encoded.encoded_len());
            prop_assert_eq!(bytes, generated.encode_to_vec());
        }
    }
}

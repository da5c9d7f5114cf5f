//! Messages between JSON and protobuf, by the descriptors of the wire interface. The rules are those of etcd's gateway: names
//! as in the `.proto` files, 64-bit numbers as strings, bytes in base64, defaults left out, unknown fields passed over.

use crate::api::rpc::Rpc;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use keelstone_proto::FILE_DESCRIPTOR_SET;
use prost::Message;
use prost_reflect::{DescriptorPool, DeserializeOptions, DynamicMessage, MessageDescriptor, SerializeOptions};
use serde::Serialize;
use serde::de::IgnoredAny;
use std::sync::OnceLock;
use tonic::{Code, Status};

/// What stands before each message of gRPC: whether it is compressed, and its length.
const FRAME_HEAD: usize = 5;

/// The messages of a call.
#[derive(Clone, Debug)]
pub struct Shapes {
    input: MessageDescriptor,
    output: MessageDescriptor,
}

impl Shapes {
    pub fn of(rpc: Rpc) -> Self {
        // Made when it is first needed: most members never are asked in JSON.
        static POOL: OnceLock<DescriptorPool> = OnceLock::new();
        let pool = POOL.get_or_init(|| DescriptorPool::decode(FILE_DESCRIPTOR_SET).expect("descriptors of this build"));
        let labels = rpc.labels();
        let service = pool.get_service_by_name(labels.service).expect("every call has a service");
        let method = service.methods().find(|method| method.name() == labels.method).expect("and a method");
        Self { input: method.input(), output: method.output() }
    }

    /// The first value of `json` as a message of gRPC, and what is left behind it. None if there is no value yet.
    ///
    /// # Errors
    /// It is no JSON, or not of this message. The text is ours.
    pub fn encode_next(&self, json: &mut BytesMut) -> Result<Option<Bytes>, Status> {
        let mut values = serde_json::Deserializer::from_slice(json).into_iter::<IgnoredAny>();
        let end = match values.next() {
            None => return Ok(None),
            Some(Ok(IgnoredAny)) => values.byte_offset(),
            Some(Err(error)) if error.is_eof() => return Ok(None),
            Some(Err(error)) => return Err(Status::new(Code::InvalidArgument, error.to_string())),
        };
        let value = json.split_to(end);
        let options = DeserializeOptions::new().deny_unknown_fields(false);
        let mut parser = serde_json::Deserializer::from_slice(&value);
        let message = DynamicMessage::deserialize_with_options(self.input.clone(), &mut parser, &options);
        message
            .map(|message| Some(frame(&message)))
            .map_err(|error| Status::new(Code::InvalidArgument, format!("proto: {error}")))
    }

    /// The message without a field.
    pub fn encode_empty(&self) -> Bytes {
        frame(&DynamicMessage::new(self.input.clone()))
    }

    /// # Errors
    /// It is no message of this call, which would be a fault of ours.
    pub fn to_json(&self, message: Bytes) -> Result<Vec<u8>, Status> {
        let message = DynamicMessage::decode(self.output.clone(), message);
        let message = message.map_err(|error| Status::internal(error.to_string()))?;
        let options = SerializeOptions::new()
            .use_proto_field_name(true)
            .stringify_64_bit_integers(true)
            .skip_default_fields(true);
        let mut json = serde_json::Serializer::new(Vec::new());
        message.serialize_with_options(&mut json, &options).map_err(|error| Status::internal(error.to_string()))?;
        Ok(json.into_inner())
    }
}

fn frame(message: &DynamicMessage) -> Bytes {
    let len = message.encoded_len();
    let mut framed = BytesMut::with_capacity(FRAME_HEAD + len);
    framed.put_u8(0);
    // A request that long is refused by its announced length; what does not fit is too long too.
    framed.put_u32(u32::try_from(len).unwrap_or(u32::MAX));
    message.encode(&mut framed).expect("a buffer grows");
    framed.freeze()
}

/// Takes the first message off what was received, if it is whole.
pub fn take_message(received: &mut BytesMut) -> Option<Bytes> {
    let mut head = received.get(..FRAME_HEAD)?;
    head.advance(1);
    let len = head.get_u32() as usize;
    if received.len() - FRAME_HEAD < len {
        return None;
    }
    received.advance(FRAME_HEAD);
    Some(received.split_to(len).freeze())
}

/// google.rpc.Status as the gateway prints it.
#[derive(Serialize)]
struct Printed<'a> {
    #[serde(skip_serializing_if = "is_zero")]
    code: i32,
    #[serde(skip_serializing_if = "str::is_empty")]
    message: &'a str,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_zero(code: &i32) -> bool {
    *code == 0
}

pub fn status_to_json(status: &Status) -> Vec<u8> {
    let printed = Printed { code: status.code() as i32, message: status.message() };
    serde_json::to_vec(&printed).expect("a number and a text")
}

#[cfg(test)]
mod tests {
    use super::*;
    use keelstone_proto::etcdserverpb as pb;

    fn encode(rpc: Rpc, json: &str) -> Result<Bytes, String> {
        let mut json = BytesMut::from(json);
        let framed = Shapes::of(rpc).encode_next(&mut json).map_err(|status| status.message().to_owned())?;
        let mut framed = BytesMut::from(&framed.expect("a value")[..]);
        Ok(take_message(&mut framed).expect("a message"))
    }

    #[test]
    fn requests_are_read_by_either_name_and_numbers_as_text_or_not() {
        let expected = pb::RangeRequest { key: "foo".into(), range_end: "fop".into(), limit: 7, ..Default::default() };
        for json in [
            r#"{"key":"Zm9v","range_end":"Zm9w","limit":"7"}"#,
            r#"{"key":"Zm9v","rangeEnd":"Zm9w","limit":7,"no_such_field":{"a":[1]}}"#,
            r#" {"key":"Zm9v","range_end":"Zm9w","limit":7.0,"sort_order":"NONE","revision":null} trailing"#,
        ] {
            assert_eq!(pb::RangeRequest::decode(encode(Rpc::Range, json).unwrap()).unwrap(), expected, "{json}");
        }
        for wrong in [r#"{"key":1}"#, r#"{"limit":"x"}"#, "[]", "{"] {
            let mut json = BytesMut::from(wrong);
            let read = Shapes::of(Rpc::Range).encode_next(&mut json);
            assert!(matches!(read, Err(_) | Ok(None)), "{wrong}");
        }
    }

    #[test]
    fn values_follow_one_another() {
        let shapes = Shapes::of(Rpc::LeaseKeepAlive);
        let mut json = BytesMut::from("{\"ID\":\"1\"}\n {\"ID\":2}{\"I");
        assert!(shapes.encode_next(&mut json).unwrap().is_some());
        assert!(shapes.encode_next(&mut json).unwrap().is_some());
        assert!(shapes.encode_next(&mut json).unwrap().is_none());
        json.extend_from_slice(b"D\":3}");
        let mut framed = BytesMut::from(&shapes.encode_next(&mut json).unwrap().unwrap()[..]);
        let message = take_message(&mut framed).unwrap();
        assert_eq!(pb::LeaseKeepAliveRequest::decode(message).unwrap().id, 3);
    }

    #[test]
    fn answers_leave_out_defaults_and_write_long_numbers_as_text() {
        let header = pb::ResponseHeader { cluster_id: u64::MAX, member_id: 1, revision: 0, raft_term: 2 };
        let answer = pb::LeaseGrantResponse { header: Some(header), id: -5, ttl: 0, error: String::new() };
        let json = Shapes::of(Rpc::LeaseGrant).to_json(answer.encode_to_vec().into()).unwrap();
        assert_eq!(
            String::from_utf8(json).unwrap(),
            r#"{"header":{"cluster_id":"18446744073709551615","member_id":"1","raft_term":"2"},"ID":"-5"}"#
        );
    }
}

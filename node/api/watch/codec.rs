//! Messages of the Watch call. A response is encoded as `WatchResponse` is, but its events were encoded before, once
//! for all watchers:
//! ```text
//! header, watch_id, …, fragment   fields 1 to 7 as generated
//! 5a len event                    field 11, for each event
//! ```

use crate::watch::SharedEvent;
use bytes::BufMut;
use keelstone_proto::etcdserverpb::{WatchRequest, WatchResponse};
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint, key_len};
use std::sync::Arc;
use tonic::Status;
use tonic::codec::{BufferSettings, Codec, EncodeBuf, Encoder};
use tonic_prost::{ProstCodec, ProstDecoder};

/// The field of events. The last one, so that what is appended stands where the generated code would put it.
const EVENTS: u32 = 11;
/// Watch streams are many and mostly idle: small buffers, which grow in use and are flushed at 32 KiB.
const BUFFERS: (usize, usize) = (1024, 32 * 1024);

/// One response.
#[derive(Debug)]
pub struct Frame {
    /// Without events.
    pub head: WatchResponse,
    pub events: Vec<Arc<SharedEvent>>,
    pub prev_kv: bool,
}

impl Frame {
    fn event_len(&self, event: &SharedEvent) -> usize {
        let len = event.encoded(self.prev_kv).len();
        key_len(EVENTS) + prost::length_delimiter_len(len) + len
    }

    pub fn encoded_len(&self) -> usize {
        self.head.encoded_len() + self.events.iter().map(|event| self.event_len(event)).sum::<usize>()
    }

    /// `out` has room for `encoded_len` bytes.
    fn encode(&self, out: &mut impl BufMut) -> Result<(), prost::EncodeError> {
        self.head.encode(out)?;
        for event in &self.events {
            let body = event.encoded(self.prev_kv);
            encode_key(EVENTS, WireType::LengthDelimited, out);
            encode_varint(body.len() as u64, out);
            out.put_slice(body);
        }
        Ok(())
    }

    /// Splits it into frames below `max_bytes` where events allow; all but the last are marked as fragments.
    /// A single event is never split.
    pub fn fragments(self, max_bytes: usize) -> Vec<Frame> {
        if self.events.len() < 2 || self.encoded_len() < max_bytes {
            return vec![self];
        }
        let Frame { head, events, prev_kv } = self;
        let empty = || Frame { head: WatchResponse { fragment: true, ..head.clone() }, events: Vec::new(), prev_kv };
        let mut frames = vec![empty()];
        let mut len = frames[0].encoded_len();
        for event in events {
            let mut last = frames.len() - 1;
            let event_len = frames[last].event_len(&event);
            if !frames[last].events.is_empty() && len + event_len >= max_bytes {
                frames.push(empty());
                last += 1;
                len = frames[last].encoded_len();
            }
            frames[last].events.push(event);
            len += event_len;
        }
        if let Some(last) = frames.last_mut() {
            last.head.fragment = false;
        }
        frames
    }
}

#[derive(Clone, Copy, Debug)]
pub struct WatchCodec;

impl Codec for WatchCodec {
    type Encode = Frame;
    type Decode = WatchRequest;
    type Encoder = FrameEncoder;
    type Decoder = ProstDecoder<WatchRequest>;

    fn encoder(&mut self) -> FrameEncoder {
        FrameEncoder
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstCodec::<WatchResponse, WatchRequest>::raw_decoder(buffers())
    }
}

fn buffers() -> BufferSettings {
    BufferSettings::new(BUFFERS.0, BUFFERS.1)
}

#[derive(Clone, Copy, Debug)]
pub struct FrameEncoder;

impl Encoder for FrameEncoder {
    type Item = Frame;
    type Error = Status;

    fn encode(&mut self, frame: Frame, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.reserve(frame.encoded_len());
        frame.encode(out).map_err(|error| Status::internal(error.to_string()))
    }

    fn buffer_settings(&self) -> BufferSettings {
        buffers()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mvcc::{Event, EventKind, RevisionEvents};
    use bytes::{Bytes, BytesMut};
    use keelstone_proto::etcdserverpb::ResponseHeader;
    use keelstone_proto::mvccpb::{self, KeyValue};

    fn frame(sizes: &[usize]) -> (Frame, WatchResponse) {
        let kv = |size: &usize| KeyValue { value: Bytes::from(vec![1; *size]), mod_revision: 9, ..KeyValue::default() };
        let events: Vec<Event> = sizes.iter().map(|size| Event { kind: EventKind::Delete, kv: kv(size) }).collect();
        let wanted = events.iter().map(|event| mvccpb::Event { r#type: 1, kv: Some(event.kv.clone()), prev_kv: None });
        let header = ResponseHeader { cluster_id: 1, member_id: 2, revision: 300, raft_term: 4 };
        let head = WatchResponse { header: Some(header), watch_id: 5, ..WatchResponse::default() };
        let whole = WatchResponse { events: wanted.collect(), ..head.clone() };
        let revision = Arc::new(RevisionEvents { revision: 9, events });
        let events = (0..sizes.len()).map(|at| Arc::new(SharedEvent::detached(&revision, at))).collect();
        (Frame { head, events, prev_kv: false }, whole)
    }

    fn decode(frame: &Frame) -> WatchResponse {
        let mut out = BytesMut::new();
        frame.encode(&mut out).unwrap();
        assert_eq!(out.len(), frame.encoded_len());
        WatchResponse::decode(out).unwrap()
    }

    #[test]
    fn a_frame_is_encoded_as_the_generated_code_does() {
        for sizes in [&[][..], &[1], &[0, 200, 20_000]] {
            let (frame, whole) = frame(sizes);
            let mut out = BytesMut::new();
            frame.encode(&mut out).unwrap();
            assert_eq!(out, whole.encode_to_vec());
        }
    }

    #[test]
    fn fragments_stay_below_the_limit_and_join_to_the_whole() {
        let (frame, whole) = frame(&[100, 100, 100, 900, 100, 100]);
        let fragments: Vec<_> = frame.fragments(400).iter().map(decode).collect();
        assert!(fragments.iter().all(|part| part.encoded_len() < 400 || part.events.len() == 1));
        let (last, earlier) = fragments.split_last().unwrap();
        assert!(!last.fragment && earlier.iter().all(|part| part.fragment));
        assert!(fragments.iter().all(|part| part.header == whole.header && part.watch_id == 5));
        let joined: Vec<_> = fragments.iter().flat_map(|part| part.events.clone()).collect();
        assert_eq!(joined, whole.events);
        assert_eq!(fragments.iter().map(|part| part.events.len()).collect::<Vec<_>>(), [3, 1, 2]);
    }

    #[test]
    fn a_single_large_event_and_a_small_response_stay_whole() {
        assert_eq!(frame(&[900]).0.fragments(400).len(), 1);
        assert_eq!(frame(&[10, 10]).0.fragments(400).len(), 1);
    }
}

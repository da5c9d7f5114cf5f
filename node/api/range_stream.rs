//! A range in several messages, each near a target size, which merge into what the unary call would answer (etcd
//! `server/etcdserver/v3_server.go`, rangeStream). All chunks read the same view; the last one carries the header,
//! `more` and `count`.

use super::header::Answerer;
use super::status::ApiError;
use bytes::{Bytes, BytesMut};
use keelstone_proto::etcdserverpb::{RangeRequest, RangeResponse, RangeStreamResponse};
use prost::Message;

/// Keys in the first chunk; later ones are doubled or halved towards the target.
const FIRST_CHUNK_KEYS: i64 = 10;

/// The chunks of one request, read when they are asked for. `R` is the unary range on a pinned view.
#[derive(Debug)]
pub struct Chunks<R> {
    read: R,
    answerer: Answerer,
    /// What the next chunk asks for. None once the last one was given.
    next: Option<RangeRequest>,
    /// Keys that the client wants in all.
    limit: i64,
    sent: i64,
    target_bytes: usize,
}

impl<R: FnMut(&RangeRequest) -> Result<RangeResponse, ApiError>> Chunks<R> {
    /// `target_bytes` is the size that chunks should have: `--max-request-bytes`.
    pub fn new(request: RangeRequest, answerer: Answerer, target_bytes: usize, read: R) -> Self {
        let limit = if request.limit == 0 { i64::MAX } else { request.limit };
        let mut next = request;
        if !next.count_only {
            next.limit = limit.min(FIRST_CHUNK_KEYS);
        }
        Self { read, answerer, next: Some(next), limit, sent: 0, target_bytes }
    }

    fn count_only(&mut self, request: &RangeRequest) -> Result<RangeResponse, ApiError> {
        let answer = (self.read)(request)?;
        let header = Some(self.answerer.header_at(revision_of(&answer)));
        Ok(RangeResponse { header, count: answer.count, ..RangeResponse::default() })
    }

    fn chunk(&mut self, mut request: RangeRequest) -> Result<RangeResponse, ApiError> {
        let answer = (self.read)(&request)?;
        self.sent += i64::try_from(answer.kvs.len()).unwrap_or(i64::MAX);
        let bytes = answer.encoded_len();
        let revision = revision_of(&answer);
        let following = match answer.kvs.last() {
            Some(last) if answer.more => Some(key_after(&last.key)),
            Some(_) | None => None,
        };
        let mut chunk = RangeResponse { kvs: answer.kvs, ..RangeResponse::default() };
        match following {
            Some(key) if self.sent < self.limit => {
                request.key = key;
                request.limit = adjust_keys(request.limit, bytes, self.target_bytes).min(self.limit - self.sent);
                self.next = Some(request);
            }
            Some(key) => {
                request.key = key;
                request.limit = 0;
                request.count_only = true;
                chunk.more = true;
                chunk.count = self.sent + (self.read)(&request)?.count;
                chunk.header = Some(self.answerer.header_at(revision));
            }
            None => {
                chunk.count = self.sent;
                chunk.header = Some(self.answerer.header_at(revision));
            }
        }
        Ok(chunk)
    }
}

impl<R: FnMut(&RangeRequest) -> Result<RangeResponse, ApiError>> Iterator for Chunks<R> {
    type Item = Result<RangeStreamResponse, ApiError>;

    fn next(&mut self) -> Option<Self::Item> {
        let request = self.next.take()?;
        let chunk = if request.count_only { self.count_only(&request) } else { self.chunk(request) };
        Some(chunk.map(|chunk| RangeStreamResponse { range_response: Some(chunk) }))
    }
}

fn revision_of(answer: &RangeResponse) -> i64 {
    answer.header.as_ref().map_or(0, |header| header.revision)
}

fn key_after(key: &[u8]) -> Bytes {
    let mut after = BytesMut::with_capacity(key.len() + 1);
    after.extend_from_slice(key);
    after.extend_from_slice(&[0]);
    after.freeze()
}

/// Keys for the next chunk: twice or half as many when the last one was below half or above twice the target. At
/// least one, since zero would mean all.
fn adjust_keys(keys: i64, bytes: usize, target_bytes: usize) -> i64 {
    let adjusted = if bytes < target_bytes / 2 {
        keys.saturating_mul(2)
    } else if bytes > target_bytes.saturating_mul(2) {
        keys / 2
    } else {
        keys
    };
    adjusted.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{ClusterId, KeyInterval, MemberId};
    use keelstone_proto::etcdserverpb::ResponseHeader;
    use keelstone_proto::mvccpb::KeyValue;
    use proptest::prelude::*;

    const ANSWERER: Answerer = Answerer { cluster: ClusterId(1), member: MemberId(2), term: 3 };

    /// The unary range over `keys`, as naive as can be.
    fn naive(keys: &[KeyValue], request: &RangeRequest) -> RangeResponse {
        let interval = KeyInterval::new(request.key.clone(), request.range_end.clone());
        let mut kvs: Vec<_> = keys.iter().filter(|kv| interval.contains(&kv.key)).cloned().collect();
        let count = kvs.len() as i64;
        let more = !request.count_only && request.limit > 0 && count > request.limit;
        if more {
            kvs.truncate(request.limit as usize);
        }
        if request.count_only {
            kvs.clear();
        }
        let header = Some(ResponseHeader { revision: 9, ..ResponseHeader::default() });
        RangeResponse { header, kvs, more, count }
    }

    fn stream(keys: &[KeyValue], request: &RangeRequest, target_bytes: usize) -> Vec<RangeResponse> {
        let chunks = Chunks::new(request.clone(), ANSWERER, target_bytes, |asked| Ok(naive(keys, asked)));
        chunks.map(|chunk| chunk.expect("no error").range_response.expect("a response")).collect()
    }

    fn key_value(key: u16, value_len: usize) -> KeyValue {
        let key = Bytes::copy_from_slice(format!("k{key:05}").as_bytes());
        KeyValue { key, value: vec![b'v'; value_len].into(), ..KeyValue::default() }
    }

    proptest! {
        #[test]
        fn chunks_merge_into_the_unary_answer(
            lens in proptest::collection::vec(0_usize..300, 0..120),
            limit in 0_i64..130,
            target_bytes in 1_usize..20_000,
            count_only in any::<bool>(),
            one_key in any::<bool>(),
        ) {
            let keys: Vec<_> = (0..).zip(&lens).map(|(key, len)| key_value(key, *len)).collect();
            let range_end = if one_key { Bytes::new() } else { Bytes::from_static(&[0]) };
            let request =
                RangeRequest { key: "k00000".into(), range_end, limit, count_only, ..RangeRequest::default() };
            let chunks = stream(&keys, &request, target_bytes);
            let (last, earlier) = chunks.split_last().expect("always one message");
            for chunk in earlier {
                prop_assert!(chunk.header.is_none() && !chunk.more && chunk.count == 0 && !chunk.kvs.is_empty());
            }
            let unary = naive(&keys, &request);
            prop_assert_eq!(last.header, Some(ANSWERER.header_at(9)));
            prop_assert_eq!((last.more, last.count), (unary.more, unary.count));
            let merged: Vec<_> = chunks.iter().flat_map(|chunk| chunk.kvs.clone()).collect();
            prop_assert_eq!(merged, unary.kvs);
        }
    }

    #[test]
    fn chunks_grow_towards_the_target() {
        let keys: Vec<_> = (0..1_000).map(|key| key_value(key, 1_000)).collect();
        let request = RangeRequest { key: "k".into(), range_end: vec![0].into(), ..RangeRequest::default() };
        let sizes: Vec<_> = stream(&keys, &request, 100_000).iter().map(|chunk| chunk.kvs.len()).collect();
        assert_eq!(sizes[..5], [10, 20, 40, 80, 80], "80 keys are within half and twice the target");
    }

    #[test]
    fn a_chunk_never_asks_for_all_keys() {
        assert_eq!(adjust_keys(1, 1_000, 10), 1);
        assert_eq!(adjust_keys(10, 1_000, 10), 5);
        assert_eq!(adjust_keys(10, 15, 10), 10);
        assert_eq!(adjust_keys(10, 4, 10), 20);
    }
}

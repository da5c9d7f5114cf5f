//! Reads that take long. etcd holds them against the limit of applying entries, and counts them with those
//! (`server/etcdserver/txn/util.go`).

use super::node::Node;
use super::range_codec::EncodedRange;
use super::status::ApiError;
use crate::apply::loggable;
use crate::apply::slow::{Line, warn_slow};
use keelstone_proto::etcdserverpb as pb;
use keelstone_proto::etcdserverpb::response_op::Response;
use prost::Message;
use std::fmt::Display;
use std::time::{Duration, Instant};

/// Times a range, from before its ReadIndex round on. One that is dropped before its end counts too: its client went
/// away.
#[derive(Debug)]
pub struct RangeTimer<'a> {
    node: &'a Node,
    request: &'a pb::RangeRequest,
    started: Instant,
    is_ended: bool,
}

impl<'a> RangeTimer<'a> {
    pub fn start(node: &'a Node, request: &'a pb::RangeRequest) -> Self {
        Self { node, request, started: Instant::now(), is_ended: false }
    }

    /// How long it took.
    pub fn end(mut self, answer: &Result<EncodedRange, ApiError>) -> Duration {
        self.is_ended = true;
        let took = self.started.elapsed();
        warn_if_slow(self.node, took, "read-only range ", || {
            let response = answer.as_ref().map(range_response).unwrap_or_default();
            (loggable::range(self.request), response, answer.as_ref().err().map(within))
        });
        took
    }
}

impl Drop for RangeTimer<'_> {
    fn drop(&mut self) {
        if !self.is_ended {
            let canceled = || (loggable::range(self.request), String::new(), Some("context canceled".to_owned()));
            warn_if_slow(self.node, self.started.elapsed(), "read-only range ", canceled);
        }
    }
}

/// `took` begins behind the ReadIndex round, as in etcd; the answer's header has a revision only.
pub fn txn(node: &Node, took: Duration, request: &pb::TxnRequest, answer: &Result<pb::TxnResponse, ApiError>) {
    warn_if_slow(node, took, "read-only txn ", || {
        let response = answer.as_ref().map(txn_response).unwrap_or_default();
        (loggable::txn(request), response, answer.as_ref().err().map(within))
    });
}

/// `texts`: request, response, error.
fn warn_if_slow(node: &Node, took: Duration, prefix: &str, texts: impl FnOnce() -> (String, String, Option<String>)) {
    let limit = node.settings.warn_apply_after;
    if took <= limit {
        return;
    }
    let (request, response, error) = texts();
    let error = error.as_ref().map(|error| error as &dyn Display);
    warn_slow(took, limit, &Line { prefix, request: &request, response: &response, error });
    node.metrics.slow_applies.inc();
}

/// etcd measures it before the header has more than its revision.
fn range_response(answer: &EncodedRange) -> String {
    let header = pb::ResponseHeader { revision: answer.header.revision, ..Default::default() };
    format!("range_response_count:{} size:{}", answer.rows.len(), answer.encoded_len_with(&header))
}

fn txn_response(answer: &pb::TxnResponse) -> String {
    let counts = answer.responses.iter().filter_map(|op| match &op.response {
        Some(Response::ResponseRange(range)) => Some(format!("range_response_count:{}", range.kvs.len())),
        Some(Response::ResponsePut(_) | Response::ResponseDeleteRange(_) | Response::ResponseTxn(_)) | None => None,
    });
    format!("responses:<{}> size:{}", counts.collect::<Vec<_>>().join(" "), answer.encoded_len())
}

/// An error as etcd words it before it is made one of gRPC.
fn within(error: &ApiError) -> String {
    let text = error.text();
    let inner = text.strip_prefix("etcdserver: ").filter(|inner| inner.starts_with("mvcc: "));
    inner.map(str::to_owned).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_and_errors_read_as_in_etcds_lines() {
        let header = pb::ResponseHeader { cluster_id: 1 << 40, member_id: 1 << 50, revision: 3, raft_term: 2 };
        let answer = EncodedRange { header, rows: vec!["0123456789".into()], more: false, count: 1, _taken: None };
        assert_eq!(range_response(&answer), "range_response_count:1 size:18");
        let range = pb::ResponseOp { response: Some(Response::ResponseRange(pb::RangeResponse::default())) };
        let header = Some(pb::ResponseHeader { revision: 6, ..Default::default() });
        let answer = pb::TxnResponse { header, succeeded: false, responses: vec![range] };
        assert_eq!(txn_response(&answer), "responses:<range_response_count:0> size:8");
        assert_eq!(within(&ApiError::Compacted), "mvcc: required revision has been compacted");
        assert_eq!(within(&ApiError::Timeout), "etcdserver: request timed out");
    }
}

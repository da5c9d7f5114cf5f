//! What a request is charged against the space quota (etcd `server/storage/quota.go`): an estimate in bytes of
//! what it adds. Admission compares it with the space left; apply asks only whether there is any.

use keelstone_proto::etcdserverpb::{PutRequest, RequestOp, TxnRequest, request_op::Request};

/// Beside a key and its value, and for a lease.
const KV_OVERHEAD_BYTES: u64 = 256;
const LEASE_BYTES: u64 = 64;

pub fn put(request: &PutRequest) -> u64 {
    KV_OVERHEAD_BYTES + (request.key.len() + request.value.len()) as u64
}

pub fn lease_grant() -> u64 {
    LEASE_BYTES
}

/// The dearer branch, with nested ones. Zero if no branch puts.
pub fn txn(request: &TxnRequest) -> u64 {
    let branch = |ops: &[RequestOp]| ops.iter().map(op).sum();
    u64::max(branch(&request.success), branch(&request.failure))
}

fn op(op: &RequestOp) -> u64 {
    match &op.request {
        Some(Request::RequestPut(request)) => put(request),
        Some(Request::RequestTxn(request)) => txn(request),
        Some(Request::RequestRange(_) | Request::RequestDeleteRange(_)) | None => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_txn_costs_its_dearer_branch() {
        let request = PutRequest { key: vec![0; 10].into(), value: vec![0; 34].into(), ..PutRequest::default() };
        let op = RequestOp { request: Some(Request::RequestPut(request.clone())) };
        let nested = TxnRequest { failure: vec![op.clone(), op.clone()], ..TxnRequest::default() };
        let nested = RequestOp { request: Some(Request::RequestTxn(nested)) };
        let outer = TxnRequest { success: vec![op], failure: vec![nested], ..TxnRequest::default() };
        assert_eq!(put(&request), 300);
        assert_eq!(txn(&outer), 600);
        assert_eq!(txn(&TxnRequest::default()), 0);
    }
}

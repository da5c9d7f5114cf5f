//! Transactions that only read, run on a pinned view without a log entry (etcd `server/etcdserver/txn/txn.go`).
//! The rules are those of apply; nested transactions do not get here, since any makes a transaction a write.

use super::range::range;
use crate::mvcc::{RangeQuery, ReadError, View};
use crate::types::KeyInterval;
use keelstone_proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use keelstone_proto::etcdserverpb::request_op::Request;
use keelstone_proto::etcdserverpb::response_op::Response;
use keelstone_proto::etcdserverpb::{Compare, RangeRequest, ResponseHeader, ResponseOp, TxnRequest, TxnResponse};
use keelstone_proto::mvccpb::KeyValue;
use std::cmp::Ordering;

/// The answer, with nothing but the revision in its header.
///
/// # Errors
/// A range of the branch that is taken asks for a revision that is compacted or does not exist yet; the state
/// cannot be read.
pub fn run(view: &View, request: &TxnRequest) -> Result<TxnResponse, ReadError> {
    let mut succeeded = true;
    for compare in &request.compare {
        succeeded = succeeded && holds_for_all(view, compare)?;
    }
    let ops = if succeeded { &request.success } else { &request.failure };
    let ranges = ops.iter().filter_map(|op| match &op.request {
        Some(Request::RequestRange(range)) => Some(range),
        Some(Request::RequestPut(_) | Request::RequestDeleteRange(_) | Request::RequestTxn(_)) | None => None,
    });
    let mut responses = Vec::with_capacity(ops.len());
    for request in ranges {
        check_revision(view, request)?;
        responses.push(ResponseOp { response: Some(Response::ResponseRange(range(view, request)?)) });
    }
    let header = Some(ResponseHeader { revision: view.revision(), ..ResponseHeader::default() });
    Ok(TxnResponse { header, succeeded, responses })
}

/// Stricter than a plain range, which takes a negative revision for the latest: below the compacted one it is
/// refused here (etcd `checkRange`).
fn check_revision(view: &View, request: &RangeRequest) -> Result<(), ReadError> {
    match request.revision {
        0 => Ok(()),
        revision if revision > view.revision() => Err(ReadError::FutureRevision { current: view.revision() }),
        revision if revision < view.compacted() => Err(ReadError::Compacted { compacted: view.compacted() }),
        _ => Ok(()),
    }
}

/// True if the comparison holds for every key of its interval. No key at all compares as one of zeros, except that
/// no comparison with a value holds then.
fn holds_for_all(view: &View, compare: &Compare) -> Result<bool, ReadError> {
    let interval = KeyInterval::new(compare.key.clone(), compare.range_end.clone());
    let found = view.range(&RangeQuery::latest(interval))?.kvs;
    if found.is_empty() {
        return Ok(compare.target != CompareTarget::Value as i32 && holds(compare, &KeyValue::default()));
    }
    Ok(found.iter().all(|kv| holds(compare, kv)))
}

/// An operand of another kind than the target counts as zero; an unknown target compares as equal, and with an
/// unknown result anything holds, as in etcd.
fn holds(compare: &Compare, kv: &KeyValue) -> bool {
    let operand = compare.target_union.as_ref();
    let number = |found: i64, given: Option<i64>| found.cmp(&given.unwrap_or(0));
    let ordering = match CompareTarget::try_from(compare.target) {
        Ok(CompareTarget::Version) => number(
            kv.version,
            operand.and_then(|operand| if let TargetUnion::Version(given) = operand { Some(*given) } else { None }),
        ),
        Ok(CompareTarget::Create) => number(
            kv.create_revision,
            operand
                .and_then(|operand| if let TargetUnion::CreateRevision(given) = operand { Some(*given) } else { None }),
        ),
        Ok(CompareTarget::Mod) => number(
            kv.mod_revision,
            operand.and_then(|operand| if let TargetUnion::ModRevision(given) = operand { Some(*given) } else { None }),
        ),
        Ok(CompareTarget::Lease) => number(
            kv.lease,
            operand.and_then(|operand| if let TargetUnion::Lease(given) = operand { Some(*given) } else { None }),
        ),
        Ok(CompareTarget::Value) => match operand {
            Some(TargetUnion::Value(given)) => kv.value.cmp(given),
            _ => kv.value.as_ref().cmp(b""),
        },
        Err(_unknown) => Ordering::Equal,
    };
    match CompareResult::try_from(compare.result) {
        Ok(CompareResult::Equal) => ordering.is_eq(),
        Ok(CompareResult::NotEqual) => ordering.is_ne(),
        Ok(CompareResult::Greater) => ordering.is_gt(),
        Ok(CompareResult::Less) => ordering.is_lt(),
        Err(_unknown) => true,
    }
}

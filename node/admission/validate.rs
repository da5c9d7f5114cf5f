//! Which requests make sense by themselves, in the order of etcd's checks (`server/etcdserver/api/v3rpc/key.go`).

use super::AdmissionError;
use super::intervals::check_intervals;
use crate::lease::MAX_TTL_SECS;
use keelstone_proto::etcdserverpb::range_request::{SortOrder, SortTarget};
use keelstone_proto::etcdserverpb::request_op::Request;
use keelstone_proto::etcdserverpb::{
    DeleteRangeRequest, LeaseGrantRequest, PutRequest, RangeRequest, RequestOp, TxnRequest,
};

pub fn check_range(request: &RangeRequest) -> Result<(), AdmissionError> {
    if request.key.is_empty() {
        return Err(AdmissionError::EmptyKey);
    }
    if SortOrder::try_from(request.sort_order).is_err() || SortTarget::try_from(request.sort_target).is_err() {
        return Err(AdmissionError::InvalidSortOption);
    }
    Ok(())
}

/// As [`check_range`]; a stream besides has no order of its own and no filters, since it never holds all rows.
pub fn check_range_stream(request: &RangeRequest) -> Result<(), AdmissionError> {
    check_range(request)?;
    let is_key_order = request.sort_order == SortOrder::None as i32
        || (request.sort_target == SortTarget::Key as i32 && request.sort_order == SortOrder::Ascend as i32);
    if !is_key_order {
        return Err(AdmissionError::RangeStreamSortOrder);
    }
    let filters =
        [request.min_mod_revision, request.max_mod_revision, request.min_create_revision, request.max_create_revision];
    if filters != [0; 4] {
        return Err(AdmissionError::RangeStreamRevisionFilters);
    }
    Ok(())
}

pub fn check_put(request: &PutRequest) -> Result<(), AdmissionError> {
    if request.key.is_empty() {
        return Err(AdmissionError::EmptyKey);
    }
    if request.ignore_value && !request.value.is_empty() {
        return Err(AdmissionError::ValueProvided);
    }
    if request.ignore_lease && request.lease != 0 {
        return Err(AdmissionError::LeaseProvided);
    }
    Ok(())
}

pub fn check_delete_range(request: &DeleteRangeRequest) -> Result<(), AdmissionError> {
    if request.key.is_empty() { Err(AdmissionError::EmptyKey) } else { Ok(()) }
}

pub fn check_lease_grant(request: &LeaseGrantRequest) -> Result<(), AdmissionError> {
    if request.ttl > MAX_TTL_SECS { Err(AdmissionError::LeaseTtlTooLarge) } else { Ok(()) }
}

/// Checks a transaction with all that is nested in it: sizes and operations first, then that no key is put
/// twice or put and deleted. `max_ops` is `--max-txn-ops`.
pub fn check_txn(request: &TxnRequest, max_ops: usize) -> Result<(), AdmissionError> {
    check_ops(request, max_ops)?;
    check_intervals(&request.success)?;
    check_intervals(&request.failure)
}

/// A nested transaction may use what its parent's longest list leaves of the budget.
fn check_ops(request: &TxnRequest, max_ops: usize) -> Result<(), AdmissionError> {
    let longest = request.compare.len().max(request.success.len()).max(request.failure.len());
    let rest = max_ops.checked_sub(longest).ok_or(AdmissionError::TooManyOps)?;
    if request.compare.iter().any(|compare| compare.key.is_empty()) {
        return Err(AdmissionError::EmptyKey);
    }
    request.success.iter().chain(&request.failure).try_for_each(|op| check_op(op, rest))
}

fn check_op(op: &RequestOp, max_ops: usize) -> Result<(), AdmissionError> {
    match &op.request {
        Some(Request::RequestRange(request)) => check_range(request),
        Some(Request::RequestPut(request)) => check_put(request),
        Some(Request::RequestDeleteRange(request)) => check_delete_range(request),
        Some(Request::RequestTxn(request)) => check_ops(request, max_ops),
        None => Err(AdmissionError::KeyNotFound),
    }
}

/// True if the transaction needs no log entry: nothing but ranges, or nothing at all.
pub fn is_read_only(request: &TxnRequest) -> bool {
    all_ops(request, |range| range.is_some())
}

/// True if it may be answered without asking the leader: every range says so. Of a read-only transaction only.
pub fn is_serializable(request: &TxnRequest) -> bool {
    all_ops(request, |range| range.is_some_and(|range| range.serializable))
}

fn all_ops(request: &TxnRequest, holds: impl Fn(Option<&RangeRequest>) -> bool) -> bool {
    request.success.iter().chain(&request.failure).all(|op| match &op.request {
        Some(Request::RequestRange(range)) => holds(Some(range)),
        Some(Request::RequestPut(_) | Request::RequestDeleteRange(_) | Request::RequestTxn(_)) | None => holds(None),
    })
}

#[cfg(test)]
#[path = "validate_tests.rs"]
mod tests;

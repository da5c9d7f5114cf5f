//! Sorted ranges with equal keys of their order. etcd sorts with Go's `sort.Sort`, which keeps the order of up to
//! twelve elements that are equal, and of more none that could be relied on: only then are ties compared as sets.

use keelstone_harness::proto::etcdserverpb::range_request::{SortOrder, SortTarget};
use keelstone_harness::proto::etcdserverpb::request_op::Request;
use keelstone_harness::proto::etcdserverpb::response_op::Response;
use keelstone_harness::proto::etcdserverpb::{RangeRequest, RangeResponse, TxnRequest, TxnResponse};
use keelstone_harness::proto::mvccpb::KeyValue;

/// Up to here Go sorts by insertion.
const STABLE_UP_TO: i64 = 12;

/// What a target orders by, without the rest of the record.
fn rank(target: SortTarget, kv: &KeyValue) -> KeyValue {
    match target {
        SortTarget::Key => KeyValue { key: kv.key.clone(), ..KeyValue::default() },
        SortTarget::Version => KeyValue { version: kv.version, ..KeyValue::default() },
        SortTarget::Create => KeyValue { create_revision: kv.create_revision, ..KeyValue::default() },
        SortTarget::Mod => KeyValue { mod_revision: kv.mod_revision, ..KeyValue::default() },
        SortTarget::Value => KeyValue { value: kv.value.clone(), ..KeyValue::default() },
    }
}

/// The target, if ties have no order.
fn unstable(request: &RangeRequest, response: &RangeResponse) -> Option<SortTarget> {
    let target = SortTarget::try_from(request.sort_target).ok()?;
    let is_sorted = target != SortTarget::Key && SortOrder::try_from(request.sort_order).is_ok();
    // Sorted by value, keys alone do not show what was tied: then all are taken for tied.
    (is_sorted && response.count > STABLE_UP_TO).then_some(target)
}

/// Where the last tie begins that a limit may have cut. Which of the tied come before the cut is as open as their order.
fn cut_from(target: SortTarget, request: &RangeRequest, response: &RangeResponse) -> usize {
    let kvs = &response.kvs;
    match kvs.last() {
        _ if !response.more => kvs.len(),
        None => 0,
        Some(_) if hides_rank(target, request) => 0,
        Some(last) => kvs.iter().rposition(|kv| rank(target, kv) != rank(target, last)).map_or(0, |at| at + 1),
    }
}

fn hides_rank(target: SortTarget, request: &RangeRequest) -> bool {
    target == SortTarget::Value && request.keys_only
}

/// Takes away the order of ties, and of a tie that is cut all but what it is tied by. Returns what was cut so.
pub fn forget_order(request: &RangeRequest, response: &mut RangeResponse) -> Vec<KeyValue> {
    let Some(target) = unstable(request, response) else { return Vec::new() };
    let hidden = hides_rank(target, request);
    let cut = response.kvs.split_off(cut_from(target, request, response));
    let mut sorted: Vec<KeyValue> = Vec::with_capacity(response.kvs.len());
    for tied in response.kvs.chunk_by(|a, b| hidden || rank(target, a) == rank(target, b)) {
        let mut tied = tied.to_vec();
        tied.sort_by(|a, b| a.key.cmp(&b.key));
        sorted.append(&mut tied);
    }
    sorted.extend(cut.iter().map(|kv| if hidden { KeyValue::default() } else { rank(target, kv) }));
    response.kvs = sorted;
    cut
}

/// The same for each range that a transaction ran.
pub fn forget_order_in_txn(request: &TxnRequest, response: &mut TxnResponse) {
    let ops = if response.succeeded { &request.success } else { &request.failure };
    for (op, answer) in ops.iter().zip(&mut response.responses) {
        match (&op.request, &mut answer.response) {
            (Some(Request::RequestRange(request)), Some(Response::ResponseRange(response))) => {
                forget_order(request, response);
            }
            (Some(Request::RequestTxn(request)), Some(Response::ResponseTxn(response))) => {
                forget_order_in_txn(request, response);
            }
            _ => {}
        }
    }
}

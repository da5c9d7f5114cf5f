//! Cases of etcd's own tests (`key_test.go`, the integration suite's `TestV3TxnDuplicateKeys`) and of its code.

use super::*;
use bytes::Bytes;
use keelstone_proto::etcdserverpb::Compare;

fn key(name: &'static str) -> Bytes {
    Bytes::from_static(name.as_bytes())
}

fn op(request: Request) -> RequestOp {
    RequestOp { request: Some(request) }
}

fn put(name: &'static str) -> RequestOp {
    op(Request::RequestPut(PutRequest { key: key(name), ..PutRequest::default() }))
}

fn delete(from: &'static str, to: &'static str) -> RequestOp {
    op(Request::RequestDeleteRange(DeleteRangeRequest {
        key: key(from),
        range_end: key(to),
        ..DeleteRangeRequest::default()
    }))
}

fn txn(success: Vec<RequestOp>, failure: Vec<RequestOp>) -> RequestOp {
    op(Request::RequestTxn(TxnRequest { success, failure, ..TxnRequest::default() }))
}

fn get(name: &'static str) -> RequestOp {
    op(Request::RequestRange(RangeRequest { key: key(name), ..RangeRequest::default() }))
}

fn check(success: Vec<RequestOp>) -> Result<(), AdmissionError> {
    check_txn(&TxnRequest { success, ..TxnRequest::default() }, 128)
}

const DUPLICATE: Result<(), AdmissionError> = Err(AdmissionError::DuplicateKey);

#[test]
fn a_key_is_put_once_per_branch() {
    assert_eq!(check(vec![put("abc"), put("abc")]), DUPLICATE);
    assert_eq!(check(vec![put("abc"), delete("abc", "")]), DUPLICATE);
    assert_eq!(check(vec![delete("abc", ""), put("abc")]), DUPLICATE);
    assert_eq!(check(vec![put("abc"), delete("a", "b")]), DUPLICATE);
    assert_eq!(check(vec![delete("a", "b"), delete("a", "b")]), Ok(()));
    assert_eq!(check(vec![put("abc"), delete("abd", "x")]), Ok(()));
    let both_branches = TxnRequest { success: vec![put("a")], failure: vec![put("a")], ..TxnRequest::default() };
    assert_eq!(check_txn(&both_branches, 128), Ok(()));
}

#[test]
fn nested_transactions_count_for_their_parent() {
    assert_eq!(check(vec![put("a"), txn(vec![put("a")], vec![])]), DUPLICATE);
    assert_eq!(check(vec![txn(vec![put("a")], vec![put("a")])]), Ok(()));
    assert_eq!(check(vec![txn(vec![put("a")], vec![]), txn(vec![], vec![put("a")])]), DUPLICATE);
    assert_eq!(check(vec![delete("a", "b"), txn(vec![put("aa")], vec![])]), DUPLICATE);
    assert_eq!(check(vec![txn(vec![delete("a", "b")], vec![]), put("aa")]), DUPLICATE);
    assert_eq!(check(vec![txn(vec![txn(vec![put("x")], vec![])], vec![]), put("x")]), DUPLICATE);
}

#[test]
fn siblings_are_folded_from_left_to_right() {
    let (puts, deletes) = (txn(vec![put("a")], vec![]), txn(vec![delete("a", "")], vec![]));
    assert_eq!(check(vec![puts.clone(), deletes.clone()]), Ok(()));
    assert_eq!(check(vec![deletes, puts]), DUPLICATE);
}

#[test]
fn a_delete_without_end_meets_no_put() {
    assert_eq!(check(vec![put("b"), delete("a", "\0")]), Ok(()));
}

#[test]
fn nested_transactions_share_the_budget() {
    let limited = |txn: TxnRequest| check_txn(&txn, 3);
    let of = |success: Vec<RequestOp>| TxnRequest { success, ..TxnRequest::default() };
    assert_eq!(limited(of(vec![put("a"), put("b"), put("c")])), Ok(()));
    assert_eq!(limited(of(vec![put("a"), put("b"), put("c"), put("d")])), Err(AdmissionError::TooManyOps));
    assert_eq!(limited(of(vec![txn(vec![put("a"), put("b")], vec![])])), Ok(()));
    assert_eq!(limited(of(vec![put("z"), txn(vec![put("a"), put("b")], vec![])])), Err(AdmissionError::TooManyOps));
    let compare = Compare { key: key("a"), ..Compare::default() };
    let compares = TxnRequest { compare: vec![compare; 4], ..TxnRequest::default() };
    assert_eq!(limited(compares), Err(AdmissionError::TooManyOps));
}

#[test]
fn operations_are_checked_at_any_depth() {
    assert_eq!(check(vec![txn(vec![], vec![put("")])]), Err(AdmissionError::EmptyKey));
    assert_eq!(check(vec![RequestOp { request: None }]), Err(AdmissionError::KeyNotFound));
    let empty = TxnRequest { compare: vec![Compare::default()], ..TxnRequest::default() };
    assert_eq!(check_txn(&empty, 128), Err(AdmissionError::EmptyKey));
    assert_eq!(check_txn(&TxnRequest::default(), 128), Ok(()));
}

#[test]
fn puts_name_either_a_value_or_the_present_one() {
    let put = PutRequest { key: key("a"), ..PutRequest::default() };
    assert_eq!(check_put(&PutRequest::default()), Err(AdmissionError::EmptyKey));
    assert_eq!(check_put(&put), Ok(()));
    let value = PutRequest { ignore_value: true, value: key("v"), ..put.clone() };
    assert_eq!(check_put(&value), Err(AdmissionError::ValueProvided));
    let lease = PutRequest { ignore_lease: true, lease: 1, ..put.clone() };
    assert_eq!(check_put(&lease), Err(AdmissionError::LeaseProvided));
    assert_eq!(check_put(&PutRequest { ignore_lease: true, ignore_value: true, ..put }), Ok(()));
}

#[test]
fn ranges_have_known_orders_and_streams_only_one() {
    let range = RangeRequest { key: key("a"), ..RangeRequest::default() };
    assert_eq!(check_range(&RangeRequest::default()), Err(AdmissionError::EmptyKey));
    assert_eq!(check_range(&RangeRequest { sort_order: 3, ..range.clone() }), Err(AdmissionError::InvalidSortOption));
    assert_eq!(check_range(&RangeRequest { sort_target: 5, ..range.clone() }), Err(AdmissionError::InvalidSortOption));
    assert_eq!(check_range(&RangeRequest { sort_target: -1, ..range.clone() }), Err(AdmissionError::InvalidSortOption));
    assert_eq!(check_range_stream(&RangeRequest { sort_order: 1, ..range.clone() }), Ok(()));
    // Without an order the target does not matter here, as in etcd.
    assert_eq!(check_range_stream(&RangeRequest { sort_target: 2, ..range.clone() }), Ok(()));
    let descending = RangeRequest { sort_order: 2, ..range.clone() };
    assert_eq!(check_range_stream(&descending), Err(AdmissionError::RangeStreamSortOrder));
    let filtered = RangeRequest { max_mod_revision: 1, ..range };
    assert_eq!(check_range_stream(&filtered), Err(AdmissionError::RangeStreamRevisionFilters));
}

#[test]
fn leases_have_a_longest_time() {
    let grant = |ttl| LeaseGrantRequest { ttl, ..LeaseGrantRequest::default() };
    assert_eq!(check_lease_grant(&grant(MAX_TTL_SECS)), Ok(()));
    assert_eq!(check_lease_grant(&grant(MAX_TTL_SECS + 1)), Err(AdmissionError::LeaseTtlTooLarge));
}

#[test]
fn any_write_or_nested_transaction_needs_the_log() {
    let of = |success: Vec<RequestOp>| TxnRequest { success, ..TxnRequest::default() };
    assert!(is_read_only(&of(vec![get("a")])) && is_read_only(&of(vec![])));
    assert!(!is_read_only(&of(vec![get("a"), txn(vec![get("a")], vec![])])));
    assert!(!is_read_only(&of(vec![put("a")])));
    assert!(!is_serializable(&of(vec![get("a")])));
    let local = RangeRequest { key: key("a"), serializable: true, ..RangeRequest::default() };
    assert!(is_serializable(&of(vec![op(Request::RequestRange(local))])));
}

//! Transactions: examples of etcd's rules, checked with etcd 3.7.3.

use crate::apply::ApplyError;
use crate::apply::compare_tests::compare;
use crate::apply::testing::*;
use crate::lease::LeaseError;
use keelstone_proto::etcdserverpb as pb;
use keelstone_proto::etcdserverpb::request_op::Request;
use keelstone_proto::etcdserverpb::response_op::Response;

fn then(success: Vec<pb::RequestOp>) -> pb::TxnRequest {
    pb::TxnRequest { success, ..Default::default() }
}

fn responses(response: pb::TxnResponse) -> Vec<Response> {
    response.responses.into_iter().map(|op| op.response.expect("each op has a response")).collect()
}

#[test]
fn sub_responses_carry_the_revision_of_their_moment() {
    let mut node = Node::new();
    node.put(put("a", "1")).expect("applies");
    let get = || op(Request::RequestRange(range("a", "")));
    let nested = op(Request::RequestTxn(then(vec![get()])));
    let response = node.txn(then(vec![get(), op(Request::RequestPut(put("a", "2"))), get(), nested])).expect("applies");
    assert_eq!((revision(&response.header), response.succeeded), (3, true));
    let all = responses(response);
    let [
        Response::ResponseRange(before),
        Response::ResponsePut(put),
        Response::ResponseRange(after),
        Response::ResponseTxn(nested),
    ] = all.as_slice()
    else {
        panic!("{all:?}")
    };
    assert_eq!((revision(&before.header), before.kvs[0].value.as_ref()), (2, b"1".as_slice()));
    assert_eq!(revision(&put.header), 3);
    assert_eq!((revision(&after.header), after.kvs[0].value.as_ref()), (3, b"2".as_slice()));
    assert_eq!(nested.header, Some(pb::ResponseHeader::default()));
    let Some(Response::ResponseRange(inner)) = &nested.responses[0].response else { panic!("{nested:?}") };
    assert_eq!(revision(&inner.header), 3);
}

#[test]
fn a_txn_that_changes_nothing_keeps_the_revision() {
    let mut node = Node::new();
    node.put(put("a", "1")).expect("applies");
    let response = node.txn(then(vec![op(Request::RequestDeleteRange(delete("x", "")))])).expect("applies");
    assert_eq!(revision(&response.header), 2);
}

/// Admission does not see this collision, as in etcd, so it has a meaning: the delete finds what was put.
#[test]
fn a_delete_without_end_takes_what_the_same_txn_put() {
    let mut node = Node::new();
    node.put(put("a", "1")).expect("applies");
    let ops = vec![op(Request::RequestPut(put("b", "1"))), op(Request::RequestDeleteRange(delete("a", "\0")))];
    let response = node.txn(then(ops)).expect("applies");
    assert_eq!(revision(&response.header), 3);
    let all = responses(response);
    let [Response::ResponsePut(_), Response::ResponseDeleteRange(deleted)] = all.as_slice() else { panic!("{all:?}") };
    assert_eq!((deleted.deleted, revision(&deleted.header)), (2, 3));
    assert!(node.get("a").is_none() && node.get("b").is_none());
    assert_eq!(revision(&node.put(put("b", "2")).expect("applies").header), 4);
    let again = node.get("b").expect("there");
    assert_eq!((again.create_revision, again.version), (4, 1));
}

#[test]
fn what_is_refused_is_refused_before_anything_is_written() {
    let mut node = Node::new();
    node.put(put("a", "1")).expect("applies");
    let write = || op(Request::RequestPut(put("b", "1")));
    let at = |revision| op(Request::RequestRange(pb::RangeRequest { revision, ..range("a", "") }));
    let lease = op(Request::RequestPut(pb::PutRequest { lease: 9, ..put("c", "1") }));
    let kept = op(Request::RequestPut(pb::PutRequest { ignore_value: true, ..put("c", "") }));
    assert_eq!(node.txn(then(vec![write(), at(3)])), Err(ApplyError::FutureRevision), "its own revision is future");
    assert_eq!(node.txn(then(vec![write(), lease])), Err(ApplyError::Lease(LeaseError::NotFound)));
    let nameless = op(Request::RequestPut(put("", "1")));
    assert_eq!(node.txn(then(vec![write(), nameless])), Err(ApplyError::EmptyKey));
    let nested = op(Request::RequestTxn(then(vec![kept])));
    assert_eq!(node.txn(then(vec![write(), nested])), Err(ApplyError::KeyNotFound));
    node.apply(compaction(2)).expect("compacts");
    assert_eq!(node.txn(then(vec![write(), at(1)])), Err(ApplyError::Compacted));
    assert_eq!(node.txn(then(vec![write(), at(-1)])), Err(ApplyError::Compacted), "as etcd compares it");
    assert!(node.get("b").is_none());
    assert!(node.txn(then(vec![write(), at(2)])).is_ok());
}

#[test]
fn nested_compares_see_the_state_before_the_transaction() {
    let mut node = Node::new();
    let is_absent = compare("a", "", pb::compare::CompareTarget::Version, 0);
    let nested = pb::TxnRequest {
        compare: vec![is_absent],
        success: vec![op(Request::RequestPut(put("b", "absent before")))],
        failure: vec![],
    };
    let outer = then(vec![op(Request::RequestPut(put("a", "1"))), op(Request::RequestTxn(nested))]);
    node.txn(outer).expect("applies");
    assert_eq!(node.get("b").expect("there").value, bytes("absent before"));
}

#[test]
fn an_operation_without_content_has_a_response_without_content() {
    let mut node = Node::new();
    let response = node.txn(then(vec![pb::RequestOp { request: None }])).expect("applies");
    assert_eq!(response.responses, [pb::ResponseOp { response: None }]);
}

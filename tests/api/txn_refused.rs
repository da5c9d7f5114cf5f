//! KV.Txn: what is refused, before anything is written.

use crate::txn::{compare, delete, get, nested, put};
use crate::{Case, check, refused, since};
use keelstone_harness::proto::etcdserverpb::compare::{CompareResult, TargetUnion};
use keelstone_harness::proto::etcdserverpb::request_op::Request;
use keelstone_harness::proto::etcdserverpb::*;
use tonic::Code;

const DUPLICATE: &str = "etcdserver: duplicate key given in txn request";
const TOO_MANY: &str = "etcdserver: too many operations in txn request";

async fn run(case: &Case, success: Vec<RequestOp>) -> Result<TxnResponse, tonic::Status> {
    case.client.txn(TxnRequest { success, ..Default::default() }).await
}

#[tokio::test]
async fn every_operation_and_compare_needs_a_key() {
    check(async |case| {
        let text = "etcdserver: key is not provided";
        for op in [put("", "v"), get(""), delete("", "x"), nested(vec![], vec![put("", "v")], vec![])] {
            refused(run(case, vec![op.clone()]).await, Code::InvalidArgument, text);
            let failure = TxnRequest { failure: vec![op], ..Default::default() };
            refused(case.client.txn(failure).await, Code::InvalidArgument, text);
        }
        let request = TxnRequest {
            compare: vec![compare("", CompareResult::Equal, TargetUnion::Version(0))],
            ..Default::default()
        };
        refused(case.client.txn(request).await, Code::InvalidArgument, text);
    })
    .await;
}

#[tokio::test]
async fn an_operation_must_be_one() {
    check(async |case| {
        let nothing = RequestOp { request: None };
        refused(run(case, vec![nothing]).await, Code::InvalidArgument, "etcdserver: key not found");
    })
    .await;
}

#[tokio::test]
async fn a_key_is_put_once() {
    check(async |case| {
        let a = || put(case.key("a"), "v");
        let forms = [
            vec![a(), a()],
            vec![a(), nested(vec![], vec![a()], vec![])],
            vec![nested(vec![], vec![a()], vec![]), nested(vec![], vec![], vec![a()])],
            vec![a(), delete(case.key("a"), "")],
            vec![delete(case.key("a"), ""), a()],
            vec![delete(case.key(""), case.key("z")), a()],
            vec![a(), nested(vec![], vec![delete(case.key(""), case.key("z"))], vec![])],
            vec![nested(vec![], vec![delete(case.key("a"), "")], vec![]), nested(vec![], vec![a()], vec![])],
        ];
        for ops in forms {
            refused(run(case, ops.clone()).await, Code::InvalidArgument, DUPLICATE);
            // The branch that does not run counts too.
            let request = TxnRequest { failure: ops, ..Default::default() };
            refused(case.client.txn(request).await, Code::InvalidArgument, DUPLICATE);
        }
        assert_eq!(case.get("a").await, None);
    })
    .await;
}

#[tokio::test]
async fn what_cannot_collide_is_allowed() {
    check(async |case| {
        let a = || put(case.key("a"), "v");
        let forms = [
            vec![a(), put(case.key("b"), "v")],
            vec![nested(vec![], vec![a()], vec![a()])],
            vec![delete(case.key("a"), ""), delete(case.key(""), case.key("z"))],
            vec![delete(case.key("b"), case.key("z")), a()],
            vec![a(), get(case.key("a")), get(case.key("a"))],
            // etcd looks at siblings from left to right only.
            vec![nested(vec![], vec![a()], vec![]), nested(vec![], vec![delete(case.key("a"), "")], vec![])],
        ];
        for ops in forms {
            run(case, ops.clone()).await.unwrap_or_else(|status| panic!("{ops:?}: {status:?}"));
            let request = TxnRequest { success: vec![a()], failure: ops, ..Default::default() };
            case.client.txn(request).await.expect("both branches may put a key");
        }
    })
    .await;
}

#[tokio::test]
async fn there_may_be_128_operations_on_a_path() {
    check(async |case| {
        let ops = |count: usize| -> Vec<RequestOp> {
            (0..count).map(|number| put(case.key(&format!("{number}")), "v")).collect()
        };
        let other =
            |count: usize| -> Vec<RequestOp> { (0..count).map(|number| get(case.key(&format!("{number}")))).collect() };
        let compares = |count: usize| -> Vec<Compare> {
            (0..count).map(|_| compare(case.key("x"), CompareResult::Equal, TargetUnion::Version(0))).collect()
        };
        run(case, ops(128)).await.expect("128 operations");
        refused(run(case, ops(129)).await, Code::InvalidArgument, TOO_MANY);
        let request = |compare, success, failure| TxnRequest { compare, success, failure };
        case.client.txn(request(compares(128), other(128), other(128))).await.expect("128 of each");
        let answer = case.client.txn(request(compares(129), vec![], vec![])).await;
        refused(answer, Code::InvalidArgument, TOO_MANY);
        let answer = case.client.txn(request(vec![], vec![], other(129))).await;
        refused(answer, Code::InvalidArgument, TOO_MANY);
        // A nested one has what the outer one leaves: 128 - 28 = 100.
        let mut outer = other(27);
        outer.push(nested(vec![], other(100), vec![]));
        run(case, outer).await.expect("28 and 100");
        let mut outer = other(27);
        outer.push(nested(vec![], other(101), vec![]));
        refused(run(case, outer).await, Code::InvalidArgument, TOO_MANY);
    })
    .await;
}

#[tokio::test]
async fn a_refused_operation_leaves_nothing_of_the_others() {
    check(async |case| {
        let op = |put: PutRequest| RequestOp { request: Some(Request::RequestPut(put)) };
        let bare = PutRequest { key: case.key("b"), ..Default::default() };
        let forms = [
            (PutRequest { ignore_value: true, ..bare.clone() }, Code::InvalidArgument, "etcdserver: key not found"),
            (PutRequest { ignore_lease: true, ..bare.clone() }, Code::InvalidArgument, "etcdserver: key not found"),
            (PutRequest { lease: 0x7755, ..bare.clone() }, Code::NotFound, "etcdserver: requested lease not found"),
            (
                PutRequest { ignore_value: true, value: "v".into(), ..bare.clone() },
                Code::InvalidArgument,
                "etcdserver: value is provided",
            ),
            (
                PutRequest { ignore_lease: true, lease: 1, ..bare },
                Code::InvalidArgument,
                "etcdserver: lease is provided",
            ),
        ];
        for (request, code, text) in forms {
            let answer = run(case, vec![put(case.key("a"), "v"), op(request.clone())]).await;
            refused(answer, code, text);
            let inside = nested(vec![], vec![op(request)], vec![]);
            refused(run(case, vec![put(case.key("a"), "v"), inside]).await, code, text);
            assert_eq!(case.get("a").await, None);
        }
    })
    .await;
}

#[tokio::test]
async fn checks_against_the_state_look_only_at_the_branch_that_runs() {
    check(async |case| {
        let unknown = PutRequest { key: case.key("b"), lease: 0x7744, ..Default::default() };
        let request = TxnRequest {
            success: vec![put(case.key("a"), "v")],
            failure: vec![RequestOp { request: Some(Request::RequestPut(unknown)) }],
            ..Default::default()
        };
        assert!(case.client.txn(request).await.expect("txn").succeeded);
    })
    .await;
}

#[tokio::test]
async fn an_unknown_order_inside_is_refused() {
    if !since(3, 6) {
        return;
    }
    check(async |case| {
        let range = RangeRequest { sort_order: 7, ..case.all() };
        let op = RequestOp { request: Some(Request::RequestRange(range)) };
        refused(run(case, vec![op]).await, Code::InvalidArgument, "etcdserver: invalid sort option");
    })
    .await;
}

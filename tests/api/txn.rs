//! KV.Txn: what compares mean, which branch runs, and what its operations see and answer.

use crate::{Case, check, check_alone, revision};
use bytes::Bytes;
use keelstone_harness::proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use keelstone_harness::proto::etcdserverpb::request_op::Request;
use keelstone_harness::proto::etcdserverpb::response_op::Response;
use keelstone_harness::proto::etcdserverpb::*;

pub(crate) fn put(key: impl Into<Bytes>, value: &'static str) -> RequestOp {
    let put = PutRequest { key: key.into(), value: value.into(), ..Default::default() };
    RequestOp { request: Some(Request::RequestPut(put)) }
}

pub(crate) fn get(key: impl Into<Bytes>) -> RequestOp {
    let range = RangeRequest { key: key.into(), ..Default::default() };
    RequestOp { request: Some(Request::RequestRange(range)) }
}

pub(crate) fn delete(key: impl Into<Bytes>, range_end: impl Into<Bytes>) -> RequestOp {
    let delete = DeleteRangeRequest { key: key.into(), range_end: range_end.into(), prev_kv: false };
    RequestOp { request: Some(Request::RequestDeleteRange(delete)) }
}

pub(crate) fn nested(compare: Vec<Compare>, success: Vec<RequestOp>, failure: Vec<RequestOp>) -> RequestOp {
    RequestOp { request: Some(Request::RequestTxn(TxnRequest { compare, success, failure })) }
}

pub(crate) fn compare(key: impl Into<Bytes>, result: CompareResult, value: TargetUnion) -> Compare {
    let target = match value {
        TargetUnion::Version(_) => CompareTarget::Version,
        TargetUnion::CreateRevision(_) => CompareTarget::Create,
        TargetUnion::ModRevision(_) => CompareTarget::Mod,
        TargetUnion::Value(_) => CompareTarget::Value,
        TargetUnion::Lease(_) => CompareTarget::Lease,
    };
    let (result, target) = (result.into(), target.into());
    Compare { result, target, key: key.into(), target_union: Some(value), range_end: Bytes::new() }
}

/// Whether the compares hold.
async fn holds(case: &Case, compare: Vec<Compare>) -> bool {
    case.client.txn(TxnRequest { compare, ..Default::default() }).await.expect("txn").succeeded
}

/// Checks an ordering of `actual` against values below, at and above it.
async fn check_target(case: &Case, key: &str, actual: i64, target: impl Fn(i64) -> TargetUnion) {
    for (wanted, expected) in [
        (actual - 1, [false, true, false, true]),
        (actual, [true, false, false, false]),
        (actual + 1, [false, false, true, true]),
    ] {
        let results = [CompareResult::Equal, CompareResult::Greater, CompareResult::Less, CompareResult::NotEqual];
        for (result, expected) in results.into_iter().zip(expected) {
            let compare = compare(case.key(key), result, target(wanted));
            assert_eq!(holds(case, vec![compare.clone()]).await, expected, "{actual} against {compare:?}");
        }
    }
}

#[tokio::test]
async fn numbers_compare_with_each_result() {
    check(async |case| {
        let lease = case.client.grant(600, 0).await.expect("grant").id;
        let created = case.put("k", "1").await;
        case.put("k", "2").await;
        let request = PutRequest { key: case.key("k"), value: "m".into(), lease, ..Default::default() };
        let changed = revision(&case.client.put_request(request).await.expect("put").header);
        check_target(case, "k", 3, TargetUnion::Version).await;
        check_target(case, "k", created, TargetUnion::CreateRevision).await;
        check_target(case, "k", changed, TargetUnion::ModRevision).await;
        check_target(case, "k", lease, TargetUnion::Lease).await;
    })
    .await;
}

#[tokio::test]
async fn values_compare_as_bytes() {
    check(async |case| {
        case.put("k", "m").await;
        let forms: [(&[u8], [bool; 4]); 5] = [
            (b"a", [false, true, false, true]),
            (b"m", [true, false, false, false]),
            (b"m\0", [false, false, true, true]),
            (b"\xff", [false, false, true, true]),
            (b"", [false, true, false, true]),
        ];
        for (wanted, expected) in forms {
            let results = [CompareResult::Equal, CompareResult::Greater, CompareResult::Less, CompareResult::NotEqual];
            for (result, expected) in results.into_iter().zip(expected) {
                let compare = compare(case.key("k"), result, TargetUnion::Value(Bytes::from_static(wanted)));
                assert_eq!(holds(case, vec![compare.clone()]).await, expected, "{compare:?}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn an_absent_key_compares_as_zeros_but_has_no_value() {
    check(async |case| {
        check_target(case, "absent", 0, TargetUnion::Version).await;
        check_target(case, "absent", 0, TargetUnion::CreateRevision).await;
        check_target(case, "absent", 0, TargetUnion::ModRevision).await;
        check_target(case, "absent", 0, TargetUnion::Lease).await;
        for result in [CompareResult::Equal, CompareResult::Greater, CompareResult::Less, CompareResult::NotEqual] {
            for value in ["", "x"] {
                let compare = compare(case.key("absent"), result, TargetUnion::Value(value.into()));
                assert!(!holds(case, vec![compare.clone()]).await, "{compare:?}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_compare_on_an_interval_holds_if_it_holds_for_every_key() {
    check(async |case| {
        case.put("a", "same").await;
        case.put("b", "same").await;
        case.put("b", "same").await;
        let on = |from: &str, to: &str, result, value| Compare {
            range_end: case.key(to),
            ..compare(case.key(from), result, value)
        };
        use CompareResult::{Equal, Greater, NotEqual};
        let same = || TargetUnion::Value("same".into());
        assert!(holds(case, vec![on("a", "c", Equal, same())]).await);
        assert!(holds(case, vec![on("a", "c", Greater, TargetUnion::Version(0))]).await);
        assert!(!holds(case, vec![on("a", "c", Equal, TargetUnion::Version(1))]).await);
        assert!(holds(case, vec![on("a", "b", Equal, TargetUnion::Version(1))]).await);
        // An empty interval is an absent key.
        assert!(holds(case, vec![on("x", "z", Equal, TargetUnion::ModRevision(0))]).await);
        assert!(!holds(case, vec![on("x", "z", NotEqual, same())]).await);
    })
    .await;
}

#[tokio::test]
async fn a_compare_without_a_number_compares_with_zero() {
    check(async |case| {
        let bare = |target: CompareTarget| Compare { target: target.into(), key: case.key("k"), ..Default::default() };
        let numbers = [CompareTarget::Version, CompareTarget::Create, CompareTarget::Mod, CompareTarget::Lease];
        for target in numbers {
            assert!(holds(case, vec![bare(target)]).await, "{target:?}");
        }
        case.put("k", "").await;
        for target in [CompareTarget::Version, CompareTarget::Create, CompareTarget::Mod] {
            assert!(!holds(case, vec![bare(target)]).await, "{target:?}");
        }
        assert!(holds(case, vec![bare(CompareTarget::Lease), bare(CompareTarget::Value)]).await);
    })
    .await;
}

#[tokio::test]
async fn all_compares_must_hold_and_none_hold_by_themselves() {
    check(async |case| {
        case.put("k", "v").await;
        let yes = || compare(case.key("k"), CompareResult::Equal, TargetUnion::Version(1));
        let no = || compare(case.key("k"), CompareResult::Equal, TargetUnion::Version(2));
        for (compares, expected) in
            [(vec![], true), (vec![yes(), yes()], true), (vec![yes(), no()], false), (vec![no(), yes()], false)]
        {
            let (success, failure) =
                (vec![put(case.key("yes"), "v")], vec![put(case.key("no"), "v"), get(case.key("k"))]);
            let reply = case.client.txn(TxnRequest { compare: compares, success, failure }).await.expect("txn");
            assert_eq!(reply.succeeded, expected);
            assert_eq!(reply.responses.len(), if expected { 1 } else { 2 });
            assert_eq!(case.get("yes").await.is_some(), expected);
            case.client.delete(case.key("yes")).await.expect("delete");
        }
    })
    .await;
}

#[tokio::test]
async fn operations_see_the_ones_before_them() {
    check(async |case| {
        case.put("old", "1").await;
        let (old, new) = (case.key("old"), case.key("new"));
        let success = vec![
            get(old.clone()),
            put(old.clone(), "2"),
            get(old.clone()),
            delete(case.key("none"), ""),
            put(new.clone(), "3"),
            get(new),
        ];
        let reply = case.client.txn(TxnRequest { success, ..Default::default() }).await.expect("txn");
        let reads: Vec<_> = reply
            .responses
            .iter()
            .filter_map(|response| match &response.response {
                Some(Response::ResponseRange(range)) => {
                    Some((range.kvs[0].value.clone(), range.kvs[0].version, range.count))
                }
                _ => None,
            })
            .collect();
        assert_eq!(reads, [("1".into(), 1, 1), ("2".into(), 2, 1), ("3".into(), 1, 1)]);
    })
    .await;
}

#[tokio::test]
async fn a_transaction_makes_one_revision() {
    check_alone(&[], async |case| {
        let success = vec![get("a"), put("a", "1"), get("a"), put("b", "1"), delete("c", "")];
        let reply = case.client.txn(TxnRequest { success, ..Default::default() }).await.expect("txn");
        assert_eq!(revision(&reply.header), 2);
        let header = |response: &ResponseOp| match response.response.as_ref().expect("a response") {
            Response::ResponseRange(reply) => reply.header,
            Response::ResponsePut(reply) => reply.header,
            Response::ResponseDeleteRange(reply) => reply.header,
            Response::ResponseTxn(reply) => reply.header,
        };
        let headers: Vec<_> = reply.responses.iter().map(header).collect();
        // A read before the first change is of the revision before, a delete of nothing is of the current one.
        assert_eq!(headers.iter().map(revision).collect::<Vec<_>>(), [1, 2, 2, 2, 2]);
        for header in headers {
            let header = header.expect("a header");
            assert_eq!((header.cluster_id, header.member_id, header.raft_term), (0, 0, 0));
        }
        for key in ["a", "b"] {
            let kv = case.get(key).await.expect("the key");
            assert_eq!((kv.create_revision, kv.mod_revision), (2, 2));
        }
        assert_eq!(case.put("c", "1").await, 3);
    })
    .await;
}

#[tokio::test]
async fn a_transaction_that_changes_nothing_makes_no_revision() {
    check_alone(&[], async |case| {
        case.put("k", "v").await;
        for success in [vec![], vec![get("k")], vec![delete("none", "")], vec![nested(vec![], vec![get("k")], vec![])]]
        {
            let reply = case.client.txn(TxnRequest { success, ..Default::default() }).await.expect("txn");
            assert_eq!(revision(&reply.header), 2);
        }
        assert_eq!(case.put("k", "v").await, 3);
    })
    .await;
}

#[tokio::test]
async fn puts_and_deletes_answer_with_what_was_before() {
    check(async |case| {
        case.put("a", "1").await;
        case.put("b", "1").await;
        let before = [case.get("a").await, case.get("b").await];
        let put = PutRequest { key: case.key("a"), value: "2".into(), prev_kv: true, ..Default::default() };
        let delete = DeleteRangeRequest { key: case.key("b"), prev_kv: true, ..Default::default() };
        let success = [Request::RequestPut(put), Request::RequestDeleteRange(delete)];
        let success = success.map(|request| RequestOp { request: Some(request) }).to_vec();
        let reply = case.client.txn(TxnRequest { success, ..Default::default() }).await.expect("txn");
        match (&reply.responses[0].response, &reply.responses[1].response) {
            (Some(Response::ResponsePut(put)), Some(Response::ResponseDeleteRange(delete))) => {
                assert_eq!(put.prev_kv, before[0]);
                assert_eq!((delete.deleted, delete.prev_kvs.first().cloned()), (1, before[1].clone()));
            }
            other => panic!("unexpected responses: {other:?}"),
        }
    })
    .await;
}

#[tokio::test]
async fn nested_transactions_choose_their_branches_by_the_state_before_all_writes() {
    check_alone(&[], async |case| {
        let absent = |key: &'static str| compare(key, CompareResult::Equal, TargetUnion::ModRevision(0));
        let success = vec![
            put("a", "outer"),
            nested(vec![absent("a")], vec![put("b", "then")], vec![put("b", "else")]),
            nested(
                vec![absent("x"), absent("b")],
                vec![get("b"), nested(vec![], vec![put("c", "deep")], vec![])],
                vec![],
            ),
        ];
        let reply = case.client.txn(TxnRequest { success, ..Default::default() }).await.expect("txn");
        assert_eq!((revision(&reply.header), reply.succeeded, reply.responses.len()), (2, true, 3));
        assert_eq!(case.get("b").await.expect("b").value, "then");
        assert_eq!(case.get("c").await.expect("c").value, "deep");
        let inner = match &reply.responses[2].response {
            Some(Response::ResponseTxn(inner)) => inner,
            other => panic!("unexpected response: {other:?}"),
        };
        assert_eq!((inner.succeeded, inner.responses.len()), (true, 2));
        let header = inner.header.as_ref().expect("a nested header");
        assert_eq!((header.revision, header.member_id), (0, 0));
        match &inner.responses[0].response {
            Some(Response::ResponseRange(range)) => assert_eq!(range.kvs[0].value, "then"),
            other => panic!("unexpected response: {other:?}"),
        }
    })
    .await;
}

#[tokio::test]
async fn a_read_inside_keeps_its_revision_limit_and_order() {
    check(async |case| {
        let then = case.put("a", "1").await;
        case.put("b", "1").await;
        let old = RangeRequest { revision: then, ..case.all() };
        let limited = RangeRequest { limit: 1, sort_order: range_request::SortOrder::Descend.into(), ..case.all() };
        let success = [old, limited].map(|range| RequestOp { request: Some(Request::RequestRange(range)) }).to_vec();
        let reply = case.client.txn(TxnRequest { success, ..Default::default() }).await.expect("txn");
        let names: Vec<_> = reply
            .responses
            .iter()
            .filter_map(|response| match &response.response {
                Some(Response::ResponseRange(range)) => Some((case.names(&range.kvs), range.more, range.count)),
                _ => None,
            })
            .collect();
        assert_eq!(names, [(vec!["a".to_owned()], false, 1), (vec!["b".to_owned()], true, 2)]);
    })
    .await;
}

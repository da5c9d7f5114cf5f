//! KV.Range.

use crate::{Case, check, check_alone, refused, revision, since};
use bytes::Bytes;
use keelstone_harness::proto::etcdserverpb::range_request::{SortOrder, SortTarget};
use keelstone_harness::proto::etcdserverpb::{PutRequest, RangeRequest};
use tonic::Code;

/// Keys a to e, so that each order differs: versions 1 3 1 2 1, values 5 4 3 2 1, created in the order e to a.
async fn fill(case: &Case) -> Vec<i64> {
    let mut revisions = Vec::new();
    for (name, value) in
        [("e", "1"), ("d", "x"), ("c", "3"), ("b", "x"), ("a", "5"), ("b", "x"), ("b", "4"), ("d", "2")]
    {
        revisions.push(case.put(name, value).await);
    }
    revisions
}

#[tokio::test]
async fn an_absent_key_is_an_empty_answer() {
    check(async |case| {
        let reply = case.client.get(case.key("absent")).await.expect("get");
        assert_eq!((reply.kvs.len(), reply.count, reply.more), (0, 0, false));
    })
    .await;
}

#[tokio::test]
async fn the_header_names_cluster_member_and_term() {
    check(async |case| {
        let header = case.client.get(case.key("any")).await.expect("get").header.expect("a header");
        let members = case.client.member_list(true).await.expect("member list");
        assert_eq!(header.member_id, members.members[0].id);
        assert_eq!(header.cluster_id, members.header.expect("a header").cluster_id);
        assert!(header.raft_term >= 2 && header.cluster_id != 0, "{header:?}");
    })
    .await;
}

#[tokio::test]
async fn a_key_is_required() {
    check(async |case| {
        let text = "etcdserver: key is not provided";
        refused(case.client.range(RangeRequest::default()).await, Code::InvalidArgument, text);
        let open = RangeRequest { range_end: Bytes::from_static(b"\0"), ..Default::default() };
        refused(case.client.range(open).await, Code::InvalidArgument, text);
    })
    .await;
}

#[tokio::test]
async fn range_end_selects_one_key_an_interval_or_the_rest() {
    check_alone(&[], async |case| {
        fill(case).await;
        let forms: [(&str, &[u8], &[&str]); 7] = [
            ("b", b"", &["b"]),
            ("b", b"d", &["b", "c"]),
            ("b", b"\0", &["b", "c", "d", "e"]),
            ("\0", b"\0", &["a", "b", "c", "d", "e"]),
            ("b", b"b", &[]),
            ("d", b"b", &[]),
            ("b", b"b\0", &["b"]),
        ];
        for (key, range_end, expected) in forms {
            let (key, range_end) = (Bytes::from_static(key.as_bytes()), Bytes::from_static(range_end));
            let request = RangeRequest { key: key.clone(), range_end: range_end.clone(), ..Default::default() };
            let reply = case.client.range(request).await.expect("range");
            assert_eq!(case.names(&reply.kvs), expected, "{key:?} to {range_end:?}");
            assert_eq!(reply.count, expected.len() as i64, "{key:?} to {range_end:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_limit_cuts_and_says_that_there_is_more() {
    check(async |case| {
        fill(case).await;
        for (limit, expected, more) in
            [(0, 5, false), (-1, 5, false), (1, 1, true), (4, 4, true), (5, 5, false), (9, 5, false)]
        {
            let reply = case.client.range(RangeRequest { limit, ..case.all() }).await.expect("range");
            assert_eq!((reply.kvs.len(), reply.more, reply.count), (expected, more, 5), "limit {limit}");
        }
    })
    .await;
}

#[tokio::test]
async fn count_only_counts_and_shows_nothing() {
    check(async |case| {
        fill(case).await;
        for limit in [0, 2] {
            let request = RangeRequest { count_only: true, limit, ..case.all() };
            let reply = case.client.range(request).await.expect("range");
            assert_eq!((reply.kvs.len(), reply.more, reply.count), (0, false, 5));
        }
    })
    .await;
}

#[tokio::test]
async fn keys_only_leaves_the_values_out() {
    check(async |case| {
        fill(case).await;
        let full = case.client.range(case.all()).await.expect("range").kvs;
        let keys = case.client.range(RangeRequest { keys_only: true, ..case.all() }).await.expect("range").kvs;
        let mut expected = full;
        expected.iter_mut().for_each(|kv| kv.value.clear());
        assert_eq!(keys, expected);
    })
    .await;
}

#[tokio::test]
async fn keys_only_shows_the_lease_only_when_sorted_by_value() {
    if !since(3, 7) {
        return;
    }
    check(async |case| {
        let lease = case.client.grant(600, 0).await.expect("grant").id;
        let put = PutRequest { key: case.key("leased"), value: "v".into(), lease, ..Default::default() };
        case.client.put_request(put).await.expect("put");
        let keys = RangeRequest { keys_only: true, ..case.all() };
        assert_eq!(case.client.range(keys.clone()).await.expect("range").kvs[0].lease, 0);
        let by_value = RangeRequest { sort_target: SortTarget::Value.into(), ..keys };
        let kv = case.client.range(by_value).await.expect("range").kvs.remove(0);
        assert_eq!((kv.lease, kv.value), (lease, Bytes::new()));
    })
    .await;
}

#[tokio::test]
async fn answers_are_sorted_by_each_target_in_each_order() {
    check(async |case| {
        fill(case).await;
        let orders: [(SortTarget, &[&str]); 4] = [
            (SortTarget::Key, &["a", "b", "c", "d", "e"]),
            (SortTarget::Create, &["e", "d", "c", "b", "a"]),
            (SortTarget::Mod, &["e", "c", "a", "b", "d"]),
            (SortTarget::Value, &["e", "d", "c", "b", "a"]),
        ];
        for (target, ascending) in orders {
            let mut descending = ascending.to_vec();
            descending.reverse();
            let orders =
                [(SortOrder::None, ascending), (SortOrder::Ascend, ascending), (SortOrder::Descend, &descending)];
            for (order, expected) in orders {
                let request = RangeRequest { sort_order: order.into(), sort_target: target.into(), ..case.all() };
                let reply = case.client.range(request).await.expect("range");
                assert_eq!(case.names(&reply.kvs), expected, "{target:?} {order:?}");
            }
        }
    })
    .await;
}

/// As far as etcd's sort is stable: up to twelve of them.
#[tokio::test]
async fn ties_stay_in_the_order_of_their_keys() {
    check(async |case| {
        fill(case).await;
        let orders: [(SortOrder, &[&str]); 2] =
            [(SortOrder::Ascend, &["a", "c", "e", "d", "b"]), (SortOrder::Descend, &["b", "d", "a", "c", "e"])];
        for (order, expected) in orders {
            for keys_only in [false, true] {
                let (sort_order, sort_target) = (order.into(), SortTarget::Version.into());
                let request = RangeRequest { sort_order, sort_target, keys_only, ..case.all() };
                let reply = case.client.range(request).await.expect("range");
                assert_eq!(case.names(&reply.kvs), expected, "{order:?}");
            }
        }
        for name in ["a", "b", "c", "d", "e"] {
            case.put(name, "same").await;
        }
        for order in [SortOrder::Ascend, SortOrder::Descend] {
            let (sort_order, sort_target) = (order.into(), SortTarget::Value.into());
            let reply = case.client.range(RangeRequest { sort_order, sort_target, ..case.all() }).await;
            assert_eq!(case.names(&reply.expect("range").kvs), ["a", "b", "c", "d", "e"], "{order:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn sorting_comes_before_the_limit() {
    check(async |case| {
        fill(case).await;
        let request = RangeRequest {
            sort_order: SortOrder::Descend.into(),
            sort_target: SortTarget::Mod.into(),
            limit: 2,
            ..case.all()
        };
        let reply = case.client.range(request).await.expect("range");
        assert_eq!(case.names(&reply.kvs), ["d", "b"]);
        assert_eq!((reply.more, reply.count), (true, 5));
        let request = RangeRequest { sort_order: SortOrder::Descend.into(), limit: 1, ..case.all() };
        let reply = case.client.range(request).await.expect("range");
        assert_eq!(case.names(&reply.kvs), ["e"]);
        assert!(reply.more);
    })
    .await;
}

#[tokio::test]
async fn an_unknown_order_or_target_is_refused() {
    if !since(3, 6) {
        return;
    }
    check(async |case| {
        let text = "etcdserver: invalid sort option";
        for (sort_order, sort_target) in [(3, 0), (-1, 0), (0, 5), (1, 99)] {
            let request = RangeRequest { sort_order, sort_target, ..case.all() };
            refused(case.client.range(request).await, Code::InvalidArgument, text);
        }
    })
    .await;
}

#[tokio::test]
async fn revision_bounds_filter_after_counting() {
    check(async |case| {
        // Modified: e 1st, c 3rd, a 5th, b 7th, d 8th; created: e, d, c, b, a.
        let at = fill(case).await;
        let bounds = |min_mod, max_mod, min_create, max_create| RangeRequest {
            min_mod_revision: min_mod,
            max_mod_revision: max_mod,
            min_create_revision: min_create,
            max_create_revision: max_create,
            ..case.all()
        };
        let forms: [(RangeRequest, &[&str]); 6] = [
            (bounds(at[4], 0, 0, 0), &["a", "b", "d"]),
            (bounds(0, at[2], 0, 0), &["c", "e"]),
            (bounds(at[2], at[6], 0, 0), &["a", "b", "c"]),
            (bounds(0, 0, at[3], 0), &["a", "b"]),
            (bounds(0, 0, 0, at[1]), &["d", "e"]),
            (bounds(at[6], 0, 0, at[1]), &["d"]),
        ];
        for (request, expected) in forms {
            let reply = case.client.range(request.clone()).await.expect("range");
            assert_eq!(case.names(&reply.kvs), expected, "{request:?}");
            assert_eq!((reply.count, reply.more), (5, false), "{request:?}");
        }
        let reply = case.client.range(RangeRequest { limit: 2, ..bounds(at[4], 0, 0, 0) }).await.expect("range");
        assert_eq!(case.names(&reply.kvs), ["a", "b"]);
        assert_eq!((reply.count, reply.more), (5, true));
    })
    .await;
}

#[tokio::test]
async fn an_old_revision_shows_the_old_state() {
    check(async |case| {
        let first = case.put("k", "1").await;
        let second = case.put("k", "2").await;
        let third = case.client.delete(case.key("k")).await.expect("delete");
        let third = revision(&third.header);
        for (at, expected) in [(first - 1, None), (first, Some("1")), (second, Some("2")), (third, None)] {
            let request = RangeRequest { key: case.key("k"), revision: at, ..Default::default() };
            let reply = case.client.range(request).await.expect("range");
            let value = reply.kvs.first().map(|kv| kv.value.clone());
            assert_eq!(value, expected.map(|text| Bytes::from_static(text.as_bytes())), "at {at}");
            assert_eq!(reply.count, i64::from(expected.is_some()));
        }
    })
    .await;
}

#[tokio::test]
async fn the_count_is_that_of_the_revision_asked_for() {
    check(async |case| {
        case.put("a", "1").await;
        let then = case.put("b", "1").await;
        case.put("c", "1").await;
        case.client.delete(case.key("a")).await.expect("delete");
        case.put("d", "1").await;
        let old = RangeRequest { revision: then, limit: 1, ..case.all() };
        let reply = case.client.range(old.clone()).await.expect("range");
        assert_eq!((case.names(&reply.kvs), reply.count, reply.more), (vec!["a".to_owned()], 2, true));
        let reply = case.client.range(RangeRequest { count_only: true, ..old }).await.expect("range");
        assert_eq!(reply.count, 2);
        assert_eq!(case.client.range(case.all()).await.expect("range").count, 3);
    })
    .await;
}

#[tokio::test]
async fn the_header_has_the_stores_revision_not_the_one_asked_for() {
    check_alone(&[], async |case| {
        let fresh = case.client.get("k").await.expect("get");
        assert_eq!(revision(&fresh.header), 1);
        for expected in 2..=4 {
            assert_eq!(case.put("k", "v").await, expected);
        }
        let request = RangeRequest { key: "k".into(), revision: 2, ..Default::default() };
        let reply = case.client.range(request.clone()).await.expect("range");
        assert_eq!((revision(&reply.header), reply.kvs[0].mod_revision), (4, 2));
        let future = case.client.range(RangeRequest { revision: 5, ..request.clone() }).await;
        refused(future, Code::OutOfRange, "etcdserver: mvcc: required revision is a future revision");
        let newest = case.client.range(RangeRequest { revision: -7, ..request }).await.expect("range");
        assert_eq!(newest.kvs[0].mod_revision, 4);
    })
    .await;
}

#[tokio::test]
async fn a_serializable_read_of_the_only_member_is_current() {
    check(async |case| {
        let at = case.put("k", "v").await;
        let request = RangeRequest { key: case.key("k"), serializable: true, ..Default::default() };
        let reply = case.client.range(request).await.expect("range");
        assert_eq!(reply.kvs[0].mod_revision, at);
        assert!(revision(&reply.header) >= at);
    })
    .await;
}

#[tokio::test]
async fn keys_and_values_are_any_bytes() {
    check(async |case| {
        let key = [case.prefix.as_bytes(), b"\0\xff\x80\n"].concat();
        case.client.put(key.clone(), &b"\xff\0\xfe"[..]).await.expect("put");
        let kv = case.client.get(key.clone()).await.expect("get").kvs.remove(0);
        assert_eq!((&kv.key[..], &kv.value[..]), (&key[..], &b"\xff\0\xfe"[..]));
    })
    .await;
}

#[tokio::test]
async fn a_large_answer_comes_in_one_message() {
    check(async |case| {
        let value = "x".repeat(1 << 20);
        for name in ["a", "b", "c", "d", "e", "f"] {
            case.put(name, &value).await;
        }
        let reply = case.client.range(case.all()).await.expect("range");
        assert_eq!(reply.kvs.iter().map(|kv| kv.value.len()).sum::<usize>(), 6 << 20);
    })
    .await;
}

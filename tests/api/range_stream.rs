//! KV.RangeStream, which etcd has since 3.7: parts that merge into the unary answer.

use crate::{Case, check, check_alone, refused, revision, since};
use keelstone_harness::proto::etcdserverpb::range_request::{SortOrder, SortTarget};
use keelstone_harness::proto::etcdserverpb::{CompactionRequest, RangeRequest, RangeResponse};
use tonic::Code;

async fn fill(case: &Case, count: usize) {
    for number in 0..count {
        case.put(&format!("{number:04}"), &"v".repeat(100)).await;
    }
}

/// All parts together, as a client merges them.
fn merged(parts: &[RangeResponse]) -> RangeResponse {
    let mut whole = parts.last().cloned().expect("at least one part");
    whole.kvs = parts.iter().flat_map(|part| part.kvs.clone()).collect();
    whole
}

#[tokio::test]
async fn parts_merge_into_the_unary_answer() {
    if !since(3, 7) {
        return;
    }
    check_alone(&[], async |case| {
        fill(case, 60).await;
        case.client.delete("0007").await.expect("delete");
        let all = case.client.get_all().await.expect("range");
        assert_eq!(all.count, 59);
        let everything = RangeRequest { key: "0".into(), range_end: "1".into(), ..Default::default() };
        for limit in [0, 1, 9, 10, 11, 35, 59, 60, 1000] {
            for at in [0, 30] {
                for keys_only in [false, true] {
                    let request = RangeRequest { limit, revision: at, keys_only, ..everything.clone() };
                    let parts = case.client.range_stream(request.clone()).await.expect("range stream");
                    let unary = case.client.range(request.clone()).await.expect("range");
                    assert_eq!(merged(&parts), unary, "{request:?}");
                }
            }
        }
    })
    .await;
}

#[tokio::test]
async fn the_first_part_is_small_and_only_the_last_has_a_header() {
    if !since(3, 7) {
        return;
    }
    check(async |case| {
        fill(case, 45).await;
        let parts = case.client.range_stream(case.all()).await.expect("range stream");
        assert!(parts.len() > 1 && parts[0].kvs.len() == 10, "{} parts", parts.len());
        let (last, others) = parts.split_last().expect("parts");
        for part in others {
            assert_eq!((part.header.is_none(), part.more, part.count), (true, false, 0));
            assert!(!part.kvs.is_empty());
        }
        assert!(last.header.is_some());
        assert_eq!((last.more, last.count), (false, 45));
    })
    .await;
}

#[tokio::test]
async fn a_count_comes_alone() {
    if !since(3, 7) {
        return;
    }
    check(async |case| {
        fill(case, 15).await;
        let request = RangeRequest { count_only: true, ..case.all() };
        let parts = case.client.range_stream(request).await.expect("range stream");
        assert_eq!((parts.len(), parts[0].kvs.len(), parts[0].count), (1, 0, 15));
        let absent = RangeRequest { key: case.key("absent"), ..Default::default() };
        let parts = case.client.range_stream(absent).await.expect("range stream");
        assert_eq!((parts.len(), parts[0].kvs.len(), parts[0].count), (1, 0, 0));
        assert!(parts[0].header.is_some());
    })
    .await;
}

#[tokio::test]
async fn orders_and_bounds_are_not_served() {
    if !since(3, 7) {
        return;
    }
    check(async |case| {
        fill(case, 3).await;
        let descending = RangeRequest { sort_order: SortOrder::Descend.into(), ..case.all() };
        let target = SortTarget::Value.into();
        let by_value = RangeRequest { sort_order: SortOrder::Ascend.into(), sort_target: target, ..case.all() };
        for request in [descending, by_value] {
            let answer = case.client.range_stream(request).await;
            refused(answer, Code::Unimplemented, "RangeStream does not support custom sort orders");
        }
        let bounds = [
            RangeRequest { min_mod_revision: 1, ..case.all() },
            RangeRequest { max_mod_revision: 9, ..case.all() },
            RangeRequest { min_create_revision: 1, ..case.all() },
            RangeRequest { max_create_revision: 9, ..case.all() },
        ];
        for request in bounds {
            let answer = case.client.range_stream(request).await;
            refused(answer, Code::Unimplemented, "RangeStream does not support revision filters");
        }
        // A target alone changes nothing, unlike in Range.
        let ascending = RangeRequest { sort_order: SortOrder::Ascend.into(), ..case.all() };
        let target_alone = RangeRequest { sort_target: target, ..case.all() };
        for request in [ascending, target_alone] {
            let whole = merged(&case.client.range_stream(request).await.expect("key order"));
            assert_eq!(case.names(&whole.kvs), ["0000", "0001", "0002"]);
        }
    })
    .await;
}

#[tokio::test]
async fn refusals_are_those_of_range() {
    if !since(3, 7) {
        return;
    }
    check_alone(&[], async |case| {
        fill(case, 3).await;
        case.client.compact(CompactionRequest { revision: 3, physical: false }).await.expect("compact");
        let request = |revision| RangeRequest { key: "0".into(), revision, ..Default::default() };
        let answer = case.client.range_stream(request(2)).await;
        refused(answer, Code::OutOfRange, "etcdserver: mvcc: required revision has been compacted");
        let answer = case.client.range_stream(request(5)).await;
        refused(answer, Code::OutOfRange, "etcdserver: mvcc: required revision is a future revision");
        let answer = case.client.range_stream(RangeRequest::default()).await;
        refused(answer, Code::InvalidArgument, "etcdserver: key is not provided");
        let last = case.client.range_stream(request(4)).await.expect("range stream");
        assert_eq!(revision(&last[0].header), 4);
    })
    .await;
}

//! KV.DeleteRange.

use crate::{check, check_alone, refused, revision};
use bytes::Bytes;
use keelstone_harness::proto::etcdserverpb::{DeleteRangeRequest, RangeRequest, WatchCreateRequest};
use keelstone_harness::proto::mvccpb::event::EventType;
use tonic::Code;

#[tokio::test]
async fn a_key_is_required() {
    check(async |case| {
        let answer = case.client.delete_range(DeleteRangeRequest::default()).await;
        refused(answer, Code::InvalidArgument, "etcdserver: key is not provided");
    })
    .await;
}

#[tokio::test]
async fn the_answer_counts_and_shows_what_was_deleted() {
    check(async |case| {
        for name in ["a", "b", "c"] {
            case.put(name, "v").await;
        }
        let before = case.client.range(case.all()).await.expect("range").kvs;
        let all = case.all();
        let request = DeleteRangeRequest { key: all.key.clone(), range_end: case.key("c"), prev_kv: true };
        let reply = case.client.delete_range(request.clone()).await.expect("delete");
        assert_eq!((reply.deleted, &reply.prev_kvs[..]), (2, &before[..2]));
        let rest = DeleteRangeRequest { range_end: all.range_end.clone(), prev_kv: false, ..request };
        let reply = case.client.delete_range(rest).await.expect("delete");
        assert_eq!((reply.deleted, reply.prev_kvs.len()), (1, 0));
        assert_eq!(case.client.range(all).await.expect("range").count, 0);
    })
    .await;
}

#[tokio::test]
async fn deleting_nothing_makes_no_revision() {
    check_alone(&[], async |case| {
        case.put("k", "v").await;
        let reply = case.client.delete("absent").await.expect("delete");
        assert_eq!((reply.deleted, revision(&reply.header)), (0, 2));
        let reversed = DeleteRangeRequest { key: "z".into(), range_end: "a".into(), prev_kv: false };
        let reply = case.client.delete_range(reversed).await.expect("delete");
        assert_eq!((reply.deleted, revision(&reply.header)), (0, 2));
        assert_eq!(case.put("k", "v").await, 3);
    })
    .await;
}

#[tokio::test]
async fn an_interval_is_deleted_in_one_revision_with_an_event_for_each_key() {
    check_alone(&[], async |case| {
        for name in ["a", "b", "c"] {
            case.put(name, "v").await;
        }
        let everything = Bytes::from_static(b"\0");
        let request = DeleteRangeRequest { key: everything.clone(), range_end: everything.clone(), prev_kv: false };
        let reply = case.client.delete_range(request).await.expect("delete");
        assert_eq!((reply.deleted, revision(&reply.header)), (3, 5));
        let mut stream = case.client.watch();
        let (key, range_end) = (everything.clone(), everything);
        stream.create(WatchCreateRequest { key, range_end, start_revision: 5, ..Default::default() });
        assert!(stream.expect().await.created);
        let response = stream.expect().await;
        let seen: Vec<_> =
            response.events.iter().map(|event| (event.r#type(), event.kv.clone().expect("a key"))).collect();
        for ((kind, kv), name) in seen.iter().zip(["a", "b", "c"]) {
            assert_eq!((*kind, &kv.key[..], kv.mod_revision), (EventType::Delete, name.as_bytes(), 5));
            assert_eq!((kv.create_revision, kv.version, kv.lease, kv.value.len()), (0, 0, 0, 0));
        }
        assert_eq!(seen.len(), 3);
    })
    .await;
}

#[tokio::test]
async fn a_deleted_key_stays_in_older_revisions() {
    check(async |case| {
        let put = case.put("k", "v").await;
        let deleted = case.client.delete(case.key("k")).await.expect("delete");
        let old = RangeRequest { key: case.key("k"), revision: put, ..Default::default() };
        assert_eq!(case.client.range(old.clone()).await.expect("range").kvs.len(), 1);
        let since = RangeRequest { revision: revision(&deleted.header), ..old };
        assert_eq!(case.client.range(since).await.expect("range").kvs.len(), 0);
    })
    .await;
}

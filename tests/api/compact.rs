//! KV.Compact: which revisions go, which stay, and what is said at the boundary.

use crate::{Case, check_alone, refused, revision, since, suite};
use bytes::Bytes;
use keelstone_harness::proto::etcdserverpb::{CompactionRequest, RangeRequest, WatchCreateRequest};
use keelstone_harness::proto::mvccpb::event::EventType;
use keelstone_harness::{Cluster, ClusterSpec, KeepFoldersOfFailures, wait};
use serde_json::Value;
use std::time::Duration;
use tonic::Code;

const COMPACTED: &str = "etcdserver: mvcc: required revision has been compacted";
const LIMIT: Duration = Duration::from_secs(30);
const FUTURE: &str = "etcdserver: mvcc: required revision is a future revision";

async fn compact(case: &Case, at: i64, physical: bool) -> Result<i64, tonic::Status> {
    let reply = case.client.compact(CompactionRequest { revision: at, physical }).await?;
    Ok(revision(&reply.header))
}

async fn value_at(case: &Case, key: &'static str, at: i64) -> Result<Option<Bytes>, tonic::Status> {
    let request = RangeRequest { key: key.into(), revision: at, ..Default::default() };
    Ok(case.client.range(request).await?.kvs.pop().map(|kv| kv.value))
}

#[tokio::test]
async fn revisions_below_are_gone_and_the_compacted_one_is_readable() {
    for physical in [false, true] {
        check_alone(&[], async |case| {
            for value in ["2", "3", "4", "5"] {
                case.put("k", value).await;
            }
            assert_eq!(compact(case, 4, physical).await.expect("compact"), 5);
            refused(value_at(case, "k", 3).await, Code::OutOfRange, COMPACTED);
            refused(value_at(case, "absent", 1).await, Code::OutOfRange, COMPACTED);
            assert_eq!(value_at(case, "k", 4).await.expect("read"), Some("4".into()));
            assert_eq!(value_at(case, "k", 5).await.expect("read"), Some("5".into()));
            let kv = case.get("k").await.expect("the key");
            assert_eq!((kv.create_revision, kv.version), (2, 4));
        })
        .await;
    }
}

#[tokio::test]
async fn a_revision_is_compacted_once_and_not_before_it_exists() {
    check_alone(&[], async |case| {
        for value in ["2", "3", "4"] {
            case.put("k", value).await;
        }
        refused(compact(case, 5, false).await, Code::OutOfRange, FUTURE);
        compact(case, 3, false).await.expect("compact");
        refused(compact(case, 3, false).await, Code::OutOfRange, COMPACTED);
        refused(compact(case, 2, true).await, Code::OutOfRange, COMPACTED);
        compact(case, 4, true).await.expect("compact the newest revision");
        refused(compact(case, 0, false).await, Code::OutOfRange, COMPACTED);
        refused(compact(case, -3, false).await, Code::OutOfRange, COMPACTED);
        assert_eq!(value_at(case, "k", 4).await.expect("read"), Some("4".into()));
        assert_eq!(case.put("k", "5").await, 5);
    })
    .await;
}

#[tokio::test]
async fn a_fresh_store_takes_revision_zero_once() {
    check_alone(&[], async |case| {
        assert_eq!(compact(case, 0, false).await.expect("compact"), 1);
        refused(compact(case, 0, false).await, Code::OutOfRange, COMPACTED);
        compact(case, 1, false).await.expect("compact");
    })
    .await;
}

#[tokio::test]
async fn deleted_keys_are_gone_and_live_ones_stay() {
    check_alone(&[], async |case| {
        case.put("dead", "2").await;
        case.put("live", "3").await;
        case.client.delete("dead").await.expect("delete");
        case.put("other", "5").await;
        compact(case, 5, true).await.expect("compact");
        assert_eq!(value_at(case, "dead", 5).await.expect("read"), None);
        assert_eq!(value_at(case, "live", 5).await.expect("read"), Some("3".into()));
        let all = case.client.get_all().await.expect("range");
        assert_eq!((case.names(&all.kvs), all.count), (vec!["live".to_owned(), "other".to_owned()], 2));
        assert_eq!(case.put("dead", "6").await, 6);
        let kv = case.get("dead").await.expect("the key");
        assert_eq!((kv.create_revision, kv.version), (6, 1));
    })
    .await;
}

#[tokio::test]
async fn a_delete_at_the_compacted_revision_is_still_told() {
    if !since(3, 6) {
        return;
    }
    check_alone(&[], async |case| {
        case.put("k", "2").await;
        case.client.delete("k").await.expect("delete");
        case.put("other", "4").await;
        compact(case, 3, true).await.expect("compact");
        case.put("k", "5").await;
        let mut stream = case.client.watch();
        stream.create_and_wait(WatchCreateRequest { key: "k".into(), start_revision: 3, ..Default::default() }).await;
        let event = stream.events(1).await.remove(0);
        let first = (event.r#type(), event.kv.expect("a key").mod_revision);
        assert_eq!(first, (EventType::Delete, 3), "the delete comes first");
    })
    .await;
}

#[tokio::test]
async fn reads_inside_a_transaction_meet_the_boundary_too() {
    check_alone(&[], async |case| {
        use keelstone_harness::proto::etcdserverpb::request_op::Request;
        use keelstone_harness::proto::etcdserverpb::{PutRequest, RequestOp, TxnRequest};
        for value in ["2", "3", "4"] {
            case.put("k", value).await;
        }
        compact(case, 3, false).await.expect("compact");
        for (at, text) in [(2, COMPACTED), (9, FUTURE)] {
            let put = PutRequest { key: "written".into(), value: "v".into(), ..Default::default() };
            let read = RangeRequest { key: "k".into(), revision: at, ..Default::default() };
            let success = [Request::RequestPut(put), Request::RequestRange(read)];
            let success = success.map(|request| RequestOp { request: Some(request) }).to_vec();
            let answer = case.client.txn(TxnRequest { success, ..Default::default() }).await;
            refused(answer, Code::OutOfRange, text);
            assert_eq!(case.get("written").await, None, "nothing is written");
        }
        assert_eq!(case.put("k", "5").await, 5);
    })
    .await;
}

#[tokio::test]
async fn what_is_older_than_the_retention_is_compacted_by_the_leader() {
    if !since(3, 5) {
        return;
    }
    let _keep = KeepFoldersOfFailures;
    let spec = ClusterSpec::of(3).with_flags(&["--auto-compaction-retention=1s"]);
    let cluster = Cluster::start(suite(), &spec).await;
    let leader = cluster.leader().await;
    let client = cluster[(leader + 1) % 3].client();
    let first = client.put("key", "1").await.expect("put");
    client.put("key", "2").await.expect("put");
    let told = wait::until("the revision to be compacted", LIMIT, || async {
        client.range(RangeRequest { key: "key".into(), revision: first, ..Default::default() }).await.err()
    })
    .await;
    assert_eq!(told.message(), COMPACTED);
    assert_eq!(client.get("key").await.expect("get").count, 1);
    for message in ["starting auto periodic compaction", "completed auto periodic compaction"] {
        let line =
            wait::until("a line of the leader", LIMIT, || async { cluster[leader].log_lines(message).pop() }).await;
        let line: Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!((&line["level"], &line["compact-period"]), (&"info".into(), &"1s".into()), "{line}");
    }
}

#[tokio::test]
async fn the_hash_names_the_compacted_revision() {
    check_alone(&[], async |case| {
        for value in ["2", "3", "4"] {
            case.put("k", value).await;
        }
        let before = case.client.hash_kv(4).await.expect("hash");
        assert_eq!(before.compact_revision, -1);
        compact(case, 3, true).await.expect("compact");
        let after = case.client.hash_kv(0).await.expect("hash");
        assert_eq!((after.compact_revision, revision(&after.header)), (3, 4));
        assert_ne!(after.hash, before.hash);
        refused(case.client.hash_kv(2).await, Code::OutOfRange, COMPACTED);
        refused(case.client.hash_kv(5).await, Code::OutOfRange, FUTURE);
    })
    .await;
}

/// With an hour between its batches a compaction does not end; all else goes on.
#[tokio::test]
async fn a_compaction_rests_between_batches_as_long_as_it_is_told() {
    let flags = ["--compaction-batch-limit=5", "--compaction-sleep-interval=1h"];
    check_alone(&flags, async |case| {
        for value in 0..20 {
            case.put("k", &value.to_string()).await;
        }
        let patient = case.client.with_deadline(Duration::from_secs(2));
        let physical = CompactionRequest { revision: 15, physical: true };
        let answer = patient.compact(physical).await.expect_err("it rests after its first batch");
        assert!(matches!(answer.code(), Code::DeadlineExceeded | Code::Cancelled), "{answer:?}");
        // On a slow machine the client may have given up before the compaction began.
        let begun = || async { value_at(case, "k", 14).await.err() };
        refused::<()>(Err(wait::until("the compaction to begin", LIMIT, begun).await), Code::OutOfRange, COMPACTED);
        assert_eq!(case.put("k", "last").await, 22);
    })
    .await;
}

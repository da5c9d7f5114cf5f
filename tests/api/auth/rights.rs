//! What users may do with keys, watches and leases.

use super::{BAD_TOKEN, DENIED, EMPTY, PATIENCE, Users, check_controlled, check_open, delete, denied, put, range, txn};
use crate::{refused, suite};
use keelstone_harness::Client;
use keelstone_harness::proto::authpb::permission::Type;
use keelstone_harness::proto::etcdserverpb::request_op::Request as Op;
use keelstone_harness::proto::etcdserverpb::*;
use tonic::Code;

#[tokio::test]
async fn keys_are_read_and_written_by_who_may() {
    check_controlled(async |controlled| {
        let user = controlled
            .user(
                "u",
                &[(Type::Read, "r", ""), (Type::Write, "w", ""), (Type::Readwrite, "a", "b"), (Type::Read, "b", "c")],
            )
            .await;
        for key in ["r", "w", "ab", "bb", "x"] {
            controlled.root.put(key, "of root").await.expect("root may");
        }
        for (key, end) in [("r", ""), ("a", "b"), ("ab", ""), ("a", "c"), ("ab", "bz")] {
            user.range(range(key, end)).await.expect("may read");
            user.range_stream(range(key, end)).await.expect("may read");
            let stale = RangeRequest { serializable: true, ..range(key, end) };
            user.range(stale).await.expect("may read");
        }
        for (key, end) in [("w", ""), ("x", ""), ("a", "d"), ("r", "s"), ("a", "\0"), ("\0", "\0"), ("r", "\0")] {
            denied(user.range(range(key, end)).await);
            denied(user.range_stream(range(key, end)).await);
            denied(user.range(RangeRequest { serializable: true, ..range(key, end) }).await);
            denied(user.range(RangeRequest { count_only: true, ..range(key, end) }).await);
            denied(user.range(RangeRequest { keys_only: true, limit: 1, ..range(key, end) }).await);
        }
        user.put_request(put("w")).await.expect("may write");
        denied(user.put_request(put("r")).await);
        denied(user.put_request(PutRequest { prev_kv: true, ..put("w") }).await);
        user.put_request(PutRequest { prev_kv: true, ..put("a") }).await.expect("may both");
        user.delete_range(delete("a", "b")).await.expect("may write");
        denied(user.delete_range(delete("a", "c")).await);
        denied(user.delete_range(delete("a", "\0")).await);
        denied(user.delete_range(DeleteRangeRequest { prev_kv: true, ..delete("w", "") }).await);
        // A transaction that only reads has no entry in the log.
        user.txn(txn(vec![Op::RequestRange(range("r", ""))])).await.expect("may read");
        denied(user.txn(txn(vec![Op::RequestRange(range("w", ""))])).await);
        let compare = Compare { key: "w".into(), ..Default::default() };
        denied(user.txn(TxnRequest { compare: vec![compare], ..Default::default() }).await);
        let nested = txn(vec![Op::RequestRange(range("w", ""))]);
        denied(user.txn(txn(vec![Op::RequestTxn(nested)])).await);
        refused(controlled.anyone().get("r").await, Code::InvalidArgument, EMPTY);
        refused(
            controlled.anyone().txn(txn(vec![Op::RequestRange(range("r", ""))])).await,
            Code::InvalidArgument,
            EMPTY,
        );
        // What is given, and what is taken, counts at once; a simple token is none of a revision.
        controlled.users().permit("u", Type::Read, "x", "").await.expect("grant");
        user.get("x").await.expect("may read now");
        controlled.users().forbid("u", "x", "").await.expect("revoke");
        denied(user.get("x").await);
    })
    .await;
}

fn watch(key: &str, range_end: &str) -> WatchCreateRequest {
    WatchCreateRequest { key: key.to_owned().into(), range_end: range_end.to_owned().into(), ..Default::default() }
}

/// The reason of a refusal, as Go prints a status.
fn reason(code: &str, text: &str) -> String {
    format!("rpc error: code = {code} desc = {text}")
}

async fn refusal(client: &Client, request: WatchCreateRequest) -> String {
    let response = client.watch().create_and_wait(request).await;
    assert!(response.canceled && response.watch_id == -1, "{response:?}");
    response.cancel_reason
}

#[tokio::test]
async fn ghsa_xg4h_6gfc_h4m8_a_watch_is_of_keys_that_may_all_be_read() {
    check_controlled(async |controlled| {
        let user = controlled.user("u", &[(Type::Read, "a", ""), (Type::Read, "b", "d"), (Type::Write, "w", "")]).await;
        let mut stream = user.watch();
        for (key, end) in [("a", ""), ("b", "d"), ("c", ""), ("bb", "c")] {
            assert!(!stream.create_and_wait(watch(key, end)).await.canceled, "{key} {end}");
        }
        // From a key on, by its prefix, below what may be read, all.
        for (key, end) in
            [("a", "\0"), ("b", "\0"), ("a", "b"), ("a", "c"), ("w", ""), ("", ""), ("", "\0"), ("\0", "\0")]
        {
            assert_eq!(refusal(&user, watch(key, end)).await, reason("PermissionDenied", DENIED), "{key} {end}");
        }
        let anyone = controlled.anyone();
        assert_eq!(refusal(&anyone, watch("a", "")).await, reason("InvalidArgument", EMPTY));
        let stranger = anyone.with_token("aaaaaaaaaaaaaaaa.1");
        assert_eq!(refusal(&stranger, watch("a", "")).await, reason("Unauthenticated", BAD_TOKEN));
        controlled.root.put("c", "1").await.expect("put");
        assert_eq!(stream.events(2).await.len(), 2, "to two watchers of one stream");
    })
    .await;
}

#[tokio::test]
async fn a_watch_whose_right_is_withdrawn_ends() {
    if suite().server.is_etcd {
        println!("passed by: etcd lets it go on");
        return;
    }
    check_controlled(async |controlled| {
        let user = controlled.user("u", &[(Type::Read, "a", "b"), (Type::Read, "c", "")]).await;
        let mut stream = user.watch();
        let lost = stream.create_and_wait(watch("a", "b")).await.watch_id;
        let kept = stream.create_and_wait(watch("c", "")).await.watch_id;
        controlled.users().forbid("u", "a", "b").await.expect("revoke");
        controlled.root.put("a", "secret").await.expect("put");
        let ended = stream.expect().await;
        assert_eq!((ended.watch_id, ended.canceled, ended.events.len()), (lost, true, 0));
        assert_eq!(ended.cancel_reason, reason("PermissionDenied", DENIED));
        controlled.root.put("c", "1").await.expect("put");
        let told = stream.expect().await;
        assert_eq!((told.watch_id, told.events.len()), (kept, 1));
        // With the user, all of its watches end.
        controlled.users().delete("u").await.expect("delete");
        assert_eq!(stream.expect().await.cancel_reason, reason("PermissionDenied", DENIED));
    })
    .await;
    // One that was opened by nobody, when access was not controlled.
    check_open(async |case| {
        let mut stream = case.client.watch();
        stream.create_and_wait(watch("a", "")).await;
        Users(&case.client).enable_with_root().await;
        assert_eq!(stream.expect().await.cancel_reason, reason("InvalidArgument", EMPTY));
    })
    .await;
}

#[tokio::test]
async fn leases_end_by_themselves_whoever_they_are_of() {
    check_controlled(async |controlled| {
        controlled.root.grant(1, 7).await.expect("grant");
        controlled.root.put_request(PutRequest { lease: 7, ..put("a") }).await.expect("put");
        keelstone_harness::wait::until("the lease to end", PATIENCE, || async {
            (controlled.root.get("a").await.expect("get").count == 0).then_some(())
        })
        .await;
    })
    .await;
}

//! etcd's security advisories about access (reference/reliability.md, B1), each as a test that fails when its check is
//! taken out: `.ci/defects` does that.

use super::{BAD_TOKEN, EMPTY, FLAGS, PATIENCE, Users, check_controlled, delete, denied, put, range, txn};
use crate::{refused, suite};
use bytes::Bytes;
use keelstone_harness::proto::authpb::permission::Type;
use keelstone_harness::proto::etcdserverpb::request_op::Request as Op;
use keelstone_harness::proto::etcdserverpb::*;
use keelstone_harness::{Cluster, ClusterSpec};
use std::path::Path;
use tonic::Code;

#[tokio::test]
async fn cve_2023_32082_keys_of_a_lease_are_told_to_who_may_read_them() {
    check_controlled(async |controlled| {
        let user = controlled.user("u", &[(Type::Readwrite, "a", "b")]).await;
        let root = &controlled.root;
        for (id, key) in [(7, "a"), (7, "x"), (8, "a")] {
            root.grant(60, id).await.ok();
            root.put_request(PutRequest { lease: id, ..put(key) }).await.expect("put");
        }
        // "a" hangs on 8 now.
        root.put_request(PutRequest { lease: 7, ..put("ab") }).await.expect("put");
        assert_eq!(user.time_to_live(7, false).await.expect("open to users").granted_ttl, 60);
        denied(user.time_to_live(7, true).await);
        assert_eq!(user.time_to_live(8, true).await.expect("may read").keys, [Bytes::from("a")]);
        denied(user.leases().await);
        assert_eq!(user.time_to_live(9, true).await.expect("there is none").ttl, -1);
        for answer in
            [controlled.anyone().time_to_live(8, false).await, controlled.anyone().time_to_live(8, true).await]
        {
            refused(answer, Code::InvalidArgument, EMPTY);
        }
        // CVE-2026-33413: granting, renewing and ending were open.
        refused(controlled.anyone().grant(60, 10).await, Code::InvalidArgument, EMPTY);
        refused(controlled.anyone().revoke(8).await, Code::InvalidArgument, EMPTY);
        refused(controlled.anyone().leases().await, Code::InvalidArgument, EMPTY);
        let renewed = controlled.anyone().keep_alive().renew(8, PATIENCE).await;
        refused(renewed, Code::InvalidArgument, EMPTY);
        denied(user.revoke(7).await);
        denied(user.keep_alive().renew(7, PATIENCE).await);
        assert_eq!(user.keep_alive().renew(8, PATIENCE).await.expect("may write").ttl, 60);
        // A put onto a lease would end with keys that are not the user's.
        denied(user.put_request(PutRequest { lease: 7, ..put("ab") }).await);
        user.put_request(PutRequest { lease: 8, ..put("ab") }).await.expect("may write all of it");
        root.delete("x").await.expect("delete");
        user.grant(60, 11).await.expect("open to users");
        assert_eq!(user.leases().await.expect("may read all").leases.len(), 3);
        user.revoke(8).await.expect("may write all of it");
    })
    .await;
}

#[tokio::test]
async fn cve_2026_33413_what_is_for_operators_is_for_root() {
    check_controlled(async |controlled| {
        let (user, anyone, root) =
            (controlled.user("u", &[(Type::Readwrite, "\0", "\0")]).await, controlled.anyone(), &controlled.root);
        macro_rules! roots {
            ($($client:ident => $call:expr),* $(,)?) => {$({
                let $client = &user;
                denied($call);
                let $client = &anyone;
                refused($call, Code::InvalidArgument, EMPTY);
            })*};
        }
        let none = AlarmRequest::default();
        let raise = AlarmRequest { action: 1, member_id: 1, alarm: 1 };
        roots! {
            client => client.compact(CompactionRequest { revision: 1, physical: false }).await,
            client => client.member_add("http://127.0.0.1:1", true).await,
            client => client.member_remove(7).await,
            client => client.member_update(7, "http://127.0.0.1:1").await,
            client => client.member_promote(7).await,
            client => client.move_leader(7).await,
            client => client.hash().await,
            client => client.hash_kv(0).await,
            client => client.defragment().await,
            client => client.alarm(raise).await,
            client => Users(client).list().await,
            client => Users(client).list_roles().await,
            client => Users(client).get("root").await,
            client => Users(client).get_role("root").await,
            client => Users(client).add("x", "x").await,
            client => Users(client).delete("u").await,
            client => Users(client).change("root", "x").await,
            client => Users(client).grant("u", "root").await,
            client => Users(client).revoke("u", "u").await,
            client => Users(client).add_role("x").await,
            client => Users(client).delete_role("u").await,
            client => Users(client).permit("u", Type::Read, "a", "").await,
            client => Users(client).forbid("u", "a", "").await,
            client => Users(client).disable().await,
        }
        let mut snapshot = user.snapshot().await;
        if let Ok(stream) = &mut snapshot {
            denied(stream.message().await);
        } else {
            denied(snapshot);
        }
        assert_eq!(Users(&user).get("u").await.expect("its own").roles, ["u"]);
        assert_eq!(Users(&user).get_role("u").await.expect("its own").perm.len(), 1);
        for answer in
            [user.status().await.map(drop), user.member_list(true).await.map(drop), user.alarm(none).await.map(drop)]
        {
            answer.expect("open to users");
        }
        for answer in [
            anyone.status().await.map(drop),
            anyone.member_list(true).await.map(drop),
            anyone.alarm(none).await.map(drop),
        ] {
            refused(answer, Code::InvalidArgument, EMPTY);
        }
        anyone.health("").await.expect("open to everybody");
        root.hash_kv(0).await.expect("root may");
        root.defragment().await.expect("root may");
        assert!(root.snapshot().await.expect("root may").message().await.expect("bytes").is_some());
    })
    .await;
}
/// CVE-2026-33343: what a transaction in a transaction does was not asked about.
#[tokio::test]
async fn cve_2026_33343_nested_operations_need_their_rights() {
    check_controlled(async |controlled| {
        let user = controlled.user("u", &[(Type::Read, "r", ""), (Type::Write, "w", "")]).await;
        controlled.root.put("x", "secret").await.expect("put");
        for op in [
            Op::RequestRange(range("x", "")),
            Op::RequestRange(range("r", "\0")),
            Op::RequestPut(put("x")),
            Op::RequestDeleteRange(delete("wa", "x")),
        ] {
            let inner = txn(vec![op.clone()]);
            denied(user.txn(inner.clone()).await);
            denied(user.txn(txn(vec![Op::RequestTxn(inner.clone())])).await);
            denied(
                user.txn(txn(vec![Op::RequestPut(put("w")), Op::RequestTxn(txn(vec![Op::RequestTxn(inner)]))])).await,
            );
            let failure = vec![RequestOp { request: Some(op) }];
            let other_branch = TxnRequest { failure, ..Default::default() };
            denied(user.txn(txn(vec![Op::RequestTxn(other_branch)])).await);
        }
        let compare = vec![Compare { key: "x".into(), ..Default::default() }];
        let compares = TxnRequest { compare, ..txn(vec![Op::RequestRange(range("r", ""))]) };
        denied(user.txn(compares.clone()).await);
        denied(user.txn(txn(vec![Op::RequestTxn(compares)])).await);
        let allowed = txn(vec![Op::RequestRange(range("r", "")), Op::RequestPut(put("w"))]);
        user.txn(txn(vec![Op::RequestTxn(allowed)])).await.expect("may");
    })
    .await;
}

/// CVE-2026-44283: the pair before, and the lease, of a put in a transaction.
#[tokio::test]
async fn cve_2026_44283_a_put_in_a_transaction_shows_nothing_and_takes_no_lease() {
    check_controlled(async |controlled| {
        let user = controlled.user("u", &[(Type::Write, "w", "")]).await;
        controlled.root.grant(60, 7).await.expect("grant");
        controlled.root.put_request(PutRequest { lease: 7, ..put("of root") }).await.expect("put");
        for put in [PutRequest { prev_kv: true, ..put("w") }, PutRequest { lease: 7, ..put("w") }] {
            denied(user.put_request(put.clone()).await);
            denied(user.txn(txn(vec![Op::RequestPut(put.clone())])).await);
            denied(user.txn(txn(vec![Op::RequestTxn(txn(vec![Op::RequestPut(put)]))])).await);
        }
        let deleted = DeleteRangeRequest { prev_kv: true, ..delete("w", "") };
        denied(user.txn(txn(vec![Op::RequestDeleteRange(deleted)])).await);
        user.txn(txn(vec![Op::RequestPut(put("w"))])).await.expect("may");
    })
    .await;
}

/// Where any of these bytes stand below a folder.
fn find(folder: &Path, words: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(find(&path, words));
            continue;
        }
        let bytes = std::fs::read(&path).expect("read");
        for word in words {
            if bytes.windows(word.len()).any(|window| window == word.as_bytes()) {
                found.push(format!("{word} in {}", path.display()));
            }
        }
    }
    found
}

/// CVE-2021-28235 and GHSA-vjg6-93fv-qv64 (TOB-009): passwords stood in the log and in what was printed.
#[tokio::test]
async fn cve_2021_28235_no_password_is_kept_anywhere() {
    let mut cluster =
        Cluster::start(suite(), &ClusterSpec::of(1).with_flags(FLAGS).with_flags(&["--log-level=debug"])).await;
    let client = cluster[0].client();
    let users = Users(&client);
    let words = ["Pass-of-adding", "Pass-of-changing", "Pass-that-is-wrong", "Pass-of-none"];
    users.add("u", words[0]).await.expect("add");
    users.change("u", words[1]).await.expect("change");
    if !suite().server.is_etcd {
        // etcd keeps this one.
        let options = Some(keelstone_harness::proto::authpb::UserAddOptions { no_password: true });
        let add = AuthUserAddRequest { name: "cert".into(), password: words[3].into(), options, ..Default::default() };
        client.auth().user_add(client.request(add)).await.expect("add");
    }
    let root = users.enable_with_root().await;
    Users(&client).authenticate("u", words[1]).await.expect("login");
    Users(&client).authenticate("u", words[2]).await.expect_err("another password");
    root.put("k", "v").await.expect("put");
    let token = Users(&client).authenticate("u", words[1]).await.expect("login").token;
    cluster[0].terminate().await;
    let (letters, _) = token.split_once('.').expect("a simple token");
    assert_eq!(find(&cluster[0].data_dir(), &words), [] as [String; 0]);
    let said = std::fs::read_to_string(cluster[0].log_file()).expect("a log");
    // A build of etcd that debugs prints tokens.
    for word in words.iter().chain([&letters].into_iter().filter(|_| !suite().server.is_etcd)) {
        assert!(!said.contains(word), "{word} in the log");
    }
}

/// TOB-008 (CVE-2020-15115): etcd has no rule for the length of a password, and neither have we but for bcrypt's,
/// beyond which two passwords would be one.
#[tokio::test]
async fn tob_008_a_password_is_never_cut() {
    check_controlled(async |controlled| {
        let users = controlled.users();
        let (longest, cut) = ("p".repeat(72), "p".repeat(73));
        users.add("u", &longest).await.expect("add");
        refused(users.add("v", &cut).await, Code::Unknown, "bcrypt: password length exceeds 72 bytes");
        Users(&controlled.anyone()).authenticate("u", &longest).await.expect("login");
    })
    .await;
}

/// ADA-etcd-22: tokens of odd forms ended the process.
#[tokio::test]
async fn ada_etcd_22_odd_tokens_are_none() {
    check_controlled(async |controlled| {
        let long = "a".repeat(8_000);
        for token in ["", ".", "..", "a.", ".1", "a.b", "a.-1", "a.1.2", "Bearer", "Bearer a.1", &long] {
            refused(controlled.anyone().with_token(token).get("k").await, Code::Unauthenticated, BAD_TOKEN);
        }
        controlled.root.get("k").await.expect("it lives");
    })
    .await;
}

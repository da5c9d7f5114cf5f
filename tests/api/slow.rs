//! Log lines about requests that take long. With a limit of a nanosecond every request does. The texts are etcd's,
//! which has a blank more between some fields.

use crate::{since, suite};
use keelstone_harness::proto::etcdserverpb::compare::{CompareTarget, TargetUnion};
use keelstone_harness::proto::etcdserverpb::request_op::Request;
use keelstone_harness::proto::etcdserverpb::{Compare, PutRequest, RangeRequest, RequestOp, TxnRequest};
use keelstone_harness::{Cluster, ClusterSpec, KeepFoldersOfFailures, wait};
use serde_json::Value;
use std::time::Duration;

const APPLY: &str = "apply request took too long";
const CALL: &str = "request stats";
const SECRET: &str = "nobody-may-read-this";
const LIMIT: Duration = Duration::from_secs(30);

/// The first line with this message that `matches`, once there is one.
async fn line(cluster: &Cluster, message: &str, matches: impl Fn(&Value) -> bool) -> Value {
    let what = format!("a certain line {message:?}, see {}", cluster[0].log_file().display());
    wait::until(&what, LIMIT, || {
        let lines = cluster[0].log_lines(message);
        let mut lines = lines.iter().filter_map(|line| serde_json::from_str(&line.replace("  ", " ")).ok());
        let found = lines.find(&matches);
        async move { found }
    })
    .await
}

fn ends_with(text: &Value, end: &str) -> bool {
    text.as_str().is_some_and(|text| text.ends_with(end))
}

fn put(key: &'static str) -> PutRequest {
    PutRequest { key: key.into(), value: SECRET.into(), ..Default::default() }
}

/// Puts `compared` if it has the value `SECRET`; else reads it.
fn txn() -> TxnRequest {
    let op = |request| RequestOp { request: Some(request) };
    let compare = Compare {
        key: "compared".into(),
        target: CompareTarget::Value.into(),
        target_union: Some(TargetUnion::Value(SECRET.into())),
        ..Default::default()
    };
    let range = RangeRequest { key: "compared".into(), ..Default::default() };
    TxnRequest {
        compare: vec![compare],
        success: vec![op(Request::RequestPut(put("compared")))],
        failure: vec![op(Request::RequestRange(range))],
    }
}

/// One of each kind that has a line of its own, and one that has not.
async fn ask(cluster: &Cluster) {
    let client = cluster[0].client();
    client.put_request(put("k")).await.expect("put");
    client.range(RangeRequest { key: "k".into(), limit: 5, ..Default::default() }).await.expect("range");
    client.txn(txn()).await.expect("txn");
    client.delete("k").await.expect("delete");
    client.grant(100, 0x77).await.expect("grant");
    client.put_request(PutRequest { lease: 9, ..put("leaseless") }).await.expect_err("there is no such lease");
}

#[tokio::test]
async fn a_slow_apply_is_logged_with_its_request_and_sizes() {
    if !since(3, 7) {
        return;
    }
    let _keep = KeepFoldersOfFailures;
    let spec = ClusterSpec::of(1).with_flags(&["--warning-apply-duration=1ns"]);
    let mut cluster = Cluster::start(suite(), &spec).await;
    ask(&cluster).await;
    for (prefix, request, response) in [
        ("", "put:<key:\"k\" value_size:20 >", "size:4"),
        ("read-only range ", "key:\"k\" limit:5", "range_response_count:1 size:39"),
        (
            "",
            "txn:<compare:<target:VALUE key:\"compared\" value_size:20 > \
             success:<request_put:<key:\"compared\" value_size:20 >> failure:<request_range:{key:\"compared\"}>>",
            "size:12",
        ),
        ("", "delete_range:{key:\"k\"}", "size:6"),
        // etcd fills the header of this one before, with ids that vary in length.
        ("", "lease_grant:<ttl:100-second id:0000000000000077>", "size:"),
    ] {
        let line = line(&cluster, APPLY, |line| line["prefix"] == prefix && ends_with(&line["request"], request)).await;
        assert_eq!(line["level"], "warn", "{line}");
        let size = line["response"].as_str().unwrap_or_default();
        assert!(if response.ends_with(':') { size.starts_with(response) } else { size == response }, "{line}");
        assert_eq!(line["expected-duration"], "1ns");
        assert!(ends_with(&line["took"], "s"), "{line}");
    }
    let refused = line(&cluster, "failed to apply request", |line| line.to_string().contains("leaseless")).await;
    assert_eq!((refused["level"].as_str(), refused["error"].as_str()), (Some("warn"), Some("lease not found")));
    assert!(cluster[0].log_lines(CALL).is_empty(), "the other limit is another's");
    cluster[0].terminate().await;
    assert!(cluster[0].log_lines(SECRET).is_empty(), "a value is in the log");
}

#[tokio::test]
async fn a_slow_call_is_logged_with_counts_and_sizes() {
    if !since(3, 7) {
        return;
    }
    let _keep = KeepFoldersOfFailures;
    let spec = ClusterSpec::of(1).with_flags(&["--warning-unary-request-duration=1ns"]);
    let mut cluster = Cluster::start(suite(), &spec).await;
    ask(&cluster).await;
    let txn = "compare:<target:VALUE key:\"compared\" value_size:20 > \
               success:<request_put:<key:\"compared\" value_size:20 >> failure:<request_range:{key:\"compared\"}>";
    for (method, content, counts) in [
        ("KV/Put", "key:\"k\" value_size:20 ", [Some(1), Some(25), Some(0), None]),
        ("KV/Range", "key:\"k\" limit:5", [Some(0), Some(5), Some(1), None]),
        ("KV/Txn", txn, [Some(1), Some(12), Some(0), None]),
        ("KV/DeleteRange", "key:\"k\"", [Some(0), Some(3), Some(1), None]),
        ("KV/Put", "key:\"leaseless\" value_size:20 lease:9 ", [Some(1), Some(35), Some(0), Some(0)]),
        ("Lease/LeaseGrant", "", [Some(-1); 4]),
    ] {
        let method = format!("/etcdserverpb.{method}");
        let is_wanted = |line: &Value| line["response type"] == method && line["request content"] == content;
        let line = line(&cluster, CALL, is_wanted).await;
        assert_eq!(line["level"], "warn");
        assert!(line["remote"].as_str().is_some_and(|remote| remote.starts_with("127.0.0.1:")), "{line}");
        assert_eq!(line["start time"].as_str().map(str::len), line["ts"].as_str().map(str::len), "{line}");
        for (name, count) in ["request count", "request size", "response count", "response size"].iter().zip(counts) {
            match count {
                Some(count) => assert_eq!(line[*name], count, "{name} of {line}"),
                // The ids in the header vary in length.
                None => assert!(line[*name].as_i64() > Some(20), "{name} of {line}"),
            }
        }
    }
    assert!(cluster[0].log_lines(APPLY).is_empty(), "the other limit is another's");
    cluster[0].terminate().await;
    assert!(cluster[0].log_lines(SECRET).is_empty(), "a value is in the log");
}

#[tokio::test]
async fn what_is_fast_enough_is_not_logged_unless_for_debugging() {
    if !since(3, 7) {
        return;
    }
    let _keep = KeepFoldersOfFailures;
    let limits = ["--warning-apply-duration=1h", "--warning-unary-request-duration=1h"];
    let mut quiet = Cluster::start(suite(), &ClusterSpec::of(1).with_flags(&limits)).await;
    ask(&quiet).await;
    quiet[0].terminate().await;
    assert_eq!(quiet[0].log_lines(APPLY).len() + quiet[0].log_lines(CALL).len(), 0);

    let flags = [&limits[..], &["--log-level=debug"]].concat();
    let talkative = Cluster::start(suite(), &ClusterSpec::of(1).with_flags(&flags)).await;
    ask(&talkative).await;
    let line = line(&talkative, CALL, |line| line["request content"] == "key:\"k\" value_size:20 ").await;
    assert_eq!(line["level"], "debug");
}

/// The other member is stopped, so that nothing can be agreed on.
#[tokio::test]
async fn a_call_that_its_client_gave_up_is_logged_too() {
    if !since(3, 7) {
        return;
    }
    let _keep = KeepFoldersOfFailures;
    let flags = ["--warning-apply-duration=1ns", "--warning-unary-request-duration=1ns"];
    let mut cluster = Cluster::start(suite(), &ClusterSpec::of(2).with_flags(&flags)).await;
    cluster[1].pause();
    let client = cluster[0].client().with_deadline(Duration::from_secs(1));
    client.put_request(put("given-up")).await.expect_err("no quorum");
    client.get("given-up").await.expect_err("no quorum");
    for method in ["KV/Put", "KV/Range"] {
        let method = format!("/etcdserverpb.{method}");
        let is_wanted = |line: &Value| line["response type"] == method && line.to_string().contains("given-up");
        let line = line(&cluster, CALL, is_wanted).await;
        assert_eq!((&line["response count"], &line["response size"]), (&0.into(), &0.into()), "{line}");
    }
    let line = line(&cluster, APPLY, |line| line["prefix"] == "read-only range ").await;
    assert_eq!((&line["request"], &line["response"]), (&"key:\"given-up\"".into(), &"".into()));
    assert!(line["error"].is_string(), "{line}");
}

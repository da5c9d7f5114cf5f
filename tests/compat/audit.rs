//! The audit log after calls by the official client, through JSON and in transactions, allowed ones and refused ones.

use crate::suite;
use keelstone_harness::proto::etcdserverpb::request_op::Request as Op;
use keelstone_harness::proto::etcdserverpb::{PutRequest, RequestOp, TxnRequest, WatchCreateRequest};
use keelstone_harness::{Cluster, ClusterSpec, http, tools};
use serde_json::{Value, json};
use std::process::Command;
use tonic::Code;

const VALUE: &str = "a-value-that-nobody-may-read";
const PASSWORD: &str = "a-password-that-nobody-may-read";

/// The lines of a call that ended so.
fn find<'l>(lines: &'l [Value], call: &str, code: &str) -> Vec<&'l Value> {
    let call = format!("/etcdserverpb.{call}");
    lines.iter().filter(|line| line["call"] == json!(call) && line["code"] == json!(code)).collect()
}

#[tokio::test]
async fn the_audit_log_tells_who_did_what_to_which_keys_and_no_value() {
    if suite().server.is_etcd {
        return;
    }
    let Some(etcdctl) = tools::etcdctl(7, "the audit log") else { return };
    let path = suite().make_folder("audit").join("log").join("audit.log");
    let flag = format!("--audit-log-path={}", path.display());
    let mut cluster = Cluster::start(suite(), &ClusterSpec::of(1).with_flags(&[&flag])).await;
    let endpoint = cluster[0].endpoint();
    let user = format!("root:{PASSWORD}");
    let ctl = |user: Option<&str>, words: &[&str]| {
        let mut command = Command::new(&etcdctl);
        command.env_clear().args(["--endpoints", &endpoint]);
        if let Some(user) = user {
            command.args(["--user", user]);
        }
        command.args(words).output().expect("etcdctl runs").status.success()
    };
    assert!(ctl(None, &["put", "open/key", VALUE]));
    assert!(ctl(None, &["user", "add", &user]) && ctl(None, &["user", "grant-role", "root", "root"]));
    assert!(ctl(None, &["user", "add", &format!("weak:{PASSWORD}")]) && ctl(None, &["auth", "enable"]));
    // By the official client: allowed, with a wrong password, without rights, and as nobody.
    assert!(ctl(Some(&user), &["put", "closed/key", VALUE]));
    assert!(!ctl(Some("root:wrong-password"), &["get", "closed/key"]));
    assert!(!ctl(Some(&format!("weak:{PASSWORD}")), &["del", "closed/", "closed0"]));
    assert!(!ctl(None, &["get", "closed/key"]));
    // A transaction, and a watcher that is refused.
    let client = cluster[0].client();
    let root = client.login("root", PASSWORD).await.expect("a token");
    let put = |key: &str| PutRequest { key: key.to_owned().into(), value: VALUE.into(), ..Default::default() };
    let inner = TxnRequest { success: vec![op(Op::RequestPut(put("txn/inner")))], ..Default::default() };
    let success = vec![op(Op::RequestPut(put("txn/key"))), op(Op::RequestTxn(inner))];
    root.txn(TxnRequest { success, ..Default::default() }).await.expect("a transaction");
    let mut stream = client.login("weak", PASSWORD).await.expect("a token").watch();
    let refused = stream.create_and_wait(WatchCreateRequest { key: "closed/key".into(), ..Default::default() }).await;
    assert!(refused.canceled, "{refused:?}");
    let nobody = client.put("closed/key", VALUE).await.expect_err("nobody may");
    assert_eq!(nobody.code(), Code::InvalidArgument);
    // The JSON gateway.
    let asked = format!(r#"{{"name":"root","password":"{PASSWORD}"}}"#);
    let login = http::post(cluster[0].client_port, "/v3/auth/authenticate", &asked).await.expect("a reply");
    let login: Value = serde_json::from_str(&login.body).expect("JSON");
    let token = format!("Authorization: {}", login["token"].as_str().expect("a token"));
    let body = r#"{"key":"anNvbi9rZXk=","value":"YS12YWx1ZS10aGF0LW5vYm9keS1tYXktcmVhZA=="}"#;
    let port = cluster[0].client_port;
    assert_eq!(http::exchange(port, "POST", "/v3/kv/put", &[&token], body).await.expect("a reply").status, 200);
    drop(stream);
    cluster[0].terminate().await;

    let text = std::fs::read_to_string(&path).expect("the log is there");
    let token = token.rsplit_once(' ').expect("two words").1;
    for secret in [VALUE, PASSWORD, "wrong-password", "YS12YWx1ZS10", token] {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect();
    let put_of = |key: &str| json!([{ "do": "put", "key": key }]);
    let puts = find(&lines, "KV/Put", "OK");
    let told: Vec<_> = puts.iter().map(|line| (&line["asked"]["keys"], &line["user"], &line["via"])).collect();
    let (root, nobody) = (json!("root"), Value::Null);
    let (grpc, by_json) = (json!("grpc"), json!("json"));
    let keys = ["open/key", "closed/key", "json/key"].map(put_of);
    assert_eq!(told, [(&keys[0], &nobody, &grpc), (&keys[1], &root, &grpc), (&keys[2], &root, &by_json)]);
    assert!(puts.iter().all(|line| line["remote-addr"].as_str().expect("an address").starts_with("127.0.0.1:")));
    let denied = find(&lines, "KV/DeleteRange", "PermissionDenied");
    let range = json!([{ "do": "delete", "key": "closed/", "range-end": "closed0" }]);
    assert_eq!((&denied[0]["asked"]["keys"], &denied[0]["user"]), (&range, &json!("weak")));
    // Who is nobody is told so before the message is read.
    for call in ["KV/Range", "KV/Put"] {
        let refused = find(&lines, call, "InvalidArgument");
        assert_eq!((refused.len(), &refused[0]["user"]), (1, &Value::Null), "{call}");
    }
    let logins = find(&lines, "Auth/Authenticate", "InvalidArgument");
    assert_eq!(logins[0]["asked"], json!({ "name": "root" }));
    let txn = find(&lines, "KV/Txn", "OK");
    assert_eq!(
        txn[0]["asked"]["keys"],
        json!([{ "do": "put", "key": "txn/key" }, { "do": "put", "key": "txn/inner" }])
    );
    let watch = find(&lines, "Watch/Watch", "PermissionDenied");
    assert_eq!(
        (&watch[0]["asked"]["keys"], &watch[0]["user"]),
        (&json!([{ "do": "watch", "key": "closed/key" }]), &json!("weak"))
    );
    assert_eq!(find(&lines, "Auth/UserAdd", "OK").len(), 2);
}

fn op(request: Op) -> RequestOp {
    RequestOp { request: Some(request) }
}

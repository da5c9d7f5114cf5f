//! grpc.health.v1 and the health, version and debug pages over HTTP/1, on the client port.

use crate::{check, refused, since, suite};
use keelstone_harness::http;
use keelstone_harness::proto::health::health_check_response::ServingStatus;
use serde_json::{Value, json};
use tonic::Code;

#[tokio::test]
async fn the_server_serves() {
    check(async |case| {
        assert_eq!(case.client.health("").await.expect("health"), ServingStatus::Serving);
        let unknown = case.client.health("no.such.Service").await;
        refused(unknown, Code::NotFound, "unknown service");
    })
    .await;
}

#[tokio::test]
async fn health_is_json() {
    check(async |case| {
        for path in ["/health", "/health?serializable=true", "/health?exclude=NOSPACE"] {
            let reply = http::get(case.port, path).await.expect("health");
            assert_eq!((reply.status, reply.body.as_str()), (200, r#"{"health":"true","reason":""}"#), "{path}");
        }
        let reply = http::send(case.port, "PUT", "/health").await.expect("health");
        assert_eq!(reply.status, 405);
        assert!(reply.headers.contains(&"allow: GET".to_owned()), "{reply:?}");
    })
    .await;
}

#[tokio::test]
async fn liveness_and_readiness_are_text() {
    if !since(3, 6) {
        return;
    }
    check(async |case| {
        for path in [
            "/livez",
            "/livez/serializable_read",
            "/livez?exclude=serializable_read",
            "/readyz",
            "/readyz?exclude=no_such_check",
            "/readyz/data_corruption",
            "/readyz/serializable_read",
            "/readyz/linearizable_read",
            "/readyz/non_learner",
        ] {
            let reply = http::get(case.port, path).await.expect("a reply");
            assert_eq!((reply.status, reply.body.as_str()), (200, "ok\n"), "{path}");
        }
        let verbose = http::get(case.port, "/livez?verbose").await.expect("a reply");
        assert_eq!(verbose.body, "[+]serializable_read ok\nok\n");
        let verbose = http::get(case.port, "/readyz?verbose").await.expect("a reply");
        let mut lines: Vec<&str> = verbose.body.lines().collect();
        assert_eq!(lines.pop(), Some("ok"));
        lines.sort_unstable();
        let checks = ["data_corruption", "linearizable_read", "non_learner", "serializable_read"];
        assert_eq!(lines, checks.map(|check| format!("[+]{check} ok")));
        let excluded = http::get(case.port, "/livez?verbose&exclude=serializable_read").await.expect("a reply");
        assert_eq!(excluded.body, "ok\n");
        let unknown = http::get(case.port, "/readyz/no_such_check").await.expect("a reply");
        assert_eq!(unknown.status, 404);
    })
    .await;
}

#[tokio::test]
async fn the_version_is_json() {
    check(async |case| {
        let reply = http::get(case.port, "/version").await.expect("version");
        let (major, minor, patch) = suite().server.version;
        let body: Value = serde_json::from_str(&reply.body).expect("JSON");
        assert_eq!((reply.status, &body["etcdserver"]), (200, &json!(format!("{major}.{minor}.{patch}"))));
        assert_eq!(body["etcdcluster"], json!(format!("{major}.{minor}.0")));
        if since(3, 6) {
            assert_eq!(body["storage"], json!(format!("{major}.{minor}.0")));
        }
    })
    .await;
}

#[tokio::test]
async fn an_unknown_page_is_not_found() {
    check(async |case| {
        assert_eq!(http::get(case.port, "/no/such/page").await.expect("a reply").status, 404);
    })
    .await;
}

#[tokio::test]
async fn variables_are_json_under_gos_names() {
    check(async |case| {
        let reply = http::get(case.port, "/debug/vars").await.expect("variables");
        assert_eq!(reply.status, 200);
        let is_json = |header: &String| header == "content-type: application/json; charset=utf-8";
        assert!(reply.headers.iter().any(is_json), "{:?}", reply.headers);
        let page: Value = serde_json::from_str(&reply.body).expect("JSON");
        let names: Vec<&str> = page.as_object().expect("an object").keys().map(String::as_str).collect();
        assert_eq!(names, ["cmdline", "file_descriptor_limit", "memstats", "raft.status"]);
        let words = page["cmdline"].as_array().expect("words");
        assert!(words.contains(&json!("--data-dir")), "{words:?}");
        assert!(page["memstats"]["Sys"].as_u64() > Some(1 << 20) && page["file_descriptor_limit"].as_u64() > Some(0));
        let raft = &page["raft.status"];
        assert_eq!(
            (&raft["raftState"], &raft["lead"], &raft["leadtransferee"]),
            (&json!("StateLeader"), &raft["id"], &json!("0"))
        );
        assert!(raft["applied"].as_u64() > Some(0) && raft["commit"].as_u64() >= raft["applied"].as_u64(), "{raft}");
        let own = &raft["progress"][raft["id"].as_str().expect("hex")];
        assert!(own["match"].as_u64() > Some(0) && own["state"] == json!("StateReplicate"), "{raft}");
        assert_eq!(http::send(case.port, "POST", "/debug/vars").await.expect("a reply").status, 405);
    })
    .await;
}

//! The places at which etcd's own suites make a member fail (`node/defect/point.rs`), reached in gofail's way. Builds without
//! debug assertions have none.

use crate::suite;
use keelstone_harness::proto::etcdserverpb::RangeRequest;
use keelstone_harness::{Cluster, ClusterSpec, free_port, http, wait};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(30);

/// A single member that offers its points; the port at which it does. None if the server has no points.
async fn start() -> Option<(Cluster, u16)> {
    if suite().server.is_etcd || cfg!(not(debug_assertions)) {
        return None;
    }
    let mut cluster = Cluster::prepare(suite(), &ClusterSpec::of(1)).await;
    let port = free_port();
    cluster[0].set_variable("GOFAIL_HTTP", format!("127.0.0.1:{port}").as_ref());
    cluster.start_all().await;
    Some((cluster, port))
}

async fn ask(port: u16, method: &str, point: &str, term: &str) -> (u16, String) {
    let reply = http::exchange(port, method, &format!("/{point}"), &[], term).await.expect("an answer");
    (reply.status, reply.body)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_ends_at_a_point_and_keeps_what_it_acknowledged() {
    let Some((mut cluster, port)) = start().await else { return };
    let client = cluster[0].client();
    cluster[0].expect_errors("failpoint panic");
    let mut acknowledged = 0;
    for point in ["raftBeforeSave", "walBeforeSync", "raftAfterSave", "afterWritebackBuf", "raftBeforeLeaderSend"] {
        client.put(format!("{acknowledged}"), point).await.expect("put");
        acknowledged += 1;
        assert_eq!(ask(port, "PUT", point, "panic").await, (204, String::new()));
        client.put("unknown", point).await.expect_err("the member ends before it can answer");
        assert_eq!(cluster[0].wait_for_exit().await.status.code(), Some(2), "{point}");
        assert!(!cluster[0].log_lines(&format!("panic: failpoint panic: {point}")).is_empty());
        cluster.restart(0).await;
        let kept = client.get_all().await.expect("read").kvs;
        assert_eq!(kept.iter().filter(|kv| kv.key != "unknown").count(), acknowledged, "{point}: {kept:?}");
    }
    cluster.assert_no_unexpected_errors();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_point_holds_up_what_passes_it_and_nothing_else() {
    let Some((cluster, port)) = start().await else { return };
    let client = cluster[0].client();
    client.put("k", "before").await.expect("put");
    assert_eq!(ask(port, "PUT", "beforeApplyOneEntryNormal", r#"sleep("3s")"#).await.0, 204);
    let putting = tokio::spawn({
        let client = client.clone();
        async move { client.put("k", "after").await }
    });
    let read = RangeRequest { key: "k".into(), serializable: true, ..Default::default() };
    assert_eq!(client.range(read).await.expect("read").kvs[0].value, "before");
    assert!(!putting.is_finished(), "the put waits to be applied");
    assert_eq!(ask(port, "DELETE", "beforeApplyOneEntryNormal", "").await.0, 204);
    putting.await.expect("no panic").expect("put");
    assert_eq!(client.get("k").await.expect("read").kvs[0].value, "after");
}

/// Reads do not need it, so that nothing else would tell.
#[tokio::test(flavor = "multi_thread")]
async fn a_member_whose_log_stands_still_is_not_ready() {
    let Some((mut cluster, port)) = start().await else { return };
    let client = cluster[0].client();
    client.put("k", "before").await.expect("put");
    assert_eq!(ask(port, "PUT", "raftBeforeSave", r#"sleep("60s")"#).await.0, 204);
    let putting = tokio::spawn({
        let client = client.clone();
        async move { client.put("k", "after").await }
    });
    cluster[0].expect_errors("Health check error");
    let page = async |path| http::get(cluster[0].client_port, path).await.expect("an answer");
    // At first the put may not have come to the log.
    let not_ready = async || Some(page("/readyz").await).filter(|ready| ready.status == 503);
    let ready = wait::until("the member not to be ready", LIMIT, not_ready).await;
    assert!(ready.body.contains("[-]linearizable_read failed: etcdserver: request timed out"), "{ready:?}");
    let (health, alive) = tokio::join!(page("/health"), page("/livez"));
    assert_eq!((health.status, alive.status), (503, 200));
    assert_eq!(client.get("k").await.expect("read").kvs[0].value, "before");
    putting.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn points_are_set_listed_and_refused_in_gofails_words() {
    let Some((cluster, port)) = start().await else { return };
    let set = ask(port, "PUT", "defragBeforeCopy", "sleep(1)").await;
    assert_eq!(set, (204, String::new()));
    let (status, listed) = ask(port, "GET", "", "").await;
    let lines: Vec<&str> = listed.lines().collect();
    assert!(status == 200 && lines.contains(&"defragBeforeCopy=sleep(1)") && lines.contains(&"raftBeforeSave="));
    assert_eq!(ask(port, "GET", "defragBeforeCopy", "").await, (200, "sleep(1)\n".to_owned()));
    let refused = |text: &str| (400, format!("{text}\n"));
    let unknown = ask(port, "PUT", "noSuchPoint", "panic").await;
    assert_eq!(unknown, refused("fail to set failpoint: failpoint: failpoint does not exist"));
    let unclear = ask(port, "PUT", "raftBeforeSave", "explode").await;
    assert_eq!(unclear, refused("fail to set failpoint: failpoint: could not parse"));
    let idle = ask(port, "DELETE", "raftBeforeSave", "").await;
    assert_eq!(idle, refused("failed to delete failpoint failpoint: failpoint is disabled"));

    assert_eq!(ask(port, "PUT", "defragdbFail", r#"return("some random error")"#).await.0, 204);
    let failed = cluster[0].client().defragment().await.expect_err("the copy fails");
    assert!(failed.message().contains("some random error"), "{failed:?}");
    assert_eq!(ask(port, "DELETE", "defragdbFail", "").await.0, 204);
    cluster[0].client().defragment().await.expect("the member goes on");
}

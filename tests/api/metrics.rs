//! `/metrics`: names and values that dashboards and alerts use.

use crate::{Case, check_alone};
use keelstone_harness::http;

/// Names that etcd's own dashboards and alerts use (etcd `contrib/mixin`), as far as they exist by now.
const NAMES: [&str; 20] = [
    "etcd_server_has_leader",
    "etcd_server_is_leader",
    "etcd_server_leader_changes_seen_total",
    "etcd_server_proposals_committed_total",
    "etcd_server_proposals_applied_total",
    "etcd_server_proposals_pending",
    "etcd_server_proposals_failed_total",
    "etcd_server_quota_backend_bytes",
    "etcd_disk_wal_fsync_duration_seconds_bucket",
    "etcd_disk_backend_commit_duration_seconds_bucket",
    "etcd_mvcc_db_total_size_in_bytes",
    "etcd_mvcc_db_total_size_in_use_in_bytes",
    "etcd_mvcc_put_total",
    "etcd_debugging_mvcc_keys_total",
    "etcd_debugging_mvcc_watcher_total",
    "etcd_network_client_grpc_received_bytes_total",
    "etcd_network_client_grpc_sent_bytes_total",
    "grpc_server_started_total",
    "grpc_server_handled_total",
    "process_resident_memory_bytes",
];

async fn page(case: &Case) -> String {
    let reply = http::get(case.port, "/metrics").await.expect("metrics");
    assert_eq!(reply.status, 200);
    assert!(reply.headers.iter().any(|header| header.starts_with("content-type: text/plain")), "{:?}", reply.headers);
    reply.body
}

/// The value of a series: its name, with labels as printed.
fn value(page: &str, series: &str) -> f64 {
    let line = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no series {series}"))
}

#[tokio::test]
async fn the_names_of_dashboards_and_alerts_are_there() {
    check_alone(&[], async |case| {
        let page = page(case).await;
        for name in NAMES {
            let there = page
                .lines()
                .any(|line| line.starts_with(&format!("{name} ")) || line.starts_with(&format!("{name}{{")));
            assert!(there, "no {name}");
        }
    })
    .await;
}

#[tokio::test]
async fn what_happens_is_counted() {
    check_alone(&[], async |case| {
        for name in ["a", "b", "c"] {
            case.put(name, "v").await;
        }
        case.client.delete("a").await.expect("delete");
        let mut stream = case.client.watch();
        stream.create_and_wait(case.watch_all()).await;
        let page = page(case).await;
        for (series, expected) in [
            ("etcd_server_has_leader", 1.0),
            ("etcd_server_is_leader", 1.0),
            ("etcd_mvcc_put_total", 3.0),
            ("etcd_mvcc_delete_total", 1.0),
            ("etcd_debugging_mvcc_keys_total", 2.0),
            ("etcd_debugging_mvcc_current_revision", 5.0),
            ("etcd_debugging_mvcc_watcher_total", 1.0),
            ("etcd_debugging_mvcc_watch_stream_total", 1.0),
        ] {
            assert_eq!(value(&page, series), expected, "{series}");
        }
        let handled = r#"grpc_server_handled_total{grpc_code="OK",grpc_method="Put",grpc_service="etcdserverpb.KV",grpc_type="unary"}"#;
        assert_eq!(value(&page, handled), 3.0);
    })
    .await;
}

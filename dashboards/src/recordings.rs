//! What is worth keeping for longer than its parts.

use crate::query::{metric, metric_with, quantile};
use crate::rules::Recording;

pub fn all() -> Vec<Recording> {
    vec![
        Recording {
            name: "job:keelstone_requests:rate5m",
            query: metric_with("grpc_server_started_total", r#"grpc_type="unary""#).rate().sum_by(&["job"]),
        },
        Recording {
            name: "job:keelstone_request_duration_seconds:p99_5m",
            query: quantile(
                0.99,
                "grpc_server_handling_seconds",
                r#"grpc_type="unary", grpc_method!="Defragment""#,
                &["job"],
            ),
        },
        Recording {
            name: "job_instance:keelstone_wal_fsync_duration_seconds:p99_5m",
            query: quantile(0.99, "etcd_disk_wal_fsync_duration_seconds", "", &["job", "instance"]),
        },
        Recording {
            name: "job:keelstone_state_bytes:max",
            query: metric("etcd_mvcc_db_total_size_in_bytes").max_by(&["job"]),
        },
    ]
}

//! Is the cluster well? What etcd's own dashboard shows, and room and alarms besides.

use crate::grafana::{Board, Row, Unit, graph, line, rare, stat};
use crate::query::{metric, metric_with, quantile};

const UNARY: &str = r#"grpc_type="unary""#;
/// Codes that say that the server is in trouble, and not the request.
pub const FAILURES: &str = r#"grpc_type="unary", grpc_code=~"Unknown|FailedPrecondition|ResourceExhausted|Internal|Unavailable|DataLoss|DeadlineExceeded""#;

pub fn board() -> Board {
    Board {
        uid: "keelstone-overview",
        title: "Keelstone / Overview",
        description: "Whether the cluster is well: leader, requests, disk, room, traffic.",
        rows: vec![state(), requests(), disk(), consensus(), traffic()],
    }
}

fn open_streams(service: &str) -> crate::query::Query {
    let of = format!(r#"grpc_service="{service}", grpc_type="bidi_stream""#);
    metric_with("grpc_server_started_total", &of).sum().minus(metric_with("grpc_server_handled_total", &of).sum())
}

fn state() -> Row {
    Row {
        title: "State",
        panels: vec![
            stat("Members up", Unit::Count, "Members that Prometheus reaches.", line(metric("up").sum(), "")),
            stat(
                "Members with a leader",
                Unit::Count,
                "Members that know a leader. Fewer than all for longer than an election: look at the network.",
                line(metric("etcd_server_has_leader").sum(), ""),
            ),
            stat(
                "Changes of leader, 1 day",
                Unit::Count,
                "How often the cluster got another leader in a day. More than a few: slow disks or a lossy network.",
                line(metric("etcd_server_leader_changes_seen_total").changes("1d").max(), ""),
            ),
            stat(
                "Quota used",
                Unit::Share,
                "The largest state file as a share of the quota. At 100 % writes are refused with NOSPACE.",
                line(
                    metric("etcd_mvcc_db_total_size_in_bytes").over(metric("etcd_server_quota_backend_bytes")).max(),
                    "",
                ),
            ),
            stat(
                "Keys",
                Unit::Count,
                "Keys at the newest revision.",
                line(metric("etcd_debugging_mvcc_keys_total").max(), ""),
            ),
            stat(
                "Alarms",
                Unit::Count,
                "Alarms that are raised: NOSPACE refuses writes, CORRUPT refuses everything.",
                rare(metric("etcd_debugging_server_alarms").max_by(&["alarm_type"]), "{{alarm_type}}"),
            ),
        ],
    }
}

fn requests() -> Row {
    Row {
        title: "Requests",
        panels: vec![
            graph(
                "Requests",
                Unit::RequestsPerSecond,
                "Unary calls that began.",
                vec![line(
                    metric_with("grpc_server_started_total", UNARY).rate().sum_by(&["instance"]),
                    "{{instance}}",
                )],
            ),
            graph(
                "Failed requests",
                Unit::RequestsPerSecond,
                "Unary calls that ended with a code for which the server is to blame, by code.",
                vec![line(
                    metric_with("grpc_server_handled_total", FAILURES).rate().sum_by(&["grpc_code"]),
                    "{{grpc_code}}",
                )],
            ),
            graph(
                "Slowest hundredth of requests",
                Unit::Seconds,
                "99th percentile of unary calls, without Defragment.",
                vec![line(
                    quantile(
                        0.99,
                        "grpc_server_handling_seconds",
                        r#"grpc_type="unary", grpc_method!="Defragment""#,
                        &["instance"],
                    ),
                    "{{instance}}",
                )],
            ),
            graph(
                "Open streams",
                Unit::Count,
                "Streams of watches and of lease keep-alives.",
                vec![
                    line(open_streams("etcdserverpb.Watch"), "watch"),
                    line(open_streams("etcdserverpb.Lease"), "lease"),
                ],
            ),
            graph(
                "Operations",
                Unit::PerSecond,
                "What the members did with keys, those of transactions included.",
                vec![
                    line(metric("etcd_mvcc_put_total").rate().sum(), "put"),
                    line(metric("etcd_mvcc_range_total").rate().sum(), "range"),
                    line(metric("etcd_mvcc_txn_total").rate().sum(), "txn"),
                    line(metric("etcd_mvcc_delete_total").rate().sum(), "delete"),
                ],
            ),
            graph(
                "Memory",
                Unit::Bytes,
                "Resident memory of each member.",
                vec![line(metric("process_resident_memory_bytes"), "{{instance}}")],
            ),
        ],
    }
}

fn disk() -> Row {
    Row {
        title: "Disk and room",
        panels: vec![
            graph(
                "Syncs of the log",
                Unit::Seconds,
                "99th percentile. Every write waits for one. Above 10 ms the disk is slow for this use.",
                vec![line(quantile(0.99, "etcd_disk_wal_fsync_duration_seconds", "", &["instance"]), "{{instance}}")],
            ),
            graph(
                "Commits of the state",
                Unit::Seconds,
                "99th percentile. Requests wait for those only while much is written.",
                vec![line(
                    quantile(0.99, "etcd_disk_backend_commit_duration_seconds", "", &["instance"]),
                    "{{instance}}",
                )],
            ),
            graph(
                "State file",
                Unit::Bytes,
                "Its size, what of it is in use, and the quota. Defragmenting gives back what lies between the first two.",
                vec![
                    line(metric("etcd_mvcc_db_total_size_in_bytes"), "size {{instance}}"),
                    line(metric("etcd_mvcc_db_total_size_in_use_in_bytes"), "in use {{instance}}"),
                    line(metric("etcd_server_quota_backend_bytes").max(), "quota"),
                ],
            ),
        ],
    }
}

fn consensus() -> Row {
    Row {
        title: "Consensus",
        panels: vec![
            graph(
                "Proposals",
                Unit::PerSecond,
                "Entries that were committed and applied: both the same, or a member lags.",
                vec![
                    line(metric("etcd_server_proposals_committed_total").rate().max(), "committed"),
                    line(metric("etcd_server_proposals_applied_total").rate().max(), "applied"),
                ],
            ),
            graph(
                "Proposals that wait or fail",
                Unit::Count,
                "Waiting ones grow with load. Failed ones were lost with a leader or timed out.",
                vec![
                    line(metric("etcd_server_proposals_pending").sum(), "waiting"),
                    line(metric("etcd_server_proposals_failed_total").rate().sum(), "failed per second"),
                ],
            ),
            graph(
                "Round trips between members",
                Unit::Seconds,
                "99th percentile, from each member to the others.",
                vec![line(
                    quantile(0.99, "etcd_network_peer_round_trip_time_seconds", "", &["instance", "To"]),
                    "{{instance}} to {{To}}",
                )],
            ),
        ],
    }
}

fn traffic() -> Row {
    Row {
        title: "Traffic",
        panels: vec![
            graph(
                "From clients",
                Unit::BytesPerSecond,
                "What members get from clients.",
                vec![line(metric("etcd_network_client_grpc_received_bytes_total").rate(), "{{instance}}")],
            ),
            graph(
                "To clients",
                Unit::BytesPerSecond,
                "What members send to clients.",
                vec![line(metric("etcd_network_client_grpc_sent_bytes_total").rate(), "{{instance}}")],
            ),
            graph(
                "Between members",
                Unit::BytesPerSecond,
                "What each member sends to the others, and gets from them.",
                vec![
                    line(
                        metric("etcd_network_peer_sent_bytes_total").rate().sum_by(&["instance"]),
                        "{{instance}} sends",
                    ),
                    line(
                        metric("etcd_network_peer_received_bytes_total").rate().sum_by(&["instance"]),
                        "{{instance}} gets",
                    ),
                ],
            ),
        ],
    }
}

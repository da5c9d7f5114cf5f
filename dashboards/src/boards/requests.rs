//! Who asks for what: calls by method, watches, leases.

use crate::grafana::{Board, Row, Unit, graph, line};
use crate::query::{metric, metric_with, observations, quantile};

/// As many lines as can be told apart.
const LINES: usize = 8;

pub fn board() -> Board {
    Board {
        uid: "keelstone-requests",
        title: "Keelstone / Requests, watches and leases",
        description: "Calls by method and code, what watchers get and how far they lag, leases.",
        rows: vec![calls(), watches(), leases()],
    }
}

fn calls() -> Row {
    Row {
        title: "Calls",
        panels: vec![
            graph(
                "Calls by method",
                Unit::RequestsPerSecond,
                "The methods that are called most.",
                vec![line(
                    metric("grpc_server_started_total").rate().sum_by(&["grpc_service", "grpc_method"]).top(LINES),
                    "{{grpc_service}}/{{grpc_method}}",
                )],
            ),
            graph(
                "Ends by code",
                Unit::RequestsPerSecond,
                "With which codes calls end, good ones too.",
                vec![line(metric("grpc_server_handled_total").rate().sum_by(&["grpc_code"]), "{{grpc_code}}")],
            ),
            graph(
                "Slowest hundredth, by method",
                Unit::Seconds,
                "99th percentile of the unary calls that take longest.",
                vec![line(
                    quantile(0.99, "grpc_server_handling_seconds", r#"grpc_type="unary""#, &["grpc_method"]).top(LINES),
                    "{{grpc_method}}",
                )],
            ),
            graph(
                "Clients by version of their API",
                Unit::RequestsPerSecond,
                "What the clients say they are.",
                vec![line(
                    metric("etcd_server_client_requests_total").rate().sum_by(&["client_api_version", "type"]),
                    "{{client_api_version}} {{type}}",
                )],
            ),
            graph(
                "Requests from the door to the answer",
                Unit::Seconds,
                "99th percentile of what goes through the log, by kind.",
                vec![line(quantile(0.99, "etcd_server_request_duration_seconds", "", &["type"]), "{{type}}")],
            ),
            graph(
                "Reads of ranges",
                Unit::Seconds,
                "99th percentile.",
                vec![line(quantile(0.99, "etcd_server_range_duration_seconds", "", &["instance"]), "{{instance}}")],
            ),
            graph(
                "Audit log",
                Unit::PerSecond,
                "Lines written where --audit-log-path is set, and lines that were lost.",
                vec![
                    line(metric("keelstone_audit_lines_total").rate().sum(), "written"),
                    line(metric("keelstone_audit_dropped_lines_total").rate().sum(), "lost"),
                ],
            ),
        ],
    }
}

fn watches() -> Row {
    Row {
        title: "Watches",
        panels: vec![
            graph(
                "Watchers",
                Unit::Count,
                "Watchers, and the streams that they share.",
                vec![
                    line(metric("etcd_debugging_mvcc_watcher_total"), "watchers {{instance}}"),
                    line(metric("etcd_debugging_mvcc_watch_stream_total"), "streams {{instance}}"),
                ],
            ),
            graph(
                "Watchers that lag",
                Unit::Count,
                "Watchers that read history because they do not keep up, or have only begun. They do not slow writes down.",
                vec![line(metric("etcd_debugging_mvcc_slow_watcher_total"), "{{instance}}")],
            ),
            graph(
                "Events",
                Unit::PerSecond,
                "Events that were handed to watchers.",
                vec![line(metric("etcd_debugging_mvcc_events_total").rate(), "{{instance}}")],
            ),
            graph(
                "Events that wait",
                Unit::Count,
                "Events in the queues of streams.",
                vec![line(metric("etcd_debugging_mvcc_pending_events_total"), "{{instance}}")],
            ),
            graph(
                "Messages of streams",
                Unit::PerSecond,
                "Messages that members send on streams, watches mostly.",
                vec![line(
                    metric_with("grpc_server_msg_sent_total", r#"grpc_type!="unary""#).rate().sum_by(&["grpc_method"]),
                    "{{grpc_method}}",
                )],
            ),
            graph(
                "History",
                Unit::Count,
                "Revisions that are kept: the newest less the one that was compacted.",
                vec![line(
                    metric("etcd_debugging_mvcc_current_revision")
                        .minus(metric("etcd_debugging_mvcc_compact_revision")),
                    "{{instance}}",
                )],
            ),
        ],
    }
}

fn leases() -> Row {
    Row {
        title: "Leases",
        panels: vec![
            graph(
                "Leases",
                Unit::PerSecond,
                "Leases granted, renewed, and ended by request or by time.",
                vec![
                    line(metric("etcd_debugging_lease_granted_total").rate().sum(), "granted"),
                    line(metric("etcd_debugging_lease_renewed_total").rate().sum(), "renewed"),
                    line(metric("etcd_debugging_lease_revoked_total").rate().sum(), "revoked"),
                ],
            ),
            graph(
                "Leases that ran out",
                Unit::PerSecond,
                "Leases that nobody renewed in time, as the leader counts them.",
                vec![line(metric("etcd_debugging_server_lease_expired_total").rate().sum(), "expired")],
            ),
            graph(
                "Times to live",
                Unit::PerSecond,
                "How often leases of any time to live were granted.",
                vec![line(
                    observations("etcd_debugging_lease_ttl_total", "").rate().sum_by(&["instance"]),
                    "{{instance}}",
                )],
            ),
        ],
    }
}

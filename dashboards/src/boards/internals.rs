//! Where time and room go inside a member.

use crate::grafana::{Board, Row, Unit, graph, line, rare};
use crate::query::{metric, observations, observed, quantile};

pub fn board() -> Board {
    Board {
        uid: "keelstone-internals",
        title: "Keelstone / Raft and storage",
        description: "Where time and room go inside a member: log, apply, state, compaction, checks.",
        rows: vec![raft(), storage(), compaction(), process()],
    }
}

fn raft() -> Row {
    Row {
        title: "Raft",
        panels: vec![
            graph(
                "Members that are behind",
                Unit::Count,
                "Entries that a member has not applied yet, counted from the member that has applied most.",
                vec![line(
                    metric("etcd_server_proposals_applied_total")
                        .from_max_of_job(metric("etcd_server_proposals_applied_total")),
                    "{{instance}}",
                )],
            ),
            graph(
                "Applied late",
                Unit::PerSecond,
                "Entries and reads that took longer than --warning-apply-duration, and ReadIndex rounds that were slow.",
                vec![
                    line(metric("etcd_server_slow_apply_total").rate().sum_by(&["instance"]), "apply {{instance}}"),
                    line(
                        metric("etcd_server_slow_read_indexes_total").rate().sum_by(&["instance"]),
                        "read index {{instance}}",
                    ),
                ],
            ),
            graph(
                "Reads that found no leader",
                Unit::PerSecond,
                "ReadIndex rounds that failed.",
                vec![line(
                    metric("etcd_server_read_indexes_failed_total").rate().sum_by(&["instance"]),
                    "{{instance}}",
                )],
            ),
            graph(
                "Time to apply",
                Unit::Seconds,
                "99th percentile by kind of entry.",
                vec![line(quantile(0.99, "etcd_server_apply_duration_seconds", "", &["op"]), "{{op}}")],
            ),
            graph(
                "Leader",
                Unit::Count,
                "1 for the member that leads.",
                vec![line(metric("etcd_server_is_leader"), "{{instance}}")],
            ),
            graph(
                "Messages that were not sent",
                Unit::PerSecond,
                "Calls to other members that failed.",
                vec![rare(
                    metric("etcd_network_peer_sent_failures_total").rate().sum_by(&["instance", "To"]),
                    "{{instance}} to {{To}}",
                )],
            ),
        ],
    }
}

fn storage() -> Row {
    Row {
        title: "Storage",
        panels: vec![
            graph(
                "Syncs",
                Unit::PerSecond,
                "Syncs of the log and commits of the state. Many writes share one.",
                vec![
                    line(
                        observations("etcd_disk_wal_fsync_duration_seconds", "").rate().sum_by(&["instance"]),
                        "log {{instance}}",
                    ),
                    line(
                        observations("etcd_disk_backend_commit_duration_seconds", "").rate().sum_by(&["instance"]),
                        "state {{instance}}",
                    ),
                ],
            ),
            graph(
                "Time in syncs",
                Unit::Share,
                "Share of the time in which the log's thread waits for the disk. At 100 % the disk is the limit.",
                vec![line(
                    observed("etcd_disk_wal_fsync_duration_seconds", "").rate().sum_by(&["instance"]),
                    "{{instance}}",
                )],
            ),
            graph(
                "Entries of a sync",
                Unit::Count,
                "How many entries share a sync of the log.",
                vec![line(
                    metric("etcd_server_proposals_committed_total")
                        .rate()
                        .sum_by(&["instance"])
                        .over(observations("etcd_disk_wal_fsync_duration_seconds", "").rate().sum_by(&["instance"])),
                    "{{instance}}",
                )],
            ),
            graph(
                "Waste",
                Unit::Share,
                "Share of the state file that is not in use. Defragmenting gives it back, without a pause.",
                vec![line(
                    metric("etcd_mvcc_db_total_size_in_bytes")
                        .minus(metric("etcd_mvcc_db_total_size_in_use_in_bytes"))
                        .over(metric("etcd_mvcc_db_total_size_in_bytes")),
                    "{{instance}}",
                )],
            ),
            graph(
                "Pinned versions",
                Unit::Count,
                "Reads, snapshots and backups that hold a version of the state. Rows that only they can see take room.",
                vec![line(metric("etcd_mvcc_db_open_read_transactions"), "{{instance}}")],
            ),
            graph(
                "Snapshots and defragmentations",
                Unit::PerSecond,
                "How often the state was sent, or copied into a smaller file.",
                vec![
                    line(
                        observations("etcd_disk_backend_snapshot_duration_seconds", "").rate().sum_by(&["instance"]),
                        "snapshots {{instance}}",
                    ),
                    line(
                        observations("etcd_disk_backend_defrag_duration_seconds", "").rate().sum_by(&["instance"]),
                        "defragmentations {{instance}}",
                    ),
                ],
            ),
        ],
    }
}

fn compaction() -> Row {
    Row {
        title: "Compaction and checks",
        panels: vec![
            graph(
                "Rows compacted",
                Unit::PerSecond,
                "Old revisions that were dropped.",
                vec![line(metric("etcd_debugging_mvcc_db_compaction_keys_total").rate(), "{{instance}}")],
            ),
            graph(
                "Time of a compaction",
                Unit::Milliseconds,
                "The longest of the window, roughly (buckets).",
                vec![rare(
                    quantile(1.0, "etcd_debugging_mvcc_db_compaction_total_duration_milliseconds", "", &["instance"]),
                    "{{instance}}",
                )],
            ),
            graph(
                "Corruption checks",
                Unit::Count,
                "Checks that came to their end, those that found a difference, and members that could not be compared. A difference is an alert.",
                vec![
                    line(metric("keelstone_corruption_checks_total").sum(), "ended"),
                    line(metric("keelstone_corruption_checks_failed_total").sum(), "found a difference"),
                    line(metric("keelstone_corruption_checks_incomparable_total").sum(), "members not compared"),
                ],
            ),
        ],
    }
}

fn process() -> Row {
    Row {
        title: "Process",
        panels: vec![
            graph(
                "CPU",
                Unit::Share,
                "Cores in use.",
                vec![line(metric("process_cpu_seconds_total").rate(), "{{instance}}")],
            ),
            graph(
                "Threads",
                Unit::Count,
                "Threads of the process.",
                vec![line(metric("process_threads"), "{{instance}}")],
            ),
            graph(
                "File descriptors",
                Unit::Share,
                "Share of the limit that is in use.",
                vec![line(metric("process_open_fds").over(metric("process_max_fds")), "{{instance}}")],
            ),
            graph(
                "Feature gates",
                Unit::Count,
                "How many members have a gate open.",
                vec![line(metric("etcd_server_feature_enabled").sum_by(&["name"]), "{{name}}")],
            ),
        ],
    }
}

//! What etcd's own alerts do not look at. Those work unchanged beside these.

use crate::query::{metric, observed};
use crate::rules::{Alert, Case, Severity};

/// Members of the cases.
const M: &[(&str, &str)] = &[("job", "etcd"), ("instance", "a")];

pub fn all() -> Vec<Alert> {
    let mut alerts = backups();
    alerts.extend(corruption());
    alerts.extend(state());
    alerts.extend(lag());
    alerts
}

fn backups() -> Vec<Alert> {
    vec![
        Alert {
            name: "KeelstoneBackupTooOld",
            query: metric("keelstone_backup_age_seconds").above(86_400.0),
            hold: "10m",
            severity: Severity::Critical,
            summary: "The newest full backup is older than a day",
            meaning: "What no segment holds since then exists on the members alone. Lower the limit if your schedule is tighter.",
            steps: &[
                "`keelstone ctl backup schedule` on the leader says when the next is due and how the last one went.",
                "`keelstone ctl backup now` tries one and says what is in the way: the place cannot be written to, it is full, the clock.",
                "Look for lines with \"backup\" in the leader's log.",
            ],
            case: Case {
                series: &[(r#"keelstone_backup_age_seconds{job="etcd",instance="a"}"#, "90000+60x20", "80000+60x20")],
                at: "15m",
                labels: M,
            },
        },
        Alert {
            name: "KeelstoneBackupFailing",
            query: metric("keelstone_backup_failures_total").increase("1h").above(0.0),
            hold: "0m",
            severity: Severity::Warning,
            summary: "A backup failed within the last hour",
            meaning: "It is tried again by schedule. Repeated failures end in KeelstoneBackupTooOld.",
            steps: &[
                "`keelstone ctl backup schedule` names the reason of the last failure.",
                "`keelstone ctl backup verify` reads back what is there.",
            ],
            case: Case {
                series: &[(
                    r#"keelstone_backup_failures_total{job="etcd",instance="a",kind="full",reason="io"}"#,
                    "0x10 1x20",
                    "3x40",
                )],
                at: "20m",
                labels: &[("job", "etcd"), ("instance", "a"), ("kind", "full"), ("reason", "io")],
            },
        },
        Alert {
            name: "KeelstoneBackupDrillFailed",
            query: metric("keelstone_backup_drill_failures_total").increase("1d").above(0.0),
            hold: "0m",
            severity: Severity::Critical,
            summary: "The newest backup could not be restored in a drill",
            meaning: "Backups are made, but the newest may be of no use. Older ones may be.",
            steps: &[
                "`keelstone ctl backup drill` repeats it and says what differs.",
                "`keelstone ctl backup verify` finds which files are damaged; `forget` them, then `keelstone ctl backup now` and a drill again.",
                "If a drill of a fresh backup fails too, look at KeelstoneCorruption.",
            ],
            case: Case {
                series: &[(r#"keelstone_backup_drill_failures_total{job="etcd",instance="a"}"#, "0x10 1x20", "0x40")],
                at: "20m",
                labels: M,
            },
        },
        Alert {
            name: "KeelstoneBackupGap",
            query: metric("keelstone_backup_gaps_total").increase("1d").above(0.0),
            hold: "0m",
            severity: Severity::Warning,
            summary: "Segments of the log between two backups are missing",
            meaning: "A full backup was made in their place: the newest state is safe, some revisions between are not.",
            steps: &[
                "Was the place of the backups away for longer than the log is kept? Raise --snapshot-catchup-entries, or mend the place.",
                "`keelstone ctl backup list` shows which revisions can be had back.",
            ],
            case: Case {
                series: &[(
                    r#"keelstone_backup_gaps_total{job="etcd",instance="a",reason="purged"}"#,
                    "0x10 1x20",
                    "2x40",
                )],
                at: "20m",
                labels: &[("job", "etcd"), ("instance", "a"), ("reason", "purged")],
            },
        },
    ]
}

fn corruption() -> Vec<Alert> {
    vec![
        Alert {
            name: "KeelstoneCorruption",
            query: metric("keelstone_corruption_checks_failed_total").increase("1d").above(0.0),
            hold: "0m",
            severity: Severity::Critical,
            summary: "Members hold different data",
            meaning: "A check found unequal hashes at the same revision. The alarm CORRUPT names the member that differs, and it refuses requests.",
            steps: &[
                "`etcdctl alarm list` names the member; `etcdctl endpoint hashkv --cluster` shows who differs from the others.",
                "Keep a copy of its data directory, remove the member, wipe the directory and add it again: it is sent the state of the others.",
                "`etcdctl alarm disarm` once all hashes are equal. Check memory and disk of the machine before you trust it.",
            ],
            case: Case {
                series: &[(
                    r#"keelstone_corruption_checks_failed_total{job="etcd",instance="a",check="periodic"}"#,
                    "0x10 1x20",
                    "0x40",
                )],
                at: "20m",
                labels: &[("job", "etcd"), ("instance", "a"), ("check", "periodic")],
            },
        },
        Alert {
            name: "KeelstoneNotCompared",
            query: metric("keelstone_corruption_checks_incomparable_total")
                .increase("2d")
                .sum_by(&["job"])
                .above(0.0)
                .unless(
                    metric("keelstone_corruption_check_last_success_timestamp_seconds")
                        .changes("2d")
                        .sum_by(&["job"])
                        .above(0.0),
                ),
            hold: "1h",
            severity: Severity::Warning,
            summary: "No corruption check compared all members in two days",
            meaning: "Checks ran and some member could not be compared in each: it did not answer, or is at another compaction.",
            steps: &[
                "`etcdctl endpoint status --cluster -w table`: are all members there, and at the same revision?",
                "`etcdctl endpoint hashkv --cluster` compares by hand.",
            ],
            case: Case {
                series: &[
                    (
                        r#"keelstone_corruption_checks_incomparable_total{job="etcd",instance="a",check="periodic"}"#,
                        "0+1x120",
                        "0+1x120",
                    ),
                    (
                        r#"keelstone_corruption_check_last_success_timestamp_seconds{job="etcd",instance="a",check="periodic"}"#,
                        "5x120",
                        "5+60x120",
                    ),
                ],
                at: "90m",
                labels: &[("job", "etcd")],
            },
        },
    ]
}

fn state() -> Vec<Alert> {
    vec![
        Alert {
            name: "KeelstoneAlarm",
            query: metric("etcd_debugging_server_alarms").max_by(&["job", "alarm_type"]).above(0.0),
            hold: "0m",
            severity: Severity::Critical,
            summary: "An alarm is raised: the cluster refuses requests",
            meaning: "NOSPACE: writes are refused, deletes are not. CORRUPT: the member that it names refuses everything.",
            steps: &[
                "`etcdctl alarm list` names the members.",
                "NOSPACE: `etcdctl compact` to a revision that nobody needs, `etcdctl defrag --cluster` (it does not stop the members), then `etcdctl alarm disarm`; or raise --quota-backend-bytes. `keelstone ctl endpoint status` shows size and quota.",
                "CORRUPT: see KeelstoneCorruption.",
            ],
            case: Case {
                series: &[(
                    r#"etcd_debugging_server_alarms{job="etcd",instance="a",server_id="1",alarm_type="NOSPACE"}"#,
                    "0x5 1x20",
                    "1x5 0x20",
                )],
                at: "10m",
                labels: &[("job", "etcd"), ("alarm_type", "NOSPACE")],
            },
        },
        Alert {
            name: "KeelstoneDiskStalls",
            query: observed("etcd_disk_wal_fsync_duration_seconds", "").rate().sum_by(&["job", "instance"]).above(0.8),
            hold: "10m",
            severity: Severity::Warning,
            summary: "The log waits for the disk nearly all the time",
            meaning: "Writes cannot get faster than this disk, and a longer stall costs the member its leadership.",
            steps: &[
                "Look at the disk: another program on it, a throttled volume, a failing device (`iostat -x 1`, `dmesg`).",
                "Panel \"Syncs\" of Raft and storage: are writes more than before, or syncs slower?",
                "Give the log a disk of its own: --wal-dir.",
            ],
            case: Case {
                series: &[(
                    r#"etcd_disk_wal_fsync_duration_seconds_sum{job="etcd",instance="a"}"#,
                    "0+54x40",
                    "0+30x40",
                )],
                at: "30m",
                labels: M,
            },
        },
    ]
}

fn lag() -> Vec<Alert> {
    vec![
        Alert {
            name: "KeelstoneWatchersLag",
            query: metric("etcd_debugging_mvcc_slow_watcher_total").above(0.0).and(
                metric("etcd_debugging_mvcc_slow_watcher_total")
                    .over(metric("etcd_debugging_mvcc_watcher_total"))
                    .above(0.1),
            ),
            hold: "15m",
            severity: Severity::Warning,
            summary: "More than a tenth of the watchers of a member lag",
            meaning: "Their clients see changes late. Writes are not slowed down.",
            steps: &[
                "Panel \"Watchers that lag\" of Requests, watches and leases: on one member or on all?",
                "One: a client that does not read; `ss -tn` on the member shows a connection whose Send-Q stays full. All: the members are short of CPU.",
            ],
            case: Case {
                series: &[
                    (r#"etcd_debugging_mvcc_slow_watcher_total{job="etcd",instance="a"}"#, "20x40", "5x40"),
                    (r#"etcd_debugging_mvcc_watcher_total{job="etcd",instance="a"}"#, "100x40", "100x40"),
                ],
                at: "30m",
                labels: M,
            },
        },
        Alert {
            name: "KeelstoneMemberBehind",
            query: metric("etcd_server_proposals_applied_total")
                .from_max_of_job(metric("etcd_server_proposals_applied_total"))
                .above(5_000.0),
            hold: "5m",
            severity: Severity::Warning,
            summary: "A member is thousands of entries behind",
            meaning: "Reads through it wait, and it does not help to survive the loss of another. Beyond the log that is kept it needs a snapshot.",
            steps: &[
                "Is its disk or CPU slower than those of the others? Panels \"Syncs of the log\" and \"CPU\".",
                "Is the network between it and the leader slow or lossy? Panel \"Round trips between members\".",
                "If it never catches up: remove it, wipe its data directory, add it again.",
            ],
            case: Case {
                series: &[
                    (r#"etcd_server_proposals_applied_total{job="etcd",instance="a"}"#, "1000x40", "8990x40"),
                    (r#"etcd_server_proposals_applied_total{job="etcd",instance="b"}"#, "9000x40", "9000x40"),
                ],
                at: "30m",
                labels: M,
            },
        },
    ]
}

//! Could the cluster be had back?

use crate::grafana::{Board, Row, Unit, graph, line, stat};
use crate::query::{metric, metric_with};

const FULL: &str = r#"kind="full""#;

pub fn board() -> Board {
    Board {
        uid: "keelstone-backup",
        title: "Keelstone / Backup",
        description: "Backups that members make, and whether they could be restored.",
        rows: vec![Row {
            title: "Backups",
            panels: vec![
                stat(
                    "Age of the newest full one",
                    Unit::Seconds,
                    "Of the newest full backup at the destination, as the leader sees it; -1 if there is none.",
                    line(metric("keelstone_backup_age_seconds").max(), ""),
                ),
                stat(
                    "Last drill passed",
                    Unit::Count,
                    "1 if the newest state could be restored and had the right hash, 0 if not, -1 if there was no drill.",
                    line(metric("keelstone_backup_drill_passed").max(), ""),
                ),
                stat(
                    "Size of the last",
                    Unit::Bytes,
                    "Size of the last full backup.",
                    line(metric_with("keelstone_backup_last_size_bytes", FULL).max(), ""),
                ),
                stat(
                    "Time of the last",
                    Unit::Seconds,
                    "How long the last full backup took, verification included.",
                    line(metric_with("keelstone_backup_last_duration_seconds", FULL).max(), ""),
                ),
                graph(
                    "Made and failed",
                    Unit::Count,
                    "Backups since the members were started. A gap means that segments could not go on and a full one was made.",
                    vec![
                        line(metric("keelstone_backup_successes_total").sum(), "made"),
                        line(metric("keelstone_backup_failures_total").sum(), "failed"),
                        line(metric("keelstone_backup_gaps_total").sum(), "gaps"),
                        line(metric("keelstone_backup_drill_failures_total").sum(), "failed drills"),
                    ],
                ),
                graph(
                    "Revisions that are in no backup",
                    Unit::Count,
                    "The newest revision less that of the newest backup, full or delta, since the members were started.",
                    vec![line(
                        metric("etcd_debugging_mvcc_current_revision")
                            .max()
                            .minus(metric("keelstone_backup_last_revision").max()),
                        "revisions",
                    )],
                ),
                graph(
                    "Age over time",
                    Unit::Seconds,
                    "Rises until the next full backup; -1 on members that do not lead.",
                    vec![line(metric("keelstone_backup_age_seconds"), "{{instance}}")],
                ),
            ],
        }],
    }
}

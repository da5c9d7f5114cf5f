//! What the corruption checks did. etcd counts none of it; the time that each hash took is in its
//! `etcd_mvcc_hash_rev_duration_seconds`.

use prometheus::{Error, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

/// Handles; a clone counts into the same series.
#[derive(Clone, Debug)]
pub struct CorruptionMetrics {
    pub initial: CheckMetrics,
    pub periodic: CheckMetrics,
    pub compact_hash: CheckMetrics,
}

/// Of one kind of check.
#[derive(Clone, Debug)]
pub struct CheckMetrics {
    /// Those that came to their end.
    pub runs: IntCounter,
    /// Those that found a difference.
    pub failed: IntCounter,
    /// Members that one of them could not compare.
    pub incomparable: IntCounter,
    /// Unix time at which one last compared all members and found them alike; zero since the start.
    pub last_success: IntGauge,
}

impl CorruptionMetrics {
    /// # Errors
    /// The registry already has these families.
    pub fn register(registry: &Registry) -> Result<Self, Error> {
        let counters = |name, help| {
            let counters = IntCounterVec::new(Opts::new(name, help), &["check"])?;
            registry.register(Box::new(counters.clone()))?;
            Ok::<_, Error>(counters)
        };
        let runs = counters("keelstone_corruption_checks_total", "Corruption checks that came to their end.")?;
        let failed = counters(
            "keelstone_corruption_checks_failed_total",
            "Corruption checks that found members with different data.",
        )?;
        let incomparable = counters(
            "keelstone_corruption_checks_incomparable_total",
            "Members whose data a corruption check could not compare: they did not answer, or are at another compaction.",
        )?;
        let last_success = IntGaugeVec::new(
            Opts::new(
                "keelstone_corruption_check_last_success_timestamp_seconds",
                "When a corruption check last compared all members and found them alike; 0 since the start.",
            ),
            &["check"],
        )?;
        registry.register(Box::new(last_success.clone()))?;
        let of = |check: &str| CheckMetrics {
            runs: runs.with_label_values(&[check]),
            failed: failed.with_label_values(&[check]),
            incomparable: incomparable.with_label_values(&[check]),
            last_success: last_success.with_label_values(&[check]),
        };
        Ok(Self { initial: of("initial"), periodic: of("periodic"), compact_hash: of("compact_hash") })
    }
}

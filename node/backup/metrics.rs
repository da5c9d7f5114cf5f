//! How old, how large and how good backups are.

use super::archive::{Kind, Manifest};
use prometheus::{Gauge, GaugeVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry};
use std::time::Duration;

/// Why a backup can fail; each is shown at zero from the start.
const REASONS: [&str; 9] =
    ["save", "verify", "stopped", "not_found", "already_exists", "denied", "out_of_space", "io", "protocol"];
/// Why segments cannot go on.
const GAPS: [&str; 2] = ["purged", "history"];

#[derive(Clone, Debug)]
pub struct Metrics {
    last_success: GaugeVec,
    duration: GaugeVec,
    bytes: GaugeVec,
    revision: GaugeVec,
    successes: IntCounterVec,
    failures: IntCounterVec,
    gaps: IntCounterVec,
    age: Gauge,
    drill_passed: IntGauge,
    drill_time: Gauge,
    drill_failures: IntCounter,
}

impl Metrics {
    /// # Errors
    /// A name is taken.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let gauges = |name: &str, help: &str| {
            let gauges = GaugeVec::new(Opts::new(name, help), &["kind"])?;
            registry.register(Box::new(gauges.clone()))?;
            [Kind::Full, Kind::Delta].iter().for_each(|kind| gauges.with_label_values(&[kind.as_str()]).set(0.0));
            Ok::<_, prometheus::Error>(gauges)
        };
        let counters = |name: &str, help: &str, labels: &[&str]| {
            let counters = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(counters.clone()))?;
            Ok::<_, prometheus::Error>(counters)
        };
        let gauge = |name: &str, help: &str| {
            let gauge = Gauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok::<_, prometheus::Error>(gauge)
        };
        let drill_passed = IntGauge::new(
            "keelstone_backup_drill_passed",
            "Whether the last drill on this member passed: 1, 0, or -1 if there was none.",
        )?;
        registry.register(Box::new(drill_passed.clone()))?;
        drill_passed.set(-1);
        let drill_failures = IntCounter::new("keelstone_backup_drill_failures_total", "Drills that failed.")?;
        registry.register(Box::new(drill_failures.clone()))?;
        let metrics = Self {
            last_success: gauges(
                "keelstone_backup_last_success_timestamp_seconds",
                "When this member last stored and verified a backup, as Unix time; 0 if never.",
            )?,
            duration: gauges("keelstone_backup_last_duration_seconds", "How long that took, verification included.")?,
            bytes: gauges("keelstone_backup_last_size_bytes", "How large it is.")?,
            revision: gauges("keelstone_backup_last_revision", "The revision that it ends with.")?,
            successes: counters("keelstone_backup_successes_total", "Backups stored and verified.", &["kind"])?,
            failures: counters("keelstone_backup_failures_total", "Backups that failed.", &["kind", "reason"])?,
            gaps: counters(
                "keelstone_backup_gaps_total",
                "Times that segments could not go on where the last one ended, so that a new full backup was due.",
                &["reason"],
            )?,
            age: gauge(
                "keelstone_backup_age_seconds",
                "Age of the newest full backup at the destination, as the leader sees it; -1 elsewhere and without one.",
            )?,
            drill_passed,
            drill_time: gauge(
                "keelstone_backup_drill_timestamp_seconds",
                "When the last drill on this member ended, as Unix time; 0 if there was none.",
            )?,
            drill_failures,
        };
        metrics.age.set(-1.0);
        for kind in [Kind::Full, Kind::Delta] {
            metrics.successes.with_label_values(&[kind.as_str()]);
            for reason in REASONS {
                metrics.failures.with_label_values(&[kind.as_str(), reason]);
            }
        }
        for reason in GAPS {
            metrics.gaps.with_label_values(&[reason]);
        }
        Ok(metrics)
    }

    #[allow(clippy::cast_precision_loss, reason = "the exposition format knows floats only")]
    pub fn succeeded(&self, backup: &Manifest, took: Duration, unix_secs: i64) {
        let kind = [backup.kind.as_str()];
        self.last_success.with_label_values(&kind).set(unix_secs as f64);
        self.duration.with_label_values(&kind).set(took.as_secs_f64());
        self.bytes.with_label_values(&kind).set(backup.bytes as f64);
        self.revision.with_label_values(&kind).set(backup.to.revision as f64);
        self.successes.with_label_values(&kind).inc();
    }

    pub fn failed(&self, kind: Kind, reason: &str) {
        self.failures.with_label_values(&[kind.as_str(), reason]).inc();
    }

    pub fn gap(&self, reason: &str) {
        self.gaps.with_label_values(&[reason]).inc();
    }

    /// `None`: there is none, or this member does not look.
    pub fn age(&self, age: Option<Duration>) {
        self.age.set(age.map_or(-1.0, |age| age.as_secs_f64()));
    }

    #[allow(clippy::cast_precision_loss, reason = "the exposition format knows floats only")]
    pub fn drilled(&self, passed: bool, unix_secs: i64) {
        self.drill_passed.set(passed.into());
        self.drill_time.set(unix_secs as f64);
        if !passed {
            self.drill_failures.inc();
        }
    }
}

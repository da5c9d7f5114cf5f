//! etcd's metrics of apply.

use prometheus::{HistogramOpts, HistogramVec, IntCounter, IntGauge, Registry, exponential_buckets};
use std::time::Duration;

#[derive(Clone, Debug)]
pub struct Metrics {
    apply_seconds: HistogramVec,
    slow: IntCounter,
    applied: IntGauge,
}

impl Metrics {
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let apply_seconds = HistogramVec::new(
            HistogramOpts::new(
                "etcd_server_apply_duration_seconds",
                "The latency distributions of v2 apply called by backend.",
            )
            .buckets(exponential_buckets(0.0001, 2.0, 20)?),
            &["version", "op", "success"],
        )?;
        let slow = IntCounter::new(
            "etcd_server_slow_apply_total",
            "The total number of slow apply requests (likely overloaded from slow disk).",
        )?;
        let applied =
            IntGauge::new("etcd_server_proposals_applied_total", "The total number of consensus proposals applied.")?;
        registry.register(Box::new(apply_seconds.clone()))?;
        registry.register(Box::new(slow.clone()))?;
        registry.register(Box::new(applied.clone()))?;
        Ok(Self { apply_seconds, slow, applied })
    }

    /// Counts a batch that took `took` in all, as commands that took the same each.
    pub(super) fn observe(&self, commands: &[CommandCount], took: Duration) {
        let all: u32 = commands.iter().map(|count| count.commands).sum();
        if all == 0 {
            return;
        }
        let each_secs = (took / all).as_secs_f64();
        for count in commands {
            let success = if count.success { "true" } else { "false" };
            let histogram = self.apply_seconds.with_label_values(&["v3", count.op, success]);
            for _ in 0..count.commands {
                histogram.observe(each_secs);
            }
        }
    }

    pub(super) fn count_slow(&self, requests: u64) {
        self.slow.inc_by(requests);
    }

    /// For the reads, which etcd counts with the entries.
    pub fn slow_applies(&self) -> IntCounter {
        self.slow.clone()
    }

    pub(super) fn set_applied(&self, index: u64) {
        self.applied.set(i64::try_from(index).unwrap_or(i64::MAX));
    }
}

/// How many commands of one kind a batch had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CommandCount {
    /// etcd's label.
    pub op: &'static str,
    pub success: bool,
    pub commands: u32,
}

/// Adds one to its kind. A batch has few kinds, so the list is searched.
pub(super) fn count(commands: &mut Vec<CommandCount>, op: &'static str, success: bool) {
    match commands.iter_mut().find(|count| count.op == op && count.success == success) {
        Some(count) => count.commands += 1,
        None => commands.push(CommandCount { op, success, commands: 1 }),
    }
}

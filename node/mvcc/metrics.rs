//! Metrics of the store, named as etcd's.

use prometheus::core::Collector;
use prometheus::{Counter, Gauge, Histogram, HistogramOpts, Registry, exponential_buckets};

/// Handles; a clone counts into the same series.
#[derive(Clone, Debug)]
pub struct Metrics {
    pub(super) puts: Counter,
    pub(super) deletes: Counter,
    pub(super) ranges: Counter,
    pub(super) txns: Counter,
    pub(super) put_bytes: Gauge,
    pub(super) keys: Gauge,
    pub(super) current_revision: Gauge,
    pub(super) compact_revision: Gauge,
    pub(super) compacted_rows: Counter,
    pub(super) compaction_last: Gauge,
    pub(super) compaction_total_ms: Histogram,
    pub(super) compaction_pause_ms: Histogram,
    pub(super) index_compaction_pause_ms: Histogram,
    pub(super) hash_seconds: Histogram,
    pub(super) hash_revision_seconds: Histogram,
}

impl Metrics {
    /// Registers etcd's `etcd_mvcc_*` and `etcd_debugging_mvcc_*` that belong to the store.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counter = |name: &str, help: &str| keep(registry, Counter::new(name, help)?);
        let gauge = |name: &str, help: &str| keep(registry, Gauge::new(name, help)?);
        let histogram = |name: &str, help: &str, start: f64, count: usize| {
            let buckets = exponential_buckets(start, 2.0, count)?;
            keep(registry, Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets))?)
        };
        Ok(Self {
            puts: counter("etcd_mvcc_put_total", "Puts seen by this member.")?,
            deletes: counter("etcd_mvcc_delete_total", "Deletes seen by this member.")?,
            ranges: counter("etcd_mvcc_range_total", "Ranges seen by this member.")?,
            txns: counter("etcd_mvcc_txn_total", "Transactions of several operations seen by this member.")?,
            put_bytes: gauge("etcd_debugging_mvcc_total_put_size_in_bytes", "Keys and values put on this member.")?,
            keys: gauge("etcd_debugging_mvcc_keys_total", "Keys that exist.")?,
            current_revision: gauge("etcd_debugging_mvcc_current_revision", "Revision of the store.")?,
            compact_revision: gauge("etcd_debugging_mvcc_compact_revision", "Revision of the last compaction.")?,
            compacted_rows: counter("etcd_debugging_mvcc_db_compaction_keys_total", "Rows removed by compaction.")?,
            compaction_last: gauge(
                "etcd_debugging_mvcc_db_compaction_last",
                "Unix time at which the last compaction ended; 0 since the start.",
            )?,
            compaction_total_ms: histogram(
                "etcd_debugging_mvcc_db_compaction_total_duration_milliseconds",
                "Time from the first to the last slice of a compaction.",
                100.0,
                14,
            )?,
            compaction_pause_ms: histogram(
                "etcd_debugging_mvcc_db_compaction_pause_duration_milliseconds",
                "Time of one slice of a compaction of rows.",
                1.0,
                13,
            )?,
            index_compaction_pause_ms: histogram(
                "etcd_debugging_mvcc_index_compaction_pause_duration_milliseconds",
                "Time of one slice of a compaction of the index.",
                0.5,
                14,
            )?,
            hash_seconds: histogram("etcd_mvcc_hash_duration_seconds", "Time to hash all tables.", 0.01, 15)?,
            hash_revision_seconds: histogram(
                "etcd_mvcc_hash_rev_duration_seconds",
                "Time to hash all keys up to a revision.",
                0.01,
                15,
            )?,
        })
    }
}

fn keep<C: Collector + Clone + 'static>(registry: &Registry, collector: C) -> Result<C, prometheus::Error> {
    registry.register(Box::new(collector.clone()))?;
    Ok(collector)
}

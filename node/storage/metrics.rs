//! Metrics of the state file, named as etcd's.

use prometheus::{Gauge, Histogram, HistogramOpts, Registry, exponential_buckets};
use std::time::Duration;

/// Handles; a clone counts into the same series.
#[derive(Clone, Debug)]
pub struct Metrics {
    pub(super) commit_seconds: Histogram,
    pub(super) total_bytes: Gauge,
    pub(super) in_use_bytes: Gauge,
    pub(super) open_reads: Gauge,
    defragment_seconds: Histogram,
    defragmenting: Gauge,
    installing: Gauge,
    receive_seconds: Histogram,
    receive_sync_seconds: Histogram,
    /// There are no files like etcd's `.snap`: it stays empty.
    snap_sync_seconds: Histogram,
}

impl Metrics {
    /// The sizes as of the last commit, in bytes: total and in use.
    pub fn sizes(&self) -> (i64, i64) {
        (self.total_bytes.get() as i64, self.in_use_bytes.get() as i64)
    }

    /// Handles that nobody reads, for a file that is not the state yet.
    pub fn detached() -> Self {
        Self::new().expect("the names are fine")
    }

    /// The state is being defragmented, or no more.
    pub fn set_defragmenting(&self, is_active: bool) {
        self.defragmenting.set(f64::from(u8::from(is_active)));
    }

    /// A defragmentation succeeded.
    pub fn observe_defragment(&self, took: Duration) {
        self.defragment_seconds.observe(took.as_secs_f64());
    }

    /// A received state is about to take the place of this one, or no more.
    pub fn set_installing(&self, is_active: bool) {
        self.installing.set(f64::from(u8::from(is_active)));
    }

    /// A state was received and is whole: how long that took, and its last sync.
    pub fn observe_received(&self, took: Duration, sync: Duration) {
        self.receive_seconds.observe(took.as_secs_f64());
        self.receive_sync_seconds.observe(sync.as_secs_f64());
    }

    /// Registers etcd's `etcd_disk_backend_commit_duration_seconds` (durable commits only, as there), sizes,, and what it
    /// has on defragmentation and on states that are received.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let metrics = Self::new()?;
        registry.register(Box::new(metrics.commit_seconds.clone()))?;
        let Metrics { defragment_seconds, receive_seconds, receive_sync_seconds, snap_sync_seconds, .. } = &metrics;
        for histogram in [defragment_seconds, receive_seconds, receive_sync_seconds, snap_sync_seconds] {
            registry.register(Box::new(histogram.clone()))?;
        }
        let Metrics { total_bytes, in_use_bytes, open_reads, defragmenting, installing, .. } = &metrics;
        for gauge in [total_bytes, in_use_bytes, open_reads, defragmenting, installing] {
            registry.register(Box::new(gauge.clone()))?;
        }
        Ok(metrics)
    }

    fn new() -> Result<Self, prometheus::Error> {
        let seconds = |name: &str, help: &str, (first, count): (f64, usize)| {
            Histogram::with_opts(HistogramOpts::new(name, help).buckets(exponential_buckets(first, 2.0, count)?))
        };
        Ok(Self {
            commit_seconds: seconds(
                "etcd_disk_backend_commit_duration_seconds",
                "Latency of a durable commit of the state file.",
                (0.001, 14),
            )?,
            total_bytes: Gauge::new("etcd_mvcc_db_total_size_in_bytes", "Bytes that the state file occupies.")?,
            in_use_bytes: Gauge::new(
                "etcd_mvcc_db_total_size_in_use_in_bytes",
                "Bytes of the state file that rows need.",
            )?,
            open_reads: Gauge::new("etcd_mvcc_db_open_read_transactions", "Read transactions that are open.")?,
            defragment_seconds: seconds(
                "etcd_disk_backend_defrag_duration_seconds",
                "Time that a defragmentation of the state file took.",
                (0.1, 13),
            )?,
            defragmenting: Gauge::new(
                "etcd_disk_defrag_inflight",
                "1 while the state file is being defragmented, else 0.",
            )?,
            installing: Gauge::new(
                "etcd_server_snapshot_apply_in_progress_total",
                "1 while a received state takes the place of this one, else 0.",
            )?,
            receive_seconds: seconds(
                "etcd_snap_db_save_total_duration_seconds",
                "Time that it took to receive and save a state from the leader.",
                (0.1, 10),
            )?,
            receive_sync_seconds: seconds(
                "etcd_snap_db_fsync_duration_seconds",
                "Latency of making a received state durable.",
                (0.001, 14),
            )?,
            snap_sync_seconds: seconds(
                "etcd_snap_fsync_duration_seconds",
                "Latency of a sync of etcd's snapshot files, which this member does not write.",
                (0.001, 14),
            )?,
        })
    }
}

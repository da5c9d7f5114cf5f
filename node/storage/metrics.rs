//! Metrics of the state file, named as etcd's.

use prometheus::{Gauge, Histogram, HistogramOpts, Registry, exponential_buckets};

/// Handles; a clone counts into the same series.
#[derive(Clone, Debug)]
pub struct Metrics {
    pub(super) commit_seconds: Histogram,
    pub(super) total_bytes: Gauge,
    pub(super) in_use_bytes: Gauge,
    pub(super) open_reads: Gauge,
}

impl Metrics {
    /// The sizes as of the last commit, in bytes: total and in use.
    pub fn sizes(&self) -> (i64, i64) {
        (self.total_bytes.get() as i64, self.in_use_bytes.get() as i64)
    }

    /// Registers etcd's `etcd_disk_backend_commit_duration_seconds` (durable commits only, as there) and sizes.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let commit_seconds = Histogram::with_opts(
            HistogramOpts::new(
                "etcd_disk_backend_commit_duration_seconds",
                "Latency of a durable commit of the state file.",
            )
            .buckets(exponential_buckets(0.001, 2.0, 14)?),
        )?;
        let total_bytes = Gauge::new("etcd_mvcc_db_total_size_in_bytes", "Bytes that the state file occupies.")?;
        let in_use_bytes =
            Gauge::new("etcd_mvcc_db_total_size_in_use_in_bytes", "Bytes of the state file that rows need.")?;
        registry.register(Box::new(commit_seconds.clone()))?;
        registry.register(Box::new(total_bytes.clone()))?;
        let open_reads = Gauge::new("etcd_mvcc_db_open_read_transactions", "Read transactions that are open.")?;
        registry.register(Box::new(in_use_bytes.clone()))?;
        registry.register(Box::new(open_reads.clone()))?;
        Ok(Self { commit_seconds, total_bytes, in_use_bytes, open_reads })
    }
}

//! etcd's metrics of the log (`server/storage/wal/metrics.go`).

use prometheus::{Gauge, Histogram, HistogramOpts, Registry, exponential_buckets};

/// Handles of the log's metrics.
#[derive(Clone, Debug)]
pub struct Metrics {
    pub(crate) fsync_secs: Histogram,
    pub(crate) write_secs: Histogram,
    pub(crate) write_bytes: Gauge,
}

impl Metrics {
    /// # Errors
    /// If `registry` has one of the names already.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let fsync_secs = Histogram::with_opts(
            HistogramOpts::new(
                "etcd_disk_wal_fsync_duration_seconds",
                "The latency distributions of fsync called by WAL.",
            )
            .buckets(exponential_buckets(0.001, 2.0, 14)?),
        )?;
        let write_secs = Histogram::with_opts(
            HistogramOpts::new(
                "etcd_disk_wal_write_duration_seconds",
                "The latency distributions of write called by WAL.",
            )
            .buckets(exponential_buckets(0.001, 2.0, 14)?),
        )?;
        let write_bytes = Gauge::new("etcd_disk_wal_write_bytes_total", "Total number of bytes written in WAL.")?;
        registry.register(Box::new(fsync_secs.clone()))?;
        registry.register(Box::new(write_secs.clone()))?;
        registry.register(Box::new(write_bytes.clone()))?;
        Ok(Self { fsync_secs, write_secs, write_bytes })
    }
}

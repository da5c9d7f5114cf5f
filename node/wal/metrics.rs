//! What the log shows of itself, under etcd's names.

use prometheus::{Gauge, Histogram, HistogramOpts, Registry, exponential_buckets};

#[derive(Clone, Debug)]
pub struct Metrics {
    pub fsync_seconds: Histogram,
    pub write_seconds: Histogram,
    pub written_bytes: Gauge,
}

impl Metrics {
    /// # Errors
    /// A name is taken in this registry.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let histogram = |name: &str, help: &str| -> Result<Histogram, prometheus::Error> {
            let options = HistogramOpts::new(name, help).buckets(exponential_buckets(0.001, 2.0, 14)?);
            let histogram = Histogram::with_opts(options)?;
            registry.register(Box::new(histogram.clone()))?;
            Ok(histogram)
        };
        let fsync_seconds =
            histogram("etcd_disk_wal_fsync_duration_seconds", "The latency distributions of fsync called by WAL.")?;
        let write_seconds =
            histogram("etcd_disk_wal_write_duration_seconds", "The latency distributions of write called by WAL.")?;
        let written_bytes = Gauge::new("etcd_disk_wal_write_bytes_total", "Total number of bytes written in WAL.")?;
        registry.register(Box::new(written_bytes.clone()))?;
        Ok(Self { fsync_seconds, write_seconds, written_bytes })
    }
}

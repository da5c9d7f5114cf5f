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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_buckets_are_those_of_etcd() {
        let registry = Registry::new();
        let metrics = Metrics::register(&registry).unwrap();
        metrics.write_bytes.add(7.0);
        let families = registry.gather();
        let names: Vec<_> = families.iter().map(|family| family.name()).collect();
        assert_eq!(
            names,
            [
                "etcd_disk_wal_fsync_duration_seconds",
                "etcd_disk_wal_write_bytes_total",
                "etcd_disk_wal_write_duration_seconds"
            ]
        );
        let buckets: Vec<_> = families[0].get_metric()[0]
            .get_histogram()
            .get_bucket()
            .iter()
            .map(|bucket| bucket.upper_bound())
            .collect();
        assert_eq!((buckets.len(), buckets[0], buckets[13]), (14, 0.001, 8.192));
    }
}

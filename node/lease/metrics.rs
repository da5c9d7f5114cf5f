//! etcd's metrics of leases.

use prometheus::{Histogram, HistogramOpts, IntCounter, Registry, exponential_buckets};

#[derive(Clone, Debug)]
pub struct Metrics {
    pub(super) granted: IntCounter,
    pub(super) revoked: IntCounter,
    pub(super) renewed: IntCounter,
    pub(super) ttl_secs: Histogram,
    pub(super) expired: IntCounter,
}

impl Metrics {
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let metrics = Self {
            granted: IntCounter::new("etcd_debugging_lease_granted_total", "The total number of granted leases.")?,
            revoked: IntCounter::new("etcd_debugging_lease_revoked_total", "The total number of revoked leases.")?,
            renewed: IntCounter::new(
                "etcd_debugging_lease_renewed_total",
                "The number of renewed leases seen by the leader.",
            )?,
            ttl_secs: Histogram::with_opts(
                HistogramOpts::new("etcd_debugging_lease_ttl_total", "Bucketed histogram of lease TTLs.")
                    .buckets(exponential_buckets(1.0, 2.0, 24)?),
            )?,
            expired: IntCounter::new(
                "etcd_debugging_server_lease_expired_total",
                "The total number of expired leases.",
            )?,
        };
        registry.register(Box::new(metrics.granted.clone()))?;
        registry.register(Box::new(metrics.revoked.clone()))?;
        registry.register(Box::new(metrics.renewed.clone()))?;
        registry.register(Box::new(metrics.ttl_secs.clone()))?;
        registry.register(Box::new(metrics.expired.clone()))?;
        Ok(metrics)
    }
}

//! The metrics of all parts, in one registry that nothing global knows.

use crate::metrics::corruption::CorruptionMetrics;
use crate::{alarm, api, apply, auth, backup, cluster, lease, metrics, mvcc, raft, storage, wal, watch};
use prometheus::Registry;

#[derive(Debug)]
pub struct Registers {
    pub registry: Registry,
    pub wal: wal::Metrics,
    pub storage: storage::Metrics,
    pub mvcc: mvcc::Metrics,
    pub apply: apply::Metrics,
    pub lease: lease::Metrics,
    pub alarm: alarm::Metrics,
    pub auth: auth::Metrics,
    pub cluster: cluster::Metrics,
    pub raft: raft::Metrics,
    pub watch: watch::Metrics,
    pub backup: backup::Metrics,
    pub api: api::Metrics,
    pub corruption: CorruptionMetrics,
}

impl Registers {
    /// # Errors
    /// Two parts use one name.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = metrics::registry()?;
        let apply = apply::Metrics::register(&registry)?;
        Ok(Self {
            wal: wal::Metrics::register(&registry)?,
            storage: storage::Metrics::register(&registry)?,
            mvcc: mvcc::Metrics::register(&registry)?,
            lease: lease::Metrics::register(&registry)?,
            alarm: alarm::Metrics::register(&registry)?,
            auth: auth::Metrics::register(&registry)?,
            cluster: cluster::Metrics::register(&registry)?,
            raft: raft::Metrics::register(&registry)?,
            watch: watch::Metrics::register(&registry)?,
            backup: backup::Metrics::register(&registry)?,
            corruption: CorruptionMetrics::register(&registry)?,
            api: api::Metrics::register(&registry, apply.slow_applies())?,
            apply,
            registry,
        })
    }
}

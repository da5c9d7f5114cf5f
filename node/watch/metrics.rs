//! Figures about watching, under etcd's names (`server/storage/mvcc/metrics.go`).

use prometheus::{IntCounter, IntGauge, Registry};

#[derive(Clone, Debug)]
pub struct Metrics {
    pub streams: IntGauge,
    pub watchers: IntGauge,
    pub slow_watchers: IntGauge,
    pub pending_events: IntGauge,
    pub events: IntCounter,
}

impl Metrics {
    /// Fails if the registry has one of the names.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let gauge = |name: &str, help: &str| -> Result<IntGauge, prometheus::Error> {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok(gauge)
        };
        let events = IntCounter::new("etcd_debugging_mvcc_events_total", "Events sent by this member.")?;
        registry.register(Box::new(events.clone()))?;
        Ok(Self {
            streams: gauge("etcd_debugging_mvcc_watch_stream_total", "Open watch streams.")?,
            watchers: gauge("etcd_debugging_mvcc_watcher_total", "Watchers on all streams.")?,
            slow_watchers: gauge("etcd_debugging_mvcc_slow_watcher_total", "Watchers that are behind.")?,
            pending_events: gauge("etcd_debugging_mvcc_pending_events_total", "Events queued and not yet sent.")?,
            events,
        })
    }
}

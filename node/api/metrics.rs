//! Handles of the edge. What a hot call touches is found once, at the start.

use super::rpc::Rpc;
use crate::metrics::exponential_buckets;
use crate::metrics::grpc::GrpcMetrics;
use prometheus::{
    Error, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGaugeVec, Opts, Registry,
};
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

#[derive(Clone, Debug)]
pub struct Metrics {
    pub grpc: Arc<GrpcMetrics>,
    pub client_requests: Arc<ClientRequests>,
    pub stream_failures: IntCounterVec,
    pub requests: RequestDurations,
    pub ranges: Outcomes,
    pub health_success: IntCounter,
    pub health_failures: IntCounter,
    pub healthcheck: IntGaugeVec,
    pub healthchecks_total: IntCounterVec,
    /// From the first row of a snapshot for an operator to its last byte, or to its end for another reason.
    pub snapshot_seconds: Histogram,
    pub watch_loop: WatchLoop,
    pub audit: super::audit::Metrics,
    /// Of apply, which counts slow entries there.
    pub slow_applies: IntCounter,
}

impl Metrics {
    /// `slow_applies` is registered by apply.
    ///
    /// # Errors
    /// The registry already has these families.
    pub fn register(registry: &Registry, slow_applies: IntCounter) -> Result<Self, Error> {
        let counter = |name, help| {
            let counter = IntCounter::new(name, help)?;
            registry.register(Box::new(counter.clone()))?;
            Ok::<_, Error>(counter)
        };
        let counters = |name, help, labels| {
            let counters = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(counters.clone()))?;
            Ok::<_, Error>(counters)
        };
        let healthcheck = IntGaugeVec::new(
            Opts::new("etcd_server_healthcheck", "The result of each kind of healthcheck."),
            &["type", "name"],
        )?;
        registry.register(Box::new(healthcheck.clone()))?;
        let snapshot_seconds = Histogram::with_opts(
            HistogramOpts::new(
                "etcd_disk_backend_snapshot_duration_seconds",
                "How long operators' snapshots took to be sent.",
            )
            .buckets(exponential_buckets(0.01, 2.0, 17)?),
        )?;
        registry.register(Box::new(snapshot_seconds.clone()))?;
        Ok(Self {
            grpc: GrpcMetrics::register(registry, Rpc::LABELS)?,
            client_requests: Arc::new(ClientRequests::new(counters(
                "etcd_server_client_requests_total",
                "The total number of client requests per client version.",
                &["type", "client_api_version"],
            )?)),
            stream_failures: counters(
                "etcd_network_server_stream_failures_total",
                "The total number of stream failures from the local server.",
                &["Type", "API"],
            )?,
            requests: RequestDurations::register(registry)?,
            ranges: range_durations(registry)?,
            health_success: counter("etcd_server_health_success", "The total number of successful health checks")?,
            health_failures: counter("etcd_server_health_failures", "The total number of failed health checks")?,
            healthcheck,
            healthchecks_total: counters(
                "etcd_server_healthchecks_total",
                "The total number of each kind of healthcheck.",
                &["type", "name", "status"],
            )?,
            snapshot_seconds,
            watch_loop: WatchLoop::register(registry)?,
            audit: super::audit::Metrics::register(registry)?,
            slow_applies,
        })
    }
}

/// What it takes to make the responses of watch streams (etcd `v3rpc/metrics.go`).
#[derive(Clone, Debug)]
pub struct WatchLoop {
    pub events: Histogram,
    pub per_event: Histogram,
    /// Of answers to requests of the client.
    pub control: Histogram,
    /// Of a round of progress notices.
    pub progress: Histogram,
}

impl WatchLoop {
    /// # Errors
    /// The registry already has these families.
    pub fn register(registry: &Registry) -> Result<Self, Error> {
        let histogram = |name: &str, help: &str| {
            let name = format!("etcd_debugging_server_watch_send_loop_{name}_seconds");
            let buckets = exponential_buckets(0.001, 2.0, 14)?;
            let histogram = Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets))?;
            registry.register(Box::new(histogram.clone()))?;
            Ok::<_, Error>(histogram)
        };
        Ok(Self {
            events: histogram("watch_stream_duration", "Time to make a response of events.")?,
            per_event: histogram("watch_stream_duration_per_event", "The same for each event in it.")?,
            control: histogram("control_stream_duration", "Time to make an answer to a request.")?,
            progress: histogram("progress_duration", "Time to ask for the progress of a stream's watchers.")?,
        })
    }
}

/// One histogram for each outcome. That of failures is shown from the first one on, as in etcd: nearly all stay empty, and each
/// would be as many series as it has buckets.
#[derive(Clone, Debug)]
pub struct Outcomes {
    succeeded: Histogram,
    durations: HistogramVec,
    /// The label before the outcome, if there is one.
    kind: Option<Arc<str>>,
}

impl Outcomes {
    fn of(durations: &HistogramVec, kind: Option<&str>) -> Self {
        let succeeded = durations.with_label_values(&labels(kind, "true"));
        Self { succeeded, durations: durations.clone(), kind: kind.map(Arc::from) }
    }

    pub fn observe(&self, seconds: f64, succeeded: bool) {
        if succeeded {
            self.succeeded.observe(seconds);
        } else {
            self.durations.with_label_values(&labels(self.kind.as_deref(), "false")).observe(seconds);
        }
    }
}

fn labels<'l>(kind: Option<&'l str>, success: &'l str) -> Vec<&'l str> {
    kind.into_iter().chain([success]).collect()
}

fn range_durations(registry: &Registry) -> Result<Outcomes, Error> {
    let durations = HistogramVec::new(
        HistogramOpts::new("etcd_server_range_duration_seconds", "The latency distributions of txn.Range")
            .buckets(exponential_buckets(0.0001, 2.0, 20)?),
        &["success"],
    )?;
    registry.register(Box::new(durations.clone()))?;
    Ok(Outcomes::of(&durations, None))
}

/// etcd's `etcd_server_request_duration_seconds`: from the gate to the answer, by what was asked.
#[derive(Clone, Debug)]
pub struct RequestDurations {
    pub range: Outcomes,
    pub read_only_txn: Outcomes,
    pub put: Outcomes,
    pub delete_range: Outcomes,
    pub txn: Outcomes,
    pub compaction: Outcomes,
    pub lease_grant: Outcomes,
    pub lease_revoke: Outcomes,
    pub alarm: Outcomes,
    durations: HistogramVec,
}

impl RequestDurations {
    fn register(registry: &Registry) -> Result<Self, Error> {
        let durations = HistogramVec::new(
            HistogramOpts::new(
                "etcd_server_request_duration_seconds",
                "Response latency distribution in seconds for each type.",
            )
            .buckets(exponential_buckets(0.001, 2.0, 14)?),
            &["type", "success"],
        )?;
        registry.register(Box::new(durations.clone()))?;
        let of = |kind| Outcomes::of(&durations, Some(kind));
        Ok(Self {
            range: of("Range"),
            read_only_txn: of("ReadonlyTxn"),
            put: of("Put"),
            delete_range: of("DeleteRange"),
            txn: of("Txn"),
            compaction: of("Compaction"),
            lease_grant: of("LeaseGrant"),
            lease_revoke: of("LeaseRevoke"),
            alarm: of("Alarm"),
            durations,
        })
    }

    /// Of a command on access control, by its name; looked up at each call, since they are rare.
    pub fn of_auth(&self, kind: &str) -> Outcomes {
        Outcomes::of(&self.durations, Some(kind))
    }
}

/// Requests by the version that clients say they have.
#[derive(Debug)]
pub struct ClientRequests {
    counters: IntCounterVec,
    by_version: RwLock<HashMap<String, VersionCounters>>,
}

#[derive(Clone, Debug)]
struct VersionCounters {
    unary: IntCounter,
    stream: IntCounter,
}

impl VersionCounters {
    fn count(&self, rpc: Rpc) {
        if rpc.is_stream() { self.stream.inc() } else { self.unary.inc() }
    }
}

impl ClientRequests {
    /// Clients choose the text, so the number of series needs a bound. etcd has none.
    const MAX_VERSIONS: usize = 64;
    const OTHER: &str = "other";

    fn new(counters: IntCounterVec) -> Self {
        Self { counters, by_version: RwLock::default() }
    }

    pub fn count(&self, rpc: Rpc, version: &str) {
        let by_version = self.by_version.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(counters) = by_version.get(version) {
            return counters.count(rpc);
        }
        drop(by_version);
        self.learn(version).count(rpc);
    }

    fn learn(&self, version: &str) -> VersionCounters {
        let mut by_version = self.by_version.write().unwrap_or_else(PoisonError::into_inner);
        let version = if by_version.len() < Self::MAX_VERSIONS { version } else { Self::OTHER };
        let counters = VersionCounters {
            unary: self.counters.with_label_values(&["unary", version]),
            stream: self.counters.with_label_values(&["stream", version]),
        };
        by_version.entry(version.to_owned()).or_insert(counters).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::render;

    fn slow_applies() -> IntCounter {
        IntCounter::new("slow_applies", "Of apply.").expect("a name")
    }

    #[test]
    fn versions_beyond_the_bound_are_counted_together() {
        let registry = Registry::new();
        let metrics = Metrics::register(&registry, slow_applies()).expect("a fresh registry");
        for version in 0..100 {
            metrics.client_requests.count(Rpc::Put, &format!("3.{version}"));
        }
        metrics.client_requests.count(Rpc::Watch, "3.1");
        let text = String::from_utf8(render(&registry).expect("rendered")).expect("text");
        let series = |text: &str| text.lines().filter(|line| line.starts_with("etcd_server_client_requests")).count();
        assert_eq!(series(&text), 2 * (ClientRequests::MAX_VERSIONS + 1));
        assert!(text.contains(r#"etcd_server_client_requests_total{client_api_version="other",type="unary"} 36"#));
        assert!(text.contains(r#"etcd_server_client_requests_total{client_api_version="3.1",type="stream"} 1"#));
    }
}

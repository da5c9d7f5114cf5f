//! What go-grpc-prometheus counts, for every call from the start at zero. Plain atomics, because a `prometheus`
//! handle costs some 500 bytes and there are about 1 500 series; a call touches no lock and formats nothing.

use super::family::{counter, counter_value, family, label};
use prometheus::core::{Collector, Desc};
use prometheus::proto::{Bucket, Histogram, LabelPair, Metric, MetricFamily, MetricType};
use prometheus::{Error, Registry};
use std::array;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How messages flow, by the name that go-grpc-prometheus gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallKind {
    Unary,
    ServerStream,
    BidiStream,
}

impl CallKind {
    fn name(self) -> &'static str {
        match self {
            CallKind::Unary => "unary",
            CallKind::ServerStream => "server_stream",
            CallKind::BidiStream => "bidi_stream",
        }
    }
}

/// How a call is named in labels.
#[derive(Clone, Copy, Debug)]
pub struct CallLabels {
    pub service: &'static str,
    pub method: &'static str,
    pub kind: CallKind,
}

/// gRPC's codes by number.
const CODES: [&str; 17] = [
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
];
const UNKNOWN: usize = 2;

/// Prometheus' default buckets, in microseconds.
const BOUNDS_MICROS: [u64; 11] =
    [5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000, 10_000_000];

#[derive(Debug)]
struct CallCounters {
    started: AtomicU64,
    received: AtomicU64,
    sent: AtomicU64,
    handled: [AtomicU64; CODES.len()],
    /// By bucket, not cumulative; the last is above all bounds.
    took: [AtomicU64; BOUNDS_MICROS.len() + 1],
    took_micros: AtomicU64,
}

impl CallCounters {
    fn new() -> Self {
        Self {
            started: AtomicU64::new(0),
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            handled: array::from_fn(|_| AtomicU64::new(0)),
            took: array::from_fn(|_| AtomicU64::new(0)),
            took_micros: AtomicU64::new(0),
        }
    }
}

/// Counters of all calls. A call is named by its index in the labels given at the start.
#[derive(Debug)]
pub struct GrpcMetrics {
    labels: &'static [CallLabels],
    calls: Vec<CallCounters>,
    received_bytes: AtomicU64,
    sent_bytes: AtomicU64,
}

impl GrpcMetrics {
    /// # Errors
    /// The registry already has these families.
    pub fn register(registry: &Registry, labels: &'static [CallLabels]) -> Result<Arc<Self>, Error> {
        let metrics = Arc::new(Self {
            labels,
            calls: labels.iter().map(|_| CallCounters::new()).collect(),
            received_bytes: AtomicU64::new(0),
            sent_bytes: AtomicU64::new(0),
        });
        registry.register(Box::new(GrpcCollector::new(Arc::clone(&metrics))?))?;
        Ok(metrics)
    }

    pub fn started(&self, call: usize) {
        add(&self.calls[call].started, 1);
    }

    /// Messages that came from the client, and the bytes of messages that did, whole or not.
    pub fn received(&self, call: usize, messages: u64, payload_bytes: u64) {
        add(&self.calls[call].received, messages);
        add(&self.received_bytes, payload_bytes);
    }

    pub fn sent(&self, call: usize, messages: u64, payload_bytes: u64) {
        add(&self.calls[call].sent, messages);
        add(&self.sent_bytes, payload_bytes);
    }

    /// The call has ended with a gRPC code (by number; what is no code counts as Unknown).
    pub fn handled(&self, call: usize, code: usize, took: Duration) {
        let counters = &self.calls[call];
        add(counters.handled.get(code).unwrap_or(&counters.handled[UNKNOWN]), 1);
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        add(&counters.took[BOUNDS_MICROS.partition_point(|bound| *bound < micros)], 1);
        add(&counters.took_micros, micros);
    }
}

fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}

fn load(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

/// Name and help of each family, as go-grpc-prometheus has them.
const STARTED: (&str, &str) = ("grpc_server_started_total", "Total number of RPCs started on the server.");
const HANDLED: (&str, &str) =
    ("grpc_server_handled_total", "Total number of RPCs completed on the server, regardless of success or failure.");
const RECEIVED: (&str, &str) =
    ("grpc_server_msg_received_total", "Total number of RPC stream messages received on the server.");
const SENT: (&str, &str) = ("grpc_server_msg_sent_total", "Total number of gRPC stream messages sent by the server.");
const TOOK: (&str, &str) = (
    "grpc_server_handling_seconds",
    "Histogram of response latency (seconds) of gRPC that had been application-level handled by the server.",
);
const RECEIVED_BYTES: (&str, &str) =
    ("etcd_network_client_grpc_received_bytes_total", "The total number of bytes received from grpc clients.");
const SENT_BYTES: (&str, &str) =
    ("etcd_network_client_grpc_sent_bytes_total", "The total number of bytes sent to grpc clients.");
const FAMILIES: [(&str, &str); 7] = [STARTED, HANDLED, RECEIVED, SENT, TOOK, RECEIVED_BYTES, SENT_BYTES];

struct GrpcCollector {
    metrics: Arc<GrpcMetrics>,
    descs: Vec<Desc>,
}

impl GrpcCollector {
    fn new(metrics: Arc<GrpcMetrics>) -> Result<Self, Error> {
        let desc = |(name, help): (&str, &str)| Desc::new(name.to_owned(), help.to_owned(), Vec::new(), HashMap::new());
        Ok(Self { metrics, descs: FAMILIES.into_iter().map(desc).collect::<Result<_, _>>()? })
    }

    fn counters(&self, of: fn(&CallCounters) -> &AtomicU64, (name, help): (&str, &str)) -> MetricFamily {
        let values = self.each().map(|(labels, call)| counter_value(labels, load(of(call))));
        family(name, help, MetricType::COUNTER, values.collect())
    }

    fn each(&self) -> impl Iterator<Item = (Vec<LabelPair>, &CallCounters)> {
        self.metrics.labels.iter().map(|labels| label_pairs(*labels)).zip(&self.metrics.calls)
    }

    fn handled(&self) -> MetricFamily {
        let values = self.each().flat_map(|(labels, call)| {
            CODES.iter().zip(&call.handled).map(move |(code, count)| {
                let mut labels = labels.clone();
                labels.insert(0, label("grpc_code", code));
                counter_value(labels, load(count))
            })
        });
        family(HANDLED.0, HANDLED.1, MetricType::COUNTER, values.collect())
    }

    fn took(&self) -> MetricFamily {
        let values = self.each().map(|(labels, call)| {
            let mut metric = Metric::from_label(labels);
            metric.set_histogram(histogram(call));
            metric
        });
        family(TOOK.0, TOOK.1, MetricType::HISTOGRAM, values.collect())
    }
}

/// Sorted by name, as the text form wants them.
fn label_pairs(labels: CallLabels) -> Vec<LabelPair> {
    vec![
        label("grpc_method", labels.method),
        label("grpc_service", labels.service),
        label("grpc_type", labels.kind.name()),
    ]
}

#[allow(clippy::cast_precision_loss, reason = "the exposition format knows floats only")]
fn histogram(call: &CallCounters) -> Histogram {
    let mut cumulative = 0;
    let mut buckets = Vec::with_capacity(BOUNDS_MICROS.len());
    for (bound, count) in BOUNDS_MICROS.iter().zip(&call.took) {
        cumulative += load(count);
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(*bound as f64 / 1e6);
        bucket.set_cumulative_count(cumulative);
        buckets.push(bucket);
    }
    cumulative += load(&call.took[BOUNDS_MICROS.len()]);
    let mut histogram = Histogram::default();
    histogram.set_sample_count(cumulative);
    histogram.set_sample_sum(load(&call.took_micros) as f64 / 1e6);
    histogram.set_bucket(buckets);
    histogram
}

impl Collector for GrpcCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.descs.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        vec![
            self.counters(|call| &call.started, STARTED),
            self.handled(),
            self.counters(|call| &call.received, RECEIVED),
            self.counters(|call| &call.sent, SENT),
            self.took(),
            counter(RECEIVED_BYTES.0, RECEIVED_BYTES.1, load(&self.metrics.received_bytes)),
            counter(SENT_BYTES.0, SENT_BYTES.1, load(&self.metrics.sent_bytes)),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::render;

    const LABELS: &[CallLabels] = &[
        CallLabels { service: "etcdserverpb.KV", method: "Put", kind: CallKind::Unary },
        CallLabels { service: "etcdserverpb.Watch", method: "Watch", kind: CallKind::BidiStream },
    ];

    #[test]
    fn all_series_exist_from_the_start_and_follow_the_calls() {
        let registry = Registry::new();
        let metrics = GrpcMetrics::register(&registry, LABELS).expect("a fresh registry");
        let text = || String::from_utf8(render(&registry).expect("rendered")).expect("text");
        let watch = r#"grpc_method="Watch",grpc_service="etcdserverpb.Watch",grpc_type="bidi_stream""#;
        let has = |line: String| assert!(text().lines().any(|found| found == line), "{line}\n{}", text());
        has(format!("grpc_server_started_total{{{watch}}} 0"));
        has(format!(r#"grpc_server_handled_total{{grpc_code="DataLoss",{watch}}} 0"#));

        metrics.started(1);
        metrics.received(1, 2, 30);
        metrics.sent(1, 1, 7);
        metrics.handled(1, 1, Duration::from_millis(20));
        metrics.handled(1, 99, Duration::from_secs(60));
        has(format!("grpc_server_started_total{{{watch}}} 1"));
        has(format!("grpc_server_msg_received_total{{{watch}}} 2"));
        has(format!("grpc_server_msg_sent_total{{{watch}}} 1"));
        has(format!(r#"grpc_server_handled_total{{grpc_code="Canceled",{watch}}} 1"#));
        has(format!(r#"grpc_server_handled_total{{grpc_code="Unknown",{watch}}} 1"#));
        has(format!(r#"grpc_server_handling_seconds_bucket{{{watch},le="0.01"}} 0"#));
        has(format!(r#"grpc_server_handling_seconds_bucket{{{watch},le="0.025"}} 1"#));
        has(format!(r#"grpc_server_handling_seconds_bucket{{{watch},le="+Inf"}} 2"#));
        has(format!("grpc_server_handling_seconds_count{{{watch}}} 2"));
        has("etcd_network_client_grpc_received_bytes_total 30".to_owned());
        has("etcd_network_client_grpc_sent_bytes_total 7".to_owned());
    }
}

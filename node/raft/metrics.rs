//! etcd's figures of the traffic between members (`rafthttp/metrics.go`) and of what the leader does with it.

use crate::types::MemberId;
use prometheus::{
    Error, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGaugeVec, Opts, Registry, exponential_buckets,
};
use std::time::Instant;

/// Handles; a clone counts into the same series.
#[derive(Clone, Debug)]
pub struct Metrics {
    pub(super) active_peers: IntGaugeVec,
    pub(super) disconnected_peers: IntCounterVec,
    pub(super) sent_bytes: IntCounterVec,
    pub(super) received_bytes: IntCounterVec,
    pub(super) sent_failures: IntCounterVec,
    pub(super) received_failures: IntCounterVec,
    pub(super) round_trips: HistogramVec,
    pub(super) snapshots_sent: Transfers,
    pub(super) snapshots_received: Transfers,
    pub(super) late_heartbeats: IntCounter,
    pub(super) promoted: IntCounter,
    pub(super) not_promoted: IntCounterVec,
}

impl Metrics {
    /// # Errors
    /// The registry already has these families.
    pub fn register(registry: &Registry) -> Result<Self, Error> {
        let counter = |name, help| {
            let counter = IntCounter::new(name, help)?;
            registry.register(Box::new(counter.clone()))?;
            Ok::<_, Error>(counter)
        };
        let counters = |name, help, labels: &[&str]| counters(registry, name, help, labels);
        let between = &["Local", "Remote"];
        Ok(Self {
            active_peers: gauges(registry, "etcd_network_active_peers", "Peers that are connected.", between)?,
            disconnected_peers: counters(
                "etcd_network_disconnected_peers_total",
                "How often the last connection with a peer was lost.",
                between,
            )?,
            sent_bytes: counters("etcd_network_peer_sent_bytes_total", "Bytes sent to peers.", &["To"])?,
            received_bytes: counters(
                "etcd_network_peer_received_bytes_total",
                "Bytes received from peers.",
                &["From"],
            )?,
            sent_failures: counters("etcd_network_peer_sent_failures_total", "Calls to peers that failed.", &["To"])?,
            received_failures: counters(
                "etcd_network_peer_received_failures_total",
                "Calls of peers that were refused or could not be read.",
                &["From"],
            )?,
            round_trips: histograms(
                registry,
                "etcd_network_peer_round_trip_time_seconds",
                "Time from a heartbeat of the leader to its answer.",
                "To",
                exponential_buckets(0.0001, 2.0, 16)?,
            )?,
            snapshots_sent: Transfers::register(registry, "send", "To")?,
            snapshots_received: Transfers::register(registry, "receive", "From")?,
            late_heartbeats: counter(
                "etcd_server_heartbeat_send_failures_total",
                "Heartbeats that the leader sent late, as when it is overloaded.",
            )?,
            promoted: counter(
                "etcd_server_learner_promote_successes",
                "Learners that were promoted while this member led.",
            )?,
            not_promoted: counters(
                "etcd_server_learner_promote_failures",
                "Promotions of learners that were refused while this member led.",
                &["Reason"],
            )?,
        })
    }

    /// Makes the series of a peer, at zero, so that who looks for failures finds that there are none.
    pub fn know(&self, local: MemberId, peer: MemberId) {
        let (local, peer) = (local.to_string(), peer.to_string());
        let (both, one) = ([&local[..], &peer[..]], [&peer[..]]);
        self.active_peers.with_label_values(&both);
        self.disconnected_peers.with_label_values(&both);
        for counters in [&self.sent_bytes, &self.received_bytes, &self.sent_failures, &self.received_failures] {
            counters.with_label_values(&one);
        }
        self.round_trips.with_label_values(&one);
        for Transfers { succeeded, failed, in_flight, seconds } in [&self.snapshots_sent, &self.snapshots_received] {
            succeeded.with_label_values(&one);
            failed.with_label_values(&one);
            in_flight.with_label_values(&one);
            seconds.with_label_values(&one);
        }
    }

    /// For tests of parts that count here.
    ///
    /// # Panics
    /// Never: the names are fine.
    pub fn detached() -> Self {
        Self::register(&Registry::new()).expect("a fresh registry")
    }
}

fn counters(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec, Error> {
    let counters = IntCounterVec::new(Opts::new(name, help), labels)?;
    registry.register(Box::new(counters.clone()))?;
    Ok(counters)
}

fn gauges(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> Result<IntGaugeVec, Error> {
    let gauges = IntGaugeVec::new(Opts::new(name, help), labels)?;
    registry.register(Box::new(gauges.clone()))?;
    Ok(gauges)
}

fn histograms(registry: &Registry, name: &str, help: &str, label: &str, b: Vec<f64>) -> Result<HistogramVec, Error> {
    let histograms = HistogramVec::new(HistogramOpts::new(name, help).buckets(b), &[label])?;
    registry.register(Box::new(histograms.clone()))?;
    Ok(histograms)
}

/// Snapshots on their way to peers, or from them.
#[derive(Clone, Debug)]
pub struct Transfers {
    succeeded: IntCounterVec,
    failed: IntCounterVec,
    in_flight: IntGaugeVec,
    seconds: HistogramVec,
}

impl Transfers {
    fn register(registry: &Registry, way: &str, label: &str) -> Result<Self, Error> {
        let name = |rest: &str| format!("etcd_network_snapshot_{way}_{rest}");
        let help = |what: &str| format!("Snapshots to {way}: {what}.");
        Ok(Self {
            succeeded: counters(registry, &name("success"), &help("done"), &[label])?,
            failed: counters(registry, &name("failures"), &help("failed"), &[label])?,
            in_flight: gauges(registry, &name("inflights_total"), &help("on their way"), &[label])?,
            seconds: histograms(
                registry,
                &name("total_duration_seconds"),
                &help("seconds that each took"),
                label,
                exponential_buckets(0.1, 2.0, 10)?,
            )?,
        })
    }

    /// One begins; unless it is said to have succeeded it has failed when this is dropped.
    pub fn begin(&self, peer: MemberId) -> Transfer {
        let peer = peer.to_string();
        self.in_flight.with_label_values(&[&peer]).inc();
        Transfer { transfers: self.clone(), peer, begun: Instant::now(), succeeded: false }
    }
}

/// One snapshot on its way.
#[derive(Debug)]
pub struct Transfer {
    transfers: Transfers,
    peer: String,
    begun: Instant,
    succeeded: bool,
}

impl Transfer {
    pub fn succeeded(mut self) {
        self.succeeded = true;
    }
}

impl Drop for Transfer {
    fn drop(&mut self) {
        let Self { transfers, peer, begun, succeeded } = self;
        let peer = [peer.as_str()];
        transfers.in_flight.with_label_values(&peer).dec();
        if *succeeded {
            transfers.succeeded.with_label_values(&peer).inc();
            transfers.seconds.with_label_values(&peer).observe(begun.elapsed().as_secs_f64());
        } else {
            transfers.failed.with_label_values(&peer).inc();
        }
    }
}

//! Numbers of one plugin, which the node registers under its own names. Plain counters: this crate knows no registry.

use crate::limits::MAX_METRICS;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    Ok,
    /// The guest said no, in the words of its interface: a denial, a failure, a refusal.
    Refused,
    Trap,
    Limit,
    /// What it returned could not be taken.
    Reply,
    Settings,
    /// All its instances are in use.
    Busy,
    /// The breaker was open.
    Tripped,
}

impl Outcome {
    pub const ALL: [Self; 8] =
        [Self::Ok, Self::Refused, Self::Trap, Self::Limit, Self::Reply, Self::Settings, Self::Busy, Self::Tripped];

    /// One word, for a label.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Refused => "refused",
            Self::Trap => "trap",
            Self::Limit => "limit",
            Self::Reply => "reply",
            Self::Settings => "settings",
            Self::Busy => "busy",
            Self::Tripped => "tripped",
        }
    }
}

/// Upper bounds of [`Stats::durations`], in seconds; one bucket more has none.
pub const DURATION_BOUNDS_SECS: [f64; 10] = [1e-6, 1e-5, 5e-5, 1e-4, 5e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0];

#[derive(Debug, Default)]
pub struct Stats {
    calls: [AtomicU64; Outcome::ALL.len()],
    durations: [AtomicU64; DURATION_BOUNDS_SECS.len() + 1],
    duration_nanos: AtomicU64,
    /// Instances made since the start.
    pub instance_starts: AtomicU64,
    /// Instances that are there.
    pub instances: AtomicI64,
    /// The most that the memories of an instance took together, in bytes.
    pub memory_peak_bytes: AtomicU64,
    pub breaker_trips: AtomicU64,
    pub http_requests: AtomicU64,
    pub http_sent_bytes: AtomicU64,
    pub http_received_bytes: AtomicU64,
    /// Requests to where the plugin may not speak.
    pub http_denied: AtomicU64,
    own: Mutex<Own>,
}

#[derive(Debug, Default)]
struct Own {
    values: BTreeMap<String, OwnMetric>,
    dropped: u64,
}

/// A metric of the plugin's own.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum OwnMetric {
    Counter(u64),
    Gauge(f64),
}

impl Stats {
    pub fn calls(&self, outcome: Outcome) -> u64 {
        self.calls[outcome as usize].load(Relaxed)
    }

    /// Calls in each bucket, not added up, and the seconds of all of them.
    pub fn durations(&self) -> ([u64; DURATION_BOUNDS_SECS.len() + 1], f64) {
        let nanos = Duration::from_nanos(self.duration_nanos.load(Relaxed));
        (std::array::from_fn(|bucket| self.durations[bucket].load(Relaxed)), nanos.as_secs_f64())
    }

    /// What the plugin counts itself, by name, and how many of its numbers were dropped.
    pub fn own(&self) -> (BTreeMap<String, OwnMetric>, u64) {
        let own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        (own.values.clone(), own.dropped)
    }

    pub(crate) fn called(&self, outcome: Outcome, took: Duration) {
        self.calls[outcome as usize].fetch_add(1, Relaxed);
        let secs = took.as_secs_f64();
        let bucket = DURATION_BOUNDS_SECS.iter().position(|bound| secs <= *bound).unwrap_or(DURATION_BOUNDS_SECS.len());
        self.durations[bucket].fetch_add(1, Relaxed);
        self.duration_nanos.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Relaxed);
    }

    pub(crate) fn count(&self, name: &str, delta: u64) {
        self.change(name, OwnMetric::Counter(0), |metric| match metric {
            OwnMetric::Counter(count) => {
                *count = count.saturating_add(delta);
                true
            }
            OwnMetric::Gauge(_) => false,
        });
    }

    pub(crate) fn gauge(&self, name: &str, value: f64) {
        self.change(name, OwnMetric::Gauge(0.0), |metric| match metric {
            OwnMetric::Gauge(gauge) => {
                *gauge = value;
                true
            }
            OwnMetric::Counter(_) => false,
        });
    }

    fn change(&self, name: &str, first: OwnMetric, change: impl FnOnce(&mut OwnMetric) -> bool) {
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        if !own.values.contains_key(name) && is_metric_name(name) && own.values.len() < MAX_METRICS {
            own.values.insert(name.to_owned(), first);
        }
        if !own.values.get_mut(name).is_some_and(change) {
            own.dropped += 1;
        }
    }
}

fn is_metric_name(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    name.len() <= 64 && name.starts_with(|char: char| char.is_ascii_lowercase()) && name.bytes().all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plugins_own_metrics_are_few_and_named_plainly() {
        let stats = Stats::default();
        stats.count("denied", 2);
        stats.count("denied", 3);
        stats.gauge("depth", 1.5);
        stats.gauge("denied", 0.0);
        stats.count("a\nb 1", 1);
        for number in 0..100 {
            stats.count(&format!("n{number}"), 1);
        }
        let (own, dropped) = stats.own();
        assert_eq!((own["denied"], own["depth"]), (OwnMetric::Counter(5), OwnMetric::Gauge(1.5)));
        assert_eq!((own.len(), dropped), (MAX_METRICS, 2 + 100 - (MAX_METRICS as u64 - 2)));
    }
}

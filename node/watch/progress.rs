//! How often quiet watchers report the revision. The rules of who may are in `registry`.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// The shortest period an operator can set, as in etcd (`server/etcdserver/api/v3rpc/watch.go`).
const SHORTEST: Duration = Duration::from_millis(100);

/// A period and a source of jitter, so that watchers created together do not all report together.
#[derive(Clone)]
pub struct ProgressPeriod {
    period: Duration,
    random: Arc<dyn Fn() -> f64 + Send + Sync>,
}

impl ProgressPeriod {
    /// `random` gives numbers from 0 up to 1. A period below 100 ms is raised to it.
    pub fn new(period: Duration, random: Arc<dyn Fn() -> f64 + Send + Sync>) -> Self {
        Self { period: period.max(SHORTEST), random }
    }

    /// The period of one stream: up to a tenth longer than the setting.
    pub fn of_stream(&self) -> Duration {
        self.period + self.period.mul_f64((self.random)().clamp(0.0, 1.0) / 10.0)
    }
}

impl fmt::Debug for ProgressPeriod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProgressPeriod").field("period", &self.period).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_adds_up_to_a_tenth_to_at_least_the_shortest_period() {
        let period = |millis, random: f64| {
            ProgressPeriod::new(Duration::from_millis(millis), Arc::new(move || random)).of_stream()
        };
        assert_eq!(period(1000, 0.0), Duration::from_millis(1000));
        assert_eq!(period(1000, 0.5), Duration::from_millis(1050));
        assert_eq!(period(1, 1.0), Duration::from_millis(110));
    }
}

//! Time as an argument. Nothing below `server` reads a clock by itself: whoever decides by time is given
//! one of these, so that a simulated cluster can run on simulated time.

use std::fmt::Debug;
use std::time::{Duration, SystemTime};

/// Monotonic time since an arbitrary start, in milliseconds. Never goes back, and does not jump with the wall clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticks(pub u64);

impl Ticks {
    pub fn saturating_add(self, duration: Duration) -> Ticks {
        Ticks(self.0.saturating_add(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)))
    }

    /// Time from `earlier` to `self`; zero if `earlier` is later.
    pub fn since(self, earlier: Ticks) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// Where a node takes its time from.
pub trait Clock: Debug + Send + Sync {
    fn now(&self) -> Ticks;
    /// Wall time: for ids and log lines only, never for a decision.
    fn wall(&self) -> SystemTime;
}

/// The clock of a real process, on tokio's notion of monotonic time (which tests can pause).
#[derive(Debug)]
pub struct SystemClock {
    start: tokio::time::Instant,
}

impl SystemClock {
    pub fn new() -> Self {
        Self { start: tokio::time::Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Ticks {
        Ticks(u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    fn wall(&self) -> SystemTime {
        SystemTime::now()
    }
}

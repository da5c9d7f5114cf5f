//! Gives a plugin that keeps failing a rest, so that its failures cost neither time nor instances.

use crate::units::Span;
use serde::Deserialize;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// When to open, and for how long.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct Trip {
    /// So many failures, with no success between them (a few writes that a check cannot bear must not stop all others),
    pub failures: usize,
    /// within this time, open it
    pub window: Span,
    /// for this long, and twice as long each time that the one call which is let through then fails too,
    pub pause: Span,
    /// up to this.
    pub max_pause: Span,
}

impl Default for Trip {
    fn default() -> Self {
        let secs = |secs| Span(Duration::from_secs(secs));
        Self { failures: 5, window: secs(10), pause: secs(1), max_pause: secs(60) }
    }
}

#[derive(Debug)]
enum State {
    Closed,
    Open {
        until: Instant,
        pause: Duration,
    },
    /// One call is on its way to see how things are; if it is not heard of again, another may go then.
    Trying {
        until: Instant,
        pause: Duration,
    },
}

/// Closed lets calls through. Time is an argument.
#[derive(Debug)]
pub(crate) struct Breaker {
    trip: Trip,
    state: State,
    failures: VecDeque<Instant>,
}

impl Breaker {
    pub fn new(trip: Trip) -> Self {
        Self { trip, state: State::Closed, failures: VecDeque::new() }
    }

    /// # Errors
    /// How long no call is let through.
    pub fn admit(&mut self, now: Instant) -> Result<(), Duration> {
        match self.state {
            State::Closed => Ok(()),
            State::Open { until, pause } | State::Trying { until, pause } => {
                if now < until {
                    return Err(until - now);
                }
                self.state = State::Trying { until: now + pause, pause };
                Ok(())
            }
        }
    }

    pub fn succeeded(&mut self) {
        match self.state {
            State::Closed => self.failures.clear(),
            State::Trying { .. } => self.state = State::Closed,
            // A call that began before it opened.
            State::Open { .. } => {}
        }
    }

    /// True if it opened.
    pub fn failed(&mut self, now: Instant) -> bool {
        let Trip { failures, window, pause, max_pause } = self.trip;
        match self.state {
            State::Closed => {
                self.failures.push_back(now);
                self.failures.retain(|at| now.saturating_duration_since(*at) <= window.0);
                if self.failures.len() < failures.max(1) {
                    return false;
                }
                self.open(now, pause.0);
                true
            }
            State::Trying { pause, .. } => {
                self.open(now, (pause * 2).min(max_pause.0));
                true
            }
            // A call that began before it opened.
            State::Open { .. } => false,
        }
    }

    fn open(&mut self, now: Instant, pause: Duration) {
        self.failures.clear();
        self.state = State::Open { until: now + pause, pause };
    }

    pub fn is_open(&self) -> bool {
        !matches!(self.state, State::Closed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breaker() -> (Breaker, Instant) {
        (Breaker::new(Trip { failures: 3, ..Trip::default() }), Instant::now())
    }

    const SEC: Duration = Duration::from_secs(1);

    #[test]
    fn it_opens_after_failures_in_the_window_only() {
        let (mut breaker, start) = breaker();
        assert!(!breaker.failed(start) && !breaker.failed(start + SEC));
        assert!(!breaker.failed(start + 11 * SEC), "the first is too long ago");
        assert_eq!(breaker.admit(start + 11 * SEC), Ok(()));
        assert!(breaker.failed(start + 11 * SEC));
        assert_eq!(breaker.admit(start + 11 * SEC), Err(SEC));
        let (mut breaker, start) = self::breaker();
        for at in 0..10 {
            assert!(!breaker.failed(start + at * SEC / 10));
            breaker.succeeded();
        }
    }

    #[test]
    fn one_call_tries_and_its_failure_doubles_the_pause() {
        let (mut breaker, mut now) = breaker();
        for _ in 0..3 {
            breaker.failed(now);
        }
        for pause in [1, 2, 4, 8, 16, 32, 60, 60] {
            breaker.succeeded();
            assert!(breaker.is_open(), "that call began before");
            assert_eq!(breaker.admit(now), Err(pause * SEC));
            now += pause * SEC;
            assert_eq!(breaker.admit(now), Ok(()));
            assert_eq!(breaker.admit(now), Err(pause * SEC), "only one");
            assert!(breaker.failed(now));
        }
        now += 60 * SEC;
        assert_eq!(breaker.admit(now), Ok(()));
        breaker.succeeded();
        assert!(!breaker.is_open() && breaker.admit(now).is_ok() && breaker.admit(now).is_ok());
    }
}

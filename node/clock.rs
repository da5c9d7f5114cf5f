//! Time as an argument. Nothing below `server` reads a clock by itself: whoever decides by time is given
//! one of these, so that a simulated cluster can run on simulated time.

use std::fmt::Debug;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

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
    /// Wall time: for ids, log lines, and what an operator asks for by the calendar (when to back up, what to keep of it).
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

/// Whole seconds since 1970.
pub fn unix_secs(time: SystemTime) -> i64 {
    i64::try_from(time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()).unwrap_or(i64::MAX)
}

/// As the log writes it, `2006-01-02T15:04:05.000000Z`: always UTC, where etcd takes the machine's zone. (Reading that zone needs
/// unsafe code or one more dependency; servers run in UTC.)
pub fn timestamp(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = civil_date(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:06}Z", since.subsec_micros())
}

/// A minute of the calendar, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Civil {
    pub year: u64,
    /// From 1.
    pub month: u64,
    /// From 1.
    pub day: u64,
    pub hour: u64,
    pub minute: u64,
    /// Days since Sunday.
    pub weekday: u64,
}

impl Civil {
    pub fn of(unix_secs: u64) -> Self {
        let days = unix_secs / 86_400;
        let (year, month, day) = civil_date(days);
        // 1970 began on a Thursday.
        let weekday = (days + 4) % 7;
        Self { year, month, day, hour: unix_secs / 3600 % 24, minute: unix_secs / 60 % 60, weekday }
    }
}

/// Year, month and day of the Gregorian calendar, from days since 1970-01-01 (Howard Hinnant's `civil_from_days`,
/// for days after the epoch). Years are counted from March, so that the leap day is the last of its year.
fn civil_date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_stamps_are_etcds() {
        let at = |secs: u64, micros: u32| timestamp(UNIX_EPOCH + Duration::new(secs, micros * 1000 + 999));
        assert_eq!(at(0, 0), "1970-01-01T00:00:00.000000Z");
        assert_eq!(at(951_782_399, 999_999), "2000-02-28T23:59:59.999999Z");
        assert_eq!(at(951_782_400, 0), "2000-02-29T00:00:00.000000Z");
        assert_eq!(at(1_795_410_203, 485_506), "2026-11-23T05:03:23.485506Z");
        assert_eq!(at(4_107_542_399, 5), "2100-02-28T23:59:59.000005Z");
        let leap_day = Civil { year: 2000, month: 2, day: 29, hour: 0, minute: 0, weekday: 2 };
        assert_eq!(Civil::of(951_782_400), leap_day);
    }
}

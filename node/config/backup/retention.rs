//! Which backups to keep, as an operator says it: `count=7,age=72h,hourly=24,daily=7,weekly=4,monthly=12`. A full backup is
//! kept if one of the rules keeps it.

use crate::config::value::GoDuration;
use std::fmt;
use std::time::Duration;

/// The rules; zeros keep nothing. Without any rule everything is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// The newest so many.
    pub count: usize,
    /// What is younger.
    pub age: Duration,
    /// The newest of each of the last so many hours, days, weeks (from Monday on), months that have one, in UTC.
    pub hourly: usize,
    pub daily: usize,
    pub weekly: usize,
    pub monthly: usize,
}

/// Why a text is no retention.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RetentionError {
    #[error(
        "{part:?} is no rule: count=N, age=DURATION, hourly=N, daily=N, weekly=N, monthly=N, separated by commas, or all"
    )]
    Rule { part: String },
    #[error("{part:?}: the number must be above zero")]
    Zero { part: String },
}

impl Retention {
    /// `all` or nothing keeps everything.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, RetentionError> {
        let mut retention = Self::default();
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        for part in parts.filter(|part| *part != "all" || text.trim() != "all") {
            let unknown = || RetentionError::Rule { part: part.to_owned() };
            let (name, value) = part.split_once('=').ok_or_else(unknown)?;
            if name == "age" {
                retention.age = parse_age(value).ok_or_else(unknown)?;
                if retention.age.is_zero() {
                    return Err(RetentionError::Zero { part: part.to_owned() });
                }
                continue;
            }
            let rule = match name {
                "count" => &mut retention.count,
                "hourly" => &mut retention.hourly,
                "daily" => &mut retention.daily,
                "weekly" => &mut retention.weekly,
                "monthly" => &mut retention.monthly,
                _ => return Err(unknown()),
            };
            *rule = value.parse().map_err(|_| unknown())?;
            if *rule == 0 {
                return Err(RetentionError::Zero { part: part.to_owned() });
            }
        }
        Ok(retention)
    }

    pub fn keeps_all(&self) -> bool {
        *self == Self::default()
    }
}

/// A duration as of Go, or a number of days.
fn parse_age(text: &str) -> Option<Duration> {
    match text.strip_suffix('d') {
        Some(days) => days.parse::<u32>().ok().map(|days| Duration::from_secs(u64::from(days) * 86_400)),
        None => GoDuration::parse(text).ok().map(GoDuration::or_zero),
    }
}

impl fmt::Display for Retention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.keeps_all() {
            return f.write_str("all");
        }
        let mut parts = Vec::new();
        let numbers = [
            ("count", self.count),
            ("hourly", self.hourly),
            ("daily", self.daily),
            ("weekly", self.weekly),
            ("monthly", self.monthly),
        ];
        parts.extend(numbers.iter().filter(|(_, number)| *number > 0).map(|(name, number)| format!("{name}={number}")));
        if !self.age.is_zero() {
            parts.push(format!("age={}", GoDuration::from(self.age)));
        }
        f.write_str(&parts.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_read_and_printed() {
        let text = "count=3,hourly=24,daily=7,weekly=4,monthly=12,age=72h0m0s";
        assert_eq!(Retention::parse(text).unwrap().to_string(), text);
        assert_eq!(Retention::parse("age=30d").unwrap().age, Duration::from_secs(30 * 86_400));
        for text in ["", "all", " all "] {
            assert!(Retention::parse(text).unwrap().keeps_all());
        }
        for text in ["count", "count=x", "count=-1", "count=0", "age=0s", "age=5", "secondly=3", "all,count=3"] {
            Retention::parse(text).expect_err(text);
        }
    }
}

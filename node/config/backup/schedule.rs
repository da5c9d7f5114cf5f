//! When to make a full backup: the five fields of cron (`minute hour day-of-month month day-of-week`, in UTC), one of its
//! names such as `@daily`, or `@every` with a duration. A parser of our own: the crates for it want a field for seconds or
//! bring a calendar with time zones along.

use crate::clock::Civil;
use crate::config::value::GoDuration;
use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A rhythm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    text: String,
    rule: Rule,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Rule {
    Every(Duration),
    Cron(Cron),
}

/// A bit for each value of a field that fits.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Cron {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    /// Days of the month and of the week are both restricted: then one that fits is enough, as in every cron.
    either_day: bool,
}

/// Why a text is no schedule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    #[error(
        "{text:?} is no schedule: five fields (minute hour day month weekday), @hourly, @daily, @weekly, @monthly or @every <duration>"
    )]
    Shape { text: String },
    #[error("{text:?}: {part:?} is no {field}, which is {min}-{max}")]
    Field { text: String, part: String, field: &'static str, min: u64, max: u64 },
    #[error("{text:?}: at least a second must lie between two backups")]
    TooShort { text: String },
    #[error("{text:?} never comes")]
    Never { text: String },
}

struct Field {
    name: &'static str,
    min: u64,
    max: u64,
    words: &'static [&'static str],
}

const MONTHS: &[&str] = &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: &[&str] = &["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
const FIELDS: [Field; 5] = [
    Field { name: "minute", min: 0, max: 59, words: &[] },
    Field { name: "hour", min: 0, max: 23, words: &[] },
    Field { name: "day of the month", min: 1, max: 31, words: &[] },
    Field { name: "month", min: 1, max: 12, words: MONTHS },
    // Both 0 and 7 are Sunday.
    Field { name: "day of the week", min: 0, max: 7, words: WEEKDAYS },
];
const NAMES: [(&str, &str); 6] = [
    ("@hourly", "0 * * * *"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@weekly", "0 0 * * 0"),
    ("@monthly", "0 0 1 * *"),
    ("@yearly", "0 0 1 1 *"),
];

/// What passes until the 29th of February comes again, at worst, with a day to spare.
const HORIZON_DAYS: u64 = 8 * 366 + 1;

impl Field {
    fn number(&self, word: &str) -> Option<u64> {
        if let Some(at) = self.words.iter().position(|name| name.eq_ignore_ascii_case(word)) {
            return Some(at as u64 + self.min);
        }
        let is_number = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| word.parse().ok()).flatten().filter(|number| (self.min..=self.max).contains(number))
    }

    /// `*`, `a`, `a-b`, each with `/step` behind it.
    fn part(&self, part: &str) -> Option<u64> {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, step.parse::<usize>().ok().filter(|step| *step > 0)?),
            None => (part, 1),
        };
        let (from, to) = match (range, range.split_once('-')) {
            ("*", _) => (self.min, self.max),
            (_, Some((from, to))) => (self.number(from)?, self.number(to)?),
            // With a step it goes on to the end, as in most crons.
            (one, None) if step > 1 => (self.number(one)?, self.max),
            (one, None) => (self.number(one)?, self.number(one)?),
        };
        (from <= to).then(|| (from..=to).step_by(step).fold(0, |bits, value| bits | 1 << value))
    }

    fn bits(&self, field: &str, text: &str) -> Result<u64, ScheduleError> {
        field.split(',').try_fold(0, |bits, part| {
            self.part(part).map(|more| bits | more).ok_or_else(|| ScheduleError::Field {
                text: text.to_owned(),
                part: part.to_owned(),
                field: self.name,
                min: self.min,
                max: self.max,
            })
        })
    }
}

impl Schedule {
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, ScheduleError> {
        let shape = || ScheduleError::Shape { text: text.to_owned() };
        let trimmed = text.trim();
        let rule = if let Some(duration) = trimmed.strip_prefix("@every") {
            let duration = GoDuration::parse(duration.trim()).map_err(|_| shape())?.or_zero();
            if duration < Duration::from_secs(1) {
                return Err(ScheduleError::TooShort { text: text.to_owned() });
            }
            Rule::Every(duration)
        } else {
            let named = NAMES.iter().find(|(name, _)| *name == trimmed).map_or(trimmed, |(_, fields)| fields);
            let fields: Vec<&str> = named.split_ascii_whitespace().collect();
            let fields: [&str; 5] = fields.try_into().map_err(|_| shape())?;
            Rule::Cron(Cron::parse(fields, text)?)
        };
        let schedule = Self { text: trimmed.to_owned(), rule };
        match schedule.next_after(UNIX_EPOCH) {
            Some(_) => Ok(schedule),
            None => Err(ScheduleError::Never { text: text.to_owned() }),
        }
    }

    /// The first time behind `time`. None: there is none.
    pub fn next_after(&self, time: SystemTime) -> Option<SystemTime> {
        match &self.rule {
            Rule::Every(duration) => time.checked_add(*duration),
            Rule::Cron(cron) => cron.next_after(time),
        }
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Cron {
    fn parse(fields: [&str; 5], text: &str) -> Result<Self, ScheduleError> {
        let mut bits = [0; 5];
        for (bits, (field, word)) in bits.iter_mut().zip(FIELDS.iter().zip(fields)) {
            *bits = field.bits(word, text)?;
        }
        let [minutes, hours, days, months, weekdays] = bits;
        let either_day = !fields[2].starts_with('*') && !fields[4].starts_with('*');
        Ok(Self { minutes, hours, days, months, weekdays: weekdays | weekdays >> 7 & 1, either_day })
    }

    fn next_after(&self, time: SystemTime) -> Option<SystemTime> {
        const DAY: u64 = 86_400;
        let has = |bits: u64, value: u64| bits >> value & 1 == 1;
        let secs = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let mut at = (secs / 60 + 1) * 60;
        let end = at + HORIZON_DAYS * DAY;
        while at < end {
            let civil = Civil::of(at);
            let (of_month, of_week) = (has(self.days, civil.day), has(self.weekdays, civil.weekday));
            let is_day = if self.either_day { of_month || of_week } else { of_month && of_week };
            at = if !has(self.months, civil.month) || !is_day {
                (at / DAY + 1) * DAY
            } else if !has(self.hours, civil.hour) {
                (at / 3600 + 1) * 3600
            } else if !has(self.minutes, civil.minute) {
                at + 60
            } else {
                return Some(UNIX_EPOCH + Duration::from_secs(at));
            };
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::timestamp;

    /// 2026-11-27T00:15:30Z, a Friday.
    const NOW: u64 = 1_795_738_530;

    fn next(text: &str) -> String {
        let schedule = Schedule::parse(text).unwrap_or_else(|error| panic!("{error}"));
        let at = schedule.next_after(UNIX_EPOCH + Duration::from_secs(NOW)).expect("it comes");
        timestamp(at)[..16].to_owned()
    }

    #[test]
    fn the_next_time_is_that_of_cron() {
        for (text, at) in [
            ("* * * * *", "2026-11-27T00:16"),
            ("15 * * * *", "2026-11-27T01:15"),
            ("*/10 * * * *", "2026-11-27T00:20"),
            ("5/20 * * * *", "2026-11-27T00:25"),
            ("0 2,14 * * *", "2026-11-27T02:00"),
            ("30 1-3 * * MON-FRI", "2026-11-27T01:30"),
            ("0 0 * * 7", "2026-11-29T00:00"),
            ("0 0 * * 0", "2026-11-29T00:00"),
            // Either day is enough if both are given.
            ("0 0 1 * sat", "2026-11-28T00:00"),
            ("0 0 13 * *", "2026-12-13T00:00"),
            ("0 0 29 feb *", "2028-02-29T00:00"),
            ("@hourly", "2026-11-27T01:00"),
            ("@monthly", "2026-12-01T00:00"),
            ("@every 1h30m", "2026-11-27T01:45"),
        ] {
            assert_eq!(next(text), at, "{text}");
        }
    }

    #[test]
    fn what_is_no_schedule_is_refused_with_the_part_that_is_wrong() {
        for (text, said) in [
            (
                "",
                "\"\" is no schedule: five fields (minute hour day month weekday), @hourly, @daily, @weekly, @monthly or @every <duration>",
            ),
            ("60 * * * *", "\"60 * * * *\": \"60\" is no minute, which is 0-59"),
            ("* * 0 * *", "\"* * 0 * *\": \"0\" is no day of the month, which is 1-31"),
            ("* 5-2 * * *", "\"* 5-2 * * *\": \"5-2\" is no hour, which is 0-23"),
            ("*/0 * * * *", "\"*/0 * * * *\": \"*/0\" is no minute, which is 0-59"),
            ("0 0 31 2 *", "\"0 0 31 2 *\" never comes"),
            ("@every 10ms", "\"@every 10ms\": at least a second must lie between two backups"),
        ] {
            assert_eq!(Schedule::parse(text).expect_err(text).to_string(), said);
        }
        for text in ["* * * *", "* * * * * *", "@every", "@every x", "@often", "0 0 * * funday"] {
            Schedule::parse(text).expect_err(text);
        }
    }
}

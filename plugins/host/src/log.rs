//! A plugin's own log: the newest lines, in memory. A guest cannot flood it, nor put anything into it that a terminal obeys.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// Lines that are kept.
const MAX_LINES: usize = 256;
/// Bytes of a line; the rest is cut.
pub const MAX_LINE_BYTES: usize = 1_024;
/// Lines in each period; the rest is dropped and counted.
pub const LINES_PER_PERIOD: u32 = 20;
const PERIOD: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Debug,
    Info,
    Warn,
    Error,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// From 0, without gaps but for lines that were dropped before they were seen.
    pub number: u64,
    pub at: SystemTime,
    pub level: Level,
    pub message: String,
}

#[derive(Debug, Default)]
pub struct Log {
    lines: Mutex<Lines>,
}

#[derive(Debug, Default)]
struct Lines {
    kept: VecDeque<Line>,
    next: u64,
    dropped: u64,
    period: Option<(Instant, u32)>,
}

impl Log {
    /// The host's own lines about a plugin are not limited by the rate.
    pub(crate) fn note(&self, level: Level, message: &str) {
        self.lines().push(level, message);
    }

    /// A guest's line.
    pub(crate) fn write(&self, now: Instant, level: Level, message: &str) {
        let mut lines = self.lines();
        let (since, written) = match lines.period {
            Some((since, written)) if now.saturating_duration_since(since) < PERIOD => (since, written),
            _ => (now, 0),
        };
        if written == LINES_PER_PERIOD {
            lines.dropped += 1;
            return;
        }
        lines.period = Some((since, written + 1));
        lines.push(level, message);
    }

    /// Lines from this number on that are still kept.
    pub fn since(&self, number: u64) -> Vec<Line> {
        self.lines().kept.iter().filter(|line| line.number >= number).cloned().collect()
    }

    /// Lines that were written and that were dropped.
    pub fn counts(&self) -> (u64, u64) {
        let lines = self.lines();
        (lines.next, lines.dropped)
    }

    fn lines(&self) -> std::sync::MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lines {
    fn push(&mut self, level: Level, message: &str) {
        if self.kept.len() == MAX_LINES {
            self.kept.pop_front();
        }
        self.kept.push_back(Line { number: self.next, at: SystemTime::now(), level, message: plain(message) });
        self.next += 1;
    }
}

/// Cut, with everything that a terminal or a reader of lines would obey written out.
pub(crate) fn plain(message: &str) -> String {
    let mut line = String::with_capacity(message.len().min(MAX_LINE_BYTES));
    for char in message.chars() {
        // Beside control characters: those that change the direction of text, and separators of lines.
        let is_obeyed =
            matches!(char, '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}');
        let before = line.len();
        if char.is_control() || is_obeyed {
            line.extend(char.escape_default());
        } else {
            line.push(char);
        }
        if line.len() > MAX_LINE_BYTES {
            line.truncate(before);
            line.push('…');
            break;
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_obeys_is_written_out() {
        assert_eq!(plain("a\x1b[31mred\r\n\u{202e}b\u{9b}c"), "a\\u{1b}[31mred\\r\\n\\u{202e}b\\u{9b}c");
        let long = plain(&"ä".repeat(1_000));
        assert!(long.len() <= MAX_LINE_BYTES + '…'.len_utf8() && long.ends_with("ä…"), "{}", long.len());
        assert!(plain(&"\n".repeat(1_000)).len() <= MAX_LINE_BYTES + '…'.len_utf8());
    }

    #[test]
    fn a_flood_is_dropped_and_counted() {
        let log = Log::default();
        let start = Instant::now();
        for _ in 0..50 {
            log.write(start, Level::Info, "x");
        }
        log.write(start + PERIOD, Level::Info, "y");
        assert_eq!(log.counts(), (21, 30));
        for number in 0..300_u64 {
            log.note(Level::Warn, &number.to_string());
        }
        let lines = log.since(0);
        assert_eq!((lines.len(), lines[0].number, lines[255].message.as_str()), (256, 65, "299"));
        assert_eq!(log.since(320), lines[255..]);
    }
}

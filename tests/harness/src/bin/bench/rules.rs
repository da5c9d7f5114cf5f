//! What rows must reach: the gates of speed, and the budgets of the design beside them.

use crate::report::Figure::{self, Cpu, P99, Rate, Value, Written};
use crate::rows::*;
use std::fmt;

/// What is asked of one figure of a row.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    pub row: &'static str,
    pub figure: Figure,
    pub limit: Limit,
    pub level: Level,
}

#[derive(Debug, Clone, Copy)]
pub enum Limit {
    /// Ours divided by etcd's.
    RatioAtMost(f64),
    RatioAtLeast(f64),
    /// Ours alone.
    AtMost(f64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Must be reached.
    Gate,
    /// What the design is after.
    Goal,
}

use Level::{Gate, Goal};
use Limit::{AtMost, RatioAtLeast, RatioAtMost};

/// Closed loops, each of which must be at least as fast as etcd's.
const CLOSED_LOOPS: &[&str] = &[
    PUT_1,
    PUT_100,
    PUT_1000,
    HOT_KEY,
    COMPARE_AND_PUT,
    GET_1,
    GET_100,
    GET_1000,
    GET_SERIALIZABLE,
    PAGE,
    OLD_PAGE,
    FAN_OUT,
    LEASE_GRANT,
    KEEP_ALIVE,
    THREE_PUT_1,
    THREE_PUT_100,
    THREE_PUT_1000,
    THREE_COMPARE_AND_PUT,
    THREE_GET_100,
    THREE_GET_SERIALIZABLE,
];

const RULES: &[(&str, Figure, Limit, Level)] = &[
    (PUT_1, Cpu, RatioAtMost(0.75), Gate),
    (PUT_1, Cpu, RatioAtMost(0.5), Goal),
    (PUT_1, Rate, RatioAtLeast(1.2), Goal),
    (PUT_1, Written, RatioAtMost(0.5), Goal),
    (PUT_100, Cpu, RatioAtMost(0.5), Gate),
    (PUT_100, Cpu, RatioAtMost(0.3), Goal),
    (PUT_1000, Cpu, RatioAtMost(0.5), Gate),
    (PUT_1000, Cpu, RatioAtMost(0.3), Goal),
    (PUT_1000, Rate, RatioAtLeast(2.0), Goal),
    (PUT_1000, P99, RatioAtMost(0.5), Goal),
    // Same rate for both; whoever does not keep up is slower.
    (PUT_OPEN, Rate, RatioAtLeast(0.99), Gate),
    (GET_OPEN, Rate, RatioAtLeast(0.99), Gate),
    (COMPARE_AND_PUT, Cpu, RatioAtMost(0.5), Gate),
    (GET_100, Cpu, RatioAtMost(0.55), Gate),
    (GET_100, Cpu, RatioAtMost(0.3), Goal),
    (GET_1000, Cpu, RatioAtMost(0.55), Gate),
    (GET_SERIALIZABLE, Cpu, RatioAtMost(0.55), Gate),
    (GET_SERIALIZABLE, Cpu, RatioAtMost(0.5), Goal),
    (PAGE, Cpu, RatioAtMost(0.17), Gate),
    (PAGE, Cpu, RatioAtMost(0.125), Goal),
    (OLD_PAGE, Cpu, RatioAtMost(0.17), Gate),
    (FAN_OUT, Cpu, RatioAtMost(0.8), Gate),
    (FAN_OUT, Cpu, RatioAtMost(0.5), Goal),
    (LEASE_GRANT, Cpu, RatioAtMost(0.5), Gate),
    (KEEP_ALIVE, Cpu, RatioAtMost(1.0), Gate),
    (THREE_PUT_1000, Rate, RatioAtLeast(1.5), Goal),
    (THREE_PUT_1000, Cpu, AtMost(50.0), Goal),
    (CATCH_UP_TIMES, Value, AtMost(3.0), Gate),
    // "Costs what the first did", with room for what a quarter of a second's CPU varies by.
    (ONE_KEY_TIMES, Value, AtMost(1.25), Gate),
    (RSS_EMPTY, Value, AtMost(28.0), Goal),
    (RSS_LOADED, Value, RatioAtMost(0.5), Gate),
    (RSS_RESTARTED, Value, RatioAtMost(0.5), Gate),
    (RSS_PEAK, Value, RatioAtMost(0.33), Goal),
    (FOLDER, Value, RatioAtMost(1.0), Goal),
    (FEW_WRITTEN, Value, RatioAtMost(1.0), Goal),
    (RESTART, Value, AtMost(2.5), Gate),
    (RESTART, Value, AtMost(2.0), Goal),
    (COMPACTION, Value, RatioAtMost(0.33), Gate),
    (COMPACTION, Value, RatioAtMost(0.25), Goal),
    (COMPACTION_TIMES, Value, AtMost(3.0), Gate),
    (DEFRAGMENT_TIMES, Value, AtMost(3.0), Gate),
    (DEFRAGMENT_FREED, Value, RatioAtLeast(0.95), Gate),
    (SNAPSHOT_RSS, Value, AtMost(32.0), Gate),
    (MEMBER_SENDER_RSS, Value, AtMost(32.0), Gate),
    (MEMBER_RECEIVER_RSS, Value, AtMost(32.0), Gate),
];

/// The rules of a row, gates first.
pub fn of(row: &str) -> Vec<Rule> {
    let rates = CLOSED_LOOPS.iter().map(|&row| (row, Rate, RatioAtLeast(1.0), Gate));
    let all = rates.chain(RULES.iter().copied()).map(|(row, figure, limit, level)| Rule { row, figure, limit, level });
    let mut rules: Vec<Rule> = all.filter(|rule| rule.row == row).collect();
    rules.sort_by_key(|rule| rule.level == Goal);
    rules
}

impl Rule {
    pub fn is_gate(&self) -> bool {
        self.level == Gate
    }
}

impl Limit {
    /// What it judges, of etcd's figure and ours.
    pub fn of(self, [etcd, ours]: [f64; 2]) -> f64 {
        match self {
            RatioAtMost(_) | RatioAtLeast(_) => ours / etcd,
            AtMost(_) => ours,
        }
    }

    /// Nothing that was not measured holds.
    pub fn holds(self, found: f64) -> bool {
        match self {
            RatioAtMost(most) | AtMost(most) => found <= most,
            RatioAtLeast(least) => found >= least,
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RatioAtMost(most) => write!(f, "<= {most} x etcd"),
            RatioAtLeast(least) => write!(f, ">= {least} x etcd"),
            AtMost(most) => write!(f, "<= {most}"),
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Gate => "gate",
            Goal => "goal",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{CLOSED_LOOPS, Limit, RULES, of};

    #[test]
    fn gates_come_first_and_no_rule_is_there_twice() {
        for row in RULES.iter().map(|rule| rule.0).chain(CLOSED_LOOPS.iter().copied()) {
            let rules = of(row);
            assert!(rules.is_sorted_by_key(|rule| !rule.is_gate()), "{row}");
            for (at, rule) in rules.iter().enumerate() {
                let same = |other: &super::Rule| (other.figure, other.level) == (rule.figure, rule.level);
                assert!(!rules[..at].iter().any(same), "{row}: {rule:?}");
            }
        }
    }

    #[test]
    fn what_was_not_measured_holds_to_nothing() {
        assert!(!Limit::RatioAtMost(1.0).holds(f64::NAN) && !Limit::RatioAtLeast(1.0).holds(f64::NAN));
        assert!(Limit::RatioAtMost(0.5).holds(Limit::RatioAtMost(0.5).of([4.0, 2.0])));
    }
}

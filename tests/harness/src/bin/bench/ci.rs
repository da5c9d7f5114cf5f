//! What CI can say on a machine that does other things: CPU ratios of a few loads, with room for noise. Rates and times
//! are printed and judge nothing.

use crate::args::Args;
use crate::report::{Figure, Report};
use crate::rows::*;
use crate::rules::Rule;
use crate::subject::Subjects;
use std::time::Duration;

const ROWS: [&str; 7] = [PUT_100, COMPARE_AND_PUT, GET_100, PAGE, FAN_OUT, KEEP_ALIVE, LEASE_GRANT];
const WINDOW: Duration = Duration::from_secs(2);
/// A ratio may be so many times its gate.
const MARGIN: f64 = 1.5;

pub async fn run(args: &Args, subjects: &Subjects, report: &mut Report) {
    let args = Args { window: WINDOW, ..args.clone() };
    crate::loads::some_of_one(&args, subjects, report, &ROWS).await;
}

/// False if a row costs so much more than its gate allows that noise does not explain it.
pub fn judge(report: &Report) -> bool {
    let is_judged = |rule: &Rule| rule.is_gate() && rule.figure == Figure::Cpu;
    let verdicts = report.verdicts();
    let failed = verdicts.iter().filter(|(rule, found, _)| is_judged(rule) && !rule.limit.holds(found / MARGIN));
    let failed: Vec<_> = failed.collect();
    for (rule, found, _) in &failed {
        println!(
            "FAILED {}: {found:.2} times etcd's CPU is more than {MARGIN} times the gate, {}",
            rule.row, rule.limit
        );
    }
    failed.is_empty()
}

//! The same random requests to real etcd 3.7 and to Keelstone at once: every reply, every code and text, and every
//! event is compared. etcd is right; a difference is a defect of ours, or stands in README under "How it differs
//! from etcd", and is masked where it says so.
//!
//! `KEELSTONE_ETCD` names the real server. `KEELSTONE_OPS` sets how many operations are run (10 000),
//! `KEELSTONE_SEED` repeats a run. `.ci/campaign differential N [SEED]` is the long run.

mod alarms;
mod difference;
mod draw;
mod half;
mod leases;
mod minimise;
mod operation;
mod pair;
mod perform;
mod run;
mod streams;
mod ties;
mod users;
mod wire;
mod world;

use keelstone_harness::{Random, Suite, tools};
use run::{History, Outcome, Run};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::sync::OnceLock;

/// Operations on one pair of servers. The next pair starts from the next seed, so that it can be run alone.
const OPERATIONS_PER_PAIR: usize = 2500;

/// Steps that a failure shows.
const SHOWN: usize = 40;
const STEP_CHARS: usize = 1000;

fn suite() -> &'static Suite {
    static SUITE: OnceLock<Suite> = OnceLock::new();
    SUITE.get_or_init(|| Suite::new(env!("CARGO_BIN_EXE_keelstone"), env!("CARGO_TARGET_TMPDIR"), "differential"))
}

fn operation_count() -> usize {
    let given = std::env::var("KEELSTONE_OPS").ok().map(|text| text.parse().expect("KEELSTONE_OPS is a number"));
    given.unwrap_or(10_000)
}

#[tokio::test]
async fn random_operations_are_answered_as_etcd_answers_them() {
    let Some(etcd) = tools::etcd("random_operations_are_answered_as_etcd_answers_them") else { return };
    let (first_seed, wanted) = (Random::seed_from_environment(), operation_count());
    let (mut seed, mut done) = (first_seed, 0);
    let mut left = wanted;
    while left > 0 {
        let history = History::of(seed, OPERATIONS_PER_PAIR.min(left));
        left -= history.steps.len();
        let outcome = Run::run(&etcd, &history).await;
        if outcome.difference.is_some() {
            panic!("{}", failure(&etcd, &history, outcome).await);
        }
        done += outcome.steps.len();
        seed = seed.wrapping_add(1);
    }
    // Past the test runner's capture: CI's log shows how much was compared.
    let line = format!("differential: {done} operations, seed {first_seed}, 0 differences");
    writeln!(std::io::stderr(), "{line}").expect("write to stderr");
}

/// For a list of what went before.
fn shortened_to(text: &str) -> String {
    difference::shorten(text, 300)
}

/// The shortest way to the difference that could be found in time.
async fn failure(etcd: &Path, history: &History, outcome: Outcome) -> String {
    let replay =
        format!("KEELSTONE_SEED={} KEELSTONE_OPS={} cargo test --test differential", history.seed, outcome.steps.len());
    let first = outcome.difference.as_ref().expect("a failure has a difference").to_string();
    writeln!(std::io::stderr(), "a difference: {replay}\n{first}\nlooking for a shorter way to it").expect("write");
    let (shortest, outcome) = minimise::minimise(etcd, history, outcome).await;
    let mut text = format!("real etcd and Keelstone differ; run it again with\n  {replay}\n");
    let skipped = outcome.steps.len().saturating_sub(SHOWN);
    writeln!(text, "the last of {} steps that are enough:", shortest.steps.len()).expect("write to a string");
    for step in &outcome.steps[skipped..] {
        let step = difference::shorten(&format!("{:?} {:?}", step.operation, step.metadata), STEP_CHARS);
        writeln!(text, "  {step}").expect("write to a string");
    }
    let difference = outcome.difference.as_ref().expect("the shortest history has a difference too");
    writeln!(text, "{difference}").expect("write to a string");
    text
}

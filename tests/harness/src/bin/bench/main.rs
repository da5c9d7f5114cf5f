//! Measures Keelstone beside real etcd: the same load, flags, machine and file system, in turn, several rounds.
//!
//! ```text
//! cargo build --release --bin keelstone && cargo run --release -p keelstone-harness --bin bench -- \
//!     [all|one|three|catch-up|one-key|million|member|ci|plot|table] [--etcd PATH] [--seconds N] [--rounds N] [--row TEXT] …
//! ```
//! - `one`, `three`: loads on one member and on three; `catch-up`: lagging watchers; `one-key`: a million puts to one
//!   key; `million`: a million keys; `member`: one that missed them; `all`: all of these, about half an hour
//! - `ci`: a few rows for a noisy machine, judged by CPU ratios with a margin; `plot --out FILE.svg`: latency against
//!   offered rate
//! - `table --samples FILE` prints what earlier runs with `--samples FILE` measured; such a run can be gone on with
//!
//! Rates depend on the machine and on what the client leaves of it; server CPU per operation is the stable number. So
//! that rates can be compared, servers run on the first core and clients on the second, unless `--unpinned`.

mod args;
mod calls;
mod catch_up;
mod ci;
mod compaction;
mod few_writes;
mod fill;
mod histogram;
mod keys;
mod load;
mod loads;
mod million;
mod one_key;
mod open_loop;
mod plot;
mod report;
mod rows;
mod rules;
mod samples;
mod snapshot;
mod subject;
mod svg;
mod table;
mod ticker;
mod usage;
mod wire;
mod work;

use args::{Args, Mode};
use report::Report;
use std::process::ExitCode;
use subject::Subjects;

/// For the head of a report.
const CONDITIONS: &str = "64-byte keys, 256-byte values; CPU is the servers', of all members together; ops/s and latencies are worth \
    what \"others %\" (of one core, to other programs) leaves of them";

fn main() -> ExitCode {
    let args = match Args::parse(std::env::args().skip(1)) {
        Ok(args) => args,
        Err(message) => {
            eprintln!("{message}");
            return ExitCode::from(2);
        }
    };
    // One thread for all clients: it leaves the other core to the server.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("start runtime");
    let passed = runtime.block_on(run(&args));
    if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// False if a gate that was asked for is missed.
async fn run(args: &Args) -> bool {
    let subjects = Subjects::find(args);
    let mut report = Report::begin(args.samples.as_deref());
    let once = Args { rounds: Some(1), ..args.clone() };
    match args.mode {
        Mode::All => {
            loads::one(args, &subjects, &mut report).await;
            loads::three(args, &subjects, &mut report).await;
            // These take minutes each.
            catch_up::run(&once, &subjects, &mut report).await;
            one_key::run(&once, &subjects, &mut report).await;
            million::run(&once, &subjects, &mut report).await;
            snapshot::to_member(&once, &subjects, &mut report).await;
        }
        Mode::One => loads::one(args, &subjects, &mut report).await,
        Mode::Three => loads::three(args, &subjects, &mut report).await,
        Mode::CatchUp => catch_up::run(args, &subjects, &mut report).await,
        Mode::OneKey => one_key::run(args, &subjects, &mut report).await,
        Mode::Million => million::run(args, &subjects, &mut report).await,
        Mode::Member => snapshot::to_member(args, &subjects, &mut report).await,
        Mode::Ci => ci::run(args, &subjects, &mut report).await,
        Mode::Plot => plot::run(args, &subjects).await,
        Mode::Table => {}
    }
    println!("{}\n{CONDITIONS}\n\n{}", subjects.describe(), report.render());
    match args.mode {
        Mode::Ci => ci::judge(&report),
        _ if args.gate => report.verdicts().iter().all(|(rule, _, holds)| *holds || !rule.is_gate()),
        _ => true,
    }
}

//! Runs seeds, each in a process of its own, and adds up what they came to.

use crate::cluster::{Cluster, Outcome};
use crate::plan::Plan;
use crate::scenarios::{self, Scenario};
use crate::trace::Trace;
use keelstone::config::Settings;
use keelstone_harness::{Random, preload};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Seeds of a run that asks for no number.
const SHARE: u64 = 20;
/// Of those the first so many run twice, and both must leave the same trace.
const TWICE: u64 = 2;

/// The word before the line that a run ends with.
const RESULT: &str = "result:";

/// Runs a seed in this process, and prints what came of it.
pub fn run_one(seed: u64) {
    if std::env::var_os("KEELSTONE_SIM_LOG").is_some() {
        let settings = Settings::from_args(&["--log-level=debug"]).expect("a level of etcd's");
        keelstone::logging::init(&settings.log).expect("stderr is open");
    }
    let Outcome { members, simulated, faults, messages, summary, trace } =
        Cluster::new(seed, Trace::from_environment()).run();
    let (hash, events) = trace;
    println!(
        "{RESULT} {} {faults} {messages} {} {hash:016x} {events} members={members} {summary}",
        simulated.as_millis(),
        summary.operations
    );
}

/// Plays a scenario in this process.
pub fn play(seed: u64, name: &str) {
    let scenario = scenarios::ALL.iter().find(|scenario| scenario.name == name).expect("a scenario of that name");
    let cluster = Cluster::of(Plan::calm(scenario.members), Random::new(seed), Trace::from_environment());
    let simulated = cluster.play(|clients, wishes| (scenario.play)(clients, wishes));
    println!("{RESULT} {}", simulated.as_millis());
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Totals {
    seeds: u64,
    simulated_ms: u64,
    faults: u64,
    messages: u64,
    operations: u64,
    events: u64,
    /// Seeds and scenarios.
    failed: Vec<String>,
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is not a number")))
}

pub fn run_all() -> ExitCode {
    let filter = std::env::args().skip(1).find(|word| !word.starts_with('-'));
    let (first, count) = (number("KEELSTONE_SEED", 1), number("KEELSTONE_SEEDS", SHARE));
    let count = if filter.is_some() { 0 } else { count };
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let shim = build_shim();
    let begun = Instant::now();
    let (next, totals) = (AtomicU64::new(0), Mutex::new(Totals::default()));
    let is_wanted = |name: &str| filter.as_ref().map_or(count > 1, |filter| name.contains(filter));
    let scenarios: Vec<&Scenario> = scenarios::ALL.iter().filter(|scenario| is_wanted(scenario.name)).collect();
    let jobs = scenarios.len() as u64 + count;
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let job = next.fetch_add(1, Ordering::Relaxed);
                    match (scenarios.get(usize::try_from(job).unwrap_or(usize::MAX)), jobs) {
                        (Some(scenario), _) => check_scenario(scenario.name, &shim, &totals),
                        (None, jobs) if job < jobs => {
                            let number = job - scenarios.len() as u64;
                            check(first + number, number < TWICE && count > 1, &shim, &totals);
                        }
                        (None, _) => return,
                    }
                }
            });
        }
    });
    let totals = totals.into_inner().expect("no panic while adding up");
    let hours = totals.simulated_ms as f64 / 3_600_000.0;
    println!(
        "simulation: {} seeds from {first}, {hours:.2} simulated hours in {:.0} s, {} faults, {} messages, {} operations, {} events in traces",
        totals.seeds,
        begun.elapsed().as_secs_f64(),
        totals.faults,
        totals.messages,
        totals.operations,
        totals.events,
    );
    let passed = jobs - totals.failed.len() as u64;
    let verdict = if totals.failed.is_empty() { "ok" } else { "FAILED" };
    println!(
        "test result: {verdict}. {passed} passed; {} failed; 0 ignored; 0 measured; 0 filtered out",
        totals.failed.len()
    );
    if totals.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs a seed, and again if its trace is to be compared.
fn check(seed: u64, twice: bool, shim: &Path, totals: &Mutex<Totals>) {
    let first = run(seed, shim);
    let second = if twice { Some(run(seed, shim)) } else { None };
    let mut totals = totals.lock().expect("no panic while adding up");
    totals.seeds += 1;
    let mut fail = |text: &str| {
        println!(
            "seed {seed} FAILED; again: KEELSTONE_SEED={seed} KEELSTONE_SEEDS=1 cargo test --test simulation\n{text}"
        );
        totals.failed.push(seed.to_string());
    };
    let words = match &first {
        Ok(words) => words,
        Err(text) => return fail(text),
    };
    match second {
        Some(Err(text)) => return fail(&text),
        Some(Ok(again)) if again != *words => {
            return fail(&format!("two runs part:\n{}\n{}", words.join(" "), again.join(" ")));
        }
        _ => {}
    }
    println!("seed {seed}: {}", words.join(" "));
    let count = |at: usize| words.get(at).and_then(|word| word.parse().ok()).unwrap_or(0);
    totals.simulated_ms += count(0);
    totals.faults += count(1);
    totals.messages += count(2);
    totals.operations += count(3);
    totals.events += count(5);
}

fn check_scenario(name: &str, shim: &Path, totals: &Mutex<Totals>) {
    let ran = run_program(shim, |program| program.env("KEELSTONE_SIM_SEED", "1").env("KEELSTONE_SIM_SCENARIO", name));
    match ran {
        Ok(_) => println!("test {name} ... ok"),
        Err(text) => {
            println!("test {name} ... FAILED\n{text}");
            totals.lock().expect("no panic while adding up").failed.push(name.to_owned());
        }
    }
}

fn run(seed: u64, shim: &Path) -> Result<Vec<String>, String> {
    run_program(shim, |program| program.env("KEELSTONE_SIM_SEED", seed.to_string()))
}

/// The words of the result, or all that the process said.
fn run_program(shim: &Path, set_up: impl FnOnce(&mut Command) -> &mut Command) -> Result<Vec<String>, String> {
    let program = std::env::current_exe().expect("this program has a path");
    let mut command = Command::new(program);
    let output = set_up(command.env("LD_PRELOAD", shim)).output().expect("this program can be run again");
    let said = String::from_utf8_lossy(&output.stdout);
    let result = said.lines().find_map(|line| line.strip_prefix(RESULT));
    match result {
        Some(words) if output.status.success() => Ok(words.split_whitespace().map(str::to_owned).collect()),
        _ => Err(format!("{}\n{said}{}", output.status, String::from_utf8_lossy(&output.stderr))),
    }
}

/// Compiles `os.c`.
fn build_shim() -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/simulation/os.c");
    preload::compile(&source, &Path::new(env!("CARGO_TARGET_TMPDIR")).join("simulation-os.so"))
}

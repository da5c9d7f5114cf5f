//! Whole clusters in one process and on simulated time: the node as it ships, on a network, disks and clocks that fail
//! as a seed says. What clients and watchers were told is judged as for real processes.
//!
//! ```text
//! cargo test --test simulation                          a fixed share, and two seeds twice for the same trace
//! KEELSTONE_SEEDS=1000 cargo test --test simulation     so many seeds, from KEELSTONE_SEED (1) on
//! KEELSTONE_SEED=7 KEELSTONE_SEEDS=1 …                  seed 7 alone; KEELSTONE_SIM_TRACE=FILE writes its trace,
//!                                                       KEELSTONE_SIM_LOG=1 shows the members' log
//! cargo test --test simulation lease                    the scenarios with this in their names, and no seeds
//! ```
//! Each seed runs in a process of its own, with one thread, whose random source and clocks follow from the seed
//! (`os.c`).

mod cluster;
mod disk;
mod endpoint;
mod guest;
mod host;
mod member;
mod network;
mod plan;
mod runner;
mod scenarios;
mod trace;

use std::process::ExitCode;

fn main() -> ExitCode {
    let child = std::env::var("KEELSTONE_SIM_SEED").ok().and_then(|seed| seed.parse().ok());
    let scenario = std::env::var("KEELSTONE_SIM_SCENARIO").ok();
    match (child, scenario) {
        (Some(seed), Some(name)) => runner::play(seed, &name),
        (Some(seed), None) => runner::run_one(seed),
        (None, _) => return runner::run_all(),
    }
    ExitCode::SUCCESS
}

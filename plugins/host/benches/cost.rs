//! What a check costs: CPU of this thread per request, for a guest that allows everything, so that all of it is the host's,
//! or for a component with its manifest.
//! `cargo bench -p keelstone-plugins [-- COMPONENT.wasm PLUGIN.toml]`

#[path = "../tests/hostile/guest.rs"]
mod guest;

use guest::{Guest, request};
use keelstone_plugins::{Grant, Host, HostOptions, NoKeys, Package, pack};
use std::sync::Arc;
use std::time::Duration;

/// CPU time of this thread.
fn cpu() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

/// The fastest of some rounds: noise only ever adds.
fn nanos_per_request(host: &Host, package: &Package, uses: u32, batch: usize, value_bytes: usize) -> u64 {
    let name = &package.manifest().plugin.name;
    let grant = format!("plugin = '{name}'\n[limits]\ntime = '60s'\nuses = {uses}");
    let admission = host.admission(package, &Grant::parse(&grant).unwrap()).unwrap();
    let requests = vec![request("/team/a/key-of-some-length", value_bytes); batch];
    let calls = 4_000 / batch;
    let round = || {
        let before = cpu();
        for _ in 0..calls {
            admission.check(&requests, Arc::new(NoKeys)).unwrap();
        }
        (cpu() - before).as_nanos() as u64 / (calls * batch) as u64
    };
    (0..15).map(|_| round()).min().unwrap()
}

fn main() {
    let host = Host::new(HostOptions::default()).unwrap();
    println!("instances from: {:?}", host.allocation());
    let files: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let package = match &files[..] {
        [component, manifest] => {
            let (component, manifest) = (std::fs::read(component).unwrap(), std::fs::read_to_string(manifest).unwrap());
            Package::read(pack(&component, &manifest).unwrap()).unwrap()
        }
        _ => Guest::good().package(),
    };
    println!("ns of CPU per request      batch 1  batch 8 batch 64");
    for (policy, uses) in [("fresh", 1), ("reused", u32::MAX)] {
        for value_bytes in [256, 1_024] {
            let costs = [1, 8, 64].map(|batch| nanos_per_request(&host, &package, uses, batch, value_bytes));
            let [one, eight, many] = costs;
            println!("{policy:<7} {value_bytes:>5} B values   {one:>8} {eight:>8} {many:>8}");
        }
    }
}

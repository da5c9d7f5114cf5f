//! Plugins that come and go leave nothing behind.

use crate::guest::Guest;
use crate::{PATIENT, check, grant};
use keelstone_plugins::{Compiled, Host, HostOptions};

/// Bytes of this process that are in memory.
fn resident_bytes() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4_096
}

/// `KEELSTONE_PLUGIN_LOADS` says how often; in a process of its own, as other tests here take memory too.
#[test]
fn loading_and_unloading_takes_no_memory_that_stays() {
    const CHILD: &str = "KEELSTONE_PLUGIN_LOADS_CHILD";
    if std::env::var_os(CHILD).is_none() {
        let name = "resident::loading_and_unloading_takes_no_memory_that_stays";
        let mut child = std::process::Command::new(std::env::current_exe().unwrap());
        let status = child.args(["--exact", name, "--nocapture"]).env(CHILD, "1").status().unwrap();
        assert!(status.success());
        return;
    }
    let loads: usize = std::env::var("KEELSTONE_PLUGIN_LOADS").map_or(400, |loads| loads.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let host = Host::new(HostOptions { cache: Some(folder.path().join("code")), tls: None }).unwrap();
    let package = Guest::good().package();
    let grant = grant(PATIENT);
    let cycle = || {
        let admission = host.admission(&package, &grant).unwrap();
        check(&admission).unwrap();
        admission.plugin().compiled()
    };
    cycle();
    for _ in 0..loads / 4 {
        assert_eq!(cycle(), Compiled::FromCache);
    }
    let before = resident_bytes();
    for _ in 0..loads {
        cycle();
    }
    let grown = resident_bytes().saturating_sub(before);
    // A loaded plugin takes a few hundred KiB: what stayed of one in a hundred would be seen.
    let per_load = grown / loads;
    println!("{loads} loads: {grown} bytes more");
    assert!(grown < 4 << 20 || per_load < 256, "{grown} bytes more after {loads} loads");
}

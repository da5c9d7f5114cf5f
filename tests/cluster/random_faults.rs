//! Random faults under load, then every checker. The long run of the suite.

use crate::catch_up::snapshot_flags;
use crate::{MACHINE, run, suite};
use keelstone_harness::load::LoadSpec;
use keelstone_harness::{ClusterSpec, Random, faults};
use std::time::Duration;

fn fault_count() -> usize {
    let given = std::env::var("KEELSTONE_FAULTS").ok().map(|text| text.parse().expect("KEELSTONE_FAULTS is a number"));
    given.unwrap_or(100)
}

/// Runs its share of the faults. Small snapshot counts, so that the log is cut and members that were away come back
/// by snapshot too; and members' data is compared all the time.
async fn check(members: usize, share_percent: usize, spec: LoadSpec) {
    let _shared = MACHINE.read().await;
    let random = Random::from_environment();
    let flags = snapshot_flags("--snapshot-count=500", 50);
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let checks = ["--corrupt-check-time=1s", "--compact-hash-check-time=1s"];
    let checks = if suite().server.is_at_least(3, 6) { &checks[..] } else { &[] };
    run(ClusterSpec::of(members).with_flags(&flags).with_flags(checks), async |cluster| {
        faults::run(cluster, fault_count() * share_percent / 100, spec, random).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn three_members_keep_every_promise_through_random_faults() {
    check(3, 40, LoadSpec::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn three_members_that_are_compacted_keep_every_promise_through_random_faults() {
    check(3, 30, LoadSpec { compact_behind: Some(500), ..LoadSpec::default() }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_single_member_keeps_every_promise_through_random_faults() {
    let spec = LoadSpec { clients: 32, pace: Duration::from_millis(2), ..LoadSpec::default() };
    check(1, 20, spec).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_single_member_that_is_compacted_keeps_every_promise_through_random_faults() {
    check(1, 10, LoadSpec { compact_behind: Some(100), ..LoadSpec::default() }).await;
}

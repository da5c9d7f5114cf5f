//! Random faults under load, then every checker. The long run of the suite.

use crate::{MACHINE, run};
use keelstone_harness::load::LoadSpec;
use keelstone_harness::{ClusterSpec, Random, faults};

fn fault_count() -> usize {
    let given = std::env::var("KEELSTONE_FAULTS").ok().map(|text| text.parse().expect("KEELSTONE_FAULTS is a number"));
    given.unwrap_or(100)
}

#[tokio::test(flavor = "multi_thread")]
async fn three_members_keep_every_promise_through_random_faults() {
    let _shared = MACHINE.read().await;
    let random = Random::from_environment();
    let flags = ["--snapshot-count=500"];
    run(ClusterSpec::of(3).with_flags(&flags), async |cluster| {
        faults::run(cluster, fault_count() * 7 / 10, LoadSpec::default(), random).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_single_member_keeps_every_promise_through_random_faults() {
    let _shared = MACHINE.read().await;
    let random = Random::from_environment();
    let flags = ["--snapshot-count=500"];
    run(ClusterSpec::of(1).with_flags(&flags), async |cluster| {
        faults::run(cluster, fault_count() * 3 / 10, LoadSpec::default(), random).await;
    })
    .await;
}

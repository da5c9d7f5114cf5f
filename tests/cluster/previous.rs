//! The build before this one: `.ci/previous` makes it and names it by `KEELSTONE_PREVIOUS`.

use crate::{MACHINE, suite};
use keelstone_harness::faults::{judge, serves};
use keelstone_harness::load::{Load, LoadSpec};
use keelstone_harness::{Cluster, ClusterSpec, Random, tools};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);

/// Each build leads members of the other on the way, and catches up with what they wrote while it was replaced.
#[tokio::test(flavor = "multi_thread")]
async fn builds_are_replaced_one_member_at_a_time_under_load() {
    let name = "builds_are_replaced_one_member_at_a_time_under_load";
    let Some(previous) = tools::previous_build(name) else { return };
    let _alone = MACHINE.write().await;
    let mut cluster = Cluster::start(&suite().with_server(&previous), &ClusterSpec::of(3)).await;
    let mut random = Random::from_environment();
    let load = Load::start(&cluster.clients(), LoadSpec::default(), &mut random);
    load.progress(100, LIMIT).await;
    for place in 0..3 {
        cluster[place].terminate().await;
        load.progress(50, LIMIT).await;
        cluster.swap_server_of(place, suite());
        cluster.restart(place).await;
        serves(&cluster[place].client(), LIMIT).await;
        for leader in 0..3 {
            let id = cluster[leader].client().status().await.expect("a status").header.expect("a header").member_id;
            let from = cluster.leader().await;
            if from != leader {
                cluster[from].client().move_leader(id).await.expect("another leader");
            }
            load.progress(50, LIMIT).await;
        }
    }
    println!("{}", judge(&cluster.clients(), load).await);
    cluster.assert_no_unexpected_errors();
}

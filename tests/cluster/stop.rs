//! SIGTERM: leadership is handed over and the process ends in time.

use crate::{check, report, suite};
use keelstone_harness::faults::{judge, serves};
use keelstone_harness::load::{Load, LoadSpec};
use keelstone_harness::{ClusterSpec, Random};
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;
use tokio::time::Instant;

const LIMIT: Duration = Duration::from_secs(30);

/// etcd waits for open streams until a request's time is over.
fn exit_limit() -> Duration {
    if suite().server.is_etcd { Duration::from_secs(15) } else { Duration::from_millis(1500) }
}

const SIGTERM: i32 = 15;

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_stopped_hands_over_and_exits() {
    check(ClusterSpec::of(3), async |cluster| {
        let mut random = Random::from_environment();
        let load = Load::start(&cluster.clients(), LoadSpec::default(), &mut random);
        for _ in 0..3 {
            load.progress(50, LIMIT).await;
            let leader = cluster.leader().await;
            let others: Vec<usize> = (0..3).filter(|&place| place != leader).collect();
            let timeout = cluster.election_timeout;
            let signalled = load.recorder.since_start(Instant::now());
            let exit = cluster[leader].terminate().await;
            load.progress(100, LIMIT).await;
            let silence = load.recorder.longest_silence(&others, signalled);
            report("SIGTERM of the leader to its exit", exit.took, timeout);
            report("longest wait for an acknowledged write meanwhile", silence, timeout);
            assert!(exit.took <= exit_limit(), "exit took {:?}", exit.took);
            assert_eq!(
                (exit.status.code(), exit.status.signal()),
                (None, Some(SIGTERM)),
                "the signal ends it, as in etcd"
            );
            // Nobody had to miss a leader for an election timeout first.
            assert!(silence < timeout, "{silence:?} without a leader");
            cluster.restart(leader).await;
            serves(&cluster[leader].client(), LIMIT).await;
        }
        judge(&cluster.clients(), load).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_and_a_single_member_exit_in_time() {
    for members in [1, 3] {
        check(ClusterSpec::of(members), async |cluster| {
            let leader = cluster.leader().await;
            let place = (leader + 1) % members;
            let at = cluster[place].client().put("k", "v").await.expect("put");
            // An open watch must not hold the exit up.
            let mut stream = cluster[place].client().watch();
            stream.create_and_wait(Default::default()).await;
            let exit = cluster[place].terminate().await;
            report("SIGTERM to exit", exit.took, cluster.election_timeout);
            assert!(exit.took <= exit_limit(), "exit took {:?}", exit.took);
            assert_eq!((exit.status.code(), exit.status.signal()), (None, Some(SIGTERM)));
            assert!(stream.next().await.is_err(), "the watch ends");
            cluster.restart(place).await;
            serves(&cluster[place].client(), LIMIT).await;
            let kv = cluster[place].client().get("k").await.expect("get").kvs.remove(0);
            assert_eq!(kv.mod_revision, at);
        })
        .await;
    }
}

//! A member that is cut off from its peers says so, and serves nothing that it cannot know.

use crate::{check, report, suite};
use keelstone_harness::faults::serves;
use keelstone_harness::proto::etcdserverpb::{RangeRequest, WatchCreateRequest};
use keelstone_harness::{Client, Cluster, ClusterSpec, Flow, WatchStream, http, wait};
use std::sync::Mutex;
use std::time::{Duration, Instant};
use tonic::Code;

const LIMIT: Duration = Duration::from_secs(60);
const NO_LEADER: &str = "etcdserver: no leader";

/// Two election timeouts, and something for the measuring itself. etcd takes 7 to 30; there only what is said counts.
fn two_timeouts(cluster: &Cluster) -> Duration {
    if suite().server.is_etcd {
        60 * cluster.election_timeout
    } else {
        2 * cluster.election_timeout + Duration::from_millis(200)
    }
}

async fn watch_with_leader(client: &Client) -> WatchStream {
    let mut stream = client.requiring_leader().watch();
    stream.create_and_wait(WatchCreateRequest { key: "k".into(), ..Default::default() }).await;
    stream
}

/// Cuts `place` off and checks all the ways in which it says so.
async fn cut_off(cluster: &mut Cluster, place: usize) {
    let client = cluster[place].client();
    let port = cluster[place].client_port;
    let limit = two_timeouts(cluster);
    let mut strict = watch_with_leader(&client).await;
    let mut lenient = client.watch();
    lenient.create_and_wait(WatchCreateRequest { key: "k".into(), ..Default::default() }).await;

    // etcd's line for a health check that failed.
    cluster.expect_errors("Health check error");
    let cut = Instant::now();
    cluster.isolate(place);
    let times = Mutex::new(Vec::new());
    let said = |what: &str| {
        let took = cut.elapsed();
        report(what, took, cluster.election_timeout);
        times.lock().expect("no panic while noting").push((what.to_owned(), took));
    };
    let readyz = async {
        if suite().server.is_at_least(3, 6) {
            let failed = || async { (http::get(port, "/readyz").await.ok()?.status == 503).then_some(()) };
            wait::until("/readyz to fail", LIMIT, failed).await;
            said("cut to /readyz failing");
        }
    };
    let status = async {
        let leaderless = || async { (client.status().await.ok()?.leader == 0).then_some(()) };
        wait::until("Status to show no leader", LIMIT, leaderless).await;
        said("cut to Status without a leader");
    };
    let read = async {
        let patient = client.with_deadline(LIMIT);
        let failed = || async { patient.get("k").await.err() };
        let status = wait::until("a linearizable read to fail", LIMIT, failed).await;
        assert_eq!(status.code(), Code::Unavailable, "{status:?}");
        said("cut to a linearizable read failing");
    };
    let stream = async {
        let status = strict.next().await.expect_err("the end of a watch that requires a leader");
        assert_eq!((status.code(), status.message()), (Code::Unavailable, NO_LEADER));
        said("cut to the end of a watch that requires a leader");
    };
    tokio::join!(readyz, status, read, stream);

    let status = client.status().await.expect("status");
    assert!(status.errors.iter().any(|error| error == NO_LEADER), "{status:?}");
    let refused = client.requiring_leader().get("k").await.expect_err("a request that requires a leader");
    assert_eq!((refused.code(), refused.message()), (Code::Unavailable, NO_LEADER));
    let health = http::get(port, "/health").await.expect("a reply");
    assert_eq!((health.status, health.body.as_str()), (503, "{\"health\":\"false\",\"reason\":\"RAFT NO LEADER\"}\n"));
    let mut refused = client.requiring_leader().watch();
    refused.create(WatchCreateRequest { key: "k".into(), ..Default::default() });
    let status = refused.next().await.expect_err("a new watch that requires a leader");
    assert_eq!((status.code(), status.message()), (Code::Unavailable, NO_LEADER));

    // What is known stays readable, and a watch that asked for no leader waits.
    let old = RangeRequest { key: "k".into(), serializable: true, ..Default::default() };
    assert_eq!(client.range(old).await.expect("serializable read").kvs[0].value, "before");
    assert!(lenient.try_next().is_none());

    let others: Vec<usize> = (0..3).filter(|&other| other != place).collect();
    let leader = cluster.leader_among(&others).await;
    cluster[leader].client().put("k", "meanwhile").await.expect("the others go on");
    cluster.heal();
    let healed = Instant::now();
    serves(&client, LIMIT).await;
    report("healed to a linearizable read", healed.elapsed(), cluster.election_timeout);
    assert_eq!(client.get("k").await.expect("get").kvs[0].value, "meanwhile");
    let event = lenient.events(1).await.remove(0);
    assert_eq!(event.kv.expect("a key").value, "meanwhile");
    if suite().server.is_at_least(3, 6) {
        let ready = || async { (http::get(port, "/readyz").await.ok()?.status == 200).then_some(()) };
        wait::until("/readyz to succeed", LIMIT, ready).await;
    }
    for (what, took) in times.into_inner().expect("no panic while noting") {
        cluster.machine.within(&what, took, limit);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_isolated_follower_says_so() {
    check(ClusterSpec::of(3), async |cluster| {
        let leader = cluster.leader().await;
        let follower = (leader + 1) % 3;
        cluster[follower].client().put("k", "before").await.expect("put");
        cut_off(cluster, follower).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_isolated_leader_says_so() {
    check(ClusterSpec::of(3), async |cluster| {
        let leader = cluster.leader().await;
        cluster[leader].client().put("k", "before").await.expect("put");
        cut_off(cluster, leader).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_isolated_member_that_comes_back_disturbs_no_term() {
    check(ClusterSpec::of(3), async |cluster| {
        let leader = cluster.leader().await;
        let follower = (leader + 1) % 3;
        let client = cluster[leader].client();
        let before = client.status().await.expect("status").raft_term;
        cluster.isolate(follower);
        wait::pass(4 * cluster.election_timeout).await;
        cluster.heal();
        serves(&cluster[follower].client(), LIMIT).await;
        let after = client.status().await.expect("status");
        assert_eq!((after.raft_term, after.leader), (before, after.header.expect("a header").member_id));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_links_change_no_leader() {
    check(ClusterSpec::of(3), async |cluster| {
        let leader = cluster.leader().await;
        let client = cluster[leader].client();
        let before = client.status().await.expect("status").raft_term;
        for place in 0..3 {
            cluster.set_flows_around(place, Flow::Delay(Duration::from_millis(75)));
        }
        for number in 0..20 {
            cluster[number % 3].client().put("k", format!("{number}")).await.expect("put over slow links");
        }
        assert_eq!(client.status().await.expect("status").raft_term, before);
    })
    .await;
}

/// A round trip takes longer than a heartbeat: setting a connection up must not be bound by one.
#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_restarts_behind_slow_links_catches_up() {
    check(ClusterSpec::of(3), async |cluster| {
        let leader = cluster.leader().await;
        for place in 0..3 {
            cluster.set_flows_around(place, Flow::Delay(Duration::from_millis(60)));
        }
        let follower = (leader + 1) % 3;
        cluster[follower].kill();
        let at = cluster[leader].client().put("k", "meanwhile").await.expect("put over slow links");
        cluster.restart(follower).await;
        let client = cluster[follower].client();
        let request = RangeRequest { key: "k".into(), serializable: true, ..Default::default() };
        let kv = client.range(request).await.expect("serializable read").kvs.remove(0);
        assert_eq!(kv.mod_revision, at, "who is ready has caught up");
        let read = cluster[leader].client().get("k").await.expect("linearizable read over slow links");
        assert_eq!(read.kvs[0].mod_revision, at);
    })
    .await;
}

/// Otherwise it would lead on, and nobody else's clients could write.
#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_nobody_can_call_gives_way() {
    check(ClusterSpec::of(3), async |cluster| {
        let old = cluster.leader().await;
        let others: Vec<usize> = (0..3).filter(|&place| place != old).collect();
        cluster.expect_errors("Health check error");
        let begun = Instant::now();
        cluster.hold_calls_to(old);
        wait::until("a write through another member", LIMIT, || async {
            cluster[others[0]].client().with_deadline(Duration::from_millis(500)).put("k", "v").await.ok()
        })
        .await;
        report("calls to the leader held to a write through another member", begun.elapsed(), cluster.election_timeout);
        assert_ne!(cluster.leader_among(&others).await, old);
        cluster.heal();
        serves(&cluster[old].client(), LIMIT).await;
        assert_eq!(cluster[old].client().get("k").await.expect("read").kvs[0].value, "v");
    })
    .await;
}

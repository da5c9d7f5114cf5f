//! A leader that stops for seconds and wakes up believing that it leads.

use crate::check;
use keelstone_harness::faults::serves;
use keelstone_harness::proto::etcdserverpb::{PutRequest, WatchCreateRequest};
use keelstone_harness::{Client, ClusterSpec, wait};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinSet;

const PAUSE: Duration = Duration::from_secs(5);
/// Over for the stopped leader's clock when it wakes up, and long beside a renewal on a slow machine.
const TTL_SECS: i64 = 4;
const LIMIT: Duration = Duration::from_secs(30);

/// Renews a lease through any member that answers, until told to stop; returns how often it worked.
///
/// # Panics
/// If the lease is gone.
async fn keep(lease: i64, clients: Vec<Client>, mut stop: watch::Receiver<bool>) -> usize {
    let mut renewed = 0;
    let mut turns = clients.iter().cycle();
    while !*stop.borrow_and_update() {
        let client = turns.next().expect("at least one client");
        if let Ok(reply) = client.keep_alive().renew(lease, Duration::from_millis(500)).await {
            assert_ne!(reply.ttl, 0, "the lease ended while it was renewed");
            renewed += 1;
        }
        wait::pass(Duration::from_millis(200)).await;
    }
    renewed
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_wakes_up_serves_no_stale_read_and_ends_no_lease() {
    check(ClusterSpec::of(3), async |cluster| {
        let clients = cluster.clients();
        for round in 0..2 {
            let leader = cluster.leader().await;
            let others: Vec<usize> = (0..3).filter(|&place| place != leader).collect();
            let other_clients: Vec<Client> = others.iter().map(|&place| clients[place].clone()).collect();
            clients[leader].put("k", "old").await.expect("put");
            let lease = clients[leader].grant(TTL_SECS, 0).await.expect("grant").id;
            let leased = PutRequest { key: "leased".into(), value: "v".into(), lease, ..Default::default() };
            let leased_at = clients[leader].put_request(leased).await.expect("put").header.expect("a header").revision;
            let (stop, stopped) = watch::channel(false);
            let keeper = tokio::spawn(keep(lease, other_clients.clone(), stopped));

            cluster[leader].pause();
            let paused = Instant::now();
            let next = cluster.leader_among(&others).await;
            let at = clients[next].put("k", format!("new {round}")).await.expect("put through the new leader");
            // These wait in the stopped process's sockets, invoked after the put was acknowledged.
            let mut reads = JoinSet::new();
            for _ in 0..20 {
                let client = clients[leader].clone();
                reads.spawn(async move { client.get("k").await });
            }
            wait::pass(PAUSE.saturating_sub(paused.elapsed())).await;
            cluster[leader].resume();
            let woken = Instant::now();
            while woken.elapsed() < Duration::from_secs(1) {
                let client = clients[leader].with_deadline(Duration::from_millis(500));
                reads.spawn(async move { client.get("k").await });
                wait::pass(Duration::from_millis(10)).await;
            }
            let mut served = 0;
            while let Some(read) = reads.join_next().await {
                if let Ok(reply) = read.expect("a read does not panic") {
                    served += 1;
                    assert_eq!(reply.kvs[0].mod_revision, at, "a stale linearizable read");
                }
            }
            serves(&clients[leader], LIMIT).await;
            println!("round {round}: {served} reads served by the woken leader, all current");

            // Long enough for a wrong revoke to arrive.
            wait::pass(Duration::from_secs(1)).await;
            stop.send_replace(true);
            let renewed = keeper.await.expect("the lease lives as long as it is renewed");
            assert!(renewed > 0, "the lease was renewed through the others");
            let mut stream = clients[next].watch();
            let request = WatchCreateRequest { key: "leased".into(), start_revision: leased_at, ..Default::default() };
            stream.create_and_wait(request).await;
            assert_eq!(stream.events(1).await[0].kv.as_ref().map(|kv| kv.lease), Some(lease));
            let left = clients[next].get("leased").await.expect("get");
            assert_eq!(left.kvs.first().map(|kv| kv.mod_revision), Some(leased_at));
            // Left alone it does end.
            let gone = || async { clients[next].get("leased").await.ok()?.kvs.is_empty().then_some(()) };
            wait::until("the lease to end", LIMIT, gone).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_single_member_that_wakes_up_goes_on() {
    check(ClusterSpec::of(1), async |cluster| {
        let client = cluster[0].client();
        let at = client.put("k", "v").await.expect("put");
        cluster[0].pause();
        wait::pass(PAUSE).await;
        cluster[0].resume();
        serves(&client, LIMIT).await;
        assert_eq!(client.get("k").await.expect("get").kvs[0].mod_revision, at);
        client.put("k", "w").await.expect("put");
    })
    .await;
}

//! Members that die: nothing acknowledged is lost, and the others go on.

use crate::{check, report, suite, time_to_serve};
use keelstone_harness::faults::{judge, serves};
use keelstone_harness::load::{Load, LoadSpec};
use keelstone_harness::proto::etcdserverpb::RangeRequest;
use keelstone_harness::{ClusterSpec, Random};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn every_member_takes_writes_and_shows_them() {
    check(ClusterSpec::of(3), async |cluster| {
        let clients = cluster.clients();
        for (place, client) in clients.iter().enumerate() {
            let at = client.put(format!("k{place}"), "v").await.expect("put");
            let lease = client.grant(600, 0).await.expect("grant").id;
            assert_eq!(client.keep_alive().renew(lease, LIMIT).await.expect("renewal").ttl, 600);
            assert_eq!(client.time_to_live(lease, false).await.expect("time to live").granted_ttl, 600);
            for reader in &clients {
                let reply = reader.get(format!("k{place}")).await.expect("linearizable read");
                assert_eq!(reply.kvs[0].mod_revision, at);
                assert_eq!(reader.leases().await.expect("leases").leases.len(), place + 1);
            }
        }
        let leader = cluster.leader().await;
        let mut members = Vec::new();
        for client in &clients {
            let status = client.status().await.expect("status");
            let list = client.member_list(true).await.expect("member list").members;
            assert_eq!(list.len(), 3);
            assert!(list.is_sorted_by_key(|member| member.id));
            members.push((status.leader, list));
        }
        assert!(members.iter().all(|seen| *seen == members[0]));
        assert!(clients[leader].status().await.expect("status").errors.is_empty());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_leader_loses_nothing_and_another_serves_within_two_election_timeouts() {
    check(ClusterSpec::of(3), async |cluster| {
        let mut random = Random::from_environment();
        let load = Load::start(&cluster.clients(), LoadSpec::default(), &mut random);
        let mut times = Vec::new();
        for _ in 0..5 {
            load.progress(100, LIMIT).await;
            let leader = cluster.leader().await;
            let others: Vec<usize> = (0..3).filter(|&place| place != leader).collect();
            cluster[leader].kill();
            let time = time_to_serve(&load, &others, &cluster.clients()).await;
            report("kill of the leader to the next acknowledged write", time, cluster.election_timeout);
            times.push(time);
            cluster.restart(leader).await;
            serves(&cluster[leader].client(), LIMIT).await;
        }
        judge(&cluster.clients(), load).await;
        times.sort_unstable();
        let timeout = cluster.election_timeout;
        assert!(times[2] <= 2 * timeout, "the median of {times:?} is over two election timeouts");
        assert!(times[4] <= 4 * timeout, "{times:?}: one is over four election timeouts");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_members_killed_at_once_come_back_with_every_acknowledged_write() {
    check(ClusterSpec::of(3), async |cluster| {
        let mut random = Random::from_environment();
        let load = Load::start(&cluster.clients(), LoadSpec::default(), &mut random);
        for _ in 0..3 {
            load.progress(200, LIMIT).await;
            for place in 0..3 {
                cluster[place].kill();
            }
            cluster.start_all().await;
            let time = time_to_serve(&load, &[0, 1, 2], &cluster.clients()).await;
            report("all ready to the next acknowledged write", time, cluster.election_timeout);
        }
        load.progress(50, LIMIT).await;
        judge(&cluster.clients(), load).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_single_member_comes_back_with_every_acknowledged_write() {
    check(ClusterSpec::of(1).with_flags(&["--snapshot-count=100"]), async |cluster| {
        let mut random = Random::from_environment();
        let spec = LoadSpec { pace: Duration::from_millis(1), ..LoadSpec::default() };
        let load = Load::start(&cluster.clients(), spec, &mut random);
        for _ in 0..5 {
            load.progress(300, LIMIT).await;
            cluster[0].kill();
            cluster.restart(0).await;
            let time = time_to_serve(&load, &[0], &cluster.clients()).await;
            report("ready to the next acknowledged write", time, cluster.election_timeout);
        }
        load.progress(50, LIMIT).await;
        judge(&cluster.clients(), load).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_majority_nothing_is_acknowledged_and_old_state_stays_readable() {
    check(ClusterSpec::of(3), async |cluster| {
        let clients = cluster.clients();
        clients[0].put("k", "v").await.expect("put");
        // The survivor must hold the key before it is alone.
        clients[2].get("k").await.expect("linearizable read");
        cluster[0].kill();
        cluster[1].kill();
        let survivor = clients[2].with_deadline(3 * cluster.election_timeout);
        survivor.put("k", "w").await.expect_err("a put without a majority");
        survivor.get("k").await.expect_err("a linearizable read without a majority");
        let request = RangeRequest { key: "k".into(), serializable: true, ..Default::default() };
        assert_eq!(survivor.range(request).await.expect("serializable read").kvs[0].value, "v");
        cluster.start_all().await;
        for client in &clients {
            serves(client, LIMIT).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn five_members_outlive_two() {
    check(ClusterSpec::of(5), async |cluster| {
        let mut random = Random::from_environment();
        let clients = cluster.clients();
        let load = Load::start(&clients, LoadSpec::default(), &mut random);
        load.progress(100, LIMIT).await;
        let leader = cluster.leader().await;
        let other = (leader + 1) % 5;
        cluster[leader].kill();
        cluster[other].kill();
        let rest: Vec<usize> = (0..5).filter(|place| ![leader, other].contains(place)).collect();
        let time = time_to_serve(&load, &rest, &clients).await;
        report("kill of two of five, one the leader, to the next acknowledged write", time, cluster.election_timeout);
        load.progress(100, LIMIT).await;
        cluster.start_all().await;
        judge(&cluster.clients(), load).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_on_a_data_directory_refuses_to_start() {
    check(ClusterSpec::of(1), async |cluster| {
        // etcd waits for the lock of its database; refusing at once is ours.
        if suite().server.is_etcd {
            return;
        }
        use keelstone_harness::free_port;
        let (client, peer) = (free_port(), free_port());
        let output = suite()
            .server
            .command()
            .args(["--name", "m0", "--data-dir"])
            .arg(cluster[0].data_dir())
            .arg(format!("--listen-client-urls=http://127.0.0.1:{client}"))
            .arg(format!("--advertise-client-urls=http://127.0.0.1:{client}"))
            .arg(format!("--listen-peer-urls=http://127.0.0.1:{peer}"))
            .output()
            .expect("run a second server");
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        cluster[0].client().put("k", "v").await.expect("the first one goes on");
    })
    .await;
}

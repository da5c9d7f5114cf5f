//! Members that were away and come back behind the others.

use crate::{check, report, suite};
use keelstone_harness::check::{Truth, agreement, assert_none};
use keelstone_harness::faults::{judge, serves};
use keelstone_harness::load::{Load, LoadSpec};
use keelstone_harness::proto::etcdserverpb::CompactionRequest;
use keelstone_harness::{Cluster, ClusterSpec, Random, wait, wal_reader};
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_follower_becomes_ready_under_steady_writes() {
    check(ClusterSpec::of(3), async |cluster| {
        let mut random = Random::from_environment();
        let spec = LoadSpec { clients: 12, pace: Duration::from_millis(2), ..LoadSpec::default() };
        let load = Load::start(&cluster.clients(), spec, &mut random);
        let follower = (cluster.leader().await + 1) % 3;
        for _ in 0..2 {
            cluster[follower].kill();
            load.progress(1000, LIMIT).await;
            let begun = Instant::now();
            cluster.restart(follower).await;
            report("start to ready under steady writes", begun.elapsed(), cluster.election_timeout);
            serves(&cluster[follower].client(), LIMIT).await;
            report("start to a linearizable read", begun.elapsed(), cluster.election_timeout);
            assert!(begun.elapsed() < 10 * cluster.election_timeout, "not ready after {:?}", begun.elapsed());
        }
        judge(&cluster.clients(), load).await;
    })
    .await;
}

/// How soon state takes the place of log entries, and how many entries stay for members that are slow.
pub(crate) fn snapshot_flags(count: &str, kept_entries: u32) -> [String; 2] {
    let prefix = if suite().server.is_at_least(3, 6) { "--" } else { "--experimental-" };
    [count.to_owned(), format!("{prefix}snapshot-catchup-entries={kept_entries}")]
}

fn small_snapshots() -> ClusterSpec {
    let flags = snapshot_flags("--snapshot-count=100", 10);
    ClusterSpec::of(3).with_flags(&flags.each_ref().map(String::as_str))
}

/// Kills a follower, writes far more than the log keeps, and starts it again.
async fn leave_behind(cluster: &mut Cluster, follower: usize, compact: bool) {
    let client = cluster[(follower + 1) % 3].client();
    let last_before =
        wal_reader::read(&cluster[follower].data_dir().join("member/wal")).expect("read its log").last_index();
    cluster[follower].kill();
    let mut at = 0;
    for number in 0..1000 {
        at = client.put(format!("k{}", number % 50), format!("{number}-{}", "x".repeat(1000))).await.expect("put");
    }
    if compact {
        client.compact(CompactionRequest { revision: at - 100, physical: true }).await.expect("compact");
    }
    cluster.restart(follower).await;
    serves(&cluster[follower].client(), LIMIT).await;
    // It came by snapshot: its log goes on behind entries that it never had.
    let log = wal_reader::read(&cluster[follower].data_dir().join("member/wal")).expect("read its log");
    let restarted = log.restarted_behind.expect("the log restarts behind a snapshot");
    assert!(Some(restarted) > last_before, "restarted behind {restarted}, had up to {last_before:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_far_behind_catches_up_by_snapshot() {
    check(small_snapshots(), async |cluster| {
        cluster[0].client().put("first", "v").await.expect("put");
        let follower = (cluster.leader().await + 1) % 3;
        leave_behind(cluster, follower, false).await;
        let clients = cluster.clients();
        let last = clients[follower].put("last", "v").await.expect("put");
        let history = agreement::history(&clients[follower], 1, last).await;
        let (truth, faults) = Truth::replay(&history);
        assert_none("the history told by the member that caught up", &faults);
        let scan = clients[follower].get_all().await.expect("scan");
        assert_none("the scan", &agreement::check_scan(&scan, &truth));
        assert_none("HashKV", &agreement::check_hashes(&clients, last).await);
        // What it was given survives its next death.
        cluster[follower].kill();
        cluster.restart(follower).await;
        serves(&cluster[follower].client(), LIMIT).await;
        assert_none("HashKV", &agreement::check_hashes(&clients, last).await);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_carries_compaction_and_leases() {
    check(small_snapshots(), async |cluster| {
        let leader = cluster.leader().await;
        let follower = (leader + 1) % 3;
        let client = cluster[leader].client();
        let kept = client.grant(600, 0).await.expect("grant").id;
        leave_behind(cluster, follower, true).await;
        let clients = cluster.clients();
        let last = clients[follower].put("last", "v").await.expect("put");
        assert_none("HashKV", &agreement::check_hashes(&clients, last).await);
        let seen = |client: &keelstone_harness::Client| {
            let client = client.clone();
            async move { client.hash_kv(0).await.expect("hash").compact_revision }
        };
        assert_eq!(seen(&clients[follower]).await, seen(&clients[leader]).await);
        let leases = || async {
            let leases = clients[follower].leases().await.ok()?.leases;
            (leases.len() == 1 && leases[0].id == kept).then_some(())
        };
        wait::until("the lease on the member that caught up", LIMIT, leases).await;
    })
    .await;
}

//! `--force-new-cluster`: what is left of a cluster goes on alone with all that it has.

use crate::{check, suite};
use keelstone_harness::proto::etcdserverpb::RangeRequest;
use keelstone_harness::{Client, Cluster, ClusterSpec, Random, wait};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);
const FORCE: &str = "--force-new-cluster";
const KEYS: usize = 50;

fn spec() -> ClusterSpec {
    ClusterSpec { proxied: false, ..ClusterSpec::of(3) }
}

/// Writes through one member, until the others have all of it too. Returns the last revision.
async fn fill(cluster: &Cluster) -> i64 {
    let client = cluster[0].client();
    let mut revision = 0;
    for number in 0..KEYS {
        revision = client.put(format!("k{number}"), number.to_string()).await.expect("put");
    }
    for member in cluster.iter() {
        assert_eq!(keys(&member.client()).await, KEYS);
    }
    revision
}

/// How many of the keys there are, read linearizably.
async fn keys(client: &Client) -> usize {
    let reply = client.get_prefix("k").await.expect("range");
    assert!(reply.kvs.iter().all(|kv| kv.key[1..] == kv.value), "a value is another one's: {reply:?}");
    reply.kvs.len()
}

async fn ids(client: &Client) -> (u64, Vec<u64>) {
    let list = client.member_list(true).await.expect("members");
    (list.header.expect("a header").cluster_id, list.members.iter().map(|member| member.id).collect())
}

/// Ends all. etcd needs to be asked nicely: of what it has committed it keeps what its log says is committed.
async fn end(cluster: &mut Cluster) {
    for place in (0..cluster.len()).rev() {
        if suite().server.is_etcd && place == 2 {
            cluster[place].terminate().await;
        } else {
            cluster[place].kill();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_member_goes_on_alone_with_all_that_was_acknowledged_and_grows_again() {
    check(spec(), async |cluster| {
        let revision = fill(cluster).await;
        let lease = cluster[0].client().grant(3600, 0).await.expect("grant").id;
        let client = cluster[2].client();
        let own = client.status().await.expect("status").header.expect("a header");
        let (cluster_id, members) = ids(&client).await;
        assert_eq!((cluster_id, members.len()), (own.cluster_id, 3));
        end(cluster).await;

        cluster.launch_with(2, &[FORCE]);
        cluster[2].ready().await;
        assert_eq!(ids(&client).await, (cluster_id, vec![own.member_id]));
        assert_eq!(cluster[2].log_lines("forcing restart member").len(), 1);
        assert_eq!(keys(&client).await, KEYS);
        assert_eq!(client.leases().await.expect("leases").leases.iter().map(|l| l.id).collect::<Vec<_>>(), [lease]);
        assert_eq!(client.put("after", "v").await.expect("put"), revision + 1);

        // It is a member like any other from then on.
        cluster[2].kill();
        cluster.restart(2).await;
        assert_eq!(ids(&client).await, (cluster_id, vec![own.member_id]));
        assert_eq!(client.get("after").await.expect("get").kvs.len(), 1);
        for beside in [vec![2], vec![2, 3]] {
            let (place, url) = cluster.prepare_joiner(&beside);
            wait::until("a member to be added", LIMIT, || async { client.member_add(&url, false).await.ok() }).await;
            cluster.restart(place).await;
        }
        for place in [3, 4] {
            let grown = cluster[place].client();
            assert_eq!(keys(&grown).await, KEYS);
            assert_eq!(ids(&grown).await.1.len(), 3);
        }
        assert_eq!(cluster.leader_among(&[2, 3, 4]).await, 2);
        if !suite().server.is_etcd {
            // A new voter votes once it has caught up.
            let caught_up = || cluster[2].log_lines("a new voter has caught up").len() == 2;
            wait::until_true("both to vote", LIMIT, caught_up).await;
            client.put("before", "v").await.expect("put");
            assert_eq!(ids(&cluster[4].client()).await.1.len(), 3);
        }
        // Three take the loss of one.
        cluster[2].kill();
        let next = cluster.leader_among(&[3, 4]).await;
        cluster[next].client().put("at last", "v").await.expect("put");
    })
    .await;
}

/// What the member had not heard to be committed is kept as well: its client may have been told so by those that are lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_sudden_end_at_any_time_leaves_the_old_cluster_or_the_new_one() {
    if suite().server.is_etcd {
        println!("passed by: etcd's own ways at a crash");
        return;
    }
    let mut random = Random::from_environment();
    check(spec(), async |cluster| {
        fill(cluster).await;
        end(cluster).await;
        for _ in 0..8 {
            cluster.launch_with(2, &[FORCE]);
            wait::pass(Duration::from_millis(random.below(150))).await;
            cluster[2].kill();
        }
        // Whatever is there: it goes on, with the flag or because it had begun with it.
        cluster.launch_with(2, &[FORCE]);
        cluster[2].ready().await;
        let client = cluster[2].client();
        assert_eq!((keys(&client).await, ids(&client).await.1.len()), (KEYS, 1));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_begun_before_a_crash_is_ended_without_the_flag() {
    if suite().server.is_etcd {
        println!("passed by: the mark is ours");
        return;
    }
    check(spec(), async |cluster| {
        fill(cluster).await;
        end(cluster).await;
        // As a crash right after the first step leaves it.
        let mark = cluster[2].data_dir().join("member").join("force-new-cluster");
        std::fs::write(&mark, "").expect("write the mark");
        cluster.restart(2).await;
        let client = cluster[2].client();
        assert_eq!((keys(&client).await, ids(&client).await.1.len()), (KEYS, 1));
        assert!(!mark.exists(), "the mark would do it again");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_begins_is_not_changed_by_the_flag() {
    let mut cluster = Cluster::prepare(suite(), &spec().with_flags(&[FORCE])).await;
    cluster.start_all().await;
    let client = cluster[0].client();
    client.put("k", "v").await.expect("put");
    assert_eq!(ids(&client).await.1.len(), 3);
    let request = RangeRequest { key: "k".into(), ..Default::default() };
    assert_eq!(cluster[1].client().range(request).await.expect("range").kvs.len(), 1);
}

//! Members that are added, promoted, removed and replaced while clients write.

use crate::{check, suite};
use keelstone_harness::faults::{judge, serves};
use keelstone_harness::load::{Load, LoadSpec};
use keelstone_harness::proto::etcdserverpb::downgrade_request::DowngradeAction;
use keelstone_harness::proto::etcdserverpb::maintenance_client::MaintenanceClient;
use keelstone_harness::proto::etcdserverpb::{DowngradeRequest, RangeRequest};
use keelstone_harness::{Client, Cluster, ClusterSpec, Random, wait};
use std::time::Duration;
use tonic::{Code, Status};

const LIMIT: Duration = Duration::from_secs(60);

fn spec(members: usize) -> ClusterSpec {
    ClusterSpec { proxied: false, ..ClusterSpec::of(members) }
}

async fn id_of(client: &Client) -> u64 {
    client.status().await.expect("status").header.expect("a header").member_id
}

/// Asks until the cluster has been whole for as long as a change asks for (5 s).
async fn once_healthy<R, F: Future<Output = Result<R, Status>>>(what: &str, ask: impl Fn() -> F) -> R {
    wait::until(what, LIMIT, || async {
        match ask().await {
            Ok(reply) => Some(reply),
            Err(error) if error.message() == "etcdserver: unhealthy cluster" => None,
            Err(error) if error.message().contains("not enough started members") => None,
            Err(error) => panic!("{what}: {error:?}"),
        }
    })
    .await
}

/// Adds a member through the one at `through` and starts it. Returns its place.
async fn grow(cluster: &mut Cluster, beside: &[usize], through: usize, learner: bool) -> usize {
    let (place, url) = cluster.prepare_joiner(beside);
    let client = cluster[through].client();
    let reply = once_healthy("a member to be added", || client.member_add(&url, learner)).await;
    let added = reply.member.expect("the new member");
    assert_eq!((added.name.as_str(), &added.peer_urls, added.is_learner), ("", &vec![url], learner));
    assert_eq!(reply.members.len(), beside.len() + 1);
    assert!(reply.members.contains(&added) && reply.members.is_sorted_by_key(|member| member.id));
    assert_eq!(reply.header.expect("a header").revision, 0);
    cluster.restart(place).await;
    let listed = client.member_list(true).await.expect("member list").members;
    assert!(listed.iter().any(|member| member.id == added.id && member.name == format!("m{place}")), "{listed:?}");
    place
}

async fn remove(cluster: &mut Cluster, place: usize, through: usize) {
    let (client, id) = (cluster[through].client(), id_of(&cluster[place].client()).await);
    once_healthy("a member to be removed", || client.member_remove(id)).await;
    let exit = cluster[place].wait_for_exit().await;
    assert!(exit.status.success(), "{exit:?}");
    let said = "the member has been permanently removed from the cluster";
    assert!(!cluster[place].log_lines(said).is_empty(), "m{place} does not say why it ended");
}

/// Seen by [`put_until_stopped`].
const STOP: &str = "stop";

/// Puts one key after the other, and gives the revisions of those that were acknowledged.
async fn put_until_stopped(client: Client) -> Vec<i64> {
    let mut acknowledged = Vec::new();
    for at in 0.. {
        // An answer may be lost while members change.
        acknowledged.extend(client.put(format!("put/{at:06}"), "").await.ok());
        if client.get(STOP).await.is_ok_and(|answer| answer.count == 1) {
            break;
        }
    }
    acknowledged
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_grows_shrinks_and_is_replaced_under_load_and_kills() {
    if suite().server.is_etcd {
        println!("passed by: in etcd a second voter counts before it runs, and nothing is written meanwhile");
        return;
    }
    check(spec(1), async |cluster| {
        let mut random = Random::from_environment();
        let load = Load::start(&cluster.clients(), LoadSpec::default(), &mut random);
        load.progress(100, LIMIT).await;
        let mut members = vec![0];
        while members.len() < 5 {
            let through = members[random.below(members.len() as u64) as usize];
            members.push(grow(cluster, &members, through, false).await);
            load.progress(50, LIMIT).await;
            let victim = members[random.below(members.len() as u64) as usize];
            cluster[victim].kill();
            cluster.restart(victim).await;
            for &place in &members {
                serves(&cluster[place].client(), LIMIT).await;
            }
        }
        // Five survive the loss of two.
        cluster[3].kill();
        cluster[4].kill();
        load.progress(50, LIMIT).await;
        cluster.restart(3).await;
        cluster.restart(4).await;
        for (gone, through) in [(1, 0), (2, 3)] {
            members.retain(|&place| place != gone);
            remove(cluster, gone, through).await;
            load.progress(50, LIMIT).await;
        }
        // Each of the three that are left is replaced once, whoever leads; the one that the load goes through comes last.
        for _ in 0..2 {
            let gone = members.remove(1);
            remove(cluster, gone, members[1]).await;
            members.push(grow(cluster, &members, members[0], false).await);
            cluster[members[1]].kill();
            load.progress(50, LIMIT).await;
            cluster.restart(members[1]).await;
        }
        let clients: Vec<Client> = members.iter().map(|&place| cluster[place].client()).collect();
        println!("{}", judge(&clients, load).await);

        let puts = tokio::spawn(put_until_stopped(cluster[members[1]].client()));
        let gone = members.remove(0);
        remove(cluster, gone, members[0]).await;
        members.push(grow(cluster, &members, members[1], false).await);
        let last = cluster[members[2]].client();
        last.put(STOP, "").await.expect("put");
        let acknowledged = puts.await.expect("a writer does not panic");
        let found = last.get_all().await.expect("get").kvs.into_iter().filter(|kv| kv.key.starts_with(b"put/"));
        let found: Vec<i64> = found.map(|kv| kv.mod_revision).collect();
        assert!(!acknowledged.is_empty() && acknowledged.iter().all(|at| found.contains(at)));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_may_remove_itself() {
    check(spec(3), async |cluster| {
        let leader = cluster.leader().await;
        let others: Vec<usize> = (0..3).filter(|&place| place != leader).collect();
        remove(cluster, leader, leader).await;
        for &place in &others {
            serves(&cluster[place].client(), LIMIT).await;
        }
        assert_eq!(cluster[others[0]].client().member_list(true).await.expect("member list").members.len(), 2);
        // It stays out, whatever it remembers. (etcd calls that an error.)
        cluster.launch(leader);
        let exit = cluster[leader].wait_for_exit().await;
        assert!(exit.status.success() || suite().server.is_etcd, "{exit:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_was_removed_while_it_was_down_ends_when_it_comes_back() {
    check(spec(3), async |cluster| {
        let leader = cluster.leader().await;
        let down = (leader + 1) % 3;
        let id = id_of(&cluster[down].client()).await;
        cluster[down].kill();
        let client = cluster[leader].client();
        once_healthy("a member to be removed", || client.member_remove(id)).await;
        cluster.launch(down);
        assert!(cluster[down].wait_for_exit().await.status.success());
        let again = client.member_remove(id).await.expect_err("it is gone");
        assert_eq!((again.code(), again.message()), (Code::NotFound, "etcdserver: member not found"));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_learner_that_was_removed_while_it_was_down_ends_when_it_comes_back() {
    check(spec(1), async |cluster| {
        let learner = grow(cluster, &[0], 0, true).await;
        let id = id_of(&cluster[learner].client()).await;
        cluster[learner].kill();
        let client = cluster[0].client();
        once_healthy("a learner to be removed", || client.member_remove(id)).await;
        cluster.launch(learner);
        assert!(cluster[learner].wait_for_exit().await.status.success());
        let said = "the member has been permanently removed from the cluster";
        assert!(!cluster[learner].log_lines(said).is_empty());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_learner_is_promoted_once_it_has_caught_up() {
    check(spec(1), async |cluster| {
        let client = cluster[0].client();
        for at in 0..50 {
            client.put(format!("k{at}"), "v").await.expect("put");
        }
        let (place, url) = cluster.prepare_joiner(&[0]);
        let id = client.member_add(&url, true).await.expect("a learner").member.expect("the member").id;
        let refused = |answer: Result<_, Status>| answer.map(drop).expect_err("refused").message().to_owned();
        let early = client.member_promote(id).await;
        assert_eq!(
            refused(early.map(drop)),
            "etcdserver: can only promote a learner member which is in sync with leader"
        );
        let second = client.member_add("http://127.0.0.1:1", true).await;
        assert_eq!(refused(second.map(drop)), "etcdserver: too many learner members in cluster");
        cluster.restart(place).await;
        let learner = cluster[place].client();
        assert_eq!(refused(learner.get("k0").await.map(drop)), "etcdserver: rpc not supported for learner");
        let stale = RangeRequest { key: "k0".into(), serializable: true, ..Default::default() };
        assert_eq!(learner.range(stale).await.expect("a serializable read").kvs.len(), 1);
        assert!(learner.status().await.expect("status").is_learner);
        wait::until("the learner to catch up", LIMIT, || async { client.member_promote(id).await.ok() }).await;
        let again = client.member_promote(id).await;
        assert_eq!(refused(again.map(drop)), "etcdserver: can only promote a learner member");
        serves(&learner, LIMIT).await;
        assert!(!learner.status().await.expect("status").is_learner);
        learner.put("by", "a voter").await.expect("put");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_learner_is_promoted_by_itself_where_that_is_asked_for() {
    if suite().server.is_etcd {
        println!("passed by: the flag is ours");
        return;
    }
    check(spec(1).with_flags(&["--auto-promote-learners"]), async |cluster| {
        let client = cluster[0].client();
        client.put("k", "v").await.expect("put");
        grow(cluster, &[0], 0, true).await;
        wait::until("the learner to vote", LIMIT, || async {
            let members = client.member_list(true).await.ok()?.members;
            members.iter().all(|member| !member.is_learner).then_some(())
        })
        .await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_that_could_cost_the_quorum_are_refused() {
    check(spec(3), async |cluster| {
        let leader = cluster.leader().await;
        let client = cluster[leader].client();
        let own = id_of(&client).await;
        let members = client.member_list(true).await.expect("member list").members;
        let other = members.iter().find(|member| member.id != own).expect("three members");
        let taken = other.peer_urls[0].clone();
        let refused = |answer: Result<(), Status>| {
            let error = answer.expect_err("refused");
            (error.code(), error.message().to_owned())
        };
        for url in ["127.0.0.1:1", "ftp://127.0.0.1:1", "http://127.0.0.1", "http://127.0.0.1:1/path", ""] {
            let answer = refused(client.member_add(url, false).await.map(drop));
            assert_eq!(
                answer,
                (Code::InvalidArgument, "etcdserver: given member URLs are invalid".to_owned()),
                "{url}"
            );
        }
        let twice = once_refused("Peer URLs", || client.member_add(&taken, false)).await;
        assert_eq!(twice, (Code::FailedPrecondition, "etcdserver: Peer URLs already exists".to_owned()));
        let update = refused(client.member_update(own, &taken).await.map(drop));
        assert_eq!(update, (Code::FailedPrecondition, "etcdserver: Peer URLs already exists".to_owned()));
        let unknown = (Code::NotFound, "etcdserver: member not found".to_owned());
        assert_eq!(refused(client.member_update(7, "http://127.0.0.1:1").await.map(drop)), unknown);
        assert_eq!(refused(client.member_promote(7).await.map(drop)), unknown);
        let voter = refused(client.member_promote(own).await.map(drop));
        assert_eq!(voter, (Code::FailedPrecondition, "etcdserver: can only promote a learner member".to_owned()));

        // With one down, a fourth would leave two of four; removing one of the two that run would leave one of two.
        let (down, up) = ((leader + 1) % 3, (leader + 2) % 3);
        let up_id = id_of(&cluster[up].client()).await;
        cluster[down].kill();
        let unhealthy = (Code::Unavailable, "etcdserver: unhealthy cluster".to_owned());
        let add = wait::until("the loss to be noticed", LIMIT, || async {
            client.member_add("http://127.0.0.1:1", false).await.map(drop).err()
        });
        let add = add.await;
        assert_eq!((add.code(), add.message().to_owned()), unhealthy);
        assert_eq!(refused(client.member_remove(up_id).await.map(drop)), unhealthy);
        cluster.restart(down).await;
    })
    .await;
}

async fn once_refused<R, F: Future<Output = Result<R, Status>>>(what: &str, ask: impl Fn() -> F) -> (Code, String) {
    let error = wait::until("the cluster to be healthy", LIMIT, || async {
        let error = ask().await.err().expect("refused");
        (error.message() != "etcdserver: unhealthy cluster").then_some(error)
    });
    let error = error.await;
    assert!(error.message().contains(what), "{error:?}");
    (error.code(), error.message().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_moves_to_another_address() {
    check(spec(3), async |cluster| {
        let leader = cluster.leader().await;
        let moved = (leader + 1) % 3;
        let id = id_of(&cluster[moved].client()).await;
        let url = format!("http://127.0.0.1:{}", keelstone_harness::free_port());
        let reply = cluster[leader].client().member_update(id, &url).await.expect("member update");
        let listed = reply.members.iter().find(|member| member.id == id).expect("listed");
        assert_eq!((listed.peer_urls.as_slice(), listed.is_learner), ([url.clone()].as_slice(), false));
        cluster[moved].kill();
        cluster.launch_with(moved, &[&format!("--listen-peer-urls={url}")]);
        cluster[moved].ready().await;
        // It hears of what is written only at its new address.
        let at = cluster[leader].client().put("k", "v").await.expect("put");
        let seen = cluster[moved].client().get("k").await.expect("get");
        assert_eq!(seen.kvs[0].mod_revision, at);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn leadership_moves_to_the_member_that_is_named() {
    check(spec(3), async |cluster| {
        let leader = cluster.leader().await;
        let (target, client) = ((leader + 1) % 3, cluster[leader].client());
        let id = id_of(&cluster[target].client()).await;
        let refused = |answer: Result<_, Status>| answer.map(drop).expect_err("refused").message().to_owned();
        assert_eq!(refused(cluster[target].client().move_leader(id).await), "etcdserver: not leader");
        assert_eq!(refused(client.move_leader(7).await), "etcdserver: bad leader transferee");
        client.move_leader(id_of(&client).await).await.expect("to itself");
        let reply = client.move_leader(id).await.expect("move leader");
        assert!(reply.header.is_none());
        assert_eq!(cluster.leader().await, target);
        client.put("k", "v").await.expect("put");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_lost_its_data_does_not_begin_anew() {
    check(spec(3), async |cluster| {
        cluster.leader().await;
        cluster[1].kill();
        std::fs::remove_dir_all(cluster[1].data_dir()).expect("remove the data");
        cluster.launch(1);
        assert!(!cluster[1].wait_for_exit().await.status.success());
        assert!(!cluster[1].log_lines("has already been bootstrapped").is_empty());
        cluster[1].expect_errors("has already been bootstrapped");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_is_not_listed_does_not_join() {
    check(spec(1), async |cluster| {
        let (place, _) = cluster.prepare_joiner(&[0]);
        cluster.launch(place);
        assert!(!cluster[place].wait_for_exit().await.status.success());
        let said = cluster[place].log_lines("error validating peerURLs {ClusterID:");
        assert!(said.iter().any(|line| line.contains("member count is unequal")), "{said:?}");
        cluster[place].expect_errors("member count is unequal");
        serves(&cluster[0].client(), LIMIT).await;
    })
    .await;
}

/// It would only have to be replaced.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_joins_a_cluster_that_goes_down_to_the_version_before() {
    check(spec(1), async |cluster| {
        let client = cluster[0].client();
        let request = DowngradeRequest { action: DowngradeAction::Enable.into(), version: "3.6".to_owned() };
        let mut maintenance = MaintenanceClient::new(client.channel());
        maintenance.downgrade(request).await.expect("enable");
        let (place, url) = cluster.prepare_joiner(&[0]);
        once_healthy("a member to be added", || client.member_add(&url, true)).await;
        cluster.launch(place);
        let exit = cluster[place].wait_for_exit().await;
        assert!(!exit.status.success(), "{exit:?}");
        assert!(!cluster[place].log_lines("incompatible with current running cluster").is_empty());
        assert!(!cluster[place].log_lines("cluster version of remote member is not compatible; too low").is_empty());
        cluster[place].expect_errors("incompatible with current running cluster");

        let request = DowngradeRequest { action: DowngradeAction::Cancel.into(), ..Default::default() };
        maintenance.downgrade(request).await.expect("cancel");
        cluster.restart(place).await;
        assert_eq!(client.member_list(true).await.expect("member list").members.len(), 2);
    })
    .await;
}

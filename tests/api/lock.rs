//! The Lock and Election services.

use crate::{Case, check, refused};
use bytes::Bytes;
use keelstone_harness::proto::v3electionpb::election_client::ElectionClient;
use keelstone_harness::proto::v3electionpb::{
    CampaignRequest, LeaderKey, LeaderRequest, ProclaimRequest, ResignRequest,
};
use keelstone_harness::proto::v3lockpb::lock_client::LockClient;
use keelstone_harness::proto::v3lockpb::{LockRequest, UnlockRequest};
use keelstone_harness::wait;
use std::time::Duration;
use tonic::transport::Channel;
use tonic::{Code, Response, Status};

const PATIENCE: Duration = Duration::from_secs(20);
const TTL_SECS: i64 = 60;

fn locks(case: &Case) -> LockClient<Channel> {
    LockClient::new(case.client.channel())
}

fn elections(case: &Case) -> ElectionClient<Channel> {
    ElectionClient::new(case.client.channel())
}

async fn lease(case: &Case) -> i64 {
    case.client.grant(TTL_SECS, 0).await.expect("grant").id
}

async fn lock(case: &Case, name: &Bytes, lease: i64) -> Result<Bytes, Status> {
    let request = LockRequest { name: name.clone(), lease };
    let response = locks(case).lock(request).await.map(Response::into_inner)?;
    assert!(response.header.is_some_and(|header| header.revision > 0 && header.cluster_id != 0));
    Ok(response.key)
}

/// Waits until so many contend for a name.
async fn contenders(case: &Case, name: &Bytes, count: i64) {
    let prefix = [name, &b"/"[..]].concat();
    wait::until(&format!("{count} contenders"), PATIENCE, || async {
        (case.client.get_prefix(prefix.clone()).await.expect("get").count == count).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_lock_is_held_by_one_lease_and_goes_to_the_next_in_line() {
    check(async |case| {
        let (name, first, second) = (case.key("lock"), lease(case).await, lease(case).await);
        let key = lock(case, &name, first).await.expect("lock");
        assert_eq!(key, [&name[..], format!("/{first:x}").as_bytes()].concat());
        let kv = case.client.get(key.clone()).await.expect("get").kvs.remove(0);
        assert_eq!((kv.lease, kv.value.len()), (first, 0));
        // Who has it gets it again.
        assert_eq!(lock(case, &name, first).await.expect("lock"), key);

        let (waiting, key_of_first) = (lock(case, &name, second), key);
        let unlock = async {
            contenders(case, &name, 2).await;
            let request = UnlockRequest { key: key_of_first };
            let response = locks(case).unlock(request).await.expect("unlock").into_inner();
            response.header.expect("a header").revision
        };
        let (second_key, unlocked_at) = tokio::join!(waiting, unlock);
        assert_eq!(second_key.expect("lock"), [&name[..], format!("/{second:x}").as_bytes()].concat());
        assert!(unlocked_at > kv.create_revision);
        // A lock that nobody holds is unlocked without a word.
        locks(case).unlock(UnlockRequest { key: case.key("none") }).await.expect("unlock");
    })
    .await;
}

#[tokio::test]
async fn a_lock_without_a_lease_gets_one_of_a_minute() {
    check(async |case| {
        let key = lock(case, &case.key("lock"), 0).await.expect("lock");
        let lease = case.client.get(key).await.expect("get").kvs.remove(0).lease;
        let left = case.client.time_to_live(lease, false).await.expect("time to live");
        assert_eq!(left.granted_ttl, 60);
    })
    .await;
}

#[tokio::test]
async fn who_waits_for_a_lock_and_leaves_is_out_of_the_queue() {
    check(async |case| {
        let (name, first, second) = (case.key("lock"), lease(case).await, lease(case).await);
        lock(case, &name, first).await.expect("lock");
        let leaving = async {
            contenders(case, &name, 2).await;
        };
        tokio::select! {
            key = lock(case, &name, second) => panic!("two hold {key:?}"),
            () = leaving => {}
        }
        contenders(case, &name, 1).await;
    })
    .await;
}

#[tokio::test]
async fn a_lock_ends_with_its_lease_and_one_whose_own_lease_ended_is_not_given() {
    check(async |case| {
        let (name, first, second) = (case.key("lock"), lease(case).await, lease(case).await);
        lock(case, &name, first).await.expect("lock");
        let revoke = async {
            contenders(case, &name, 2).await;
            // The one that waits does not learn of it before its turn.
            case.client.revoke(second).await.expect("revoke");
            case.client.revoke(first).await.expect("revoke");
        };
        let (answer, ()) = tokio::join!(lock(case, &name, second), revoke);
        refused(answer, Code::Unknown, "mutex: session is expired");
        refused(lock(case, &name, 12345).await, Code::Unknown, "etcdserver: requested lease not found");
    })
    .await;
}

async fn campaign(case: &Case, name: &Bytes, lease: i64, value: &str) -> Result<LeaderKey, Status> {
    let request = CampaignRequest { name: name.clone(), lease, value: value.to_owned().into() };
    let response = elections(case).campaign(request).await.map(Response::into_inner)?;
    assert!(response.header.is_some_and(|header| header.revision > 0));
    Ok(response.leader.expect("who leads"))
}

async fn leader(case: &Case, name: &Bytes) -> Result<Bytes, Status> {
    let response = elections(case).leader(LeaderRequest { name: name.clone() }).await?.into_inner();
    Ok(response.kv.expect("a leader's pair").value)
}

#[tokio::test]
async fn an_election_has_one_leader_who_proclaims_and_resigns() {
    check(async |case| {
        let (name, first, second) = (case.key("election"), lease(case).await, lease(case).await);
        refused(leader(case, &name).await, Code::Unknown, "election: no leader");
        let key = campaign(case, &name, first, "one").await.expect("campaign");
        assert_eq!((&key.name, key.lease), (&name, first));
        let kv = case.client.get(key.key.clone()).await.expect("get").kvs.remove(0);
        assert_eq!((kv.create_revision, kv.value.as_ref()), (key.rev, &b"one"[..]));
        // Whoever leads may change what it says by another campaign too.
        let again = campaign(case, &name, first, "uno").await.expect("campaign");
        assert_eq!((again.rev, leader(case, &name).await.expect("leader")), (key.rev, "uno".into()));
        let proclaim = |leader, value: &'static str| {
            let request = ProclaimRequest { leader, value: value.into() };
            async { elections(case).proclaim(request).await.map(Response::into_inner) }
        };
        proclaim(Some(key.clone()), "eins").await.expect("proclaim").header.expect("a header");
        assert_eq!(leader(case, &name).await.expect("leader"), "eins");
        let missing = "\"leader\" field must be provided";
        refused(proclaim(None, "x").await, Code::Unknown, missing);
        let other = LeaderKey { rev: key.rev + 1, ..key.clone() };
        refused(proclaim(Some(other.clone()), "x").await, Code::Unknown, "election: not leader");

        let resign = async |leader| {
            let answer = elections(case).resign(ResignRequest { leader }).await;
            answer.map(|response| response.into_inner().header.expect("a header").revision)
        };
        refused(resign(None).await, Code::Unknown, missing);
        // One that does not lead resigns from nothing.
        resign(Some(other)).await.expect("resign");
        let next = async {
            contenders(case, &name, 2).await;
            assert_eq!(leader(case, &name).await.expect("leader"), "eins");
            resign(Some(key.clone())).await.expect("resign");
        };
        let (elected, ()) = tokio::join!(campaign(case, &name, second, "two"), next);
        assert_eq!(elected.expect("campaign").lease, second);
        assert_eq!(leader(case, &name).await.expect("leader"), "two");
        refused(proclaim(Some(key), "x").await, Code::Unknown, "election: not leader");
        refused(campaign(case, &name, 12345, "x").await, Code::Unknown, "etcdserver: requested lease not found");
    })
    .await;
}

#[tokio::test]
async fn who_campaigns_and_leaves_is_out_of_the_queue() {
    check(async |case| {
        let (name, first, second) = (case.key("election"), lease(case).await, lease(case).await);
        campaign(case, &name, first, "one").await.expect("campaign");
        tokio::select! {
            key = campaign(case, &name, second, "two") => panic!("two lead: {key:?}"),
            () = contenders(case, &name, 2) => {}
        }
        contenders(case, &name, 1).await;
    })
    .await;
}

#[tokio::test]
async fn an_observer_is_told_of_every_leader_and_what_it_proclaims() {
    check(async |case| {
        let name = case.key("election");
        let (first, second) = (lease(case).await, lease(case).await);
        // etcd begins to answer when there is a leader to tell of.
        let mut client = elections(case);
        let observe = client.observe(LeaderRequest { name: name.clone() });
        let (stream, key) = tokio::join!(observe, campaign(case, &name, first, "one"));
        let (mut stream, key) = (stream.expect("observe").into_inner(), key.expect("campaign"));
        let mut told = async || {
            let response = tokio::time::timeout(PATIENCE, stream.message()).await.expect("in time");
            let response = response.expect("an answer").expect("no end");
            let kv = response.kv.expect("a leader's pair");
            assert!(response.header.expect("a header").revision >= kv.mod_revision);
            (String::from_utf8(kv.value.to_vec()).expect("text"), kv.lease)
        };
        assert_eq!(told().await, ("one".to_owned(), first));
        elections(case)
            .proclaim(ProclaimRequest { leader: Some(key.clone()), value: "uno".into() })
            .await
            .expect("proclaim");
        assert_eq!(told().await, ("uno".to_owned(), first));
        elections(case).resign(ResignRequest { leader: Some(key) }).await.expect("resign");
        campaign(case, &name, second, "two").await.expect("campaign");
        assert_eq!(told().await, ("two".to_owned(), second));
        case.client.revoke(second).await.expect("revoke");
        let third = lease(case).await;
        campaign(case, &name, third, "three").await.expect("campaign");
        assert_eq!(told().await, ("three".to_owned(), third));
    })
    .await;
}

//! Lease: grant, revoke, keep alive, time to live, list, and the end of what nobody renews.

use crate::{Case, check, check_alone, refused, revision};
use bytes::Bytes;
use keelstone_harness::proto::etcdserverpb::watch_create_request::FilterType;
use keelstone_harness::proto::etcdserverpb::{PutRequest, WatchCreateRequest};
use keelstone_harness::wait;
use std::time::{Duration, Instant};
use tonic::Code;

const NOT_FOUND: &str = "etcdserver: requested lease not found";
const PATIENCE: Duration = Duration::from_secs(10);
/// Of a lease that has to outlive a machine that stalls between a grant and what is done with it.
const TTL_SECS: i64 = 5;
const TTL: Duration = Duration::from_secs(5);

async fn attach(case: &Case, name: &str, lease: i64) {
    let put = PutRequest { key: case.key(name), value: "v".into(), lease, ..Default::default() };
    case.client.put_request(put).await.expect("put");
}

/// An id that no other case takes.
fn id_of(case: &Case, number: i64) -> i64 {
    let digits: String = case.prefix.chars().filter(char::is_ascii_digit).collect();
    digits.parse::<i64>().unwrap_or(0) * 1000 + number + 1_000_000
}

#[tokio::test]
async fn a_grant_takes_the_id_and_the_time() {
    check(async |case| {
        let id = id_of(case, 1);
        let reply = case.client.grant(100, id).await.expect("grant");
        assert_eq!((reply.id, reply.ttl, reply.error.as_str()), (id, 100, ""));
        let answer = case.client.grant(50, id).await;
        refused(answer, Code::FailedPrecondition, "etcdserver: lease already exists");
        let chosen = case.client.grant(100, 0).await.expect("grant");
        let next = case.client.grant(100, 0).await.expect("grant");
        assert!(0 < chosen.id && chosen.id < next.id, "{} and then {}", chosen.id, next.id);
        let negative = case.client.grant(100, -id).await.expect("a negative id is an id");
        assert_eq!(negative.id, -id);
        case.client.revoke(-id).await.expect("revoke");
    })
    .await;
}

#[tokio::test]
async fn the_time_has_a_least_and_a_greatest_value() {
    check(async |case| {
        // One and a half election timeouts, in whole seconds.
        for (asked, given) in [(0, 2), (-5, 2), (1, 2), (2, 2), (3, 3)] {
            let reply = case.client.grant(asked, 0).await.expect("grant");
            assert_eq!(reply.ttl, given, "{asked} s asked for");
        }
        let greatest = case.client.grant(9_000_000_000, 0).await.expect("grant");
        assert_eq!(greatest.ttl, 9_000_000_000);
        case.client.revoke(greatest.id).await.expect("revoke");
        refused(case.client.grant(9_000_000_001, 0).await, Code::OutOfRange, "etcdserver: too large lease TTL");
    })
    .await;
}

#[tokio::test]
async fn a_grant_makes_no_revision_and_a_revoke_one_for_all_keys() {
    check_alone(&[], async |case| {
        let first = case.client.grant(600, 0).await.expect("grant");
        assert_eq!(revision(&first.header), 1);
        let empty = case.client.grant(600, 0).await.expect("grant");
        let reply = case.client.revoke(empty.id).await.expect("revoke");
        assert_eq!(revision(&reply.header), 1);
        for name in ["c", "a", "b"] {
            attach(case, name, first.id).await;
        }
        case.put("stays", "v").await;
        let reply = case.client.revoke(first.id).await.expect("revoke");
        assert_eq!(revision(&reply.header), 6);
        let left = case.client.get_all().await.expect("range");
        assert_eq!((case.names(&left.kvs), revision(&left.header)), (vec!["stays".to_owned()], 6));
        assert_eq!(case.put("next", "v").await, 7);
    })
    .await;
}

#[tokio::test]
async fn what_is_gone_cannot_be_revoked() {
    check(async |case| {
        let id = case.client.grant(600, 0).await.expect("grant").id;
        case.client.revoke(id).await.expect("revoke");
        refused(case.client.revoke(id).await, Code::NotFound, NOT_FOUND);
        refused(case.client.revoke(0).await, Code::NotFound, NOT_FOUND);
        case.client.grant(600, id).await.expect("the id is free again");
    })
    .await;
}

#[tokio::test]
async fn a_renewal_answers_the_granted_time_and_zero_for_what_is_gone() {
    check(async |case| {
        let id = case.client.grant(300, 0).await.expect("grant").id;
        let mut stream = case.client.keep_alive();
        for _ in 0..2 {
            let reply = stream.renew(id, PATIENCE).await.expect("renewal");
            assert_eq!((reply.id, reply.ttl), (id, 300));
            assert!(revision(&reply.header) >= 1);
        }
        let unknown = id_of(case, 2);
        let reply = stream.renew(unknown, PATIENCE).await.expect("an answer, not an error");
        assert_eq!((reply.id, reply.ttl), (unknown, 0));
        case.client.revoke(id).await.expect("revoke");
        assert_eq!(stream.renew(id, PATIENCE).await.expect("an answer").ttl, 0);
    })
    .await;
}

#[tokio::test]
async fn renewals_are_answered_in_order() {
    check(async |case| {
        let mut ids = Vec::new();
        for number in 0..20 {
            ids.push(case.client.grant(300 + number, 0).await.expect("grant").id);
        }
        let mut stream = case.client.keep_alive();
        for id in &ids {
            stream.send(*id);
        }
        for (number, id) in ids.iter().enumerate() {
            let reply = stream.next(PATIENCE).await.expect("renewal");
            assert_eq!((reply.id, reply.ttl), (*id, 300 + number as i64));
        }
    })
    .await;
}

#[tokio::test]
async fn the_time_to_live_counts_down_and_lists_keys() {
    check(async |case| {
        let id = case.client.grant(300, 0).await.expect("grant").id;
        for name in ["b", "a"] {
            attach(case, name, id).await;
        }
        let reply = case.client.time_to_live(id, false).await.expect("time to live");
        assert_eq!((reply.id, reply.granted_ttl, reply.keys.len()), (id, 300, 0));
        assert!((200..300).contains(&reply.ttl), "{} s left", reply.ttl);
        let mut keys = case.client.time_to_live(id, true).await.expect("time to live").keys;
        keys.sort();
        assert_eq!(keys, [case.key("a"), case.key("b")]);
        let unknown = id_of(case, 3);
        let gone = case.client.time_to_live(unknown, true).await.expect("an answer, not an error");
        assert_eq!((gone.id, gone.ttl, gone.granted_ttl, gone.keys.len()), (unknown, -1, 0, 0));
    })
    .await;
}

/// Whoever is told that a lease is gone must not be shown its keys at the revision of that answer.
#[tokio::test]
async fn a_lease_is_not_gone_before_its_keys() {
    check_alone(&[], async |case| {
        for _ in 0..300 {
            let id = case.client.grant(600, 0).await.expect("grant").id;
            attach(case, "k", id).await;
            let put = case.get("k").await.expect("the key").mod_revision;
            let gone_at = async {
                loop {
                    let reply = case.client.time_to_live(id, false).await.expect("time to live");
                    if reply.ttl == -1 {
                        return revision(&reply.header);
                    }
                }
            };
            let (revoked, gone_at) = tokio::join!(case.client.revoke(id), gone_at);
            revoked.expect("revoke");
            assert!(gone_at > put, "gone at {gone_at}, the key was put at {put}");
        }
    })
    .await;
}

/// A member that was elected a moment ago does not take a lease for gone because it does not keep its time yet.
#[tokio::test]
async fn the_first_lease_of_a_fresh_member_is_there() {
    check_alone(&[], async |case| {
        case.client.grant(600, 7).await.expect("grant");
        let reply = case.client.time_to_live(7, false).await.expect("time to live");
        assert!(reply.granted_ttl == 600 && reply.ttl > 590, "{reply:?}");
    })
    .await;
}

#[tokio::test]
async fn a_key_moves_from_lease_to_lease() {
    check(async |case| {
        let one = case.client.grant(300, 0).await.expect("grant").id;
        let other = case.client.grant(300, 0).await.expect("grant").id;
        attach(case, "k", one).await;
        attach(case, "k", other).await;
        case.client.revoke(one).await.expect("revoke");
        assert_eq!(case.get("k").await.expect("the key stays").lease, other);
        case.client.delete(case.key("k")).await.expect("delete");
        assert_eq!(case.client.time_to_live(other, true).await.expect("time to live").keys, Vec::<Bytes>::new());
    })
    .await;
}

#[tokio::test]
async fn leases_are_listed_by_the_time_they_have_left() {
    check_alone(&[], async |case| {
        assert_eq!(case.client.leases().await.expect("leases").leases.len(), 0);
        for (ttl, id) in [(500, 5), (300, 3), (400, 4)] {
            case.client.grant(ttl, id).await.expect("grant");
        }
        let ids: Vec<i64> = case.client.leases().await.expect("leases").leases.iter().map(|lease| lease.id).collect();
        assert_eq!(ids, [3, 4, 5]);
        case.client.revoke(4).await.expect("revoke");
        assert_eq!(case.client.leases().await.expect("leases").leases.len(), 2);
    })
    .await;
}

#[tokio::test]
async fn leases_of_equal_time_are_listed_in_the_order_of_their_grants() {
    check_alone(&[], async |case| {
        // Answered once there is a leader to keep the time; leases from before it start together.
        case.client.time_to_live(1, false).await.expect("time to live");
        let granted: Vec<i64> = (1..=100).rev().collect();
        for &id in &granted {
            case.client.grant(500, id).await.expect("grant");
        }
        let ids: Vec<i64> = case.client.leases().await.expect("leases").leases.iter().map(|lease| lease.id).collect();
        assert_eq!(ids, granted);
    })
    .await;
}

#[tokio::test]
async fn a_lease_that_nobody_renews_ends_with_its_keys_and_not_before_its_time() {
    check(async |case| {
        let granted = Instant::now();
        let grant = case.client.grant(TTL_SECS, 0).await.expect("grant");
        let id = grant.id;
        attach(case, "a", id).await;
        attach(case, "b", id).await;
        // From then on, for the lease may have ended before the watcher is there.
        let mut stream = case.client.watch();
        let ends = WatchCreateRequest {
            start_revision: revision(&grant.header) + 1,
            filters: vec![FilterType::Noput.into()],
            ..case.watch_all()
        };
        stream.create_and_wait(ends).await;
        let response = stream.expect().await;
        let lived = granted.elapsed();
        assert_eq!(response.events.len(), 2, "both keys end in one revision: {response:?}");
        assert!(lived >= TTL, "ended after {lived:?}");
        refused(case.client.revoke(id).await, Code::NotFound, NOT_FOUND);
        assert_eq!(case.client.time_to_live(id, false).await.expect("time to live").ttl, -1);
    })
    .await;
}

#[tokio::test]
async fn a_renewed_lease_lives_on() {
    check(async |case| {
        let id = case.client.grant(TTL_SECS, 0).await.expect("grant").id;
        attach(case, "k", id).await;
        let mut stream = case.client.keep_alive();
        let begun = Instant::now();
        while begun.elapsed() < TTL * 2 {
            assert_eq!(stream.renew(id, PATIENCE).await.expect("renewal").ttl, TTL_SECS);
            wait::pass(TTL / 20).await;
        }
        assert!(case.get("k").await.is_some());
        let renewed = Instant::now();
        stream.renew(id, PATIENCE).await.expect("renewal");
        wait::until("the lease to end", TTL + PATIENCE, || async { case.get("k").await.is_none().then_some(()) }).await;
        assert!(renewed.elapsed() >= TTL, "ended {:?} after its last renewal", renewed.elapsed());
        assert_eq!(stream.renew(id, PATIENCE).await.expect("an answer").ttl, 0);
    })
    .await;
}

#[tokio::test]
async fn many_leases_end_each_with_its_key() {
    check_alone(&[], async |case| {
        for number in 1..=300 {
            case.client.grant(2, number).await.expect("grant");
            attach(case, &format!("{number}"), number).await;
        }
        // All ends, wherever among the puts they are: on a slow machine the first leases end before the last begin.
        let mut stream = case.client.watch();
        let everything = Bytes::from_static(b"\0");
        let request = WatchCreateRequest {
            key: everything.clone(),
            range_end: everything,
            start_revision: 2,
            filters: vec![FilterType::Noput.into()],
            ..Default::default()
        };
        stream.create_and_wait(request).await;
        let events = stream.events(300).await;
        let mut revisions: Vec<i64> =
            events.iter().map(|event| event.kv.as_ref().expect("a key").mod_revision).collect();
        revisions.dedup();
        assert_eq!(revisions.len(), 300, "each lease ends in a revision of its own");
        assert_eq!(case.client.leases().await.expect("leases").leases.len(), 0);
        assert_eq!(case.client.get_all().await.expect("range").count, 0);
    })
    .await;
}

//! Examples, and a comparison with a model that keeps everything in plain lists.

use super::*;
use crate::lease::min_ttl_secs;
use proptest::prelude::*;
use std::collections::BTreeSet;

fn lessor() -> Lessor {
    let registry = prometheus::Registry::new();
    let metrics = Metrics::register(&registry).expect("fresh registry");
    Lessor::new(min_ttl_secs(Duration::from_secs(1)), metrics)
}

fn leader() -> Lessor {
    let lessor = lessor();
    lessor.promote(Ticks(0), Duration::ZERO);
    lessor
}

fn key(name: &str) -> Bytes {
    Bytes::copy_from_slice(name.as_bytes())
}

fn is_renewed(renewal: &Renewal) -> bool {
    matches!(renewal, Renewal::Renewed { .. })
}

#[test]
fn grants_are_checked_and_raised_to_the_minimum() {
    let lessor = lessor();
    assert_eq!(lessor.grant(LeaseId::NONE, 10), Err(LeaseError::NotFound));
    assert_eq!(lessor.grant(LeaseId(1), MAX_TTL_SECS + 1), Err(LeaseError::TtlTooLarge));
    assert_eq!(lessor.grant(LeaseId(1), -5).map(|lease| lease.ttl_secs), Ok(2));
    assert_eq!(lessor.grant(LeaseId(1), 10), Err(LeaseError::Exists));
    assert_eq!(lessor.grant(LeaseId(2), MAX_TTL_SECS).map(|lease| lease.ttl_secs), Ok(MAX_TTL_SECS));
}

#[test]
fn a_key_hangs_on_its_last_lease_only() {
    let lessor = lessor();
    for id in [1, 2] {
        lessor.grant(LeaseId(id), 10).expect("new");
    }
    let (a, b) = (key("a"), key("b"));
    lessor.follow([(&b, LeaseId(1)), (&a, LeaseId(1))]);
    assert_eq!(lessor.keys(LeaseId(1)), Some(vec![a.clone(), b.clone()]));
    lessor.follow([(&a, LeaseId(2)), (&b, LeaseId::NONE)]);
    assert_eq!(lessor.lease_of(b"a"), LeaseId(2));
    assert_eq!(lessor.lease_of(b"b"), LeaseId::NONE);
    assert_eq!(lessor.revoke(LeaseId(1)), Ok(vec![]));
    assert_eq!(lessor.revoke(LeaseId(2)), Ok(vec![a]));
    assert_eq!(lessor.revoke(LeaseId(2)), Err(LeaseError::NotFound));
    assert_eq!(lessor.lease_of(b"a"), LeaseId::NONE);
}

#[test]
fn a_due_lease_is_not_renewed_and_its_keep_alive_ends_with_the_revoke() {
    let lessor = leader();
    lessor.grant(LeaseId(1), 2).expect("new");
    assert!(is_renewed(&lessor.renew(LeaseId(1), Ticks(1000))));
    assert!(lessor.due(Ticks(2999), 10).is_empty());
    let Renewal::Expired(mut wait) = lessor.renew(LeaseId(1), Ticks(3000)) else { panic!("it is due") };
    assert!(wait.try_recv().is_err_and(|error| error == oneshot::error::TryRecvError::Empty));
    assert_eq!(lessor.due(Ticks(3000), 10), [LeaseId(1)]);
    lessor.revoke(LeaseId(1)).expect("there");
    assert!(wait.try_recv().is_err_and(|error| error == oneshot::error::TryRecvError::Closed));
    assert!(matches!(lessor.renew(LeaseId(1), Ticks(3001)), Renewal::NotFound));
}

#[test]
fn a_follower_neither_renews_nor_expires() {
    let lessor = leader();
    lessor.grant(LeaseId(1), 2).expect("new");
    let Renewal::Expired(mut wait) = ({
        lessor.schedule_granted(Ticks(0));
        lessor.renew(LeaseId(1), Ticks(5000))
    }) else {
        panic!("it is due")
    };
    lessor.demote();
    assert!(wait.try_recv().is_err_and(|error| error == oneshot::error::TryRecvError::Closed));
    assert!(matches!(lessor.renew(LeaseId(1), Ticks(5000)), Renewal::NotPrimary));
    assert!(lessor.due(Ticks(9000), 10).is_empty());
    assert_eq!(lessor.time_to_live(LeaseId(1), Ticks(5000), false), Err(NotPrimary));
    assert_eq!(lessor.ids(), [LeaseId(1)]);
}

#[test]
fn a_new_leader_gives_the_full_time_or_the_checkpoint() {
    let lessor = lessor();
    lessor.grant(LeaseId(1), 60).expect("new");
    lessor.grant(LeaseId(2), 600).expect("new");
    lessor.checkpoint(LeaseId(2), 10).expect("there");
    assert_eq!(lessor.checkpoint(LeaseId(3), 10), None);
    lessor.promote(Ticks(0), Duration::from_secs(1));
    let left = |id| lessor.time_to_live(LeaseId(id), Ticks(0), false).expect("primary").expect("there").remaining_secs;
    assert_eq!((left(1), left(2)), (61, 11));
    assert_eq!(lessor.ids(), [LeaseId(2), LeaseId(1)]);
    assert!(matches!(lessor.renew(LeaseId(2), Ticks(0)), Renewal::Checkpointed));
    lessor.checkpoint(LeaseId(2), 0).expect("there");
    assert!(is_renewed(&lessor.renew(LeaseId(2), Ticks(0))));
    assert_eq!(left(2), 600);
}

#[test]
fn a_renewal_of_the_former_leader_counts_even_if_it_is_applied_late() {
    let lessor = lessor();
    lessor.grant(LeaseId(1), 600).expect("new");
    lessor.checkpoint(LeaseId(1), 10).expect("there");
    lessor.promote(Ticks(0), Duration::ZERO);
    lessor.checkpoint(LeaseId(1), 0).expect("there");
    let left =
        |now| lessor.time_to_live(LeaseId(1), Ticks(now), false).expect("primary").expect("there").remaining_secs;
    assert_eq!(left(5000), 600);
    // But not once it is due: its revoke may have been proposed.
    assert_eq!(lessor.due(Ticks(605_000), 10), [LeaseId(1)]);
    lessor.checkpoint(LeaseId(1), 0).expect("there");
    assert_eq!(left(605_001), 0);
}

#[test]
fn only_long_leases_are_checkpointed_and_only_now_and_then() {
    let lessor = leader();
    lessor.grant(LeaseId(1), 60).expect("new");
    lessor.grant(LeaseId(2), 1000).expect("new");
    lessor.schedule_granted(Ticks(0));
    let interval = Duration::from_secs(300);
    assert!(lessor.checkpoints(Ticks(299_000), interval, 10).is_empty());
    let due = lessor.checkpoints(Ticks(300_001), interval, 10);
    let due: Vec<_> = due.iter().map(|lease| (lease.id, lease.remaining_ttl_secs)).collect();
    assert_eq!(due, [(LeaseId(2), 700)]);
    lessor.checkpoint(LeaseId(2), 700).expect("there");
    assert!(lessor.checkpoints(Ticks(301_000), interval, 10).is_empty());
}

#[test]
fn leases_that_pile_up_are_spread_by_a_new_leader() {
    let lessor = lessor();
    for id in 1..=3000 {
        lessor.grant(LeaseId(id), 10).expect("new");
    }
    lessor.promote(Ticks(0), Duration::ZERO);
    assert_eq!(lessor.due(Ticks(10_000), usize::MAX).len(), EXPIRIES_PER_SEC);
    assert_eq!(lessor.due(Ticks(12_000), usize::MAX).len(), 2 * EXPIRIES_PER_SEC);
}

#[test]
fn restoring_brings_back_rows_and_attachments_and_ends_the_leadership() {
    let lessor = leader();
    lessor.grant(LeaseId(9), 10).expect("new");
    let row = LeaseRow { id: 1, ttl_secs: 60, remaining_ttl_secs: 5 };
    lessor.restore([row], [(key("a"), LeaseId(1)), (key("b"), LeaseId(8))]);
    assert!(!lessor.is_primary() && !lessor.exists(LeaseId(9)));
    assert_eq!(lessor.keys(LeaseId(1)), Some(vec![key("a")]));
    assert_eq!(lessor.lease_of(b"b"), LeaseId::NONE);
}

#[derive(Clone, Debug)]
enum Step {
    Grant(i64, i64),
    Revoke(i64),
    Put(u8, i64),
    Renew(i64),
    Pass(u64),
    Change,
    RevokeDue,
}

fn step() -> impl Strategy<Value = Step> {
    let id = 1..5_i64;
    prop_oneof![
        (id.clone(), 0..8_i64).prop_map(|(id, ttl)| Step::Grant(id, ttl)),
        id.clone().prop_map(Step::Revoke),
        (0..4_u8, 0..5_i64).prop_map(|(key, id)| Step::Put(key, id)),
        id.prop_map(Step::Renew),
        (0..4000_u64).prop_map(Step::Pass),
        Just(Step::Change),
        Just(Step::RevokeDue),
    ]
}

/// Per lease: its time to live in seconds, its keys, and since when it has all of it.
#[derive(Debug, Default)]
struct Model {
    leases: BTreeMap<i64, (i64, BTreeSet<u8>, u64)>,
}

const EXTEND_MILLIS: u64 = 1000;

fn run(steps: Vec<Step>) {
    let (lessor, mut model, mut now) = (leader(), Model::default(), 0_u64);
    for step in steps {
        match step {
            Step::Grant(id, ttl_secs) => {
                let granted = lessor.grant(LeaseId(id), ttl_secs);
                assert_eq!(granted.is_err(), model.leases.contains_key(&id));
                lessor.schedule_granted(Ticks(now));
                model.leases.entry(id).or_insert((ttl_secs.max(2), BTreeSet::new(), now));
            }
            Step::Revoke(id) => {
                let keys = lessor.revoke(LeaseId(id)).ok();
                let expected =
                    model.leases.remove(&id).map(|(_, keys, _)| keys.iter().map(|&k| Bytes::from(vec![k])).collect());
                assert_eq!(keys, expected);
            }
            Step::Put(name, id) => {
                lessor.follow([(&Bytes::from(vec![name]), LeaseId(id))]);
                for (_, keys, _) in model.leases.values_mut() {
                    keys.remove(&name);
                }
                if let Some((_, keys, _)) = model.leases.get_mut(&id) {
                    keys.insert(name);
                }
            }
            Step::Renew(id) => match (lessor.renew(LeaseId(id), Ticks(now)), model.leases.get_mut(&id)) {
                (Renewal::NotFound, None) => {}
                (Renewal::Renewed { ttl_secs: answered }, Some((ttl_secs, _, since))) => {
                    assert_eq!(answered, *ttl_secs);
                    *since = now;
                }
                (Renewal::Expired(_), Some((ttl_secs, _, since))) => assert!(now - *since >= ttl_millis(*ttl_secs)),
                (renewal, expected) => panic!("{renewal:?}, but the model has {expected:?}"),
            },
            Step::Pass(millis) => now += millis,
            Step::Change => {
                let before = deadlines(&lessor, &model, now);
                lessor.demote();
                lessor.promote(Ticks(now), Duration::from_millis(EXTEND_MILLIS));
                for (before, after) in before.into_iter().zip(deadlines(&lessor, &model, now)) {
                    assert!(after >= before, "a new leader never shortens a lease");
                }
                for (_, _, since) in model.leases.values_mut() {
                    *since = now + EXTEND_MILLIS;
                }
            }
            Step::RevokeDue => {
                for id in lessor.due(Ticks(now), 100) {
                    let (ttl_secs, keys, since) = model.leases.remove(&id.0).expect("a live lease");
                    assert!(now >= since + ttl_millis(ttl_secs), "lease {id} ended early");
                    assert_eq!(lessor.revoke(id).expect("there").len(), keys.len());
                }
                let overdue = model.leases.values().filter(|(ttl, _, since)| since + ttl_millis(*ttl) <= now);
                assert_eq!(overdue.count(), 0, "a lease outlived its end");
            }
        }
        assert_eq!(lessor.ids().len(), model.leases.len());
    }
}

fn ttl_millis(ttl_secs: i64) -> u64 {
    u64::try_from(ttl_secs).expect("positive") * 1000
}

fn deadlines(lessor: &Lessor, model: &Model, now: u64) -> Vec<i64> {
    let left = |id: &i64| {
        lessor.time_to_live(LeaseId(*id), Ticks(now), false).expect("primary").expect("there").remaining_secs
    };
    model.leases.keys().map(left).collect()
}

proptest! {
    #[test]
    fn the_lessor_behaves_as_the_model(steps in prop::collection::vec(step(), 0..60)) {
        run(steps);
    }
}

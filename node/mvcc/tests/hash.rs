//! Hashes against numbers that etcd 3.7.3 gave for the same history (`etcdctl endpoint hashkv`).

use super::*;
use proptest::prelude::*;

fn hash(store: &Store, revision: i64) -> (u32, i64, i64) {
    let KvHash { hash, compact_revision, hash_revision, .. } = store.views().load().hash_kv(revision).unwrap();
    (hash, compact_revision, hash_revision)
}

#[test]
fn hashes_are_those_of_etcd_before_during_and_after_compactions() {
    let mut store = empty();
    assert_eq!(hash(&store, 0), (1084519789, -1, 1));
    put(&mut store, "a", "1");
    put(&mut store, "b", "1");
    put(&mut store, "a", "2");
    delete(&mut store, one("b"));
    put(&mut store, "c", "");
    run(&mut store, |txn| {
        txn.put(bytes("d"), bytes("1"), LeaseId::NONE);
        txn.put(bytes("e"), bytes("2"), LeaseId::NONE);
        txn.delete(&one("a"));
    });
    put(&mut store, "b", "again");
    let full = [
        (0, 2584439189),
        (2, 2587454935),
        (3, 2143169314),
        (4, 3086679940),
        (5, 1416966122),
        (6, 2737102165),
        (7, 3794591648),
        (8, 2584439189),
    ];
    for (revision, expected) in full {
        assert_eq!(hash(&store, revision), (expected, -1, if revision == 0 { 8 } else { revision }));
    }

    compact(&mut store, 5, 2);
    assert!(matches!(store.views().load().hash_kv(4), Err(ReadError::Compacted { compacted: 5 })));
    assert!(matches!(store.views().load().hash_kv(9), Err(ReadError::FutureRevision { current: 8 })));
    assert_eq!(hash(&store, 0), (4288708376, 5, 8));
    // Asked for the very revision, the hash that the compaction made is given.
    assert_eq!(hash(&store, 5), (1416966122, -1, 5));
    assert_eq!(hash(&store, 6), (1353152580, 5, 6));
    assert_eq!(hash(&store, 7), (2379103518, 5, 7));

    put(&mut store, "c", "3");
    delete(&mut store, one("e"));
    assert_eq!(hash(&store, 8), (4288708376, 5, 8));
    assert_eq!(hash(&store, 9), (1455784770, 5, 9));
    assert_eq!(hash(&store, 0), (3460935271, 5, 10));

    compact(&mut store, 10, 1000);
    assert_eq!(hash(&store, 0), (2958030538, 10, 10));
    assert_eq!(hash(&store, 5), (1416966122, -1, 5));
    assert_eq!(hash(&store, 10), (3460935271, 5, 10));

    delete(&mut store, all());
    put(&mut store, "z", "z");
    assert_eq!(hash(&store, 0), (3549454566, 10, 12));
    assert_eq!(hash(&store, 11), (3259000359, 10, 11));

    compact(&mut store, 12, 1);
    assert_eq!(hash(&store, 0), (259286533, 12, 12));
    assert_eq!(hash(&store, 12), (3549454566, 10, 12));

    // Nothing is kept now, so nothing is skipped but the tombstone at the compact revision.
    delete(&mut store, one("z"));
    compact(&mut store, 13, 10);
    assert_eq!(hash(&store, 0), (1084519789, 13, 13));
    assert_eq!(hash(&store, 13), (77992780, 12, 13));
}

#[test]
fn a_compaction_at_zero_does_not_hide_the_current_hash() {
    let mut store = empty();
    put(&mut store, "a", "1");
    let before = hash(&store, 0);
    compact(&mut store, 0, 10);
    let after = hash(&store, 0);
    assert_eq!((after.0, after.2), (before.0, 2));
    put(&mut store, "a", "2");
    assert_ne!(hash(&store, 0).0, before.0);
}

#[test]
fn members_agree_on_a_hash_whether_they_have_finished_compacting_or_not() {
    let (mut slow, mut quick) = (empty(), empty());
    for store in [&mut slow, &mut quick] {
        for n in 0..200 {
            put(store, &format!("key{}", n % 17), &n.to_string());
            if n % 10 == 3 {
                delete(store, one(&format!("key{}", n % 13)));
            }
        }
        let mut batch = store.begin().unwrap();
        batch.compact(150).unwrap();
        batch.commit(Durability::Volatile).unwrap();
    }
    while_compacting(&mut quick, 1000);
    for revision in [0, 151, 170] {
        assert_eq!(hash(&slow, revision), hash(&quick, revision));
        let mut batch = slow.begin().unwrap();
        batch.compaction_slice(20).unwrap();
        batch.commit(Durability::Volatile).unwrap();
    }
}

#[test]
fn the_hash_of_all_tables_leaves_out_what_members_may_differ_in() {
    let mut store = empty();
    put(&mut store, "k", "v");
    let before = store.views().load().hash().unwrap();
    let mut batch = store.begin().unwrap();
    batch.storage().set_applied(crate::types::LogPosition { term: 2, index: 77 });
    batch.storage().set_membership(b"members");
    batch.commit(Durability::Volatile).unwrap();
    assert_eq!(store.views().load().hash().unwrap(), before);
    put(&mut store, "k", "w");
    assert_ne!(store.views().load().hash().unwrap(), before);
}

/// A hash of one slice after the other.
fn sliced(store: &Store, revision: i64, budget_bytes: usize) -> KvHash {
    let mut hashing = store.views().load().hashing(revision).unwrap();
    loop {
        if let Some(hash) = hashing.slice(budget_bytes).unwrap() {
            return hash;
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Put(u8),
    Delete(u8),
    DeleteAll,
    /// At this share of the revisions there are.
    Compact(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        5 => (0_u8..4).prop_map(Step::Put),
        3 => (0_u8..4).prop_map(Step::Delete),
        1 => Just(Step::DeleteAll),
        2 => (128_u8..).prop_map(Step::Compact),
    ];
    proptest::collection::vec(step, 0..40)
}

/// Applies a step, and goes on with a compaction for so many rows.
fn apply(store: &mut Store, step: &Step, slice_rows: u8) {
    match step {
        Step::Put(key) => put(store, &key.to_string(), "v"),
        Step::Delete(key) => delete(store, one(&key.to_string())),
        Step::DeleteAll => delete(store, all()),
        Step::Compact(share) => {
            let mut batch = store.begin().unwrap();
            // One that was compacted already is refused everywhere.
            batch.compact(batch.revision() * i64::from(*share) / 255).ok();
            batch.commit(Durability::Volatile).unwrap();
        }
    }
    if slice_rows > 0 {
        let mut batch = store.begin().unwrap();
        batch.compaction_slice(slice_rows.into()).unwrap();
        batch.commit(Durability::Volatile).unwrap();
    }
}

/// What a member would tell another of a revision, for a compact revision.
fn told(store: &Store, at: &KvHash) -> Option<KvHash> {
    let view = store.views().load();
    let kept = view.compaction_hash(at.hash_revision).filter(|kept| kept.compact_revision == at.compact_revision);
    let fresh = || (view.compacted() == at.compact_revision).then(|| view.hash_kv(at.hash_revision).ok()).flatten();
    // What is kept would be given again by the call.
    kept.or_else(fresh).filter(|hash| hash.is_comparable && hash.compact_revision == at.compact_revision)
}

proptest! {
    #![proptest_config(cases())]
    /// However far each has compacted, and although one has applied less than the other.
    #[test]
    fn members_that_hold_the_same_never_have_comparable_hashes_that_differ(
        steps in steps(),
        slices in proptest::collection::vec((0_u8..6, 0_u8..6), 40),
        behind in 0_usize..4,
        budget_bytes in 1_usize..200,
    ) {
        let (mut quick, mut slow) = (empty(), empty());
        for (at, step) in steps.iter().enumerate() {
            apply(&mut quick, step, slices[at].0);
            if let Some(late) = at.checked_sub(behind) {
                apply(&mut slow, &steps[late], slices[late].1);
            }
            for (one, other) in [(&quick, &slow), (&slow, &quick)] {
                let now = sliced(one, 0, budget_bytes);
                prop_assert_eq!(now, one.views().load().hash_kv(0).unwrap());
                let kept = one.views().load().compaction_hashes();
                for ours in kept.iter().chain([&now]).filter(|hash| hash.is_comparable) {
                    if let Some(theirs) = told(other, ours) {
                        prop_assert_eq!(theirs.hash, ours.hash, "{:?} {:?}", ours, theirs);
                    }
                }
            }
        }
    }
}

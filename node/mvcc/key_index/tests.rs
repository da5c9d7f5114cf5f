//! The index against a map of lists.

use super::*;
use bytes::Bytes;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::ops::Bound;

#[derive(Clone, Debug, Default)]
struct Naive(BTreeMap<Vec<u8>, Vec<Change>>);

impl Naive {
    fn at(&self, key: &[u8], revision: i64) -> Option<Change> {
        let changes = self.0.get(key)?;
        changes.iter().rev().find(|change| change.main <= revision).copied()
    }

    fn put(&mut self, key: &[u8], revision: Revision) {
        let before = self.at(key, i64::MAX).filter(|change| !change.tombstone);
        let change = Change {
            main: revision.main,
            sub: revision.sub as u32,
            created: before.map_or(revision.main, |before| before.created),
            version: before.map_or(1, |before| before.version + 1),
            tombstone: false,
        };
        self.0.entry(key.to_vec()).or_default().push(change);
    }

    fn delete(&mut self, key: &[u8], revision: Revision) {
        let (main, sub) = (revision.main, revision.sub as u32);
        self.0.get_mut(key).unwrap().push(Change { main, sub, created: 0, version: 0, tombstone: true });
    }

    fn compact(&mut self, revision: i64) {
        self.0.retain(|_, changes| {
            if let Some(last) = changes.iter().rposition(|change| change.main <= revision) {
                let dead = changes[last].tombstone && changes[last].main < revision;
                changes.drain(..last + usize::from(dead));
            }
            !changes.is_empty()
        });
    }

    fn range(&self, interval: &KeyInterval, revision: i64) -> Vec<(Vec<u8>, Change)> {
        let keys = self.0.keys().filter(|key| interval.contains(key));
        let at = keys.filter_map(|key| Some((key.clone(), self.at(key, revision).filter(|change| !change.tombstone)?)));
        at.collect()
    }
}

#[derive(Clone, Debug)]
enum Step {
    Put(Vec<u8>),
    Delete(Vec<u8>),
    Compact(u8),
    Clone,
    Check(Vec<u8>, Vec<u8>, u8),
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        (0..400u16).prop_map(|n| format!("key/{n:04}").into_bytes()),
        proptest::collection::vec(0..3u8, 0..4),
        (0..3u8).prop_map(|n| vec![n; 9000]),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => key().prop_map(Step::Put),
        5 => key().prop_map(Step::Delete),
        1 => any::<u8>().prop_map(Step::Compact),
        1 => Just(Step::Clone),
        2 => (key(), key(), any::<u8>()).prop_map(|(start, end, at)| Step::Check(start, end, at)),
    ]
}

fn collect(index: &KeyIndex, interval: &KeyInterval, revision: i64) -> Vec<(Vec<u8>, Change)> {
    let mut found = Vec::new();
    index.visit_at(interval, revision, |key, change| {
        found.push((key.to_vec(), change));
        ControlFlow::Continue(())
    });
    found
}

fn check(index: &KeyIndex, naive: &Naive, interval: &KeyInterval, revision: i64) -> Result<(), TestCaseError> {
    let expected = naive.range(interval, revision);
    prop_assert_eq!(index.count_at(interval, revision), expected.len());
    prop_assert_eq!(collect(index, interval, revision), expected);
    prop_assert_eq!(index.count(interval), naive.range(interval, i64::MAX).len());
    Ok(())
}

fn all() -> KeyInterval {
    KeyInterval::Range { start: Bytes::new(), end: None }
}

proptest! {
    #![proptest_config(crate::mvcc::tests::cases())]
    #[test]
    fn the_index_is_a_map_of_lists(steps in proptest::collection::vec(step(), 0..1500)) {
        let (mut index, mut naive) = (KeyIndex::default(), Naive::default());
        let (mut revision, mut compacted, mut clones) = (1, 0, Vec::new());
        for step in steps {
            match step {
                Step::Put(key) => {
                    revision += 1;
                    let at = Revision { main: revision, sub: 0 };
                    naive.put(&key, at);
                    prop_assert_eq!(Some(index.put(&key, at)), naive.at(&key, i64::MAX));
                }
                Step::Delete(key) => {
                    if index.get(&key).is_some() {
                        revision += 1;
                        let at = Revision { main: revision, sub: 3 };
                        index.delete(&key, at);
                        naive.delete(&key, at);
                    }
                }
                Step::Compact(share) => {
                    compacted += (revision - compacted) * i64::from(share) / 255;
                    let mut next: Option<Box<[u8]>> = Some(Box::default());
                    while let Some(from) = next {
                        next = index.compact(compacted, &from, 3);
                    }
                    naive.compact(compacted);
                }
                Step::Clone => clones.push((index.clone(), naive.clone(), revision)),
                Step::Check(start, end, share) => {
                    let at = compacted + (revision - compacted) * i64::from(share) / 255;
                    let start = Bytes::from(start);
                    check(&index, &naive, &KeyInterval::One(start.clone()), at)?;
                    check(&index, &naive, &KeyInterval::Range { start, end: Some(end.into()) }, at)?;
                }
            }
            prop_assert_eq!(index.len(), naive.0.len());
        }
        clones.push((index, naive, revision));
        for (index, naive, revision) in clones {
            check(&index, &naive, &all(), revision)?;
            check(&index, &naive, &all(), revision / 2)?;
            let bound = (Bound::Unbounded, Bound::<Vec<u8>>::Unbounded);
            for key in naive.0.range(bound).map(|(key, _)| key) {
                prop_assert_eq!(index.last_at(key, revision / 3), naive.at(key, revision / 3));
            }
        }
    }
}

proptest! {
    #![proptest_config(crate::mvcc::tests::cases())]
    #[test]
    fn changes_restored_in_runs_are_those_made_one_by_one(
        keys in proptest::collection::vec((key(), proptest::bool::weighted(0.2)), 0..1500),
        run in 1..600usize,
    ) {
        let (mut made, mut rows) = (KeyIndex::default(), Vec::new());
        for ((key, is_deleted), main) in keys.iter().zip(2..) {
            let at = Revision { main, sub: 0 };
            if *is_deleted && made.get(key).is_some() {
                made.delete(key, at);
                rows.push((&key[..], at, None));
            } else {
                let put = made.put(key, at);
                rows.push((&key[..], at, Some((put.created, put.version))));
            }
        }
        let (mut restored, mut before) = (KeyIndex::default(), None);
        for run in rows.chunks_mut(run) {
            run.sort_by_key(|(key, ..)| *key);
            restored.restore(run.iter().copied());
            // A version that readers hold shares all nodes.
            before = Some(restored.clone());
        }
        prop_assert_eq!(before.map_or(0, |before| before.len()), made.len());
        prop_assert_eq!((restored.len(), restored.live()), (made.len(), made.live()));
        for revision in [i64::MAX, keys.len() as i64 / 2, 3] {
            prop_assert_eq!(collect(&restored, &all(), revision), collect(&made, &all(), revision));
        }
        for (key, _) in &keys {
            let before = KeyInterval::Range { start: Bytes::new(), end: Some(key.clone().into()) };
            prop_assert_eq!(restored.count(&before), made.count(&before));
        }
    }
}

fn key_of(n: u64) -> String {
    // Scattered over the key space, without a repetition.
    format!("/registry/pods/{:016x}/{n:032}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

/// Bytes of nodes that `puts` of `key` copy when each is published.
fn copied_by(index: &mut KeyIndex, key: &str, from: i64, puts: i64) -> u64 {
    let before = index.copied_bytes();
    for main in from..from + puts {
        let _published = index.clone();
        index.put(key.as_bytes(), Revision { main, sub: 0 });
    }
    index.copied_bytes() - before
}

#[test]
fn the_millionth_put_of_a_key_copies_what_the_first_thousand_did() {
    let mut index = KeyIndex::default();
    (0..1000).for_each(|n| {
        index.put(key_of(n).as_bytes(), Revision { main: 2 + n as i64, sub: 0 });
    });
    let first = copied_by(&mut index, &key_of(7), 2000, 1000);
    (3000..1_000_000).for_each(|main| {
        index.put(key_of(7).as_bytes(), Revision { main, sub: 0 });
    });
    let last = copied_by(&mut index, &key_of(7), 1_000_000, 1000);
    assert!(last <= first + first / 10, "{first} bytes for the first thousand, {last} for the last");
    assert_eq!(index.get_at(key_of(7).as_bytes(), 500_000).unwrap().main, 500_000);
}

#[test]
fn compacting_everything_leaves_an_empty_index() {
    let mut index = KeyIndex::default();
    for n in 0..20_000 {
        index.put(key_of(n).as_bytes(), Revision { main: 2 + n as i64, sub: 0 });
    }
    for n in 0..20_000 {
        index.delete(key_of(n).as_bytes(), Revision { main: 20_002, sub: n as i64 });
    }
    assert_eq!((index.live(), index.len()), (0, 20_000));
    // At the very revision of the tombstones they stay.
    while_compacting(&mut index, 20_002);
    assert_eq!(index.len(), 20_000);
    while_compacting(&mut index, 20_003);
    assert_eq!(index.len(), 0);
    assert!(index.heap_bytes() < 1000, "{}", index.heap_bytes());
}

fn while_compacting(index: &mut KeyIndex, revision: i64) {
    let mut next: Option<Box<[u8]>> = Some(Box::default());
    while let Some(from) = next {
        next = index.compact(revision, &from, 64);
    }
}

#[test]
fn a_key_needs_less_than_130_bytes() {
    let mut index = KeyIndex::default();
    let start = std::time::Instant::now();
    for n in 0..200_000 {
        index.put(key_of(n).as_bytes(), Revision { main: 2 + n as i64, sub: 0 });
    }
    let built = start.elapsed();
    assert_eq!(key_of(1).len(), 64);
    let bytes_per_key = index.heap_bytes() / index.len();
    let interval = KeyInterval::Range { start: "/registry/pods/2".into(), end: Some("/registry/pods/d".into()) };
    let start = std::time::Instant::now();
    let mut counted = 0;
    for _ in 0..1000 {
        counted += index.count(&interval);
    }
    println!(
        "{bytes_per_key} bytes a key, built in {built:?}, count() {:?} for {}",
        start.elapsed() / 1000,
        counted / 1000
    );
    assert!(bytes_per_key < 130, "{bytes_per_key}");
    assert_eq!(index.count(&interval), index.count_at(&interval, i64::MAX));
}

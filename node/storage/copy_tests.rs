//! A copy equals the state it was made of, whatever happened to that in between.

use super::memory::MemoryFile;
use super::*;
use crate::types::LogPosition;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::ops::Bound;

const CACHE: usize = 4 << 20;

fn create(file: &Arc<MemoryFile>) -> Storage {
    Storage::create(file.clone(), CACHE, Metrics::detached()).unwrap()
}

/// What a batch does to the state.
#[derive(Clone, Debug)]
enum Change {
    /// So many rows behind the last of the key table.
    Append(u32),
    /// Removes every n-th row of the key table.
    Sweep(u32),
    Set(u8, u8),
    Remove(u8),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        (1..300_u32).prop_map(Change::Append),
        (1..5_u32).prop_map(Change::Sweep),
        (any::<u8>(), any::<u8>()).prop_map(|(key, value)| Change::Set(key, value)),
        any::<u8>().prop_map(Change::Remove),
    ]
}

fn apply(storage: &Storage, changes: &[Change], index: u64, next: &mut u32) {
    let mut batch = storage.begin().unwrap();
    for change in changes {
        match change {
            Change::Append(count) => {
                let keys: Vec<_> = (*next..*next + count).map(u32::to_be_bytes).collect();
                *next += count;
                let value = vec![7; 2_000];
                batch.append(Table::Key, keys.iter().map(|key| (&key[..], &value[..]))).unwrap();
            }
            Change::Sweep(nth) => {
                let mut seen = 0;
                let judge = |_: &[u8], _: &[u8]| {
                    seen += 1;
                    Ok(if seen % nth == 0 { Fate::Remove } else { Fate::Keep })
                };
                batch.sweep(Table::Key, (Bound::Unbounded, &[0xff; 8]), 100, judge).unwrap();
            }
            Change::Set(key, value) => {
                let table = [Table::Lease, Table::Alarm, Table::Cluster, Table::Meta][usize::from(key % 4)];
                batch.put(table, &[b'k', *key], &[*value; 9]);
            }
            Change::Remove(key) => {
                let table = [Table::Lease, Table::Alarm, Table::Cluster, Table::Meta][usize::from(key % 4)];
                batch.remove(table, &[b'k', *key]);
            }
        }
    }
    batch.set_applied(LogPosition { term: 1, index });
    batch.commit(if index.is_multiple_of(3) { Durability::Durable } else { Durability::Volatile }).unwrap();
}

/// All rows but those that say how large the file is.
fn rows(storage: &Storage) -> BTreeMap<(Table, Vec<u8>), Vec<u8>> {
    let version = storage.version().unwrap();
    let of = |table| version.rows(table).unwrap().into_iter().map(move |(key, value)| ((table, key), value));
    Table::ALL.into_iter().flat_map(of).filter(|((_, key), _)| key != meta::SIZES_KEY).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    /// After each durable step a crash leaves either a copy that is not whole and is not said to be, or the state of one
    /// commit.
    #[test]
    fn a_copy_becomes_what_the_state_is(
        before in proptest::collection::vec(change(), 0..20),
        during in proptest::collection::vec(proptest::collection::vec(change(), 0..6), 1..12),
        budget in 1..900_000_usize,
    ) {
        let (mut next, mut index) = (0, 1);
        let storage = create(&MemoryFile::new());
        apply(&storage, &before, index, &mut next);
        let file = MemoryFile::new();
        let mut copy = Copy::begin(&storage, file.clone(), CACHE).unwrap();
        let mut states = BTreeMap::from([(index, rows(&storage))]);
        for (round, changes) in during.iter().enumerate() {
            index += 1;
            apply(&storage, changes, index, &mut next);
            states.insert(index, rows(&storage));
            let durability = if round % 2 == 0 { Durability::Durable } else { Durability::Volatile };
            let step = copy.step(budget, durability).unwrap();
            prop_assert_eq!(step.is_whole, copy.whole_at().is_some());
            if let Some(at) = copy.durable_at() {
                let crashed = Storage::open(file.crashed(), CACHE, Metrics::detached()).unwrap();
                prop_assert_eq!(&rows(&crashed), &states[&at.index]);
            }
        }
        // Only now does it come to the end for certain.
        while !copy.step(budget, Durability::Volatile).unwrap().is_whole {}
        prop_assert_eq!(copy.whole_at(), Some(LogPosition { term: 1, index }));
        let moved = copy.into_storage();
        prop_assert_eq!(rows(&moved), rows(&storage));
        prop_assert_eq!(moved.stats().in_use_bytes, storage.stats().in_use_bytes);
        prop_assert_eq!(storage.waiting_changes(), 0, "nobody records any more");
        apply(&moved, &[Change::Append(1), Change::Sweep(2)], index + 1, &mut next);
    }
}

#[test]
fn a_copy_has_no_gaps() {
    let storage = create(&MemoryFile::new());
    let mut next = 0;
    apply(&storage, &[Change::Append(2_000)], 3, &mut next);
    for index in 4..40 {
        apply(&storage, &[Change::Sweep(1)], index, &mut next);
    }
    let before = storage.stats();
    let mut copy = Copy::begin(&storage, MemoryFile::new(), CACHE).unwrap();
    while !copy.step(1 << 20, Durability::Durable).unwrap().is_whole {}
    let after = copy.into_storage().stats();
    assert_eq!(after.in_use_bytes, before.in_use_bytes);
    assert!(after.total_bytes < before.total_bytes / 2, "{before:?} {after:?}");
}

#[test]
fn a_file_that_was_replaced_keeps_what_was_durable() {
    let file = MemoryFile::new();
    let storage = create(&file);
    let mut next = 0;
    apply(&storage, &[Change::Append(3)], 3, &mut next);
    let durable = rows(&storage);
    apply(&storage, &[Change::Append(3)], 4, &mut next);
    let newest = rows(&storage);
    let mut copy = Copy::begin(&storage, MemoryFile::new(), CACHE).unwrap();
    while !copy.step(1 << 20, Durability::Durable).unwrap().is_whole {}
    drop(copy.into_storage());
    let pinned = storage.version().unwrap();
    drop(storage);
    assert_eq!(pinned.rows(Table::Key).unwrap().len(), newest.keys().filter(|(table, _)| *table == Table::Key).count());
    drop(pinned);
    assert_eq!(rows(&Storage::open(file.crashed(), CACHE, Metrics::detached()).unwrap()), durable);
}

#[test]
fn one_copies_at_a_time_and_a_copy_that_fails_leaves_the_state_as_it_is() {
    let storage = create(&MemoryFile::new());
    let copy = Copy::begin(&storage, MemoryFile::new(), CACHE).unwrap();
    assert!(matches!(Copy::begin(&storage, MemoryFile::new(), CACHE), Err(CopyError::Busy)));
    let mut next = 0;
    apply(&storage, &[Change::Set(1, 1)], 3, &mut next);
    assert!(storage.waiting_changes() > 0);
    drop(copy);
    assert_eq!(storage.waiting_changes(), 0);
    apply(&storage, &[Change::Set(1, 2)], 4, &mut next);
    drop(Copy::begin(&storage, MemoryFile::new(), CACHE).unwrap());
}

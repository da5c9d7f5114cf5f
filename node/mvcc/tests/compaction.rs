//! What compaction keeps, when it refuses, and how it goes on.

use super::*;
use crate::storage::Table;

fn rows(store: &Store) -> Vec<String> {
    let rows = store.storage().version().unwrap().rows(Table::Key).unwrap();
    rows.iter().map(|(key, _)| format!("{:?}", RowKey::parse(key).unwrap())).collect()
}

fn try_compact(store: &mut Store, revision: i64) -> Result<(), CompactError> {
    let mut batch = store.begin().unwrap();
    let result = batch.compact(revision);
    batch.commit(Durability::Volatile).unwrap();
    result
}

#[test]
fn compaction_keeps_the_newest_value_and_the_tombstone_at_its_revision() {
    let mut store = empty();
    put(&mut store, "a", "1"); // 2
    put(&mut store, "a", "2"); // 3
    put(&mut store, "b", "1"); // 4
    delete(&mut store, one("b")); // 5
    put(&mut store, "c", "1"); // 6
    delete(&mut store, one("c")); // 7
    put(&mut store, "a", "3"); // 8
    compact(&mut store, 7, 1);
    assert_eq!(rows(&store), ["3_0", "7_0t", "8_0"]);
    assert_eq!(store.index.len(), 2);
    let view = store.views().load();
    let events = view.history(7, 7, 10).unwrap();
    assert_eq!((events.len(), events[0].events[0].kind), (1, EventKind::Delete));
    assert!(matches!(view.history(6, 8, 10), Err(ReadError::Compacted { compacted: 7 })));
    assert_eq!(pairs(&view, 7), [("a".into(), "2".into())]);
    let below = view.range(&RangeQuery { revision: 6, ..RangeQuery::latest(all()) });
    assert!(matches!(below, Err(ReadError::Compacted { compacted: 7 })));
    compact(&mut store, 8, 1);
    assert_eq!(rows(&store), ["8_0"]);
}

#[test]
fn a_put_and_a_delete_in_one_transaction_leave_its_tombstone() {
    let mut store = empty();
    run(&mut store, |txn| {
        txn.put(bytes("a"), bytes("1"), LeaseId::NONE);
        txn.delete(&one("a"));
        txn.put(bytes("b"), bytes("1"), LeaseId::NONE);
    });
    compact(&mut store, 2, 10);
    assert_eq!(rows(&store), ["2_1t", "2_2"]);
}

#[test]
fn a_fresh_store_takes_a_compaction_at_zero_once() {
    let mut store = empty();
    assert!(matches!(try_compact(&mut store, -1), Err(CompactError::Compacted { compacted: -1 })));
    assert!(matches!(try_compact(&mut store, 2), Err(CompactError::FutureRevision { current: 1 })));
    try_compact(&mut store, 0).unwrap();
    assert!(matches!(try_compact(&mut store, 0), Err(CompactError::Compacted { compacted: 0 })));
    try_compact(&mut store, 1).unwrap();
    while_compacting(&mut store, 10);
    assert_eq!(store.compacted(), 1);
}

#[test]
fn marks_have_etcds_bytes_and_the_finished_one_comes_last() {
    let mut store = empty();
    (0..5).for_each(|_| put(&mut store, "a", "v"));
    try_compact(&mut store, 4).unwrap();
    let mark = |store: &Store, key: &[u8]| store.storage().version().unwrap().get(Table::Meta, key).unwrap();
    let four = b"\0\0\0\0\0\0\0\x04_\0\0\0\0\0\0\0\0".to_vec();
    assert_eq!(mark(&store, b"scheduledCompactRev"), Some(four.clone()));
    assert_eq!(mark(&store, b"finishedCompactRev"), None);
    while_compacting(&mut store, 1);
    assert_eq!(mark(&store, b"finishedCompactRev"), Some(four));
}

#[test]
fn readers_are_refused_from_the_commit_of_the_schedule_on() {
    let mut store = empty();
    (0..5).for_each(|_| put(&mut store, "a", "v"));
    let before = store.views().load();
    try_compact(&mut store, 4).unwrap();
    assert!(store.views().load().get_at(b"a", 3).is_err());
    while_compacting(&mut store, 100);
    // Who still holds a view reads on in it.
    assert_eq!(before.get_at(b"a", 3).unwrap().unwrap().version, 2);
}

#[test]
fn an_interrupted_compaction_goes_on_after_a_restart() {
    let file = MemoryFile::new();
    let mut store = create(&file);
    let mut whole = empty();
    for n in 0..200 {
        for store in [&mut store, &mut whole] {
            put(store, &format!("key{}", n % 11), &n.to_string());
        }
    }
    compact(&mut whole, 150, 1000);
    try_compact(&mut store, 150).unwrap();
    let mut batch = store.begin().unwrap();
    assert_eq!(batch.compaction_slice(50).unwrap(), Progress::Running);
    batch.commit(Durability::Durable).unwrap();
    let file = file.crashed();
    let mut store = reopen(&file).store;
    assert_eq!(store.compacted(), 150);
    assert!(store.is_compacting());
    assert!(store.views().load().get_at(b"key1", 149).is_err());
    while_compacting(&mut store, 7);
    assert_eq!(rows(&store), rows(&whole));
    assert_eq!(store.index.len(), whole.index.len());
    // Its hash would not cover the rows that were gone before.
    assert!(store.views().load().compaction_hashes().is_empty());
    store.begin().unwrap().commit(Durability::Durable).unwrap();
    assert!(!reopen(&file.crashed()).store.is_compacting());
}

#[test]
fn a_compaction_asked_for_while_one_runs_is_done_after_it() {
    let mut store = empty();
    (0..300).for_each(|n| put(&mut store, &format!("key{}", n % 3), "v"));
    try_compact(&mut store, 100).unwrap();
    let mut batch = store.begin().unwrap();
    batch.compaction_slice(10).unwrap();
    batch.commit(Durability::Volatile).unwrap();
    try_compact(&mut store, 200).unwrap();
    try_compact(&mut store, 250).unwrap();
    let mut finished = Vec::new();
    loop {
        let mut batch = store.begin().unwrap();
        let progress = batch.compaction_slice(40).unwrap();
        batch.commit(Durability::Volatile).unwrap();
        match progress {
            Progress::Idle => break,
            Progress::Finished { revision } => finished.push(revision),
            Progress::Running => {}
        }
    }
    assert_eq!(finished, [100, 250]);
    assert_eq!(rows(&store).len(), 3 + 51);
}

#[test]
fn a_slice_ahead_of_the_commit_of_its_revision_waits() {
    let mut store = empty();
    put(&mut store, "a", "1");
    let mut batch = store.begin().unwrap();
    let mut txn = batch.txn();
    txn.put(bytes("a"), bytes("2"), LeaseId::NONE);
    txn.finish();
    batch.compact(3).unwrap();
    assert_eq!(batch.compaction_slice(100).unwrap(), Progress::Running);
    batch.commit(Durability::Volatile).unwrap();
    while_compacting(&mut store, 100);
    assert_eq!(rows(&store), ["3_0"]);
}

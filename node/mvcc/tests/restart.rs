//! What a crash leaves, and what opening makes of it.

use super::*;

#[test]
fn a_crash_takes_the_store_back_to_the_last_durable_commit() {
    let file = MemoryFile::new();
    let mut store = create(&file);
    put(&mut store, "a", "1");
    let mut batch = store.begin().unwrap();
    let mut txn = batch.txn();
    txn.put(bytes("a"), bytes("2"), LeaseId::NONE);
    txn.finish();
    batch.commit(Durability::Durable).unwrap();
    put(&mut store, "a", "3");
    put(&mut store, "b", "1");
    let store = reopen(&file.crashed()).store;
    assert_eq!(store.revision(), 3);
    assert_eq!(pairs(&store.views().load(), 0), [("a".into(), "2".into())]);
    assert_eq!(pairs(&store.views().load(), 2), [("a".into(), "1".into())]);
}

#[test]
fn attachments_are_those_of_keys_that_exist() {
    let file = MemoryFile::new();
    let mut store = create(&file);
    let mut batch = store.begin().unwrap();
    for (key, lease) in [("a", 1), ("b", 1), ("c", 2), ("a", 2), ("c", 0), ("d", 3)] {
        let mut txn = batch.txn();
        txn.put(bytes(key), bytes("v"), LeaseId(lease));
        txn.finish();
    }
    let mut txn = batch.txn();
    txn.delete(&one("d"));
    txn.finish();
    batch.commit(Durability::Durable).unwrap();
    let attachments = reopen(&file.crashed()).attachments;
    assert_eq!(attachments, [(bytes("b"), LeaseId(1)), (bytes("a"), LeaseId(2))]);
}

#[test]
fn an_index_built_at_open_is_the_one_that_was_lost() {
    let file = MemoryFile::new();
    let mut store = create(&file);
    for n in 0..3000u32 {
        put(&mut store, &format!("key{}", n % 700), &n.to_string());
        if n % 7 == 0 {
            delete(&mut store, one(&format!("key{}", n % 300)));
        }
    }
    compact(&mut store, 2000, 100);
    store.begin().unwrap().commit(Durability::Durable).unwrap();
    let again = reopen(&file.crashed()).store;
    assert_eq!((again.revision(), again.compacted()), (store.revision(), 2000));
    let (before, after) = (store.views().load(), again.views().load());
    for revision in [2000, 2001, 2500, 0] {
        let query = RangeQuery { revision, ..RangeQuery::latest(all()) };
        assert_eq!(before.range(&query).unwrap(), after.range(&query).unwrap());
    }
    assert_eq!(before.index.len(), after.index.len());
    assert_eq!(before.hash_kv(0).unwrap(), after.hash_kv(0).unwrap());
}

#[test]
fn keys_that_begin_alike_are_in_order_after_an_open() {
    let file = MemoryFile::new();
    let mut store = create(&file);
    let keys = ["k", "k\0", "k\0\0", "k\0\0\0\0\0\0\0\0", "k\0\0\0\0\0\0\0\0b", "k\0\0\0\0\0\0\0\0a", "kk", "l"];
    for round in ["1", "2"] {
        keys.iter().rev().for_each(|key| put(&mut store, key, round));
    }
    store.begin().unwrap().commit(Durability::Durable).unwrap();
    let again = reopen(&file.crashed()).store;
    for revision in [9, 12, 0] {
        assert_eq!(pairs(&again.views().load(), revision), pairs(&store.views().load(), revision));
    }
    assert_eq!(pairs(&again.views().load(), 0).len(), keys.len());
}

#[test]
fn the_revision_does_not_go_back_when_compaction_took_the_last_rows() {
    // etcd #17780: the newest row is a tombstone, compacted away before a crash.
    let file = MemoryFile::new();
    let mut store = create(&file);
    put(&mut store, "a", "1");
    delete(&mut store, one("a"));
    put(&mut store, "b", "1");
    delete(&mut store, one("b"));
    compact(&mut store, 5, 100);
    // A restore for instance leaves rows below the mark only.
    let mut batch = store.begin().unwrap();
    batch.storage().remove(storage::Table::Key, RowKey::new(Revision { main: 5, sub: 0 }, true).as_bytes());
    batch.commit(Durability::Durable).unwrap();
    let store = reopen(&file.crashed()).store;
    assert_eq!((store.revision(), store.compacted()), (5, 5));
}

#[test]
fn a_row_without_a_key_moves_the_revision_and_nothing_else() {
    // As `etcdutl snapshot restore --bump-revision` leaves it.
    let file = MemoryFile::new();
    let mut store = create(&file);
    put(&mut store, "a", "1");
    let mut batch = store.begin().unwrap();
    let bump = RowKey::new(Revision { main: 1_000_000, sub: 0 }, false);
    batch.storage().put(storage::Table::Key, bump.as_bytes(), b"");
    batch.commit(Durability::Durable).unwrap();
    let mut store = reopen(&file.crashed()).store;
    assert_eq!(store.revision(), 1_000_000);
    assert_eq!(pairs(&store.views().load(), 0), [("a".into(), "1".into())]);
    assert!(store.views().load().history(3, i64::MAX, 10).unwrap().is_empty());
    put(&mut store, "a", "2");
    assert_eq!(store.revision(), 1_000_001);
    // etcd keeps the row, and counts it into hashes.
    compact(&mut store, 1_000_001, 100);
    let version = store.storage().version().unwrap();
    assert!(version.get(storage::Table::Key, bump.as_bytes()).unwrap().is_some());
    assert_eq!(pairs(&store.views().load(), 0), [("a".into(), "2".into())]);
}

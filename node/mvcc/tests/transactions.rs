//! Revisions, versions and what a transaction sees of itself.

use super::*;

#[test]
fn the_first_write_has_revision_two() {
    let mut store = empty();
    assert_eq!((store.revision(), store.compacted()), (1, -1));
    put(&mut store, "k", "v");
    assert_eq!(store.views().load().revision(), 2);
}

#[test]
fn a_transaction_has_one_revision_and_its_changes_count_sub_revisions() {
    let mut store = empty();
    put(&mut store, "a", "0");
    let events = run(&mut store, |txn| {
        txn.put(bytes("b"), bytes("1"), LeaseId(5));
        txn.put(bytes("a"), bytes("1"), LeaseId::NONE);
        assert_eq!(txn.delete(&all()), 2);
    });
    let events = events.unwrap();
    assert_eq!((events.revision, events.events.len()), (3, 4));
    let rows = store.storage().version().unwrap().rows(storage::Table::Key).unwrap();
    let keys: Vec<_> = rows.iter().map(|(key, _)| format!("{:?}", RowKey::parse(key).unwrap())).collect();
    assert_eq!(keys, ["2_0", "3_0", "3_1", "3_2t", "3_3t"]);
    assert_eq!(rows[1].1, b"\x0a\x01b\x10\x03\x18\x03\x20\x01\x2a\x011\x30\x05");
    assert_eq!(rows[3].1, b"\x0a\x01a");
    let deleted = &events.events[2];
    assert_eq!((deleted.kind, deleted.kv.mod_revision, deleted.kv.version), (EventKind::Delete, 3, 0));
}

#[test]
fn a_transaction_that_changes_nothing_has_no_revision() {
    let mut store = empty();
    assert_eq!(run(&mut store, |txn| assert_eq!(txn.delete(&all()), 0)), None);
    assert_eq!(store.revision(), 1);
}

#[test]
fn a_key_starts_over_after_a_delete() {
    let mut store = empty();
    for value in ["1", "2"] {
        put(&mut store, "k", value);
    }
    delete(&mut store, one("k"));
    put(&mut store, "k", "3");
    let view = store.views().load();
    let at = |revision| view.get_at(b"k", revision).unwrap().map(|kv| (kv.create_revision, kv.version));
    assert_eq!([at(2), at(3), at(4), at(5), at(0)], [Some((2, 1)), Some((2, 2)), None, Some((5, 1)), Some((5, 1))]);
}

#[test]
fn reads_in_a_transaction_see_its_writes_and_those_of_the_batch() {
    let mut store = empty();
    put(&mut store, "a", "0");
    let mut batch = store.begin().unwrap();
    let mut first = batch.txn();
    first.put(bytes("b"), bytes("1"), LeaseId::NONE);
    first.finish();
    let mut txn = batch.txn();
    assert_eq!((txn.begin_revision(), txn.revision()), (3, 3));
    txn.put(bytes("a"), bytes("2"), LeaseId(9));
    assert_eq!(txn.revision(), 4);
    let now = txn.range(&RangeQuery::latest(all())).unwrap();
    assert_eq!((now.revision, now.count), (4, 2));
    let values: Vec<_> = now.kvs.iter().map(|kv| kv.value.clone()).collect();
    assert_eq!(values, ["2", "1"]);
    let before = txn.range(&RangeQuery { revision: 3, ..RangeQuery::latest(one("a")) }).unwrap();
    assert_eq!(before.kvs[0].value, "0");
    assert_eq!(txn.previous(b"a").unwrap().unwrap().lease, 9);
    assert!(txn.exists(b"b") && !txn.exists(b"c"));
    let revisions = txn.key_revisions(b"a").unwrap();
    assert_eq!(revisions, KeyRevisions { create_revision: 2, mod_revision: 4, version: 2 });
    let future = txn.range(&RangeQuery { revision: 5, ..RangeQuery::latest(all()) });
    assert!(matches!(future, Err(ReadError::FutureRevision { current: 4 })));
    txn.delete(&one("a"));
    assert_eq!(txn.previous(b"a").unwrap(), None);
    txn.finish();
    // Nothing is visible outside before the commit.
    let views = batch.store.views();
    assert_eq!(views.load().revision(), 2);
    batch.commit(Durability::Volatile).unwrap();
    assert_eq!(pairs(&views.load(), 0), [("b".into(), "1".into())]);
    assert_eq!(views.load().revision(), 4);
}

#[test]
fn a_view_stays_as_it_was() {
    let mut store = empty();
    put(&mut store, "a", "1");
    let view = store.views().load();
    put(&mut store, "a", "2");
    delete(&mut store, one("a"));
    compact(&mut store, 4, 100);
    assert_eq!(pairs(&view, 0), [("a".into(), "1".into())]);
    assert_eq!(view.history(2, 10, 100).unwrap().len(), 1);
}

#[test]
fn history_comes_in_whole_revisions() {
    let mut store = empty();
    for n in 0..10 {
        run(&mut store, |txn| {
            for key in ["a", "b", "c"] {
                txn.put(bytes(key), bytes(&n.to_string()), LeaseId::NONE);
            }
        });
    }
    delete(&mut store, one("b"));
    let view = store.views().load();
    let history = view.history(4, 100, 7).unwrap();
    let revisions: Vec<_> = history.iter().map(|events| (events.revision, events.events.len())).collect();
    assert_eq!(revisions, [(4, 3), (5, 3), (6, 3)]);
    let last = view.history(12, 12, 100).unwrap();
    assert_eq!(last[0].events[0].kind, EventKind::Delete);
    assert_eq!((&last[0].events[0].kv.key[..], last[0].events[0].kv.mod_revision), (&b"b"[..], 12));
    assert!(view.history(13, 20, 100).unwrap().is_empty());
}

#[test]
fn history_is_bounded_by_bytes_too() {
    let mut store = empty();
    let value = "v".repeat(1 << 20);
    (0..10).for_each(|_| put(&mut store, "k", &value));
    assert_eq!(store.views().load().history(1, 100, 1000).unwrap().len(), 4);
}

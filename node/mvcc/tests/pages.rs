//! Pages at the revision of the first page, as Kubernetes reads them.

use super::*;

fn filled() -> Store {
    let mut store = empty();
    let mut batch = store.begin().unwrap();
    for n in 0..5000 {
        let mut txn = batch.txn();
        txn.put(bytes(&format!("pods/{n:05}")), bytes("v"), LeaseId::NONE);
        txn.finish();
    }
    batch.commit(Durability::Volatile).unwrap();
    store
}

fn page(view: &View, from: &str, revision: i64) -> RangeResult {
    let interval = KeyInterval::Range { start: bytes(from), end: Some(bytes("pods0")) };
    view.range(&RangeQuery { revision, limit: 500, ..RangeQuery::latest(interval) }).unwrap()
}

#[test]
fn pages_hold_together_while_others_write() {
    let mut store = filled();
    let views = store.views();
    let (mut from, mut revision, mut keys) = ("pods/".to_owned(), 0, 0);
    for round in 0.. {
        let answer = page(&views.load(), &from, revision);
        if revision == 0 {
            revision = answer.revision;
        }
        assert_eq!(answer.count as usize, 5000 - keys);
        keys += answer.kvs.len();
        assert_eq!(answer.more, keys < 5000);
        if !answer.more {
            break;
        }
        from = format!("{}\0", std::str::from_utf8(&answer.kvs.last().unwrap().key).unwrap());
        // What others do changes nothing at the revision of the first page.
        put(&mut store, &format!("pods/{:05}x", 4000 + round), "new");
        delete(&mut store, one(&format!("pods/{:05}", 4900 + round)));
        put(&mut store, "pods/04950", "other");
    }
    assert_eq!(keys, 5000);
}

#[test]
fn an_index_version_is_kept_for_the_next_page_until_it_is_old_or_compacted() {
    let mut store = filled();
    let views = store.views();
    let kept = |revision: i64| views.load().shared.retained.read(revision, |_| ()).is_some();
    let first = page(&views.load(), "pods/", 0);
    assert!(kept(first.revision));
    put(&mut store, "pods/new", "v");
    let (revision, second) = (first.revision, page(&views.load(), "pods/00500", first.revision));
    assert_eq!(second.count, 4500);
    // A page that uses it keeps it young.
    (0..5).for_each(|_| views.tick());
    assert!(kept(revision));
    (0..6).for_each(|_| views.tick());
    assert!(!kept(revision));
    assert_eq!(page(&views.load(), "pods/00500", revision).count, 4500);

    let again = page(&views.load(), "pods/", 0).revision;
    put(&mut store, "pods/newer", "v");
    compact(&mut store, again, 1000);
    assert!(kept(again), "the compact revision itself can be read");
    put(&mut store, "pods/newest", "v");
    compact(&mut store, again + 1, 1000);
    assert!(!kept(again));
}

#[test]
fn a_reader_of_old_pages_does_not_pin_storage() {
    let mut store = filled();
    let first = page(&store.views().load(), "pods/", 0);
    for n in 0..5000 {
        put(&mut store, &format!("pods/{n:05}"), "w");
    }
    // The version of then is gone: all rows of the second page come from the newest one.
    let second = page(&store.views().load(), "pods/00500", first.revision);
    assert!(second.kvs.iter().all(|kv| kv.value == "v") && second.count == 4500);
}

#[test]
fn encoded_rows_are_the_decoded_answer() {
    use prost::Message;
    let mut store = filled();
    put(&mut store, "pods/00000", "longer");
    let view = store.views().load();
    for (content, target) in [
        (Content::KeyValues, SortTarget::Key),
        (Content::KeyValues, SortTarget::Value),
        (Content::Keys, SortTarget::Mod),
        (Content::Keys, SortTarget::Value),
        (Content::Count, SortTarget::Key),
    ] {
        let query = RangeQuery { content, target, limit: 7, order: SortOrder::Descend, ..RangeQuery::latest(all()) };
        let (decoded, rows) = (view.range(&query).unwrap(), view.range_rows(&query, &|_| true).unwrap());
        let kvs: Vec<_> =
            rows.rows.iter().map(|row| keelstone_proto::mvccpb::KeyValue::decode(row.clone()).unwrap()).collect();
        assert_eq!((decoded.kvs, decoded.count, decoded.more), (kvs, rows.count, rows.more));
    }
}

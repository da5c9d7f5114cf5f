//! The store as apply, readers and watchers use it.

mod compaction;
mod cost;
mod hash;
mod model;
mod pages;
mod restart;
mod transactions;

use super::*;
use crate::storage::memory::MemoryFile;
use crate::storage::{self, Durability, Storage};
use crate::types::{KeyInterval, LeaseId};
use bytes::Bytes;
use prometheus::Registry;
use proptest::test_runner::Config;
use std::sync::Arc;

const CACHE_BYTES: usize = 8 << 20;

/// A quarter of proptest's usual number of cases (`PROPTEST_CASES`), since each is long. The failing case is
/// printed; no file is written.
pub(super) fn cases() -> Config {
    let usual = Config::default();
    Config { cases: usual.cases.div_ceil(4), failure_persistence: None, ..usual }
}

fn metrics() -> Metrics {
    Metrics::register(&Registry::new()).unwrap()
}

fn storage_metrics() -> storage::Metrics {
    storage::Metrics::register(&Registry::new()).unwrap()
}

fn create(file: &Arc<MemoryFile>) -> Store {
    let storage = Storage::create(file.clone(), CACHE_BYTES, storage_metrics()).unwrap();
    Store::open(storage, metrics()).unwrap().store
}

fn reopen(file: &Arc<MemoryFile>) -> Opened {
    let storage = Storage::open(file.clone(), CACHE_BYTES, storage_metrics()).unwrap();
    Store::open(storage, metrics()).unwrap()
}

fn empty() -> Store {
    create(&MemoryFile::new())
}

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

/// All that a request can name.
fn all() -> KeyInterval {
    KeyInterval::Range { start: Bytes::from_static(b"\0"), end: None }
}

fn one(key: &str) -> KeyInterval {
    KeyInterval::One(bytes(key))
}

/// Runs one transaction as a batch of its own.
fn run(store: &mut Store, change: impl FnOnce(&mut Txn<'_>)) -> Option<Arc<RevisionEvents>> {
    let mut batch = store.begin().unwrap();
    let mut txn = batch.txn();
    change(&mut txn);
    let events = txn.finish();
    batch.commit(Durability::Volatile).unwrap();
    events
}

fn put(store: &mut Store, key: &str, value: &str) {
    run(store, |txn| txn.put(bytes(key), bytes(value), LeaseId::NONE));
}

fn delete(store: &mut Store, interval: KeyInterval) {
    run(store, |txn| {
        txn.delete(&interval);
    });
}

/// Compacts to the end, in slices of `budget_rows`.
fn compact(store: &mut Store, revision: i64, budget_rows: usize) {
    let mut batch = store.begin().unwrap();
    batch.compact(revision).unwrap();
    batch.commit(Durability::Volatile).unwrap();
    while_compacting(store, budget_rows);
}

fn while_compacting(store: &mut Store, budget_rows: usize) {
    loop {
        let mut batch = store.begin().unwrap();
        let progress = batch.compaction_slice(budget_rows).unwrap();
        batch.commit(Durability::Volatile).unwrap();
        if progress == Progress::Idle {
            return;
        }
    }
}

/// Keys and values at a revision, as text.
fn pairs(view: &View, revision: i64) -> Vec<(String, String)> {
    let query = RangeQuery { revision, ..RangeQuery::latest(all()) };
    let kvs = view.range(&query).unwrap().kvs;
    let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).unwrap();
    kvs.iter().map(|kv| (text(&kv.key), text(&kv.value))).collect()
}

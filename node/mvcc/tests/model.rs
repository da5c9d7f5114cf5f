//! The store against a naive etcd: a list of rows, of which everything is computed by looking at all of them.

use super::*;
use crate::storage::Table;
use keelstone_proto::mvccpb::KeyValue;
use proptest::prelude::*;
use std::collections::BTreeSet;

#[derive(Clone, Debug)]
struct Row {
    revision: Revision,
    tombstone: bool,
    kv: KeyValue,
}

#[derive(Clone, Debug)]
struct Model {
    rows: Vec<Row>,
    revision: i64,
    compacted: i64,
}

impl Model {
    fn new() -> Self {
        Self { rows: Vec::new(), revision: 1, compacted: -1 }
    }

    /// The last row of each key up to a revision, in key order.
    fn newest(&self, revision: i64) -> Vec<&Row> {
        let keys: BTreeSet<&Bytes> = self.rows.iter().map(|row| &row.kv.key).collect();
        let rows = |key: &Bytes| self.rows.iter().rfind(|row| row.kv.key == key && row.revision.main <= revision);
        keys.into_iter().filter_map(rows).collect()
    }

    fn live(&self, interval: &KeyInterval, revision: i64) -> Vec<KeyValue> {
        let rows = self.newest(revision).into_iter();
        rows.filter(|row| !row.tombstone && interval.contains(&row.kv.key)).map(|row| row.kv.clone()).collect()
    }

    fn range(&self, query: &RangeQuery, current: i64) -> Result<RangeResult, String> {
        let at = if query.revision <= 0 { current } else { query.revision };
        if at > current {
            return Err("future".into());
        }
        if at < self.compacted {
            return Err("compacted".into());
        }
        let mut kvs = self.live(&query.interval, at);
        let count = kvs.len() as i64;
        let filters =
            [query.min_mod_revision, query.max_mod_revision, query.min_create_revision, query.max_create_revision];
        let default_order =
            query.order == SortOrder::None || (query.target == SortTarget::Key && query.order == SortOrder::Ascend);
        if default_order && filters == [0; 4] && query.limit > 0 {
            kvs.truncate(query.limit as usize + 1);
        }
        let within = |value: i64, min: i64, max: i64| (min == 0 || min <= value) && (max == 0 || value <= max);
        kvs.retain(|kv| within(kv.mod_revision, filters[0], filters[1]));
        kvs.retain(|kv| within(kv.create_revision, filters[2], filters[3]));
        // Twice, so that ties stay in the order of their keys.
        let is_reversed = query.order == SortOrder::Descend && query.target != SortTarget::Key;
        if is_reversed {
            kvs.reverse();
        }
        match query.target {
            SortTarget::Key => {}
            SortTarget::Version => kvs.sort_by_key(|kv| kv.version),
            SortTarget::Create => kvs.sort_by_key(|kv| kv.create_revision),
            SortTarget::Mod => kvs.sort_by_key(|kv| kv.mod_revision),
            SortTarget::Value => kvs.sort_by_key(|kv| kv.value.clone()),
        }
        if query.order == SortOrder::Descend {
            kvs.reverse();
        }
        let mut more = query.limit > 0 && kvs.len() > query.limit as usize;
        if more {
            kvs.truncate(query.limit as usize);
        }
        match query.content {
            Content::KeyValues => {}
            Content::Keys => kvs.iter_mut().for_each(|kv| {
                kv.value = Bytes::new();
                if query.target != SortTarget::Value {
                    kv.lease = 0;
                }
            }),
            Content::Count => (kvs, more) = (Vec::new(), false),
        }
        Ok(RangeResult { kvs, count, more, revision: current })
    }

    fn put(&mut self, sub: i64, key: &Bytes, value: &Bytes, lease: i64) {
        let main = self.revision + 1;
        let before = self.live(&KeyInterval::One(key.clone()), i64::MAX).pop();
        let kv = KeyValue {
            key: key.clone(),
            create_revision: before.as_ref().map_or(main, |kv| kv.create_revision),
            mod_revision: main,
            version: before.map_or(1, |kv| kv.version + 1),
            value: value.clone(),
            lease,
        };
        self.rows.push(Row { revision: Revision { main, sub }, tombstone: false, kv });
    }

    fn delete(&mut self, sub: &mut i64, interval: &KeyInterval) -> u64 {
        let keys = self.live(interval, i64::MAX);
        for kv in &keys {
            let revision = Revision { main: self.revision + 1, sub: *sub };
            let kv = KeyValue { key: kv.key.clone(), ..KeyValue::default() };
            self.rows.push(Row { revision, tombstone: true, kv });
            *sub += 1;
        }
        keys.len() as u64
    }

    /// The rows after all compactions so far.
    fn kept(&self) -> Vec<Row> {
        let newest: BTreeSet<Revision> = self
            .newest(self.compacted)
            .into_iter()
            .filter(|row| !row.tombstone || row.revision.main == self.compacted)
            .map(|row| row.revision)
            .collect();
        let keeps = |row: &&Row| row.revision.main > self.compacted || newest.contains(&row.revision);
        self.rows.iter().filter(keeps).cloned().collect()
    }

    /// etcd's hash, with its set of revisions to keep. `None` if that is empty while a compaction runs: then
    /// nothing is skipped, and the hash depends on how far the compaction is.
    fn hash(&self, revision: i64, is_compacting: bool) -> Option<u32> {
        let newest = self.newest(revision).into_iter().filter(|row| !row.tombstone);
        let keep: BTreeSet<Revision> = newest.map(|row| row.revision).collect();
        if keep.is_empty() && is_compacting {
            return None;
        }
        let mut crc = crc32c::crc32c(b"key");
        for row in &if keep.is_empty() { self.kept() } else { self.rows.clone() } {
            let main = row.revision.main;
            let skipped = main > revision
                || (main <= self.compacted && !keep.is_empty() && !keep.contains(&row.revision))
                || (main == self.compacted && row.tombstone);
            if !skipped {
                let (key, value) = row.encoded();
                crc = crc32c::crc32c_append(crc32c::crc32c_append(crc, &key), &value);
            }
        }
        Some(crc)
    }
}

impl Row {
    fn encoded(&self) -> (Vec<u8>, Vec<u8>) {
        use prost::Message;
        (RowKey::new(self.revision, self.tombstone).as_bytes().to_vec(), self.kv.encode_to_vec())
    }
}

#[derive(Clone, Debug)]
enum Op {
    Put(Bytes, Bytes, i64),
    Delete(KeyInterval),
    Range(RangeQuery),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Commit {
    /// If there is room.
    PutOff,
    Volatile,
    Durable,
}

#[derive(Clone, Debug)]
enum Step {
    /// The transactions of one batch.
    Batch(Vec<Vec<Op>>, Commit),
    /// Share of the way from the compacted to the current revision.
    Compact(u8),
    Slice(u8),
    Crash,
    Check(Vec<RangeQuery>),
}

fn key() -> impl Strategy<Value = Bytes> {
    (0..24u8).prop_map(|n| Bytes::from(format!("k{}", n)))
}

fn interval() -> impl Strategy<Value = KeyInterval> {
    prop_oneof![
        3 => key().prop_map(KeyInterval::One),
        2 => (key(), key()).prop_map(|(start, end)| KeyInterval::Range { start, end: Some(end) }),
        1 => key().prop_map(|start| KeyInterval::Range { start, end: None }),
    ]
}

fn query() -> impl Strategy<Value = RangeQuery> {
    use prop::sample::select;
    let shape = (
        select(vec![SortOrder::None, SortOrder::Ascend, SortOrder::Descend]),
        select(vec![SortTarget::Key, SortTarget::Version, SortTarget::Create, SortTarget::Mod, SortTarget::Value]),
        select(vec![Content::KeyValues, Content::KeyValues, Content::Keys, Content::Count]),
    );
    let bound = || prop_oneof![3 => Just(0i64), 1 => 1..60i64];
    let bounds = (bound(), bound(), bound(), bound());
    (interval(), prop_oneof![Just(0i64), -1..80i64], 0..6i64, shape, bounds).prop_map(
        |(interval, revision, limit, (order, target, content), (min_mod, max_mod, min_create, max_create))| {
            RangeQuery {
                interval,
                revision,
                limit,
                order,
                target,
                content,
                min_mod_revision: min_mod,
                max_mod_revision: max_mod,
                min_create_revision: min_create,
                max_create_revision: max_create,
            }
        },
    )
}

fn op() -> impl Strategy<Value = Op> {
    let value = proptest::collection::vec(any::<u8>(), 0..12).prop_map(Bytes::from);
    prop_oneof![
        6 => (key(), value, 0..3i64).prop_map(|(key, value, lease)| Op::Put(key, value, lease)),
        2 => interval().prop_map(Op::Delete),
        2 => query().prop_map(Op::Range),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let commit = prop_oneof![2 => Just(Commit::PutOff), 2 => Just(Commit::Volatile), 1 => Just(Commit::Durable)];
    let txns = proptest::collection::vec(proptest::collection::vec(op(), 0..4), 1..5);
    prop_oneof![
        8 => (txns, commit).prop_map(|(txns, commit)| Step::Batch(txns, commit)),
        1 => any::<u8>().prop_map(Step::Compact),
        3 => (1..40u8).prop_map(Step::Slice),
        1 => Just(Step::Crash),
        3 => proptest::collection::vec(query(), 1..8).prop_map(Step::Check),
    ]
}

fn same(real: Result<RangeResult, ReadError>, naive: Result<RangeResult, String>) -> Result<(), TestCaseError> {
    match (real, naive) {
        (Ok(real), Ok(naive)) => prop_assert_eq!(real, naive),
        (Err(ReadError::Compacted { .. }), Err(naive)) => prop_assert_eq!(naive, "compacted"),
        (Err(ReadError::FutureRevision { .. }), Err(naive)) => prop_assert_eq!(naive, "future"),
        (real, naive) => return Err(TestCaseError::fail(format!("{real:?} is not {naive:?}"))),
    }
    Ok(())
}

fn run_txn(batch: &mut WriteBatch<'_>, model: &mut Model, ops: &[Op]) -> Result<(), TestCaseError> {
    let mut txn = batch.txn();
    let mut sub = 0;
    for op in ops {
        match op {
            Op::Put(key, value, lease) => {
                txn.put(key.clone(), value.clone(), LeaseId(*lease));
                model.put(sub, key, value, *lease);
                sub += 1;
            }
            Op::Delete(interval) => prop_assert_eq!(txn.delete(interval), model.delete(&mut sub, interval)),
            Op::Range(query) => {
                prop_assert_eq!(txn.revision(), model.revision + i64::from(sub > 0));
                same(txn.range(query), model.range(query, txn.revision()))?;
            }
        }
    }
    let events = txn.finish();
    prop_assert_eq!(events.as_ref().map_or(0, |events| events.events.len()), sub as usize);
    model.revision += i64::from(sub > 0);
    Ok(())
}

fn check(view: &View, model: &Model, is_compacting: bool) -> Result<(), TestCaseError> {
    prop_assert_eq!((view.revision(), view.compacted()), (model.revision, model.compacted));
    prop_assert_eq!(view.keys(), model.live(&all(), i64::MAX).len());
    let from = model.compacted.max(1);
    let mut events = Vec::new();
    let mut next = from;
    loop {
        let some = view.history(next, i64::MAX, 5).unwrap();
        let Some(last) = some.last() else { break };
        next = last.revision + 1;
        events.extend(some);
    }
    let of_events = events.iter().flat_map(|events| &events.events);
    let found: Vec<_> = of_events.map(|event| (event.kind == EventKind::Delete, event.kv.clone())).collect();
    // A compaction that is under way may still show what it has not reached of its own revision.
    let rows = model.kept().into_iter().filter(|row| row.revision.main >= from);
    let expected: Vec<_> = rows
        .map(|row| {
            let kv = if row.tombstone { KeyValue { mod_revision: row.revision.main, ..row.kv } } else { row.kv };
            (row.tombstone, kv)
        })
        .collect();
    let above = |rows: &[(bool, KeyValue)]| -> Vec<(bool, KeyValue)> {
        rows.iter().filter(|(_, kv)| kv.mod_revision > model.compacted).cloned().collect()
    };
    prop_assert_eq!(above(&found), above(&expected));
    for revision in [from, (from + model.revision) / 2, model.revision] {
        // The hash of the very compact revision may be the one that the compaction made.
        let expected = model.hash(revision, is_compacting).filter(|_| revision > model.compacted);
        if let Some(expected) = expected {
            prop_assert_eq!(view.hash_kv(revision).unwrap().hash, expected);
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(crate::mvcc::tests::cases())]
    #[test]
    fn the_store_is_etcd(steps in proptest::collection::vec(step(), 0..60)) {
        let mut file = MemoryFile::new();
        let mut store = create(&file);
        let mut model = Model::new();
        let mut durable = model.clone();
        for step in steps {
            match step {
                Step::Batch(txns, commit) => {
                    let mut batch = store.begin().unwrap();
                    for ops in &txns {
                        run_txn(&mut batch, &mut model, ops)?;
                    }
                    match commit {
                        Commit::PutOff if batch.may_be_put_off() => drop(batch.put_off()),
                        Commit::PutOff | Commit::Volatile => drop(batch.commit(Durability::Volatile).unwrap()),
                        Commit::Durable => {
                            batch.commit(Durability::Durable).unwrap();
                            durable = model.clone();
                        }
                    }
                }
                Step::Compact(share) => {
                    let to = model.compacted + (model.revision - model.compacted) * i64::from(share) / 255;
                    let mut batch = store.begin().unwrap();
                    prop_assert_eq!(batch.compact(to).is_ok(), to > model.compacted);
                    batch.commit(Durability::Volatile).unwrap();
                    model.compacted = to;
                }
                Step::Slice(rows) => {
                    let mut batch = store.begin().unwrap();
                    batch.compaction_slice(rows.into()).unwrap();
                    batch.commit(Durability::Volatile).unwrap();
                }
                Step::Crash => {
                    file = file.crashed();
                    store = reopen(&file).store;
                    model = durable.clone();
                }
                Step::Check(queries) => {
                    let view = store.views().load();
                    for query in queries {
                        same(view.range(&query), model.range(&query, model.revision))?;
                    }
                    check(&view, &model, store.is_compacting())?;
                }
            }
        }
        store.begin().unwrap().commit(Durability::Volatile).unwrap();
        while_compacting(&mut store, 3);
        let view = store.views().load();
        check(&view, &model, false)?;
        let rows = store.storage().version().unwrap().rows(Table::Key).unwrap();
        let kept: Vec<_> = model.kept().iter().map(Row::encoded).collect();
        prop_assert_eq!(rows, kept);
        let keys: BTreeSet<Bytes> = model.kept().into_iter().map(|row| row.kv.key).collect();
        prop_assert_eq!(store.index.len(), keys.len());
    }
}

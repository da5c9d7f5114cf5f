//! The state file as its users see it: what a commit promises, what a crash leaves, what an export carries.

use super::memory::MemoryFile;
use super::*;
use crate::types::LogPosition;
use std::ops::Bound;

const CACHE: usize = 4 << 20;

fn metrics() -> Metrics {
    Metrics::register(&prometheus::Registry::new()).unwrap()
}

fn create(file: &Arc<MemoryFile>) -> Storage {
    Storage::create(file.clone(), CACHE, metrics()).unwrap()
}

fn open(file: &Arc<MemoryFile>) -> Storage {
    Storage::open(file.clone(), CACHE, metrics()).unwrap()
}

#[test]
fn a_crash_loses_volatile_commits_and_keeps_durable_ones() {
    let file = MemoryFile::new();
    let storage = create(&file);
    for (key, durability) in [(b"a", Durability::Durable), (b"b", Durability::Volatile)] {
        let mut batch = storage.begin().unwrap();
        batch.put(Table::Cluster, key, b"1");
        batch.commit(durability).unwrap();
    }
    assert_eq!(storage.version().unwrap().rows(Table::Cluster).unwrap().len(), 2);
    let after = open(&file.crashed());
    let rows = after.version().unwrap().rows(Table::Cluster).unwrap();
    assert_eq!(rows, [(b"a".to_vec(), b"1".to_vec())]);
}

#[test]
fn a_version_stays_as_it_was() {
    let storage = create(&MemoryFile::new());
    let before = storage.version().unwrap();
    let mut batch = storage.begin().unwrap();
    batch.put(Table::Auth, b"k", b"v");
    batch.commit(Durability::Volatile).unwrap();
    assert_eq!(before.get(Table::Auth, b"k").unwrap(), None);
    assert_eq!(storage.version().unwrap().get(Table::Auth, b"k").unwrap(), Some(b"v".to_vec()));
}

#[test]
fn meta_rows_have_etcds_bytes() {
    let storage = create(&MemoryFile::new());
    let mut batch = storage.begin().unwrap();
    batch.set_applied(LogPosition { term: 3, index: 0x0102 });
    batch.set_storage_version(Some("3.7.0"));
    batch.set_membership(b"m");
    batch.commit(Durability::Volatile).unwrap();
    let version = storage.version().unwrap();
    assert_eq!(version.get(Table::Meta, b"consistent_index").unwrap().unwrap(), [0, 0, 0, 0, 0, 0, 1, 2]);
    assert_eq!(version.get(Table::Meta, b"term").unwrap().unwrap(), [0, 0, 0, 0, 0, 0, 0, 3]);
    let meta = version.meta().unwrap();
    assert_eq!(meta.applied, LogPosition { term: 3, index: 0x0102 });
    assert_eq!(meta.storage_version.as_deref(), Some("3.7.0"));
    assert_eq!(meta.format, Some(1));
}

#[test]
fn a_file_of_a_newer_format_is_refused() {
    let file = MemoryFile::new();
    let storage = create(&file);
    let mut batch = storage.begin().unwrap();
    batch.put(Table::Meta, b"keelstone_format", &2u32.to_be_bytes());
    batch.commit(Durability::Durable).unwrap();
    drop(storage);
    let refused = Storage::open(file, CACHE, metrics());
    assert!(matches!(refused, Err(StorageError::Format { found: Some(2) })));
}

#[test]
fn a_sweep_goes_on_where_it_stopped_and_removes_what_it_is_told() {
    let storage = create(&MemoryFile::new());
    let keys: Vec<[u8; 4]> = (0..1000u32).map(u32::to_be_bytes).collect();
    let mut batch = storage.begin().unwrap();
    batch.append(Table::Key, keys.iter().map(|key| (&key[..], &b"value"[..]))).unwrap();
    let (mut after, mut removed) = (None::<Vec<u8>>, 0);
    loop {
        let from = after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let sweep = batch
            .sweep(Table::Key, (from, &keys[900]), 64, |key, _| {
                Ok(if key[3] % 3 == 0 { Fate::Remove } else { Fate::Keep })
            })
            .unwrap();
        assert!(sweep.visited_rows <= 64);
        removed += sweep.removed_rows;
        after = sweep.last;
        if after.is_none() {
            break;
        }
    }
    batch.commit(Durability::Volatile).unwrap();
    let left = storage.version().unwrap().rows(Table::Key).unwrap();
    assert!(left.iter().all(|(key, _)| key.as_slice() >= &keys[900][..] || key[3] % 3 != 0));
    assert_eq!(left.len() + removed, 1000);
}

#[test]
fn rows_out_of_order_are_not_appended() {
    let storage = create(&MemoryFile::new());
    let mut batch = storage.begin().unwrap();
    let rows = [(&b"b"[..], &b""[..]), (&b"a"[..], &b""[..])];
    assert!(matches!(batch.append(Table::Key, rows.into_iter()), Err(StorageError::Unordered { .. })));
}

#[test]
fn rows_set_one_by_one_are_written_wherever_they_stand_and_counted() {
    let storage = create(&MemoryFile::new());
    let key = |n: u32| n.to_be_bytes();
    let commit = |change: &dyn Fn(&mut Batch)| {
        let mut batch = storage.begin().unwrap();
        change(&mut batch);
        batch.commit(Durability::Volatile).unwrap();
        storage.usage.row_bytes.load(std::sync::atomic::Ordering::Relaxed)
    };
    let before = commit(&|_| {});
    commit(&|batch| (10..20).for_each(|n| batch.put(Table::Lease, &key(n), b"old")));
    // Among the others and behind them; removed there and nowhere.
    let after = commit(&|batch| {
        (15..40).step_by(2).for_each(|n| batch.put(Table::Lease, &key(n), b"newer"));
        [10, 30, 50].iter().for_each(|n| batch.remove(Table::Lease, &key(*n)));
        batch.put(Table::Lease, &key(5), b"newer");
    });
    let rows = storage.version().unwrap().rows(Table::Lease).unwrap();
    let old = [11, 12, 13, 14, 16, 18].map(|n| (key(n).to_vec(), b"old".to_vec()));
    let newer = (15..40).step_by(2).chain([5]).map(|n| (key(n).to_vec(), b"newer".to_vec()));
    let expected: std::collections::BTreeMap<_, _> = old.into_iter().chain(newer).collect();
    assert_eq!(rows, expected.into_iter().collect::<Vec<_>>());
    let bytes: usize = rows.iter().map(|(key, value)| key.len() + value.len()).sum();
    assert_eq!(after - before, bytes as u64);
}

#[test]
fn an_export_is_imported_row_by_row() {
    let storage = create(&MemoryFile::new());
    let mut batch = storage.begin().unwrap();
    for n in 0..500u32 {
        batch.put(Table::Key, &n.to_be_bytes(), &[7; 100]);
        batch.put(Table::Lease, &n.to_be_bytes(), b"l");
    }
    batch.set_applied(LogPosition { term: 1, index: 9 });
    batch.commit(Durability::Volatile).unwrap();
    let version = storage.version().unwrap();
    let file = MemoryFile::new();
    let mut import = Import::new(file.clone(), CACHE, metrics()).unwrap();
    for chunk in version.export(1000) {
        let chunk = chunk.unwrap();
        assert!(chunk.rows.len() <= 250);
        import.push(&chunk).unwrap();
    }
    drop(import.finish().unwrap());
    let copy = open(&file.crashed()).version().unwrap();
    for table in Table::ALL.into_iter().filter(|table| *table != Table::Meta) {
        assert_eq!(copy.rows(table).unwrap(), version.rows(table).unwrap(), "{table}");
    }
    assert_eq!(copy.meta().unwrap().applied.index, 9);
}

#[test]
fn sizes_survive_a_restart() {
    let file = MemoryFile::new();
    let storage = create(&file);
    let mut batch = storage.begin().unwrap();
    let rows: Vec<[u8; 4]> = (0..10_000u32).map(u32::to_be_bytes).collect();
    batch.append(Table::Key, rows.iter().map(|key| (&key[..], &[1u8; 300][..]))).unwrap();
    batch.commit(Durability::Durable).unwrap();
    let before = storage.stats();
    assert!(before.in_use_bytes > 3_000_000 && before.in_use_bytes < 4_000_000, "{before:?}");
    assert!(before.total_bytes >= before.in_use_bytes && before.total_bytes < 6_000_000, "{before:?}");
    let after = open(&file.crashed()).stats();
    assert_eq!(after.in_use_bytes, before.in_use_bytes);
    assert!(after.total_bytes <= before.total_bytes, "{after:?} {before:?}");
}

#[test]
fn a_new_file_is_no_larger_than_is_said() {
    let storage = create(&MemoryFile::new());
    let mut batch = storage.begin().unwrap();
    for table in Table::ALL.into_iter().filter(|table| *table != Table::Meta) {
        batch.append(table, std::iter::once((&b"row"[..], &b"value"[..]))).unwrap();
    }
    batch.commit(Durability::Durable).unwrap();
    let total_bytes = i64::try_from(storage.stats().total_bytes).unwrap();
    assert!((EMPTY_FILE_BYTES / 2..=EMPTY_FILE_BYTES).contains(&total_bytes), "{total_bytes}");
}

#[test]
fn closing_makes_volatile_commits_durable() {
    // Not wanted, but so it is with redb: who must not keep them ends the process without a drop.
    let file = MemoryFile::new();
    let storage = create(&file);
    let mut batch = storage.begin().unwrap();
    batch.put(Table::Cluster, b"a", b"1");
    batch.commit(Durability::Volatile).unwrap();
    assert_eq!(open(&file.crashed()).version().unwrap().rows(Table::Cluster).unwrap().len(), 0);
    drop(storage);
    assert_eq!(open(&file.crashed()).version().unwrap().rows(Table::Cluster).unwrap().len(), 1);
}

#[test]
fn open_versions_are_counted() {
    let storage = create(&MemoryFile::new());
    let version = storage.version().unwrap();
    let clone = version.clone();
    assert_eq!(storage.metrics.open_reads.get(), 1.0);
    drop((version, clone));
    assert_eq!(storage.metrics.open_reads.get(), 0.0);
}

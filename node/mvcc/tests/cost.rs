//! Costs that must stay what they are, compared loosely: by ratio, on whatever machine.

use super::*;
use std::time::Duration;

/// CPU time of this thread: others on the machine do not change it.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(stat.split(' ').next().unwrap().parse().unwrap())
}

fn batches(store: &mut Store, batches: usize, mut key: impl FnMut() -> String) -> Duration {
    let value = Bytes::from(vec![b'v'; 256]);
    let start = cpu();
    for _ in 0..batches {
        let mut batch = store.begin().unwrap();
        for _ in 0..100 {
            let mut txn = batch.txn();
            txn.put(bytes(&key()), value.clone(), LeaseId::NONE);
            txn.finish();
        }
        batch.commit(Durability::Volatile).unwrap();
    }
    cpu() - start
}

#[test]
fn a_key_with_many_revisions_is_put_and_read_like_any_other() {
    let mut store = empty();
    let first = batches(&mut store, 200, || "hot".into());
    batches(&mut store, 1000, || "hot".into());
    let last = batches(&mut store, 200, || "hot".into());
    assert!(last < 4 * first + Duration::from_millis(50), "first {first:?}, last {last:?}");
    let view = store.views().load();
    assert_eq!(view.get_at(b"hot", 70_000).unwrap().unwrap().version, 69_999);
}

#[test]
fn a_put_of_an_old_key_costs_little_more_than_of_a_new_one() {
    let dir = tempfile::tempdir().unwrap();
    let file = crate::disk::Disk::create(&crate::disk::RealDisk, &dir.path().join("state")).unwrap();
    let storage = Storage::create(file, 64 << 20, storage_metrics()).unwrap();
    let mut store = Store::open(storage, metrics()).unwrap().store;
    let mut n = 0u64;
    let mut next = || {
        n += 1;
        format!("/registry/pods/{:016x}/{:032}", (n % 100_000).wrapping_mul(0x9e37_79b9_7f4a_7c15), n % 100_000)
    };
    let fresh = batches(&mut store, 1000, &mut next);
    let again = batches(&mut store, 1000, &mut next);
    let per_put = |time: Duration| time.as_secs_f64() * 1e6 / 100_000.0;
    println!("{:.2} us a put of a new key, {:.2} us of an old one", per_put(fresh), per_put(again));
    assert!(again < 4 * fresh + Duration::from_millis(50), "new {fresh:?}, old {again:?}");
    let start = cpu();
    store.begin().unwrap().commit(Durability::Durable).unwrap();
    println!("durable commit after 200 000 puts: {:?}", (cpu() - start));
    let revision = store.revision();
    let start = cpu();
    compact(&mut store, revision, 1000);
    let compacted = cpu() - start;
    let start = cpu();
    for n in 0..2000u32 {
        put(&mut store, &format!("/registry/pods/{n:016}"), "v");
    }
    println!("{:.2} us a put in a batch of its own", (cpu() - start).as_secs_f64() * 1e6 / 2000.0);
    println!("compaction of 200 000 rows: {compacted:?}; {:?}", store.storage().stats());
}

#[test]
fn opening_costs_less_than_writing_did() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    let file = crate::disk::Disk::create(&crate::disk::RealDisk, &path).unwrap();
    let storage = Storage::create(file, 64 << 20, storage_metrics()).unwrap();
    let mut store = Store::open(storage, metrics()).unwrap().store;
    let mut n = 0u64;
    let written = batches(&mut store, 2_000, || {
        n += 1;
        format!("/registry/pods/{:016x}/{n:032}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    });
    store.begin().unwrap().commit(Durability::Durable).unwrap();
    drop(store);
    let (start, wall) = (cpu(), std::time::Instant::now());
    let file = crate::disk::Disk::open(&crate::disk::RealDisk, &path).unwrap();
    let storage = Storage::open(file, 64 << 20, storage_metrics()).unwrap();
    let opened = Store::open(storage, metrics()).unwrap();
    let spent = cpu() - start;
    println!("opening 200 000 rows: {spent:?} of CPU in {:?}, writing: {written:?}", wall.elapsed());
    println!("{} bytes of index a key", opened.store.index.heap_bytes() / opened.store.index.len());
    assert_eq!(opened.store.index.live(), 200_000);
    assert!(spent < written + Duration::from_millis(50), "opening {spent:?}, writing {written:?}");
}

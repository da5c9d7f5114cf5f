//! What is written is read back, whatever the rows; and the tree keeps what bbolt relies on.

use super::layout::{MAX_KEY_BYTES, PAGE_BYTES};
use super::*;
use crate::disk::{Disk, MemoryDisk};
use bytes::Bytes;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::path::Path;

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

fn bytes_of(buckets: &[(&'static str, Rows)]) -> Vec<u8> {
    let write = |mut writer: Writer| {
        for (name, rows) in buckets {
            writer.bucket(name);
            for (key, value) in rows {
                writer.row(key.clone().into(), value.clone().into()).expect("a row of etcd");
            }
        }
        let plan = writer.finish();
        (plan, writer.finished().to_vec())
    };
    let (plan, _) = write(Writer::new());
    let (again, bytes) = write(Writer::planned(&plan));
    assert_eq!((plan, plan.bytes()), (again, bytes.len() as u64));
    bytes
}

fn open(bytes: &[u8]) -> Result<Database, BoltError> {
    let disk = MemoryDisk::new();
    disk.create_dir_all(Path::new("/d")).expect("a folder in memory");
    let file = disk.create(Path::new("/d/db")).expect("a file in memory");
    file.write_at(0, bytes).expect("memory does not fail");
    Database::open(file, bytes.len() as u64)
}

fn read(bytes: &[u8]) -> Result<Vec<(Bytes, Rows)>, BoltError> {
    let database = open(bytes)?;
    let rows_of = |bucket: Bucket| {
        let rows = database.rows(&bucket)?.map(|row| row.map(|(key, value)| (key.to_vec(), value.to_vec())));
        Ok((bucket.name, rows.collect::<Result<Rows, _>>()?))
    };
    database.buckets()?.into_iter().map(rows_of).collect()
}

#[track_caller]
fn check(buckets: &[(&'static str, Rows)]) -> Vec<u8> {
    let bytes = bytes_of(buckets);
    let found = read(&bytes).expect("our own file");
    let wanted: Vec<_> =
        buckets.iter().map(|(name, rows)| (Bytes::from_static(name.as_bytes()), rows.clone())).collect();
    assert!(found == wanted, "rows differ");
    bytes
}

fn many(count: u32, value_len: usize) -> Rows {
    (0..count).map(|number| (format!("key-{number:08}").into_bytes(), vec![number as u8; value_len])).collect()
}

proptest! {
    #[test]
    fn rows_are_read_as_they_were_written(
        small in proptest::collection::btree_map(
            proptest::collection::vec(any::<u8>(), 1..40), proptest::collection::vec(any::<u8>(), 0..300), 0..400),
        large in proptest::collection::btree_map(
            proptest::collection::vec(any::<u8>(), 1..5_000), proptest::collection::vec(any::<u8>(), 0..9_000), 0..30),
    ) {
        check(&[("a", small), ("b", Rows::new()), ("c", large)]);
    }
}

#[test]
fn a_database_without_buckets_and_one_with_empty_ones_are_read() {
    check(&[]);
    assert_eq!(check(&[("alarm", Rows::new()), ("auth", Rows::new())]).len(), 4 * PAGE_BYTES);
}

#[test]
fn a_tree_of_any_size_has_no_branch_with_one_child() {
    // A row fills a leaf and seven fill a branch, so these are all sizes around the second to fourth level.
    for count in (1..=130_u32).chain(290..=350) {
        let long_key = |number: u32| format!("{number:0500}").into_bytes();
        let bytes = check(&[("key", (0..count).map(|number| (long_key(number), vec![7; 3_500])).collect())]);
        for page in bytes.chunks(PAGE_BYTES) {
            let (flags, children) = (u16::from_le_bytes([page[8], page[9]]), u16::from_le_bytes([page[10], page[11]]));
            assert!(flags != 1 || children >= 2, "{count} rows: a branch with {children} children");
        }
    }
}

#[test]
fn long_keys_make_branches_of_several_pages() {
    let rows: Rows = (0..40_u8).map(|number| (vec![number; MAX_KEY_BYTES], vec![number])).collect();
    check(&[("authUsers", rows)]);
}

#[test]
fn what_bbolt_cannot_hold_is_refused() {
    let mut writer = Writer::new();
    writer.bucket("key");
    let (bucket, long) = ("key", Bytes::from(vec![0; MAX_KEY_BYTES + 1]));
    assert_eq!(writer.row(Bytes::new(), Bytes::new()), Err(Unwritable::EmptyKey { bucket }));
    assert_eq!(writer.row(long, Bytes::new()), Err(Unwritable::KeyTooLong { bucket, bytes: MAX_KEY_BYTES + 1 }));
}

/// A file with a branch, an inline bucket and a value of several pages, changed in one place.
fn damaged(change: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut rows = many(200, 100);
    rows.insert(b"large".to_vec(), vec![7; 10_000]);
    let mut bytes = bytes_of(&[("alarm", Rows::new()), ("key", rows)]);
    change(&mut bytes);
    read(&bytes).expect_err("it is damaged").to_string()
}

#[test]
fn damage_is_named_with_its_page() {
    let at = |page: usize, offset: usize| page * PAGE_BYTES + offset;
    let set = |offset: usize, new: &'static [u8]| {
        move |bytes: &mut Vec<u8>| bytes[offset..offset + new.len()].copy_from_slice(new)
    };
    for (said, wanted) in [
        (damaged(|bytes| bytes.truncate(50)), "file of 50 bytes is too short for a bbolt database"),
        (damaged(|bytes| bytes.truncate(3 * PAGE_BYTES)), "the file has only 12288 bytes"),
        (damaged(set(at(3, 0), &[9])), "page 3: says that it is page 9"),
        (damaged(set(at(3, 8), &[4])), "page 3: is neither branch nor leaf (flags 0x0004)"),
        (damaged(set(at(3, 10), &[0xff, 0xff])), "page 3: has no place for its 65535 elements"),
        (damaged(set(at(3, 12), &[0xff, 0xff])), "page 3: goes on for 65535 more pages, beyond the 15 of the database"),
        (damaged(set(at(3, 20), &[0xff, 0xff, 0xff, 0xff])), "page 3: element 0 reaches outside of the page"),
        (damaged(set(at(3, 24), &[0, 0, 0, 0])), "page 3: element 0 has an empty key"),
        (damaged(set(at(3, 16), &[1])), "page 3: element 0 is a bucket inside of a bucket, which etcd has not"),
        (damaged(set(at(4, 10), &[0, 0])), "page 4: has no elements below a branch"),
    ] {
        assert!(said.contains(wanted), "wanted {wanted:?}, is {said:?}");
    }
}

#[test]
fn one_valid_meta_page_is_enough() {
    let rows = many(3, 10);
    let whole = bytes_of(&[("key", rows.clone())]);
    for broken in [0, PAGE_BYTES] {
        let mut bytes = whole.clone();
        bytes[broken + 30] ^= 1;
        assert_eq!(read(&bytes).expect("the other one is whole")[0].1, rows);
    }
    let mut bytes = whole;
    bytes[30] ^= 1;
    bytes[PAGE_BYTES + 30] ^= 1;
    let said = read(&bytes).expect_err("none is whole").to_string();
    assert!(said.starts_with("neither meta page is valid: page 0: checksum 0x"), "{said}");
    assert!(said.contains("; page 1: checksum 0x"), "{said}");
}

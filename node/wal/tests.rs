//! The log against an independent reader of etcd's format, over rotation, purge, torn ends and damage.

use super::segment::parse_name;
use super::*;
use crate::disk::{Disk, RealDisk};
use keelstone_proto::raftpb::ConfState;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, mpsc};

const IDENTITY: Identity = Identity { node_id: 7, cluster_id: 9 };

fn small() -> Settings {
    Settings { segment_bytes: 4_096, max_wals: 2, batch_bytes: 1_024, tail_bytes: 2_000 }
}

fn open(dir: &Path, settings: Settings) -> Result<(Wal, Opened), WalError> {
    let metrics = Metrics::register(&prometheus::Registry::new()).expect("fresh registry");
    let on_fatal: OnFatal = Box::new(|error| panic!("the log failed: {error}"));
    Wal::open(Arc::new(RealDisk), dir, settings, metrics, on_fatal)
}

fn fresh(dir: &Path, settings: Settings) -> Wal {
    create(&RealDisk, dir, IDENTITY, &[], HardState::default()).expect("create");
    open(dir, settings).expect("open").0
}

fn entry(term: u64, index: u64) -> Entry {
    let data = format!("entry {index} of term {term} {}", "x".repeat((index % 90) as usize));
    Entry { term, index, kind: EntryKind::Normal, data: data.into() }
}

/// Appends and waits until the entries are durable.
fn append(wal: &Wal, entries: Vec<Entry>) {
    let (sender, synced) = mpsc::channel();
    wal.append(entries, Box::new(move |result| sender.send(result).expect("the test waits")));
    synced.recv().expect("called back").expect("durable");
}

fn purge(wal: &Wal, upto: LogPosition) {
    let (sender, synced) = mpsc::channel();
    wal.purge(upto, ConfState::default(), Box::new(move |result| sender.send(result).expect("the test waits")));
    synced.recv().expect("called back").expect("durable");
}

/// Reads a directory by the format's own rules, sharing no code with the log: entries by index, later ones
/// replacing earlier ones.
fn independent_read(dir: &Path) -> BTreeMap<u64, (u64, Vec<u8>)> {
    let mut entries = BTreeMap::new();
    let mut crc = 0_u32;
    for name in RealDisk.list(dir).expect("list").iter().filter(|name| parse_name(name).is_some()) {
        let bytes = std::fs::read(dir.join(name)).expect("read segment");
        let mut at = 0;
        while at + 8 <= bytes.len() {
            let field = u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
            if field == 0 {
                break;
            }
            let length = (field & ((1 << 56) - 1)) as usize;
            let padding = if field >> 63 == 1 { (field >> 56 & 7) as usize } else { 0 };
            let fields = numbers_and_bytes(&bytes[at + 8..at + 8 + length]);
            let kind = fields.numbers[&1];
            if kind == 4 {
                assert!(crc == 0 || crc == fields.numbers[&2] as u32, "checksum carried over");
                crc = fields.numbers[&2] as u32;
            } else {
                crc = crc32c::crc32c_append(crc, &fields.bytes[&3]);
                assert_eq!(crc, fields.numbers[&2] as u32, "chained checksum");
            }
            if kind == 2 {
                let entry = numbers_and_bytes(&fields.bytes[&3]);
                let index = entry.numbers[&3];
                entries.retain(|known, _| *known < index);
                entries.insert(index, (entry.numbers[&2], entry.bytes.get(&4).cloned().unwrap_or_default()));
            }
            at += 8 + length + padding;
        }
    }
    entries
}

#[derive(Default)]
struct Fields {
    numbers: BTreeMap<u64, u64>,
    bytes: BTreeMap<u64, Vec<u8>>,
}

fn numbers_and_bytes(mut rest: &[u8]) -> Fields {
    let mut fields = Fields::default();
    while !rest.is_empty() {
        let key = varint(&mut rest);
        let value = varint(&mut rest);
        if key & 7 == 0 {
            fields.numbers.insert(key >> 3, value);
        } else {
            let (data, after) = rest.split_at(value as usize);
            fields.bytes.insert(key >> 3, data.to_vec());
            rest = after;
        }
    }
    fields
}

fn varint(rest: &mut &[u8]) -> u64 {
    let mut value = 0;
    let mut shift = 0;
    loop {
        let byte = rest[0];
        *rest = &rest[1..];
        value |= u64::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            return value;
        }
    }
}

#[test]
fn what_was_acknowledged_is_there_after_reopening_over_rotations() {
    let temp = tempfile::tempdir().expect("tempdir");
    let dir = temp.path().join("wal");
    let wal = fresh(&dir, small());
    for index in 1..=400 {
        append(&wal, vec![entry(1 + index / 100, index)]);
    }
    wal.save_commit(390);
    wal.close();
    assert!(RealDisk.list(&dir).expect("list").len() > 3, "several segments");
    let (wal, opened) = open(&dir, small()).expect("reopen");
    assert_eq!((opened.identity, opened.last), (IDENTITY, LogPosition { term: 5, index: 400 }));
    assert_eq!(opened.hard_state.commit, 390);
    let read = wal.read(1..401).expect("read all");
    assert_eq!(read, (1..=400).map(|index| entry(1 + index / 100, index)).collect::<Vec<_>>());
    let seen = independent_read(&dir);
    assert!(seen.keys().copied().eq(1..=400), "from 1 without gaps");
    assert_eq!(seen[&17], (1, entry(1, 17).data.to_vec()));
}

#[test]
fn a_truncated_tail_is_replaced_by_what_comes_after() {
    let temp = tempfile::tempdir().expect("tempdir");
    let dir = temp.path().join("wal");
    let wal = fresh(&dir, small());
    append(&wal, (1..=100).map(|index| entry(1, index)).collect());
    // Far below what is in memory.
    wal.truncate_after(20).expect("truncate");
    assert_eq!(wal.last(), LogPosition { term: 1, index: 20 });
    append(&wal, vec![entry(2, 21)]);
    assert_eq!(wal.synced_index().load(std::sync::atomic::Ordering::Acquire), 21);
    wal.close();
    let (wal, opened) = open(&dir, small()).expect("reopen");
    assert_eq!(opened.last, LogPosition { term: 2, index: 21 });
    assert_eq!(wal.read(20..22).expect("read"), [entry(1, 20), entry(2, 21)]);
}

#[test]
fn purge_deletes_whole_segments_and_survives_reopening() {
    let temp = tempfile::tempdir().expect("tempdir");
    let dir = temp.path().join("wal");
    let wal = fresh(&dir, small());
    for index in 1..=600 {
        append(&wal, vec![entry(1, index)]);
    }
    let before = RealDisk.list(&dir).expect("list").len();
    purge(&wal, LogPosition { term: 1, index: 500 });
    assert!(wal.read(500..502).is_err(), "purged entries are refused");
    assert_eq!(wal.read(501..503).expect("kept"), [entry(1, 501), entry(1, 502)]);
    wal.close();
    assert!(RealDisk.list(&dir).expect("list").len() < before);
    let (wal, opened) = open(&dir, small()).expect("reopen");
    assert_eq!((opened.purged.index, opened.last.index), (500, 600));
    assert_eq!(wal.read_limited(501, 601, 50).expect("limited").len(), 1, "never nothing");
    let kept = independent_read(&dir);
    assert!(kept.keys().copied().eq(*kept.keys().next().expect("entries")..=600), "without gaps");
}

#[test]
fn after_a_reset_the_log_goes_on_behind_the_snapshot() {
    let temp = tempfile::tempdir().expect("tempdir");
    let dir = temp.path().join("wal");
    let wal = fresh(&dir, small());
    append(&wal, (1..=10).map(|index| entry(1, index)).collect());
    let (sender, synced) = mpsc::channel();
    let at = LogPosition { term: 3, index: 1_000 };
    wal.reset_to(at, ConfState::default(), Box::new(move |result| sender.send(result).expect("the test waits")));
    synced.recv().expect("called back").expect("durable");
    append(&wal, vec![entry(3, 1_001)]);
    wal.close();
    let (_, opened) = open(&dir, small()).expect("reopen");
    assert_eq!((opened.purged, opened.last.index), (at, 1_001));
}

#[test]
fn a_batch_torn_at_any_sector_is_cut_off_and_what_was_before_it_stays() {
    let temp = tempfile::tempdir().expect("tempdir");
    let dir = temp.path().join("wal");
    let settings = Settings { batch_bytes: 64 * 1024, ..Settings::default() };
    let wal = fresh(&dir, settings);
    append(&wal, (1..=5).map(|index| entry(1, index)).collect());
    wal.close();
    let path = dir.join(segment::file_name(0, 0));
    let before = std::fs::read(&path).expect("read");
    let (wal, _) = open(&dir, settings).expect("open");
    append(&wal, (6..=60).map(|index| entry(1, index)).collect());
    wal.close();
    let after = std::fs::read(&path).expect("read");
    let changed: Vec<usize> =
        (0..after.len() / 512).filter(|s| after[s * 512..][..512] != before[s * 512..][..512]).collect();
    assert!(changed.len() > 4, "the batch spans sectors");
    for lost in changed {
        let mut image = after.clone();
        image[lost * 512..][..512].copy_from_slice(&before[lost * 512..][..512]);
        // What comes after a lost sector of a first write may have arrived or not; here it did.
        std::fs::write(&path, &image).expect("write image");
        let (wal, opened) = open(&dir, settings).unwrap_or_else(|error| panic!("sector {lost}: {error}"));
        assert!(opened.last.index >= 5, "sector {lost} took acknowledged entries");
        append(&wal, vec![entry(2, opened.last.index + 1)]);
        wal.close();
        let (wal, reopened) = open(&dir, settings).expect("reopen after the repair");
        assert_eq!(reopened.last, LogPosition { term: 2, index: opened.last.index + 1 });
        wal.close();
    }
}

#[test]
fn damage_in_the_middle_refuses_to_open_and_says_where() {
    let temp = tempfile::tempdir().expect("tempdir");
    let dir = temp.path().join("wal");
    let wal = fresh(&dir, small());
    for index in 1..=200 {
        append(&wal, vec![entry(1, index)]);
    }
    wal.close();
    let names = RealDisk.list(&dir).expect("list");
    for name in [&names[0], &names[names.len() - 1]] {
        let path = dir.join(name);
        let good = std::fs::read(&path).expect("read");
        let mut bad = good.clone();
        bad[200] ^= 0x10;
        std::fs::write(&path, &bad).expect("write");
        let error = open(&dir, small()).expect_err("damage is refused");
        assert!(matches!(&error, WalError::Corrupt { path: named, .. } if *named == path), "{error}");
        std::fs::write(&path, &good).expect("write");
    }
    std::fs::remove_file(dir.join(&names[1])).expect("remove");
    assert!(matches!(open(&dir, small()), Err(WalError::MissingSegment { .. })));
}

//! What is cut off, what is refused, and what is read, when files end or break somewhere.

use crate::support::{DIR, SMALL, Stepped, at, conf, decode, entry, file, fresh, open, segments};
use keelstone::disk::{Disk, MemoryDisk};
use keelstone::wal::{Corruption, HardState, Settings, WalError};
use std::path::{Path, PathBuf};

/// Entries up to `last`, one sync each.
fn filled(settings: Settings, last: u64) -> Stepped {
    let mut log = open(&fresh(), settings).unwrap();
    for index in 1..=last {
        log.append(index, vec![entry(1, index, 300)]);
        log.run();
    }
    log
}

/// The file and the offset of the record of entry `index`, which has 300 bytes of data.
fn place(disk: &MemoryDisk, index: u64) -> (PathBuf, u64) {
    let wanted = entry(1, index, 300).data;
    for (path, records) in segments(disk).into_iter().zip(decode(disk).records) {
        let bytes = file(disk, &path).1;
        let found = bytes.windows(300).position(|window| window == wanted);
        if let Some(found) = found {
            let record = records.iter().rev().find(|(offset, _)| *offset < found).unwrap();
            return (path, record.0 as u64);
        }
    }
    panic!("entry {index} is nowhere");
}

fn flip(disk: &MemoryDisk, path: &Path, offset: u64) {
    let (file, bytes) = file(disk, path);
    let byte = bytes[usize::try_from(offset).unwrap()];
    // Neither becomes zero: that could be a torn write.
    file.write_at(offset, &[if byte == 0x55 { 0xaa } else { 0x55 }]).unwrap();
}

/// Opens and expects to be refused at a place.
fn refused(disk: &MemoryDisk, path: &Path, offset: u64) -> Corruption {
    match open(disk, SMALL).map(|log| log.opened) {
        Err(WalError::Corrupt { file, offset: at, what }) => {
            assert_eq!((file.as_path(), at), (path, offset), "{what}");
            what
        }
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn a_tail_torn_at_any_sector_is_cut_off_once_and_a_copy_is_kept() {
    let mut log = filled(SMALL, 3);
    let before = log.disk.kill();
    let batch: Vec<_> = (4..8).map(|index| entry(1, index, 700)).collect();
    log.append(4, batch.clone());
    assert!(log.writer.step());
    let [path] = &segments(&log.disk)[..] else { panic!("one segment") };
    let (old, new) = (file(&before, path).1, file(&log.disk, path).1);
    let changed = (0..new.len()).filter(|&at| old[at] != new[at]).collect::<Vec<_>>();
    let sectors = changed[0] / 512..changed.last().unwrap() / 512 + 1;
    assert!(sectors.len() > 5);
    for lost in sectors.clone() {
        for rest_lost in [false, true] {
            let image = log.disk.kill();
            let end = if rest_lost { sectors.end } else { lost + 1 };
            let range = lost * 512..end * 512;
            file(&image, path).0.write_at(range.start as u64, &old[range]).unwrap();
            let mut again = open(&image, SMALL).unwrap_or_else(|error| panic!("sector {lost}: {error}"));
            let kept = again.opened.last.index;
            assert!((3..7).contains(&kept));
            assert_eq!(again.wal.read(4..8).unwrap(), batch[..usize::try_from(kept - 3).unwrap()]);
            let copies =
                image.list(Path::new(DIR)).unwrap().iter().filter(|name| name.ends_with(".wal.broken")).count();
            assert_eq!(copies, usize::from(again.opened.torn.is_some()));
            if let Some(torn) = &again.opened.torn {
                assert_eq!(&torn.file, path);
                assert!(torn.offset as usize / 512 <= lost);
            }
            // What comes next joins on, and the file is whole.
            again.append(9, vec![entry(2, kept + 1, 5)]);
            again.run();
            let last = open(&image, SMALL).unwrap().opened;
            assert_eq!((last.last, last.torn), (at(2, kept + 1), None));
            decode(&image);
        }
    }
}

#[test]
fn bytes_behind_a_frame_of_zero_are_wiped() {
    let log = filled(SMALL, 3);
    let image = log.disk.kill();
    let (path, last) = place(&image, 3);
    let (segment, bytes) = file(&image, &path);
    // The sector with the frame of a torn record was lost, the rest was not.
    let record = bytes[last as usize..].to_vec();
    segment.write_at(last, &vec![0; 512 - last as usize % 512]).unwrap();
    segment.write_at(last + 1024, &record[..1024]).unwrap();
    let mut again = open(&image, SMALL).unwrap();
    assert_eq!(again.opened.last, at(1, 2));
    assert_eq!(again.opened.torn, None);
    again.append(1, vec![entry(1, 3, 560)]);
    again.run();
    decode(&image);
    assert_eq!(open(&image, SMALL).unwrap().opened.last, at(1, 3));
}

#[test]
fn a_record_that_is_longer_than_the_rest_of_the_last_file_is_torn() {
    let log = filled(SMALL, 3);
    let image = log.disk.kill();
    let (path, last) = place(&image, 3);
    for len in [last + 4, last + 8, last + 100] {
        let image = image.kill();
        file(&image, &path).0.set_len(len).unwrap();
        let again = open(&image, SMALL).unwrap();
        assert_eq!(again.opened.last, at(1, 2));
        assert_eq!(again.opened.torn.unwrap().offset, last);
    }
}

#[test]
fn a_record_that_is_broken_in_the_middle_is_refused() {
    let log = filled(SMALL, 8);
    let (path, offset) = place(&log.disk, 5);
    // Each byte of frame and head, and one of the data.
    for at in (0..60).chain([200]) {
        let image = log.disk.kill();
        flip(&image, &path, offset + at);
        let what = refused(&image, &path, offset);
        assert!(at != 200 || matches!(what, Corruption::Checksum { .. }), "{at}: {what}");
    }
}

#[test]
fn any_failure_in_an_earlier_segment_is_refused() {
    let log = filled(SMALL, 60);
    assert!(segments(&log.disk).len() > 2);
    let (path, offset) = place(&log.disk, 5);

    let image = log.disk.kill();
    flip(&image, &path, offset + 200);
    assert!(matches!(refused(&image, &path, offset), Corruption::Checksum { .. }));

    // As if torn, but it is not the last.
    let image = log.disk.kill();
    file(&image, &path).0.set_len(offset + 60).unwrap();
    assert!(matches!(refused(&image, &path, offset), Corruption::Length { .. }));

    // An end that comes too early: the next file does not join on.
    let image = log.disk.kill();
    file(&image, &path).0.set_len(offset).unwrap();
    let next = segments(&image)[1].clone();
    assert!(matches!(refused(&image, &next, 0), Corruption::Chain { .. }));

    // A file is gone.
    let image = log.disk.kill();
    image.remove_file(&segments(&image)[1]).unwrap();
    match open(&image, SMALL).map(|log| log.opened) {
        Err(WalError::Corrupt { what: Corruption::MissingHead { first }, .. }) => assert!(first > 5),
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn lengths_are_bounded_before_they_are_used() {
    let log = filled(SMALL, 3);
    let (path, offset) = place(&log.disk, 2);
    for frame in [u64::MAX, 1 << 63, (1 << 56) - 8, 0x80ff_ffff_ffff_fff8, 0x87ff_ffff_ffff_fff9, 1] {
        let image = log.disk.kill();
        file(&image, &path).0.write_at(offset, &frame.to_le_bytes()).unwrap();
        refused(&image, &path, offset);
    }
}

#[test]
fn purged_segments_go_and_the_rest_is_read_from_the_snapshot_record_on() {
    let mut log = filled(SMALL, 100);
    let before = segments(&log.disk).len();
    assert!(before > 4);
    log.wal.save_commit(90);
    log.wal.purge(at(1, 80), conf(), log.outcomes.expect(1000));
    log.run();
    assert_eq!(segments(&log.disk).len(), 2, "as many as --max-wals says");
    assert_eq!((log.wal.first_index(), log.wal.purged()), (81, at(1, 80)));
    assert!(matches!(log.wal.read(80..82), Err(WalError::Purged { wanted: 80, first: 81 })));
    let decoded = decode(&log.disk);
    assert_eq!((decoded.snapshot, decoded.commit, decoded.entries.len()), ((80, 1), 90, 20));
    let again = open(&log.disk.crash(3), SMALL).unwrap();
    assert_eq!(again.opened.snapshot, Some(at(1, 80)));
    assert_eq!(again.opened.conf_state, conf());
    assert_eq!(again.all(), (81..=100).map(|index| entry(1, index, 300)).collect::<Vec<_>>());

    // A second purge: what the first record stands for is gone with its files.
    for index in 101..=200 {
        log.append(index, vec![entry(1, index, 300)]);
        log.run();
    }
    log.wal.purge(at(1, 190), conf(), log.outcomes.expect(1001));
    log.run();
    assert_eq!(segments(&log.disk).len(), 2);
    assert_eq!(open(&log.disk.crash(3), SMALL).unwrap().opened.first_index, 191);
}

#[test]
fn segments_stay_that_a_reader_of_the_snapshot_record_begins_in() {
    let mut log = filled(Settings { max_segments: 1, ..SMALL }, 100);
    log.wal.purge(at(1, 30), conf(), log.outcomes.expect(1000));
    log.run();
    // etcd opens the last file whose name has an index at or below the snapshot's.
    let names: Vec<_> = segments(&log.disk);
    let first = |path: &PathBuf| {
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        u64::from_str_radix(&name[17..], 16).unwrap()
    };
    assert!(first(&names[0]) <= 30 && first(&names[1]) >= 30, "{names:?}");
}

#[test]
fn a_log_restarts_behind_an_installed_snapshot() {
    let mut log = filled(SMALL, 5);
    log.wal.save_hard_state(HardState { term: 3, vote: 2, vote_committed: true, commit: 2 }, log.outcomes.expect(6));
    log.wal.reset_to(at(3, 50), conf(), log.outcomes.expect(7));
    assert_eq!((log.wal.last(), log.wal.first_index()), (at(3, 50), 51));
    log.append(8, vec![entry(3, 51, 9)]);
    log.run();
    assert_eq!(log.outcomes.done(), [1, 2, 3, 4, 5, 6, 7, 8]);
    let again = open(&log.disk.crash(0), SMALL).unwrap();
    assert_eq!((again.opened.snapshot, again.opened.last), (Some(at(3, 50)), at(3, 51)));
    assert_eq!(again.opened.hard_state, HardState { term: 3, vote: 2, vote_committed: true, commit: 50 });
    assert_eq!(again.all(), [entry(3, 51, 9)]);
}

#[test]
fn a_snapshot_record_that_the_log_does_not_lead_to_voids_the_tail() {
    let mut log = filled(SMALL, 5);
    log.wal.save_hard_state(HardState { term: 3, ..HardState::default() }, log.outcomes.expect(6));
    // The snapshot ends inside the log, with an entry of another term.
    log.wal.purge(at(3, 4), conf(), log.outcomes.expect(7));
    log.run();
    assert_eq!(log.wal.last(), at(3, 4));
    let again = open(&log.disk.crash(0), SMALL).unwrap();
    assert_eq!((again.opened.last, again.opened.first_index), (at(3, 4), 5));
}

#[test]
fn a_snapshot_record_that_lost_its_hard_state_never_counts() {
    let mut log = filled(SMALL, 5);
    log.wal.save_hard_state(HardState { term: 2, ..HardState::default() }, log.outcomes.expect(6));
    log.run();
    log.wal.purge(at(2, 20), conf(), log.outcomes.expect(7));
    log.run();
    // The record is the last but one, the state that covers it the last.
    let image = log.disk.kill();
    let [path] = &segments(&image)[..] else { panic!("one segment") };
    let records = decode(&image).records[0].clone();
    let [(_, 5), (state, 3)] = records[records.len() - 2..] else { panic!("{records:?}") };
    file(&image, path).0.write_at(state as u64, &[0; 40]).unwrap();
    let mut again = open(&image, SMALL).unwrap();
    assert_eq!((again.opened.snapshot, again.opened.last), (None, at(1, 5)));
    // The commit index passes the index that the record had.
    for index in 6..=25 {
        again.append(index, vec![entry(2, index, 30)]);
    }
    again.wal.save_commit(25);
    again.run();
    assert_eq!(again.outcomes.done().len(), 20);
    assert_eq!(decode(&image).snapshot, (0, 0));
    let last = open(&image, SMALL).unwrap().opened;
    assert_eq!((last.snapshot, last.first_index, last.last, last.hard_state.commit), (None, 1, at(2, 25), 25));
}

#[test]
fn a_segment_ends_where_its_records_end_whatever_was_preallocated() {
    let log = filled(SMALL, 5);
    let smaller = Settings { segment_bytes: 1024, ..SMALL };
    let mut again = open(&log.disk, smaller).unwrap();
    again.append(1, vec![entry(1, 6, 300)]);
    again.run();
    let [first, _] = &segments(&again.disk)[..] else { panic!("it was cut") };
    let (last, _) = *decode(&again.disk).records[0].last().unwrap();
    assert!(file(&again.disk, first).1.len() < last + 400);
}

#[test]
fn a_commit_index_never_points_past_the_entries_in_the_files() {
    // One entry a batch: the commit index is known before most of the entries are written.
    let mut log = open(&fresh(), Settings { batch_bytes: 1, ..SMALL }).unwrap();
    for index in 1..=5 {
        log.append(index, vec![entry(1, index, 50)]);
    }
    log.wal.save_commit(5);
    for written in 1..=5 {
        assert!(log.writer.step());
        assert_eq!(decode(&log.disk).commit, written);
    }
    // Entries that are void must not pass for committed ones.
    log.append(6, (6..=9).map(|index| entry(1, index, 50)).collect());
    log.run();
    log.wal.truncate_after(5);
    for index in 6..=9 {
        log.append(index + 1, vec![entry(2, index, 50)]);
    }
    log.wal.save_commit(9);
    log.wal.save_hard_state(HardState { term: 2, ..HardState::default() }, log.outcomes.expect(11));
    for written in 6..=9 {
        assert!(log.writer.step());
        let decoded = decode(&log.disk);
        assert_eq!(decoded.commit, written);
        assert!(decoded.entries[5..].iter().all(|entry| entry.term == 2));
    }
}

#[test]
fn what_does_not_join_on_is_refused_and_changes_nothing() {
    let mut log = filled(SMALL, 5);
    log.wal.save_commit(3);
    log.append(6, vec![entry(1, 7, 1)]);
    log.append(7, vec![entry(1, 6, 1), entry(1, 8, 1)]);
    log.wal.reset_to(at(9, 2), conf(), log.outcomes.expect(8));
    log.append(9, vec![]);
    log.run();
    assert_eq!(log.outcomes.ids(), [1, 2, 3, 4, 5, 6, 7, 8, 9]);
    assert_eq!(log.outcomes.done(), [1, 2, 3, 4, 5, 9]);
    assert_eq!(log.wal.last(), at(1, 5));
}

#[test]
fn a_log_that_is_not_there_is_missing() {
    let disk = MemoryDisk::new();
    assert!(matches!(open(&disk, SMALL), Err(WalError::Missing { .. })));
    disk.create_dir_all(Path::new(DIR)).unwrap();
    assert!(matches!(open(&disk, SMALL), Err(WalError::Missing { .. })));
}

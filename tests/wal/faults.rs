//! A disk that fails: the log ends, says so once, and never says that something is durable that is not.

use crate::support::{SMALL, at, conf, entry, fresh, open};
use keelstone::wal::{HardState, WalError};
use std::io;

#[test]
fn a_failed_sync_is_reported_once_and_fails_all_that_comes_after() {
    let disk = fresh();
    let mut log = open(&disk, SMALL).unwrap();
    log.append(0, vec![entry(1, 1, 10)]);
    log.run();
    // The write is the next operation, the sync the one after.
    disk.fail_at(disk.operations() + 1, io::ErrorKind::TimedOut);
    log.append(1, vec![entry(1, 2, 10)]);
    log.wal.save_hard_state(HardState { term: 2, ..HardState::default() }, log.outcomes.expect(2));
    log.run();
    log.append(3, vec![entry(1, 3, 10)]);
    log.wal.purge(at(1, 1), conf(), log.outcomes.expect(4));
    log.run();
    assert_eq!(log.outcomes.ids(), [0, 1, 2, 3, 4]);
    assert_eq!(log.outcomes.done(), [0]);
    assert_eq!(log.wal.synced_index(), 1);
    let fatal = log.fatal.lock().unwrap();
    assert!(matches!(&fatal[..], [WalError::Io { action: "sync", .. }]), "{fatal:?}");
    drop(fatal);
    assert_eq!(log.wal.close().unwrap_err().kind(), io::ErrorKind::TimedOut);
}

#[test]
fn a_full_disk_ends_the_log_at_the_segment_that_has_no_room() {
    let disk = fresh();
    let mut log = open(&disk, SMALL).unwrap();
    disk.set_free_bytes(SMALL.segment_bytes + 5000);
    let mut index = 0;
    while !log.failed() {
        index += 1;
        log.append(index, vec![entry(1, index, 900)]);
        log.run();
    }
    assert!(
        matches!(&log.fatal.lock().unwrap()[..], [WalError::Io { source, .. }] if source.kind() == io::ErrorKind::StorageFull)
    );
    let done = log.outcomes.done().len() as u64;
    assert!(done > 8, "the segment that was prepared is used");
    let image = disk.crash(1);
    assert!(open(&image, SMALL).unwrap().opened.last.index >= done);
}

#[test]
fn a_crash_at_each_operation_of_a_cut_loses_nothing_that_was_acknowledged() {
    // One run tells which operations there are.
    let operations = |stop_at: Option<u64>| {
        let disk = fresh();
        let mut log = open(&disk, SMALL).unwrap();
        for index in 1..=8 {
            log.append(index, vec![entry(1, index, 1000)]);
        }
        log.run();
        let before = disk.operations();
        if let Some(stop_at) = stop_at {
            disk.fail_from(before + stop_at, io::ErrorKind::Other);
        }
        // The ninth fills the segment.
        for index in 9..=10 {
            log.append(index, vec![entry(1, index, 1000)]);
            log.run();
        }
        (disk.operations() - before, log)
    };
    let (count, log) = operations(None);
    assert_eq!(log.outcomes.done().len(), 10);
    for stop_at in 0..=count {
        let (_, log) = operations(Some(stop_at));
        let done = log.outcomes.done().len() as u64;
        assert!(done >= 8);
        for seed in 0..50 {
            let image = log.disk.crash(seed);
            let mut again =
                open(&image, SMALL).unwrap_or_else(|error| panic!("stopped at {stop_at}, seed {seed}: {error}"));
            let last = again.opened.last.index;
            assert!(last >= done, "stopped at {stop_at}, seed {seed}: {last} of {done}");
            assert_eq!(again.all(), (1..=last).map(|index| entry(1, index, 1000)).collect::<Vec<_>>());
            for index in last + 1..last + 12 {
                again.append(index, vec![entry(2, index, 1000)]);
            }
            again.run();
            assert_eq!(again.outcomes.done().len(), 11);
            assert_eq!(open(&image.crash(seed), SMALL).unwrap().opened.last, at(2, last + 11));
        }
    }
}

#[test]
fn a_log_that_is_being_created_is_whole_or_absent() {
    use keelstone::disk::{Disk, MemoryDisk};
    use keelstone::wal::{create, exists};
    use std::path::Path;
    let dir = Path::new("/member/wal");
    let entries = [entry(1, 1, 600), entry(1, 2, 600)];
    let state = HardState { term: 1, vote: 3, vote_committed: false, commit: 2 };
    for stop_at in 0..12 {
        let disk = MemoryDisk::new();
        disk.create_dir_all(Path::new("/member")).unwrap();
        disk.sync_dir(Path::new("/")).unwrap();
        disk.fail_from(1 + 1 + stop_at, io::ErrorKind::Other);
        let created = create(&disk, dir, crate::support::IDENTITY, &entries, state);
        for seed in 0..50 {
            let image = disk.crash(seed);
            let there = exists(&image, dir).unwrap();
            assert!(there || created.is_err(), "stopped at {stop_at}, seed {seed}");
            if !there {
                create(&image, dir, crate::support::IDENTITY, &entries, state).unwrap();
            }
            let (log, _, opened) = keelstone::wal::Wal::open_stepped(
                std::sync::Arc::new(image),
                dir,
                SMALL,
                crate::support::metrics(),
                Box::new(|error| panic!("{error}")),
            )
            .unwrap();
            assert_eq!((opened.hard_state, opened.last), (state, at(1, 2)));
            assert_eq!(log.read(1..3).unwrap(), entries);
        }
    }
}

#[test]
fn what_a_failed_sync_left_in_the_cache_is_written_again_before_it_counts() {
    let disk = fresh();
    let mut log = open(&disk, SMALL).unwrap();
    log.append(0, vec![entry(1, 1, 600)]);
    log.run();
    disk.fail_at(disk.operations() + 1, io::ErrorKind::Other);
    log.append(1, vec![entry(1, 2, 1500)]);
    log.run();
    assert!(log.failed());
    // The process ends, and the next one finds the entry in the cache.
    let disk = disk.kill();
    let mut log = open(&disk, SMALL).unwrap();
    assert_eq!(log.opened.last, at(1, 2));
    log.append(2, vec![entry(1, 3, 100)]);
    log.run();
    assert_eq!(log.outcomes.done(), [2]);
    for seed in 0..50 {
        let after = open(&disk.crash(seed), SMALL).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        assert_eq!(after.opened.last, at(1, 3), "seed {seed}");
    }
}

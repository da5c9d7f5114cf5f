//! The writer on its own thread, on real files.

use crate::support::{IDENTITY, Outcomes, SMALL, at, conf, entry, metrics};
use keelstone::disk::RealDisk;
use keelstone::threads::Threads;
use keelstone::wal::{HardState, Settings, Wal, create};
use std::sync::{Arc, mpsc};
use std::time::Duration;

#[test]
fn many_threads_append_in_one_order_and_all_is_there_after_a_restart() {
    let base = tempfile::tempdir().unwrap();
    let dir = base.path().join("wal");
    create(&RealDisk, &dir, IDENTITY, &[], HardState::default()).unwrap();
    let settings = Settings { segment_bytes: 100_000, tail_bytes: 5_000, ..SMALL };
    let open = || {
        let fatal = Box::new(|error| panic!("{error}"));
        Wal::open(Arc::new(RealDisk), &dir, settings, metrics(), fatal, &Threads::Own).unwrap()
    };
    let (log, _) = open();
    let outcomes = Outcomes::default();
    let turn = std::sync::Mutex::new(1u64);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..500 {
                    let mut index = turn.lock().unwrap();
                    log.append(vec![entry(1, *index, 200)], outcomes.expect(*index));
                    if (*index).is_multiple_of(100) {
                        log.save_commit(*index - 50);
                    }
                    *index += 1;
                }
            });
        }
        scope.spawn(|| {
            for _ in 0..200 {
                let last = log.last().index;
                let first = log.first_index();
                let entries = log.read_limited(first, last + 1, 3000).unwrap();
                assert!(entries.iter().zip(first..).all(|(found, index)| *found == entry(1, index, 200)));
            }
        });
    });
    log.close().unwrap();
    assert_eq!(outcomes.done(), (1..=2000).collect::<Vec<_>>());
    assert_eq!(log.synced_index(), 2000);
    let (again, opened) = open();
    assert_eq!((opened.last, opened.hard_state.commit), (at(1, 2000), 1950));
    assert_eq!(again.read(1..2001).unwrap(), (1..=2000).map(|index| entry(1, index, 200)).collect::<Vec<_>>());

    let (sender, purged) = mpsc::channel();
    again.purge(at(1, 1900), conf(), Box::new(move |result| sender.send(result).unwrap()));
    purged.recv_timeout(Duration::from_secs(30)).unwrap().unwrap();
    again.close().unwrap();
    let names = std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let names: Vec<_> = names.collect();
    assert!(names.len() == 2 && names.iter().all(|name| name.ends_with(".wal")), "{names:?}");
}

#[test]
fn a_commit_index_that_comes_alone_is_written_a_little_later() {
    let base = tempfile::tempdir().unwrap();
    let dir = base.path().join("wal");
    create(&RealDisk, &dir, IDENTITY, &[], HardState::default()).unwrap();
    let fatal = Box::new(|error| panic!("{error}"));
    let (log, _) = Wal::open(Arc::new(RealDisk), &dir, SMALL, metrics(), fatal, &Threads::Own).unwrap();
    let (sender, synced) = mpsc::channel();
    let committing = log.clone();
    // As Raft does: the commit follows from the sync.
    log.append(
        vec![entry(1, 1, 10)],
        Box::new(move |result| {
            result.unwrap();
            committing.save_commit(1);
            sender.send(()).unwrap();
        }),
    );
    synced.recv_timeout(Duration::from_secs(30)).unwrap();
    let path = dir.join("0000000000000000-0000000000000000.wal");
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    while crate::decoder::decode(&[std::fs::read(&path).unwrap()]).unwrap().commit == 0 {
        assert!(std::time::Instant::now() < deadline, "the commit index never came");
        std::thread::yield_now();
    }
    log.close().unwrap();
}

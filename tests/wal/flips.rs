//! A bit that flips at rest, any of a log's: the log is refused, with the place named, or it is read as it was written.

use crate::support::{SMALL, Stepped, at, conf, entry, file, fresh, open, segments};
use keelstone::disk::MemoryDisk;
use keelstone::wal::{Entry, HardState, Settings, WalError};

/// A log of every kind of record, in several files.
fn written() -> (MemoryDisk, Stepped) {
    let disk = fresh();
    let mut log = open(&disk, SMALL).unwrap();
    let mut id = 0;
    let mut next = 1;
    for round in 1..=9 {
        log.wal.save_hard_state(
            HardState { term: round, vote: round % 3, vote_committed: round % 2 == 0, commit: 0 },
            log.outcomes.expect(id),
        );
        // Also data of no byte, of one bit, and so long that a record is a power of two.
        let lens = [0, 1, 16 + round as usize, 300, 477 + round as usize];
        let entries: Vec<Entry> = (next..).zip(lens).map(|(index, len)| entry(round, index, len)).collect();
        next += entries.len() as u64;
        log.append(id + 1, entries);
        log.wal.save_commit(next - 2);
        log.run();
        id += 2;
        if round % 4 == 0 {
            let index = next - 9;
            log.wal.purge(at(log.wal.term_at(index).unwrap(), index), conf(), log.outcomes.expect(id));
            log.run();
            id += 1;
        }
    }
    (disk, log)
}

#[test]
fn no_flipped_bit_makes_a_log_say_something_else() {
    let (disk, log) = written();
    let (expected, state) = (log.all(), log.wal.hard_state());
    let (mut flips, mut harmless, mut silent) = (0, 0, Vec::new());
    for path in segments(&disk) {
        let (_, bytes) = file(&disk, &path);
        // The rest is zeros, of which one byte is as good as any other.
        let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 16;
        for (at, &byte) in bytes.iter().enumerate().take(end) {
            for bit in 0..8 {
                let image = disk.kill();
                let (file, _) = file(&image, &path);
                file.write_at(at as u64, &[byte ^ 1 << bit]).unwrap();
                flips += 1;
                match open(&image, SMALL) {
                    Err(WalError::Corrupt { .. }) => {}
                    Err(other) => panic!("byte {at}, bit {bit} of {}: {other}", path.display()),
                    Ok(found) if found.all() == expected && found.opened.hard_state == state => harmless += 1,
                    Ok(found) => silent.push(format!("byte {at}, bit {bit} of {}: {:?}", path.display(), found.opened)),
                }
            }
        }
    }
    println!("{flips} bits flipped, {harmless} of them said nothing");
    assert!(silent.is_empty(), "{} flips of {flips} are not found:\n{}", silent.len(), silent.join("\n"));
}

/// A frame of zero ends a file, and the frame of a record whose length is a power of two is one bit away from it.
#[test]
fn a_frame_that_became_zero_is_not_the_end_of_the_log() {
    let mut found = 0;
    for len in 1..700 {
        let disk = fresh();
        let mut log = open(&disk, SMALL).unwrap();
        log.append(0, vec![entry(1, 1, 600), entry(1, 2, len)]);
        log.run();
        let path = &segments(&disk)[0];
        let (file, bytes) = file(&disk, path);
        // Records stand at multiples of eight; the last frame that is not zero is that of the last record.
        let last = log_end(&bytes);
        let frame = u64::from_le_bytes(bytes[last..last + 8].try_into().unwrap());
        // The last thing in a sector looks as if the sector before it had been lost.
        if frame.is_power_of_two() && last % 512 != 504 {
            found += 1;
            file.write_at(last as u64, &[0; 8]).unwrap();
            assert!(matches!(open(&disk.kill(), SMALL), Err(WalError::Corrupt { .. })), "{len}: {frame:x} at {last}");
        }
    }
    assert!(found > 0, "no frame of one bit was met");
}

/// Where the last record's frame is.
fn log_end(bytes: &[u8]) -> usize {
    let (mut at, mut last) = (0, 0);
    loop {
        let frame = u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
        if frame == 0 {
            return last;
        }
        last = at;
        at += 8 + usize::try_from((frame & ((1 << 56) - 1)) + ((frame >> 56) & 7)).unwrap();
    }
}

/// The checksum of a record needs that of the one before, which is not read again for every entry.
#[test]
fn an_entry_that_flipped_under_a_log_is_not_read_back_wherever_it_stands() {
    let large = Settings { segment_bytes: 1 << 20, ..SMALL };
    for purged in [0, 1, 60, 90, 120] {
        let disk = fresh();
        let mut log = open(&disk, large).unwrap();
        for index in 1..=150 {
            log.append(index, vec![entry(1, index, 1000)]);
        }
        log.run();
        log.wal.save_commit(150);
        if purged > 0 {
            log.wal.purge(at(1, purged), conf(), log.outcomes.expect(200));
            log.run();
        }
        for index in purged + 1..=purged + 3 {
            assert_eq!(log.wal.read(index..index + 1).unwrap(), [entry(1, index, 1000)]);
            let path = &segments(&disk)[0];
            let (file, bytes) = file(&disk, path);
            let data = entry(1, index, 1000).data;
            let place = bytes.windows(1000).position(|window| window == &data[..]).unwrap() + 500;
            file.write_at(place as u64, &[bytes[place] ^ 4]).unwrap();
            let read = log.wal.read(index..index + 1);
            assert!(matches!(read, Err(WalError::Corrupt { .. })), "entry {index} behind {purged}: {read:?}");
            file.write_at(place as u64, &[bytes[place]]).unwrap();
        }
    }
}

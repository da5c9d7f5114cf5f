//! Bits that flip at rest, in the log and in the state file: a member refuses to start or ends, with a message that says
//! where, or it serves exactly what was written.

use crate::member::{Member, Shared};
use crate::number;
use crate::recover::recover_or_refuse;
use crate::script::Script;
use keelstone::disk::{Disk, MemoryDisk};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::path::{Path, PathBuf};

const STEPS: u32 = 60;
const MEMBER_DIR: &str = "/data/member";

/// A disk that a member has lived on, and what it promised.
struct Left {
    disk: MemoryDisk,
    promises: Shared,
}

/// After a sudden end, or after an end in order.
fn left(seed: u64, in_order: bool) -> Left {
    let mut script = Script::new(seed, MemoryDisk::new());
    script.start().unwrap_or_else(|error| panic!("{error:#}"));
    (0..STEPS).try_for_each(|_| script.step()).unwrap_or_else(|ended| panic!("{ended}"));
    script.settle().unwrap_or_else(|ended| panic!("{ended}"));
    if in_order {
        script.close().unwrap_or_else(|ended| panic!("{ended}"));
    }
    // Where the state falls back to the commit before, the log makes up for it, or it is refused.
    script.promises.lock().durable = 0;
    let left = Left { disk: script.disk.kill(), promises: Shared::new(script.promises.copy()) };
    script.disk = script.disk.next_process();
    left
}

/// The state file, or one of the log's.
fn files(disk: &MemoryDisk) -> Vec<PathBuf> {
    let log = Path::new(MEMBER_DIR).join("wal");
    let names = disk.list(&log).unwrap();
    let segments = names.iter().filter(|name| name.ends_with(".wal")).map(|name| log.join(name));
    [Path::new(MEMBER_DIR).join("state.redb")].into_iter().chain(segments).collect()
}

/// Flips a bit of a byte that is not zero, since most that are belong to nothing. Says which.
fn flip(disk: &MemoryDisk, random: &mut StdRng) -> String {
    let files = files(disk);
    // The state has more to lose.
    let path = if random.random() { &files[0] } else { &files[random.random_range(0..files.len())] };
    let file = disk.open(path).unwrap();
    let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
    file.read_at(0, &mut bytes).unwrap();
    let used: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at] != 0).collect();
    let (at, bit) = (used[random.random_range(0..used.len())], random.random_range(0..8));
    file.write_at(at as u64, &[bytes[at] ^ 1 << bit]).unwrap();
    file.sync_data().unwrap();
    format!("bit {bit} of byte {at} of {}", path.display())
}

/// What became of flips.
#[derive(Debug, Default)]
struct Counts {
    refused: u64,
    ended: u64,
    harmless: u64,
}

fn check_message(text: &str, flipped: &str) {
    assert!(text.contains(MEMBER_DIR), "no path in {text:?} after {flipped}");
    // The head of the state file, and a state that fell back to the commit before, name no offset.
    let places = ["offset", "magic number", "format version", "begins with entry", "page size", "region"];
    assert!(places.iter().any(|place| text.contains(place)), "no place in {text:?} after {flipped}");
}

#[test]
fn a_bit_that_flipped_while_no_member_ran_is_refused_or_harmless() {
    let (flips, seed) = (number("KEELSTONE_FLIPS", 600), number("KEELSTONE_SEED", 1));
    let mut counts = Counts::default();
    let left: Vec<Left> = [(seed, true), (seed, false), (seed + 1, true)].map(|(seed, end)| left(seed, end)).into();
    for number in 0..flips {
        let mut random = StdRng::seed_from_u64(seed ^ number << 32);
        let left = &left[random.random_range(0..left.len())];
        let disk = left.disk.kill();
        let flipped = flip(&disk, &mut random);
        println!("{number}: {flipped}");
        match recover_or_refuse(&disk, &Shared::new(left.promises.copy())) {
            Ok(()) => counts.harmless += 1,
            Err(text) => {
                check_message(&text, &flipped);
                counts.refused += 1;
            }
        }
    }
    println!("{flips} flips at rest: {counts:?}");
    assert!(counts.refused > 0);
}

/// The head of the state file says which of two commits counts: every bit of it.
#[test]
fn no_bit_of_the_head_of_the_state_file_can_make_a_member_serve_something_else() {
    const HEAD_BYTES: u64 = 320;
    // In the middle of its life the last two commits differ.
    let left = left(number("KEELSTONE_SEED", 1), false);
    let mut counts = Counts::default();
    for at in 0..HEAD_BYTES * 8 {
        let disk = left.disk.kill();
        let file = disk.open(&files(&disk)[0]).unwrap();
        let mut byte = [0];
        file.read_at(at / 8, &mut byte).unwrap();
        file.write_at(at / 8, &[byte[0] ^ 1 << (at % 8)]).unwrap();
        match recover_or_refuse(&disk, &Shared::new(left.promises.copy())) {
            Ok(()) => counts.harmless += 1,
            Err(text) => {
                check_message(&text, &format!("bit {at}"));
                counts.refused += 1;
            }
        }
    }
    println!("{} flips in the head of the state file: {counts:?}", HEAD_BYTES * 8);
}

#[test]
fn a_bit_that_flips_under_a_member_is_never_served() {
    let (flips, seed) = (number("KEELSTONE_FLIPS", 600) / 4, number("KEELSTONE_SEED", 1));
    let mut counts = Counts::default();
    let left = left(seed, true);
    for number in 0..flips {
        let mut random = StdRng::seed_from_u64(seed ^ number << 32);
        let disk = left.disk.kill();
        let mut member = Member::start(&disk, &Shared::new(left.promises.copy())).unwrap();
        let flipped: Vec<String> = (0..8).map(|_| flip(&disk, &mut random)).collect();
        match member.read_everything() {
            Ok(()) => counts.harmless += 1,
            Err(text) => {
                check_message(&format!("{MEMBER_DIR} {text}"), &flipped.join(", "));
                counts.ended += 1;
            }
        }
        // What it writes at its end is not looked at.
        disk.next_process();
    }
    println!("{flips} times 8 flips under a member: {counts:?}");
    assert!(counts.ended > 0);
}

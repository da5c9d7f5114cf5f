//! Damaged files of a log. It opens as some prefix of the records that were written, or is refused with the file and the
//! offset; twice the same; and what is appended then is there after another start.

use super::place::Place;
use super::wal_records::{IDENTITY, Log, open};
use crate::engine::{Target, Verdict, run};
use keelstone::disk::MemoryDisk;
use keelstone::types::LogPosition;
use keelstone::wal::{self, Entry, EntryKind, HardState, Settings, WalError};
use keelstone_harness::Random;
use keelstone_harness::proto::raftpb::ConfState;
use prost::Message;
use prost::bytes::Bytes;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

#[derive(Clone, PartialEq, Message)]
struct Damage {
    /// Which log, of [`logs`].
    #[prost(uint32, tag = "1")]
    log: u32,
    #[prost(message, repeated, tag = "2")]
    places: Vec<Place>,
}

/// A log as it was written, and what each prefix of its records says.
struct Written {
    files: Vec<(PathBuf, Vec<u8>)>,
    states: BTreeSet<Vec<u8>>,
}

/// What matters of an open log: its entries.
fn state(entries: &[Entry], first_index: u64) -> Vec<u8> {
    let mut out = first_index.to_be_bytes().to_vec();
    for entry in entries {
        out.extend(entry.term.to_be_bytes());
        out.extend(entry.index.to_be_bytes());
        out.extend((entry.data.len() as u64).to_be_bytes());
        out.extend_from_slice(&entry.data);
    }
    out
}

fn settings(segment_bytes: u64) -> Settings {
    Settings { segment_bytes, max_segments: 0, batch_bytes: 600, tail_bytes: 500, ..Settings::default() }
}

fn entry(term: u64, index: u64, len: usize) -> Entry {
    let data: Vec<u8> = (0..len).map(|at| 1 + ((at as u64 * 7 + index * 31 + term * 13) % 255) as u8).collect();
    Entry { term, index, kind: EntryKind::Normal, data: Bytes::from(data) }
}

/// Writes a log step by step, and notes after each step what it says.
fn write(segment_bytes: u64, steps: &[&dyn Fn(&Log)]) -> Written {
    let disk = MemoryDisk::new();
    wal::create(&disk, Path::new(Log::DIR), IDENTITY, &[], HardState::default()).expect("memory does not fail");
    let mut states = BTreeSet::new();
    let mut log = open(&disk, settings(segment_bytes)).expect("a fresh log");
    for step in steps {
        step(&log);
        loop {
            let before = open(&disk.kill(), settings(segment_bytes)).expect("our own log");
            states.insert(state(&before.entries().expect("our own log"), before.opened.first_index));
            if !log.writer.step() {
                break;
            }
        }
    }
    let files = log.files();
    // The records of one write may be torn apart: whatever ends between two records is a prefix too.
    for cut in record_ends(&files) {
        let disk = Log::disk_of(&cut);
        if let Ok(prefix) = open(&disk, settings(segment_bytes)) {
            states.insert(state(&prefix.entries().expect("our own log"), prefix.opened.first_index));
        }
    }
    Written { files, states }
}

/// The files as they were after each record.
fn record_ends(files: &[(PathBuf, Vec<u8>)]) -> Vec<Vec<(PathBuf, Vec<u8>)>> {
    let mut cuts = Vec::new();
    for (number, (path, bytes)) in files.iter().enumerate() {
        let mut at = 0;
        while let Some(frame) = bytes.get(at..at + 8) {
            let frame = u64::from_le_bytes(frame.try_into().expect("eight bytes"));
            if frame == 0 {
                break;
            }
            at += 8 + ((frame & ((1 << 56) - 1)) as usize).next_multiple_of(8);
            let mut cut = files[..number].to_vec();
            cut.push((path.clone(), bytes[..at].to_vec()));
            cuts.push(cut);
        }
    }
    cuts
}

fn logs() -> &'static [Written] {
    static LOGS: OnceLock<Vec<Written>> = OnceLock::new();
    LOGS.get_or_init(|| {
        let append = |term: u64, from: u64, count: u64, len: usize| {
            move |log: &Log| {
                for index in from..from + count {
                    log.append(vec![entry(term, index, len)]);
                }
            }
        };
        let vote = |term: u64, commit: u64| {
            move |log: &Log| {
                let state = HardState { term, vote: 3, vote_committed: true, commit };
                log.wal.save_hard_state(state, Box::new(drop));
            }
        };
        let voters = || ConfState { voters: vec![IDENTITY.node_id], ..ConfState::default() };
        let restart = move |log: &Log| {
            log.wal.save_commit(9);
            log.wal.reset_to(LogPosition { term: 3, index: 30 }, voters(), Box::new(drop));
        };
        let purge = move |log: &Log| {
            log.wal.purge(LogPosition { term: 1, index: 6 }, voters(), Box::new(drop));
        };
        vec![
            write(1 << 16, &[&vote(1, 0), &append(1, 1, 12, 40), &vote(2, 7), &append(2, 9, 6, 300)]),
            write(4096, &[&append(1, 1, 30, 200), &vote(2, 12), &append(2, 20, 20, 700)]),
            write(4096, &[&append(1, 1, 9, 500), &vote(1, 8), &purge, &append(1, 10, 5, 500)]),
            write(8192, &[&append(1, 1, 9, 100), &vote(3, 5), &restart, &append(3, 31, 9, 900)]),
            write(8192, &[&append(1, 1, 3, 2000), &append(2, 2, 3, 1), &append(3, 2, 3, 600)]),
        ]
    })
}

/// Kinds: 0 written over, 1 cut here, 2 zeros to the end of the sector, 3 zeros to the end of the file, 4 the file goes,
/// 5 the bit is flipped that `bytes` names, 6 copied from the place of the other file that `bytes` names.
fn damage(files: &mut Vec<(PathBuf, Vec<u8>)>, place: &Place) {
    if files.is_empty() {
        return;
    }
    let number = place.file as usize % files.len();
    let donor = files[(number + 1) % files.len()].1.clone();
    let bytes = &mut files[number].1;
    let at = place.offset as usize % (bytes.len() + 1);
    let named = place.bytes.iter().fold(0_usize, |value, &byte| value << 8 | usize::from(byte));
    match place.kind {
        0 => bytes[at..].iter_mut().zip(&place.bytes).for_each(|(to, from)| *to = *from),
        1 => bytes.truncate(at),
        2 => {
            let end = (at + 1).next_multiple_of(512).min(bytes.len());
            bytes[at.min(end)..end].fill(0);
        }
        3 => bytes[at..].fill(0),
        4 => drop(files.remove(number)),
        5 if at < bytes.len() => bytes[at] ^= 1 << (named % 8),
        6 => {
            let from = &donor[named % (donor.len() + 1)..];
            bytes[at..].iter_mut().zip(from.iter().take(600)).for_each(|(to, from)| *to = *from);
        }
        _ => {}
    }
}

fn check(input: &[u8]) -> Verdict {
    let Ok(script) = Damage::decode(input) else { return Ok("no damage".to_owned()) };
    let written = &logs()[script.log as usize % logs().len()];
    let mut files = written.files.clone();
    script.places.iter().for_each(|place| damage(&mut files, place));
    let disk = Log::disk_of(&files);
    let opened = open(&disk, settings(4096));
    let again = open(&Log::disk_of(&files), settings(4096));
    let log = match (opened, again) {
        (Ok(log), Ok(again)) if log.opened == again.opened => log,
        (Err(error), Err(again)) if error.to_string() == again.to_string() => return refused(&error, &files),
        (one, other) => {
            return Err(format!(
                "opens differently: {:?}, {:?}",
                one.map(|log| log.opened),
                other.map(|log| log.opened)
            ));
        }
    };
    let entries = log.entries().map_err(|error| format!("opened, then: {error}"))?;
    if !written.states.contains(&state(&entries, log.opened.first_index)) {
        let ids: Vec<_> = entries.iter().map(|entry| (entry.index, entry.term)).collect();
        return Err(format!("what opened was never written: {:?} {ids:?}", log.opened));
    }
    let torn = log.opened.torn.as_ref().map(|torn| format!("{:?}", torn.what));
    let last = log.opened.last;
    super::wal_records::goes_on(&disk, log, settings(4096))?;
    Ok(format!("open up to {}, torn: {torn:?}", last.index))
}

/// A refusal names a file that is there, and a place in it.
fn refused(error: &WalError, files: &[(PathBuf, Vec<u8>)]) -> Verdict {
    match error {
        WalError::Corrupt { file, offset, what } => match files.iter().find(|(path, _)| path == file) {
            Some((_, bytes)) if *offset <= bytes.len() as u64 => Ok(format!("{what:?}")),
            _ => Err(format!("refused with a place that is none: {error}")),
        },
        WalError::Missing { .. } if files.is_empty() => Ok("missing".to_owned()),
        other => Err(format!("refused without a place: {other}")),
    }
}

fn generate(random: &mut Random) -> Vec<u8> {
    let place = |random: &mut Random| Place {
        file: random.below(8) as u32,
        offset: match random.below(4) {
            0 => random.below(64) as u32,
            1 => (random.below(40) * 512) as u32,
            2 => (random.below(1024) * 8) as u32,
            _ => random.draw() as u32,
        },
        kind: random.below(7) as u32,
        bytes: (0..1 + random.below(9)).map(|_| random.draw() as u8).collect(),
    };
    let places = (0..1 + random.below(3)).map(|_| place(random)).collect();
    Damage { log: random.below(5) as u32, places }.encode_to_vec()
}

fn seeds() -> Vec<(String, Vec<u8>)> {
    let one = |log, file, offset, kind, bytes: &[u8]| {
        let place = Place { file, offset, kind, bytes: Bytes::copy_from_slice(bytes) };
        Damage { log, places: vec![place] }.encode_to_vec()
    };
    [
        ("whole", one(0, 0, 0, 9, b"")),
        ("torn-tail", one(0, 0, 2100, 3, b"")),
        ("cut", one(1, 7, 900, 1, b"")),
        ("lost-sector", one(3, 1, 1024, 2, b"")),
        ("lost-file", one(1, 1, 0, 4, b"")),
        ("flipped", one(2, 0, 700, 5, b"\x03")),
        ("length", one(4, 0, 64, 0, b"\xff\xff\xff\xff\xff\xff\xff\x07")),
    ]
    .map(|(name, input)| (name.to_owned(), input))
    .to_vec()
}

#[test]
fn wal_damage_leaves_a_prefix_or_is_refused() {
    run(&mut Target { name: "wal_damage", check: &mut check, generate: &generate, seeds: &seeds });
}

//! Logs whose frames and checksums are right and whose records say anything, as a member that went wrong would write them,
//! or as etcd's own might look. Such a log is refused or opens, twice the same, its entries can be read, and it goes on.
//! Where the harness' own decoder takes it too, both find the same entries.

use crate::engine::{Target, Verdict, generate, run};
use keelstone::disk::{Disk, MemoryDisk};
use keelstone::wal::{self, Entry, EntryKind, Identity, Opened, Settings, Wal, WalError, Writer};
use keelstone_harness::Random;
use keelstone_harness::proto::raftpb::{self, ConfState, HardState};
use keelstone_harness::proto::walpb::{Record, Snapshot};
use keelstone_harness::wal_reader::{self, frame};
use prost::Message;
use prost::bytes::Bytes;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

pub const IDENTITY: Identity = Identity { node_id: 0x8e9e_05c5_2164_694d, cluster_id: 0xcdf8_1819_4e3a_8c32 };

const SETTINGS: Settings = Settings {
    segment_bytes: 4096,
    max_segments: 2,
    batch_bytes: 3000,
    tail_bytes: 2000,
    commit_delay: std::time::Duration::from_millis(5),
};

#[derive(Clone, PartialEq, Message)]
struct Files {
    #[prost(message, repeated, tag = "1")]
    files: Vec<Segment>,
}

#[derive(Clone, PartialEq, Message)]
struct Segment {
    #[prost(uint64, tag = "1")]
    sequence: u64,
    #[prost(uint64, tag = "2")]
    first_index: u64,
    #[prost(message, repeated, tag = "3")]
    records: Vec<Content>,
}

#[derive(Clone, PartialEq, Message)]
struct Content {
    #[prost(int64, tag = "1")]
    kind: i64,
    #[prost(bytes = "bytes", tag = "2")]
    data: Bytes,
}

/// The highest index that there can be.
const END: u64 = i64::MAX as u64;

const METADATA: i64 = 1;
const ENTRY: i64 = 2;
const STATE: i64 = 3;
const CHECKSUM: i64 = 4;
const SNAPSHOT: i64 = 5;

/// An open log, driven step by step.
pub struct Log {
    disk: MemoryDisk,
    pub wal: Wal,
    pub writer: Writer,
    pub opened: Opened,
    fatal: Arc<Mutex<Vec<WalError>>>,
}

impl Log {
    pub const DIR: &str = "/member/wal";

    pub fn entries(&self) -> Result<Vec<Entry>, WalError> {
        self.wal.read(self.wal.first_index()..u64::MAX)
    }

    pub fn append(&self, entries: Vec<Entry>) {
        self.wal.append(entries, Box::new(drop));
    }

    pub fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let names = self.disk.list(Path::new(Self::DIR)).expect("memory does not fail");
        let paths = names.iter().filter(|name| name.ends_with(".wal")).map(|name| Path::new(Self::DIR).join(name));
        paths
            .map(|path| {
                let file = self.disk.open(&path).expect("memory does not fail");
                let mut bytes = vec![0; file.len().expect("memory does not fail") as usize];
                file.read_at(0, &mut bytes).expect("memory does not fail");
                (path, bytes)
            })
            .collect()
    }

    pub fn disk_of(files: &[(PathBuf, Vec<u8>)]) -> MemoryDisk {
        let disk = MemoryDisk::new();
        disk.create_dir_all(Path::new(Self::DIR)).expect("memory does not fail");
        for (path, bytes) in files {
            disk.create(path).and_then(|file| file.write_at(0, bytes)).expect("memory does not fail");
        }
        disk
    }
}

pub fn open(disk: &MemoryDisk, settings: Settings) -> Result<Log, WalError> {
    let fatal = Arc::new(Mutex::new(Vec::new()));
    let seen = fatal.clone();
    let on_fatal = Box::new(move |error| seen.lock().expect("no panic").push(error));
    let metrics = wal::Metrics::register(&prometheus::Registry::new()).expect("fresh registry");
    let (wal, writer, opened) =
        Wal::open_stepped(Arc::new(disk.clone()), Path::new(Log::DIR), settings, metrics, on_fatal)?;
    Ok(Log { disk: disk.clone(), wal, writer, opened, fatal })
}

/// What is appended to an open log is there after another start, behind what was there before.
pub fn goes_on(disk: &MemoryDisk, mut log: Log, settings: Settings) -> Result<(), String> {
    let mut entries = log.entries().map_err(|error| format!("opened, then: {error}"))?;
    let last = log.opened.last;
    if last.index >= END {
        return Ok(());
    }
    // No entry has term 0: an empty log ends there.
    let (term, index) = (last.term.max(1), last.index + 1);
    let next = Entry { term, index, kind: EntryKind::Normal, data: Bytes::from_static(b"next") };
    log.append(vec![next.clone()]);
    while log.writer.step() {}
    if let Some(error) = log.fatal.lock().expect("no panic").first() {
        return Err(format!("opened, then cannot be written: {error}"));
    }
    drop(log);
    entries.push(next);
    let again = open(disk, settings).map_err(|error| format!("opened and written, then refused: {error}"))?;
    let found = again.entries().map_err(|error| format!("written, then: {error}"))?;
    if found != entries || again.opened.torn.is_some() {
        return Err(format!("written and opened again: {found:?} and not {entries:?}"));
    }
    Ok(())
}

/// The files, with frames and running checksums.
fn build(files: &Files) -> Vec<(PathBuf, Vec<u8>)> {
    let mut crc = 0;
    let built = files.files.iter().map(|segment| {
        let mut bytes = frame(&Record { r#type: Some(CHECKSUM), crc: Some(crc), data: None });
        for content in &segment.records {
            crc = crc32c::crc32c_append(crc, &content.data);
            let data = Some(content.data.clone());
            bytes.extend(frame(&Record { r#type: Some(content.kind), crc: Some(crc), data }));
        }
        bytes.extend([0; 16]);
        let name = format!("{:016x}-{:016x}.wal", segment.sequence, segment.first_index);
        (Path::new(Log::DIR).join(name), bytes)
    });
    let mut built: Vec<_> = built.collect();
    built.sort();
    built.dedup_by(|one, other| one.0 == other.0);
    built
}

fn check(input: &[u8]) -> Verdict {
    let Ok(contents) = Files::decode(input) else { return Ok("no files".to_owned()) };
    let files = build(&contents);
    let disk = Log::disk_of(&files);
    let (log, again) = match (open(&disk, SETTINGS), open(&Log::disk_of(&files), SETTINGS)) {
        (Ok(log), Ok(again)) => (log, again),
        (Err(error), Err(again)) if error.to_string() == again.to_string() => {
            return match error {
                WalError::Corrupt { what, .. } => Ok(format!("{what:?}")),
                WalError::Missing { .. } if files.is_empty() => Ok("missing".to_owned()),
                other => Err(format!("refused without a place: {other}")),
            };
        }
        (one, other) => {
            return Err(format!(
                "opens differently: {:?}, {:?}",
                one.map(|log| log.opened),
                other.map(|log| log.opened)
            ));
        }
    };
    if log.opened != again.opened {
        return Err(format!("opens differently: {:?}, {:?}", log.opened, again.opened));
    }
    let entries = log.entries().map_err(|error| format!("opened, then: {error}"))?;
    if !goes_back(&contents) {
        agrees(&files, &entries)?;
    }
    let outcome = format!("open, {:?} of {}, torn {}", log.opened.snapshot, entries.len(), log.opened.torn.is_some());
    goes_on(&disk, log, SETTINGS)?;
    Ok(outcome)
}

/// True if an entry stands behind a snapshot that covers it. Only who reads from the snapshot on, as etcd does, knows that
/// it says nothing.
fn goes_back(files: &Files) -> bool {
    let mut covered = 0;
    files.files.iter().flat_map(|segment| &segment.records).any(|record| match record.kind {
        SNAPSHOT => {
            covered = Snapshot::decode(record.data.clone()).map_or(covered, |snapshot| covered.max(snapshot.index()));
            false
        }
        ENTRY => raftpb::Entry::decode(record.data.clone()).is_ok_and(|entry| entry.index() <= covered),
        _ => false,
    })
}

/// Compares with a decoder that shares no code, where that one takes the files.
fn agrees(files: &[(PathBuf, Vec<u8>)], entries: &[Entry]) -> Result<(), String> {
    let files = files.iter().map(|file| Ok(file.clone()));
    let Ok(content) = wal_reader::read_files(files) else { return Ok(()) };
    // It believes every snapshot record; one that no hard state ever covers does not count.
    let commit = content.hard_state.as_ref().map_or(0, HardState::commit);
    if content.restarted_behind.is_some_and(|index| index > commit) {
        return Ok(());
    }
    let theirs = |index: u64| content.entries.iter().find(|entry| entry.index() == index);
    for entry in entries {
        let kind = if entry.kind == EntryKind::Normal { 0 } else { 1 };
        let ours = (entry.term, kind, &entry.data[..]);
        let found = theirs(entry.index).map(|other| (other.term(), other.r#type() as i32, other.data()));
        if found != Some(ours) {
            return Err(format!("entry {} is {ours:?}, and {found:?} to the other decoder", entry.index));
        }
    }
    Ok(())
}

fn content(kind: i64, message: &impl Message) -> Content {
    Content { kind, data: message.encode_to_vec().into() }
}

fn entry(term: u64, index: u64) -> Content {
    let data = Some(Bytes::from(format!("entry {index} of {term}")));
    content(ENTRY, &raftpb::Entry { r#type: Some((index % 2) as i32), term: Some(term), index: Some(index), data })
}

fn head() -> Content {
    let ids = format!("\x08{}\x10{}", "\x01", "\x02");
    Content { kind: METADATA, data: ids.into_bytes().into() }
}

fn state(term: u64, commit: u64) -> Content {
    let state = HardState { term: Some(term), vote: Some(1), commit: Some(commit), ..HardState::default() };
    content(STATE, &state)
}

fn snapshot(term: u64, index: u64) -> Content {
    let conf_state = Some(ConfState { voters: vec![1], ..ConfState::default() });
    content(SNAPSHOT, &Snapshot { index: Some(index), term: Some(term), conf_state })
}

fn generate(random: &mut Random) -> Vec<u8> {
    let mut files = Files::default();
    let (mut index, mut term) = (random.below(3), 1);
    for sequence in 0..1 + random.below(3) {
        let mut records = vec![head()];
        for _ in 0..random.below(12) {
            records.push(match random.below(10) {
                0 => state(term, index.saturating_sub(random.below(4))),
                1 => snapshot(term, index + random.below(3)),
                2 => {
                    index = index.saturating_sub(random.below(4));
                    term += random.below(2);
                    continue;
                }
                3 => Content { kind: *random.pick(&[0, ENTRY, STATE, CHECKSUM, SNAPSHOT, 9]), data: Bytes::new() },
                4 => Content { kind: ENTRY, data: generate::message("raftpb.Entry", random).into() },
                _ => {
                    index += 1;
                    entry(term, index)
                }
            });
        }
        files.files.push(Segment { sequence, first_index: index + 1, records });
    }
    files.encode_to_vec()
}

fn seeds() -> Vec<(String, Vec<u8>)> {
    let file = |sequence, first_index, records: Vec<Content>| Segment { sequence, first_index, records };
    let plain = vec![head(), snapshot(0, 0), state(1, 0), entry(1, 1), entry(1, 2), entry(1, 3), state(1, 2)];
    let replaced = vec![head(), state(1, 2), entry(2, 3), entry(2, 4), state(2, 4)];
    let purged = vec![head(), state(2, 4), snapshot(2, 4), entry(2, 5)];
    let restarted = vec![head(), state(2, 4), snapshot(3, 20), state(3, 20), entry(3, 21)];
    [
        ("one-file", vec![file(0, 0, plain.clone())]),
        ("replaced-tail", vec![file(0, 0, plain.clone()), file(1, 4, replaced.clone())]),
        ("purged", vec![file(1, 4, replaced.clone()), file(2, 5, purged)]),
        ("restarted", vec![file(0, 0, plain), file(1, 4, replaced), file(2, 5, restarted)]),
        ("near-the-end", vec![file(1, END - 1, vec![head(), state(1, END - 1), snapshot(1, END - 1), entry(1, END)])]),
        ("empty", vec![file(0, 0, vec![head()])]),
    ]
    .map(|(name, files)| (name.to_owned(), Files { files }.encode_to_vec()))
    .to_vec()
}

#[test]
fn wal_records_that_check_are_read_or_refused() {
    run(&mut Target { name: "wal_records", check: &mut check, generate: &generate, seeds: &seeds });
}

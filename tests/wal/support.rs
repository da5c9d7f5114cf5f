//! Logs on a disk in memory, driven step by step.

use bytes::Bytes;
use keelstone::disk::{Disk, File, MemoryDisk};
use keelstone::types::LogPosition;
use keelstone::wal::{
    self, Done, Entry, EntryKind, HardState, Identity, Metrics, Opened, Settings, Wal, WalError, Writer,
};
use keelstone_proto::raftpb::ConfState;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

pub const DIR: &str = "/data/member/wal";
pub const IDENTITY: Identity = Identity { node_id: 0x8e9e_05c5_2164_694d, cluster_id: 0xcdf8_1819_4e3a_8c32 };

/// Small, so that a test meets every bound.
pub const SMALL: Settings = Settings {
    segment_bytes: 8192,
    max_segments: 2,
    batch_bytes: 3000,
    tail_bytes: 2000,
    commit_delay: std::time::Duration::from_millis(5),
};

pub fn metrics() -> Metrics {
    Metrics::register(&prometheus::Registry::new()).unwrap()
}

pub fn entry(term: u64, index: u64, len: usize) -> Entry {
    // Bytes that are never zero, and differ from entry to entry and from term to term.
    let data: Vec<u8> = (0..len).map(|at| 1 + ((at as u64 * 7 + index * 31 + term * 13) % 255) as u8).collect();
    Entry { term, index, kind: EntryKind::Normal, data: Bytes::from(data) }
}

pub fn conf() -> ConfState {
    ConfState { voters: vec![IDENTITY.node_id], ..ConfState::default() }
}

pub fn at(term: u64, index: u64) -> LogPosition {
    LogPosition { term, index }
}

/// Results of callbacks in the order they came.
#[derive(Clone, Default)]
pub struct Outcomes(Arc<Mutex<Vec<Outcome>>>);

type Outcome = (u64, io::Result<()>);

impl Outcomes {
    pub fn expect(&self, id: u64) -> Done {
        let outcomes = self.clone();
        Box::new(move |result| outcomes.0.lock().unwrap().push((id, result)))
    }

    pub fn ids(&self) -> Vec<u64> {
        self.0.lock().unwrap().iter().map(|(id, _)| *id).collect()
    }

    /// Ids that succeeded.
    pub fn done(&self) -> Vec<u64> {
        self.0.lock().unwrap().iter().filter(|(_, result)| result.is_ok()).map(|(id, _)| *id).collect()
    }
}

/// An open log, its writer, and what became of its requests.
pub struct Stepped {
    pub disk: MemoryDisk,
    pub wal: Wal,
    pub writer: Writer,
    pub opened: Opened,
    pub outcomes: Outcomes,
    pub fatal: Arc<Mutex<Vec<WalError>>>,
}

pub fn open(disk: &MemoryDisk, settings: Settings) -> Result<Stepped, WalError> {
    let fatal = Arc::new(Mutex::new(Vec::new()));
    let seen = fatal.clone();
    let on_fatal = Box::new(move |error| seen.lock().unwrap().push(error));
    let (wal, writer, opened) =
        Wal::open_stepped(Arc::new(disk.clone()), Path::new(DIR), settings, metrics(), on_fatal)?;
    Ok(Stepped { disk: disk.clone(), wal, writer, opened, outcomes: Outcomes::default(), fatal })
}

/// A log without entries, durable.
pub fn fresh() -> MemoryDisk {
    let disk = MemoryDisk::new();
    disk.create_dir_all(Path::new("/data/member")).unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    disk.sync_dir(Path::new("/data")).unwrap();
    wal::create(&disk, Path::new(DIR), IDENTITY, &[], HardState::default()).unwrap();
    disk
}

impl Stepped {
    /// Writes all that is queued.
    pub fn run(&mut self) {
        while self.writer.step() {}
    }

    pub fn append(&self, id: u64, entries: Vec<Entry>) {
        self.wal.append(entries, self.outcomes.expect(id));
    }

    pub fn failed(&self) -> bool {
        !self.fatal.lock().unwrap().is_empty()
    }

    pub fn all(&self) -> Vec<Entry> {
        self.wal.read(self.wal.first_index()..u64::MAX).unwrap()
    }
}

/// Paths of the segments, oldest first.
pub fn segments(disk: &MemoryDisk) -> Vec<PathBuf> {
    let names = disk.list(Path::new(DIR)).unwrap();
    names.iter().filter(|name| name.ends_with(".wal")).map(|name| Path::new(DIR).join(name)).collect()
}

pub fn file(disk: &MemoryDisk, path: &Path) -> (Arc<dyn File>, Vec<u8>) {
    let file = disk.open(path).unwrap();
    let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
    file.read_at(0, &mut bytes).unwrap();
    (file, bytes)
}

/// What a reader of etcd's format finds on the disk.
pub fn decode(disk: &MemoryDisk) -> super::decoder::Decoded {
    let files = segments(disk).iter().map(|path| file(disk, path).1).collect::<Vec<_>>();
    super::decoder::decode(&files).unwrap()
}

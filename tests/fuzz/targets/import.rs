//! A data directory that etcd left, damaged: it is taken over or refused with a word about why, and not a byte of it changes.

use super::place::Place;
use crate::engine::{Target, Verdict, run};
use crate::file::PlainFile;
use keelstone::apply::conf_change;
use keelstone::backup::DIGEST_BYTES;
use keelstone::backup::bolt::Database;
use keelstone::cluster::Member;
use keelstone::disk::{Disk, File, MemoryDisk};
use keelstone::server::import::{Places, Tools, take_over};
use keelstone::storage::{self, Storage};
use keelstone::types::MemberId;
use keelstone::wal::{self, Entry, EntryKind, HardState, Identity, Survey};
use keelstone_harness::Random;
use keelstone_proto::etcdserverpb::{InternalRaftRequest, PutRequest};
use keelstone_proto::raftpb::ConfChange;
use prometheus::Registry;
use prost::Message;
use prost::bytes::Bytes;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

/// Of etcd 3.7.3.
const DATABASE: &[u8] = include_bytes!("../../backup/etcd-3.7.3/snapshot.db");
const MEMBER: u64 = 0x8e9e_05c5_2164_694d;
const MEMBER_DIR: &str = "/data/member";

static METRICS: LazyLock<(wal::Metrics, storage::Metrics)> = LazyLock::new(|| {
    let registry = Registry::new();
    let of_wal = wal::Metrics::register(&registry).expect("a fresh registry");
    (of_wal, storage::Metrics::register(&registry).expect("a fresh registry"))
});

#[derive(Clone, PartialEq, Message)]
struct Damage {
    #[prost(message, repeated, tag = "1")]
    places: Vec<Place>,
}

fn places() -> Places {
    Places { member_dir: PathBuf::from(MEMBER_DIR), wal_dir: Path::new(MEMBER_DIR).join("wal") }
}

/// Where the database stands: index and term.
fn applied() -> (u64, u64) {
    static APPLIED: LazyLock<(u64, u64)> = LazyLock::new(|| {
        let file = PlainFile::default();
        file.write_at(0, DATABASE).expect("memory does not fail");
        let bytes = (DATABASE.len() - DIGEST_BYTES) as u64;
        let database = Database::open(Arc::new(file), bytes).expect("as etcd wrote it");
        let buckets = database.buckets().expect("as etcd wrote it");
        let meta = buckets.iter().find(|bucket| bucket.name == "meta").expect("a bucket of etcd");
        let rows: Vec<_> = database.rows(meta).expect("whole").map(|row| row.expect("whole")).collect();
        let number = |name: &str| {
            let (_, value) = rows.iter().find(|(key, _)| key == name).expect("a row of etcd");
            u64::from_be_bytes(value[..].try_into().expect("eight bytes"))
        };
        (number("consistent_index"), number("term"))
    });
    *APPLIED
}

fn entries() -> Vec<Entry> {
    let (index, term) = applied();
    let member =
        Member { id: MemberId(MEMBER), peer_urls: vec!["http://localhost:2380".to_owned()], ..Member::default() };
    let change = ConfChange::decode(&conf_change::bootstrap(&[member])[0][..]).expect("a change");
    let change = ConfChange { keelstone_membership: None, ..change };
    let first = Entry { term: 1, index: 1, kind: EntryKind::ConfChange, data: change.encode_to_vec().into() };
    let put = |index: u64| {
        let put = PutRequest { key: format!("k{index}").into(), value: "v".into(), ..Default::default() };
        let request = InternalRaftRequest { put: Some(put), ..Default::default() };
        Entry { term, index, kind: EntryKind::Normal, data: request.encode_to_vec().into() }
    };
    [first].into_iter().chain((2..=index + 8).map(put)).collect()
}

fn directory() -> MemoryDisk {
    let disk = MemoryDisk::new();
    let snap = places().snap_dir();
    disk.create_dir_all(&snap).expect("memory does not fail");
    let identity = Identity { node_id: MEMBER, cluster_id: 9 };
    let hard_state = HardState { term: applied().1, vote: MEMBER, vote_committed: false, commit: applied().0 + 3 };
    wal::create(&disk, &places().wal_dir, identity, &entries(), hard_state).expect("memory does not fail");
    let file = disk.create(&snap.join("db")).expect("memory does not fail");
    file.write_at(0, &DATABASE[..DATABASE.len() - DIGEST_BYTES]).expect("memory does not fail");
    disk
}

fn paths() -> [PathBuf; 2] {
    [places().snap_dir().join("db"), places().wal_dir.join("0000000000000000-0000000000000000.wal")]
}

/// Of the database or the log. Kinds: 0 written over, 1 cut here, 2 a bit is flipped, 3 the file is gone.
fn damage(disk: &MemoryDisk, place: &Place) {
    let path = &paths()[place.file as usize % 2];
    let Ok(file) = disk.open(path) else { return };
    let len = file.len().expect("memory does not fail");
    if len == 0 {
        return;
    }
    let offset = u64::from(place.offset) % len;
    match place.kind {
        0 => file.write_at(offset, &place.bytes),
        1 => file.set_len(offset),
        2 => {
            let mut byte = [0];
            file.read_at(offset, &mut byte).expect("memory does not fail");
            file.write_at(offset, &[byte[0] ^ 1 << (place.bytes.first().copied().unwrap_or_default() % 8)])
        }
        _ => disk.remove_file(path),
    }
    .expect("memory does not fail");
}

/// Names and bytes of etcd's two folders, wherever they are.
fn original(disk: &MemoryDisk) -> Vec<(String, Vec<u8>)> {
    let names = disk.list(Path::new(MEMBER_DIR)).expect("memory does not fail");
    let mut found = Vec::new();
    for folder in ["snap", "wal"] {
        let aside = names.iter().find(|name| name.starts_with(&format!("{folder}.etcd-")));
        let dir = Path::new(MEMBER_DIR).join(aside.map_or(folder, String::as_str));
        for name in disk.list(&dir).unwrap_or_default() {
            let file = disk.open(&dir.join(&name)).expect("memory does not fail");
            let mut bytes = vec![0; file.len().expect("memory does not fail") as usize];
            file.read_at(0, &mut bytes).expect("memory does not fail");
            found.push((format!("{folder}/{name}"), bytes));
        }
    }
    found
}

fn check(input: &[u8]) -> Verdict {
    let Ok(script) = Damage::decode(input) else { return Ok("no damage".to_owned()) };
    let disk = directory();
    script.places.iter().for_each(|place| damage(&disk, place));
    let before = original(&disk);
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let tools = Tools {
        disk: &shared,
        segment_bytes: 4_096,
        cache_bytes: 1 << 16,
        wal_metrics: &METRICS.0,
        storage_metrics: &METRICS.1,
    };
    let taken = take_over(&tools, &places());
    if original(&disk) != before {
        return Err(format!("etcd's files changed: {taken:?}"));
    }
    let names = disk.list(Path::new(MEMBER_DIR)).expect("memory does not fail");
    match taken {
        Err(error) if names == ["snap", "wal"] => Ok(format!("{error:#}")),
        Err(error) => Err(format!("{names:?} is left after {error:#}")),
        Ok(()) if names == ["snap", "wal"] => Ok("not etcd's".to_owned()),
        Ok(()) => {
            let state = disk.open(&Path::new(MEMBER_DIR).join("state.redb")).map_err(|error| error.to_string())?;
            let state = Storage::open(state, 1 << 16, METRICS.1.clone()).map_err(|error| error.to_string())?;
            let at = state.version().and_then(|version| version.meta()).map_err(|error| error.to_string())?.applied;
            let log = Survey::of(&disk, &places().wal_dir).map_err(|error| error.to_string())?;
            let leads_there = at.index == 0 || log.term_at(at.index) == Some(at.term);
            if leads_there { Ok("taken over".to_owned()) } else { Err(format!("{at:?} is not in {log:?}")) }
        }
    }
}

fn generate(random: &mut Random) -> Vec<u8> {
    let place = |random: &mut Random| {
        let file = random.below(2) as u32;
        Place {
            file,
            offset: if file == 1 { random.below(6_000) as u32 } else { random.below(61_440) as u32 },
            kind: [0, 0, 2, 2, 2, 2, 1, 3][random.below(8) as usize],
            bytes: (0..1 + random.below(9)).map(|_| random.draw() as u8).collect::<Vec<_>>().into(),
        }
    };
    Damage { places: (0..1 + random.below(3)).map(|_| place(random)).collect() }.encode_to_vec()
}

fn seeds() -> Vec<(String, Vec<u8>)> {
    let one = |file, offset, kind, bytes: &'static [u8]| {
        Damage { places: vec![Place { file, offset, kind, bytes: Bytes::from_static(bytes) }] }.encode_to_vec()
    };
    [
        ("whole", Damage::default().encode_to_vec()),
        ("no-database", one(0, 0, 3, b"")),
        ("no-log", one(1, 0, 3, b"")),
        ("short-log", one(1, 400, 1, b"")),
        ("short-database", one(0, 9_000, 1, b"")),
        ("flip-in-log", one(1, 700, 2, b"\x03")),
    ]
    .map(|(name, input)| (name.to_owned(), input))
    .to_vec()
}

#[test]
fn a_directory_of_etcd_is_taken_over_or_refused_and_never_touched() {
    run(&mut Target { name: "import", check: &mut check, generate: &generate, seeds: &seeds });
}

//! An import whose machine loses power at every step: the next start has etcd's directory whole, or ours whole.

use crate::stored::{saved, storage_of};
use keelstone::apply::conf_change;
use keelstone::backup::DIGEST_BYTES;
use keelstone::cluster::{Member, MemberTable};
use keelstone::disk::{Disk, MemoryDisk};
use keelstone::server::import::{Places, Tools, is_unfinished, take_over};
use keelstone::storage::{self, Storage, Table};
use keelstone::types::MemberId;
use keelstone::wal::{self, Entry, EntryKind, HardState, Identity, Settings, Survey, Wal};
use keelstone_harness::proto::etcdserverpb::{InternalRaftRequest, PutRequest};
use keelstone_harness::proto::raftpb::ConfChange;
use prometheus::Registry;
use prost::Message;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex};

pub const APPLIED: u64 = 40;
pub const LAST: u64 = 60;
const IDENTITY: Identity = Identity { node_id: 1, cluster_id: 9 };
const SEGMENT_BYTES: u64 = 4_096;

static METRICS: LazyLock<(wal::Metrics, storage::Metrics)> = LazyLock::new(|| {
    let registry = Registry::new();
    let of_wal = wal::Metrics::register(&registry).expect("a fresh registry");
    (of_wal, storage::Metrics::register(&registry).expect("a fresh registry"))
});

pub fn places() -> Places {
    Places { member_dir: PathBuf::from("/data/member"), wal_dir: PathBuf::from("/data/member/wal") }
}

pub fn member() -> Member {
    Member { id: MemberId(1), peer_urls: vec!["http://a:1".to_owned()], ..Member::default() }
}

pub fn entries() -> Vec<Entry> {
    // Etcd's own does not name the members behind it.
    let change = ConfChange {
        keelstone_membership: None,
        ..ConfChange::decode(&conf_change::bootstrap(&[member()])[0][..]).expect("a change")
    };
    let first = Entry { term: 1, index: 1, kind: EntryKind::ConfChange, data: change.encode_to_vec().into() };
    let put = |index: u64| {
        let put = PutRequest { key: format!("k{index}").into(), value: vec![b'v'; 300].into(), ..Default::default() };
        let request = InternalRaftRequest { put: Some(put), ..Default::default() };
        Entry { term: 2, index, kind: EntryKind::Normal, data: request.encode_to_vec().into() }
    };
    [first].into_iter().chain((2..=LAST).map(put)).collect()
}

/// Hard state of what etcd left.
pub const STATE: HardState = HardState { term: 2, vote: 1, vote_committed: false, commit: LAST - 5 };

fn left_by_etcd() -> MemoryDisk {
    left_with(&entries(), STATE, &[])
}

/// A directory as etcd would leave it, all of it synced, with these rows of `members` beside its own.
pub fn left_with(entries: &[Entry], hard_state: HardState, members: &[Member]) -> MemoryDisk {
    let disk = MemoryDisk::new();
    let Places { wal_dir, .. } = places();
    let snap = places().snap_dir();
    disk.create_dir_all(&snap).expect("memory does not fail");
    wal::create(&disk, &wal_dir, IDENTITY, entries, hard_state).expect("memory does not fail");
    write_database(&disk, "db", APPLIED, members);
    for dir in ["/data/member/snap", "/data/member", "/data", "/"] {
        disk.sync_dir(Path::new(dir)).expect("memory does not fail");
    }
    disk
}

/// A database of etcd's that stands at an entry of term 2.
pub fn write_database(disk: &MemoryDisk, name: &str, index: u64, members: &[Member]) {
    let mut rows: Vec<_> =
        members.iter().chain([&member()]).map(|m| (MemberTable::row_key(m.id), m.to_json())).collect();
    rows.sort();
    let number = |name: &str, number: u64| (name.as_bytes().to_vec(), number.to_be_bytes().to_vec());
    let meta = vec![number("consistent_index", index), number("term", 2)];
    let bytes = saved(&storage_of(&vec![("members".to_owned(), rows), ("meta".to_owned(), meta)]));
    let database = disk.create(&places().snap_dir().join(name)).expect("memory does not fail");
    database.write_at(0, &bytes[..bytes.len() - DIGEST_BYTES]).expect("memory does not fail");
    database.sync_data().expect("memory does not fail");
}

pub fn with_tools<R>(disk: &MemoryDisk, work: impl FnOnce(&Tools<'_>) -> R) -> R {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    work(&Tools {
        disk: &disk,
        segment_bytes: SEGMENT_BYTES,
        cache_bytes: 1 << 16,
        wal_metrics: &METRICS.0,
        storage_metrics: &METRICS.1,
    })
}

fn import(disk: &MemoryDisk) -> anyhow::Result<()> {
    with_tools(disk, |tools| take_over(tools, &places()))
}

/// Every byte of etcd's folders, wherever they are kept by now.
fn original(disk: &MemoryDisk) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for (folder, aside) in [("snap", "snap.etcd-40"), ("wal", "wal.etcd-40")] {
        let folder = Path::new("/data/member").join(folder);
        let aside = Path::new("/data/member").join(aside);
        let dir = if disk.exists(&aside).expect("look") { aside } else { folder };
        for name in disk.list(&dir).expect("list") {
            let file = disk.open(&dir.join(&name)).expect("open");
            let mut bytes = vec![0; file.len().expect("measure") as usize];
            file.read_at(0, &mut bytes).expect("read");
            found.push((name, bytes));
        }
    }
    found
}

/// Ours is whole: the state stands where etcd's did, and the log has every entry at its place.
fn check_ours(disk: &MemoryDisk) {
    let log = Survey::of(disk, &places().wal_dir).expect("our log");
    assert_eq!((log.identity, log.last.index, log.last.term), (IDENTITY, LAST, 2));
    assert_eq!(log.hard_state, STATE);
    assert_eq!((log.snapshot.index, log.conf_state.voters.as_slice()), (1, &[1][..]));
    let mut found = Vec::new();
    while let Some(next) = found.last().map_or(Some(2), |last: &Entry| (last.index < LAST).then_some(last.index + 1)) {
        found.extend(log.entries_from(next, 1_000).expect("entries"));
    }
    assert!(found == entries()[1..], "entries differ");
    let file = disk.open(Path::new("/data/member/state.redb")).expect("the state");
    let meta = Storage::open(file, 1 << 16, METRICS.1.clone()).expect("the state").version().expect("a version");
    let meta = meta.meta().expect("rows of etcd");
    assert_eq!((meta.applied.index, meta.applied.term), (APPLIED, 2));
    assert!(meta.membership.is_some());
    // It is ours, to be written on.
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let settings = Settings { segment_bytes: SEGMENT_BYTES, ..Settings::default() };
    Wal::open_stepped(shared, &places().wal_dir, settings, METRICS.0.clone(), Box::new(|error| panic!("{error}")))
        .expect("our log opens");
}

#[test]
fn a_crash_at_every_step_leaves_etcds_directory_or_ours() {
    let disk = left_by_etcd();
    let theirs = original(&disk);
    let failure = Arc::new(Mutex::new(None::<String>));
    let images = Arc::new(Mutex::new((0, 0)));
    let (seen, counts, expected) = (Arc::clone(&failure), Arc::clone(&images), theirs.clone());
    disk.observe(move |disk| {
        for seed in 0..3 {
            let image = disk.crash(disk.operations() * 3 + seed);
            let checked = std::thread::scope(|scope| {
                let check = || {
                    assert!(original(&image) == expected, "etcd's files changed");
                    let unfinished = is_unfinished(&image, &places()).expect("look");
                    let is_ours = image.exists(Path::new("/data/member/state.redb")).expect("look");
                    // A crash of the start that follows, half-way.
                    let middle = image.operations() + 2 + seed;
                    image.fail_from(middle, io::ErrorKind::Other);
                    import(&image).ok();
                    let again = image.crash(seed);
                    import(&again).unwrap_or_else(|error| panic!("{error:#}"));
                    assert!(original(&again) == expected, "etcd's files changed");
                    check_ours(&again);
                    unfinished || is_ours
                };
                scope.spawn(check).join()
            });
            match checked {
                Ok(past) => {
                    let mut counts = counts.lock().expect("no panic");
                    *counts = (counts.0 + u32::from(!past), counts.1 + u32::from(past));
                }
                Err(_) => {
                    let what = format!("operation {}, seed {seed}", disk.operations());
                    seen.lock().expect("no panic").get_or_insert(what);
                }
            }
        }
    });
    import(&disk).expect("import");
    disk.forget_observer();
    assert_eq!(*failure.lock().expect("no panic"), None);
    let (before, after) = *images.lock().expect("no panic");
    println!("{before} images before the point, {after} behind it");
    assert!(before > 20 && after > 10);
    check_ours(&disk);
    assert!(original(&disk) == theirs);
    // A second start has nothing to do.
    let operations = disk.operations();
    import(&disk).expect("nothing to do");
    assert_eq!(disk.operations(), operations);
}

#[test]
fn an_etcd_that_ran_between_two_starts_loses_nothing() {
    let disk = left_by_etcd();
    let whole = Arc::new(Mutex::new(None::<MemoryDisk>));
    let seen = Arc::clone(&whole);
    disk.observe(move |disk| {
        let names = disk.list(Path::new("/data/member")).expect("list");
        if ["snap", "state.imported-40", "wal", "wal.import"].iter().all(|name| names.iter().any(|found| found == name))
        {
            seen.lock().expect("no panic").get_or_insert_with(|| disk.kill());
        }
    });
    import(&disk).expect("import");
    let disk = whole.lock().expect("no panic").take().expect("a moment when all is built and nothing is replaced");
    assert!(!is_unfinished(&disk, &places()).expect("look"));
    // The operator starts etcd again, which goes on.
    let Places { wal_dir, .. } = places();
    disk.remove_dir_all(&wal_dir).expect("memory does not fail");
    let more = Entry { index: LAST + 1, ..entries().pop().expect("the last") };
    let longer: Vec<Entry> = entries().into_iter().chain([more]).collect();
    wal::create(&disk, &wal_dir, IDENTITY, &longer, HardState { commit: LAST + 1, ..STATE })
        .expect("memory does not fail");
    import(&disk).expect("import");
    assert_eq!(Survey::of(&disk, &wal_dir).expect("our log").last.index, LAST + 1);
    assert_eq!(
        disk.list(Path::new("/data/member")).expect("list"),
        ["snap.etcd-40", "state.redb", "wal", "wal.etcd-40"]
    );
}

#[test]
fn a_full_or_failing_disk_leaves_etcds_directory_as_it_was() {
    let theirs = original(&left_by_etcd());
    let begin = left_by_etcd().operations();
    let whole = {
        let disk = left_by_etcd();
        import(&disk).expect("import");
        disk.operations()
    };
    for operation in begin..whole {
        let disk = left_by_etcd();
        disk.fail_at(operation, io::ErrorKind::StorageFull);
        let failed = import(&disk);
        assert!(original(&disk) == theirs, "operation {operation}");
        // One that nobody needed may fail, such as a sync of what is only removed.
        if failed.is_err() {
            let next = disk.kill();
            import(&next).unwrap_or_else(|error| panic!("after operation {operation}: {error:#}"));
            check_ours(&next);
        }
    }
    for free in [0, 4_000, 20_000] {
        let disk = left_by_etcd();
        disk.set_free_bytes(free);
        assert!(import(&disk).is_err(), "{free} bytes are enough");
        assert!(original(&disk) == theirs);
        let names = disk.list(Path::new("/data/member")).expect("list");
        assert_eq!(names, ["snap", "wal"], "nothing half-made stays");
    }
}

#[test]
fn damaged_databases_and_logs_are_refused_or_imported_and_never_touched() {
    assert!(Table::named("meta").is_some());
    let disk = left_by_etcd();
    let files = original(&disk);
    let path = |name: &str| {
        let folder = if name == "db" { places().snap_dir() } else { places().wal_dir };
        folder.join(name)
    };
    let mut refused = 0;
    for (name, bytes) in &files {
        for step in 0..150 {
            let offset = step * bytes.len() / 150;
            let disk = left_by_etcd();
            let file = disk.open(&path(name)).expect("open");
            if step % 3 == 0 {
                file.set_len(offset as u64).expect("cut");
            } else {
                file.write_at(offset as u64, &[bytes[offset] ^ (1 << (step % 8))]).expect("flip");
            }
            file.sync_data().expect("sync");
            let damaged = original(&disk);
            match import(&disk) {
                Ok(()) => {}
                Err(_) => {
                    refused += 1;
                    assert_eq!(disk.list(Path::new("/data/member")).expect("list"), ["snap", "wal"]);
                }
            }
            assert!(original(&disk) == damaged, "{name} {step}");
        }
    }
    println!("{refused} refused");
    assert!(refused > 50);
}

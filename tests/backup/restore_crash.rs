//! A restore that is cut off at any of its operations, or fails there, leaves nothing that a server would start on, or all.

use keelstone::config::{Bootstrap, ClusterState, Settings, Url};
use keelstone::disk::{Disk, MemoryDisk};
use keelstone::net::{Reach, Sockets};
use keelstone::server::World;
use keelstone::server::bootstrap::{self, Tools};
use keelstone::server::restore::{Digest, Restore, run_on};
use keelstone::storage::Table;
use keelstone::threads::Threads;
use keelstone::{storage, wal};
use prometheus::Registry;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

const IMAGES_AN_OPERATION: u64 = 4;
const SEGMENT_BYTES: u64 = 64 * 1024;

fn restore(wal_dir: &str) -> Restore {
    Restore {
        snapshot: PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/backup/etcd-3.7.3/snapshot.db")),
        data_dir: PathBuf::from("/var/d"),
        wal_dir: PathBuf::from(wal_dir),
        name: "default".to_owned(),
        bootstrap: Bootstrap {
            initial_cluster: "default=http://localhost:2380".to_owned(),
            token: "etcd-cluster".to_owned(),
            state: ClusterState::New,
            discovery: None,
            force_new_cluster: false,
        },
        advertise_peer: vec![Url::parse("http://localhost:2380").expect("a URL")],
        digest: Digest::Compare,
        bump_revision: 1_000,
        initial_memory_map_bytes: 0,
    }
}

fn disk_with_the_folder_above() -> MemoryDisk {
    let disk = MemoryDisk::new();
    for dir in ["/var", "/log"] {
        disk.create_dir_all(Path::new(dir)).expect("memory does not fail");
    }
    disk.sync_dir(Path::new("/")).expect("memory does not fail");
    disk
}

/// Opens what is there as a server does.
fn start(disk: &MemoryDisk, wal_dir: &str) -> anyhow::Result<usize> {
    let wal_flag = format!("--wal-dir={wal_dir}");
    let mut flags = vec!["--data-dir=/var/d"];
    if !wal_dir.starts_with("/var/d/") {
        flags.push(&wal_flag);
    }
    let settings = Settings::from_args(&flags).expect("flags of etcd");
    let registry = Registry::new();
    let world = World {
        disk: Arc::new(disk.clone()),
        clock: Arc::new(keelstone::clock::SystemClock::new()),
        threads: Threads::Own,
        reach: Reach { dial: Arc::new(Sockets::default()), tls: None },
        segment_bytes: SEGMENT_BYTES,
        cache_bytes: 1 << 20,
        observer: None,
    };
    let (wal_metrics, storage_metrics) =
        (wal::Metrics::register(&registry).expect("fresh"), storage::Metrics::register(&registry).expect("fresh"));
    let tools = Tools { world: &world, wal_metrics: &wal_metrics, storage_metrics: &storage_metrics };
    let ground = bootstrap::open(&settings, &tools, None, Box::new(|error| panic!("{error}")))?;
    assert_eq!((ground.wal.first_index(), ground.wal.hard_state().commit), (2, 1), "the log goes on behind the state");
    assert_eq!((ground.identity.member.0, ground.identity.cluster.0), (0x8e9e_05c5_2164_694d, 0xcdf8_1819_4e3a_8c32));
    let version = ground.storage.version()?;
    assert_eq!(version.meta()?.applied.index, 1);
    assert_eq!(version.rows(Table::Members)?.len(), 1);
    ground.wal.close()?;
    Ok(version.rows(Table::Key)?.len())
}

/// Nothing that a server would take for its own, or the whole; and where there is nothing, the next attempt succeeds.
fn check(image: &MemoryDisk, wal_dir: &str, rows: usize) -> Outcome {
    let is_there = |path: &str| image.exists(Path::new(path)).expect("memory does not fail");
    if is_there("/var/d/member") {
        assert_eq!(start(image, wal_dir).expect("the whole"), rows);
        return Outcome::Whole;
    }
    if is_there(wal_dir) {
        // A log kept elsewhere has its name before the state: no server starts on it.
        let error = start(&image.kill(), wal_dir).expect_err("without its state");
        assert!(format!("{error:#}").contains("is missing and the log begins after entry 1"), "{error:#}");
        image.remove_dir_all(Path::new(wal_dir)).expect("memory does not fail");
    }
    make(image, wal_dir).expect("nothing is in the way");
    assert_eq!(start(image, wal_dir).expect("the whole"), rows);
    Outcome::Nothing
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Nothing,
    Whole,
}

fn make(disk: &MemoryDisk, wal_dir: &str) -> anyhow::Result<()> {
    run_on(disk, &restore(wal_dir), &mut |_, _| ())
}

/// Restores once undisturbed; returns the operations and the rows of the key table.
fn undisturbed(wal_dir: &str) -> (u64, usize) {
    let disk = disk_with_the_folder_above();
    let before = disk.operations();
    make(&disk, wal_dir).expect("a file of etcd");
    (disk.operations() - before, start(&disk, wal_dir).expect("the whole"))
}

fn crash_everywhere(wal_dir: &'static str) {
    let (operations, rows) = undisturbed(wal_dir);
    let disk = disk_with_the_folder_above();
    let images = Arc::new(Mutex::new(Vec::new()));
    let taken = Arc::clone(&images);
    disk.observe(move |disk| {
        let mut taken = taken.lock().expect("no holder panics");
        let first = taken.len() as u64;
        taken.extend((first..first + IMAGES_AN_OPERATION).map(|seed| disk.crash(seed)));
        taken.push(disk.kill());
    });
    make(&disk, wal_dir).expect("a file of etcd");
    disk.forget_observer();
    let images = std::mem::take(&mut *images.lock().expect("no holder panics"));
    assert_eq!(images.len() as u64, operations * (IMAGES_AN_OPERATION + 1));
    let outcomes: Vec<Outcome> = images.iter().map(|image| check(image, wal_dir, rows)).collect();
    assert!(outcomes.contains(&Outcome::Whole) && outcomes.contains(&Outcome::Nothing));
    assert_eq!(outcomes.last(), Some(&Outcome::Whole));
    assert_eq!(check(&disk.crash(1), wal_dir, rows), Outcome::Whole, "durable on return");
}

#[test]
fn a_crash_at_any_operation_leaves_nothing_or_the_whole() {
    crash_everywhere("/var/d/member/wal");
}

#[test]
fn a_crash_with_a_log_elsewhere_leaves_nothing_that_starts_or_the_whole() {
    crash_everywhere("/log/of/d");
}

#[test]
fn an_operation_that_fails_leaves_nothing() {
    for wal_dir in ["/var/d/member/wal", "/log/of/d"] {
        let (operations, rows) = undisturbed(wal_dir);
        for operation in 0..operations {
            let disk = disk_with_the_folder_above();
            disk.fail_at(disk.operations() + operation, io::ErrorKind::StorageFull);
            if make(&disk, wal_dir).is_ok() {
                // The state was closed, which only saves work at the next open.
                assert_eq!(start(&disk, wal_dir).expect("the whole"), rows, "operation {operation}");
                continue;
            }
            let list = |dir: &str| disk.list(Path::new(dir)).expect("memory does not fail");
            assert_eq!((list("/var"), list("/log")), (Vec::new(), Vec::new()), "operation {operation}");
        }
    }
}

#[test]
fn two_restores_into_one_folder_do_not_meet() {
    let disk = disk_with_the_folder_above();
    disk.create_dir_all(Path::new("/var/d/member.restoring")).expect("memory does not fail");
    let lock = disk.lock(Path::new("/var/d/member.restoring/keelstone.lock")).expect("nobody holds it");
    let error = make(&disk, "/var/d/member/wal").expect_err("somebody is at it");
    assert!(format!("{error:#}").contains("is being made by another process"), "{error:#}");
    drop(lock);
    make(&disk, "/var/d/member/wal").expect("the one before has ended");
}

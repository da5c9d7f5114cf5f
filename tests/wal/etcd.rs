//! Against files that etcd 3.7.3 wrote (`go_reader write`), and, where Go is at hand, against its reader.

use crate::support::{DIR, IDENTITY, SMALL, at, conf, entry, file, fresh, metrics, open, segments};
use bytes::Bytes;
use keelstone::disk::{Disk, MemoryDisk, RealDisk};
use keelstone::threads::Threads;
use keelstone::wal::{self, Entry, EntryKind, HardState, Settings, Wal};
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

const SEGMENTS: [(&str, &[u8]); 2] = [
    ("0000000000000000-0000000000000000.wal", include_bytes!("etcd-3.7.3/0000000000000000-0000000000000000.wal")),
    ("0000000000000001-000000000000000b.wal", include_bytes!("etcd-3.7.3/0000000000000001-000000000000000b.wal")),
];

/// etcd cut the first file at 2848 bytes: it looks at the length before its last page is written.
const AS_WRITTEN: Settings = Settings { segment_bytes: 2830, ..SMALL };

fn payload(term: u64, index: u64, len: u64) -> Entry {
    let data = Bytes::from(vec![len as u8; 40 * len as usize]);
    Entry { term, index, kind: EntryKind::Normal, data }
}

/// What etcd wrote behind its snapshot record at index 4.
fn entries() -> Vec<Entry> {
    let mut entries: Vec<_> = (5..=11).map(|index| payload(2, index, index)).collect();
    entries.extend([payload(3, 12, 5), payload(3, 13, 1), payload(3, 14, 2)]);
    entries
}

#[test]
fn a_log_of_etcd_is_read() {
    let disk = MemoryDisk::new();
    disk.create_dir_all(Path::new(DIR)).unwrap();
    for (name, bytes) in SEGMENTS {
        disk.create(&Path::new(DIR).join(name)).unwrap().write_at(0, bytes).unwrap();
    }
    let log = open(&disk, AS_WRITTEN).unwrap();
    assert_eq!(log.opened.identity, IDENTITY);
    assert_eq!(log.opened.hard_state, HardState { term: 3, vote: 0, vote_committed: false, commit: 13 });
    assert_eq!(log.opened.snapshot, Some(at(2, 4)));
    assert_eq!(log.opened.conf_state, conf());
    assert_eq!((log.opened.first_index, log.opened.last), (5, at(3, 14)));
    assert_eq!(log.all(), entries());
    assert_eq!(log.opened.torn, None);
}

#[test]
fn the_same_requests_give_the_bytes_that_etcd_writes() {
    let disk = fresh();
    let mut log = open(&disk, AS_WRITTEN).unwrap();
    let state = |term, vote| HardState { term, vote, ..HardState::default() };
    let change = Entry { kind: EntryKind::ConfChange, data: Bytes::from_static(b"conf"), ..entry(1, 1, 0) };
    let mut id = 0;
    // etcd saves entries and state together: entries first, then the state.
    let mut save = |log: &mut crate::support::Stepped, entries: Vec<Entry>, term, vote, commit| {
        id += 1;
        if !entries.is_empty() {
            log.append(id, entries);
        }
        log.wal.save_commit(commit);
        if log.wal.hard_state().term != term || log.wal.hard_state().vote != vote {
            log.wal.save_hard_state(state(term, vote), log.outcomes.expect(id));
        }
        log.run();
    };
    let me = IDENTITY.node_id;
    save(&mut log, vec![change], 1, 0, 1);
    save(&mut log, vec![], 2, me, 1);
    save(&mut log, vec![entry(2, 2, 0)], 2, me, 2);
    for index in 3..=12 {
        save(&mut log, vec![payload(2, index, index)], 2, me, index - 1);
    }
    save(&mut log, vec![], 3, 0, 11);
    save(&mut log, vec![payload(3, 12, 5), payload(3, 13, 1)], 3, 0, 12);
    log.wal.purge(at(2, 4), conf(), log.outcomes.expect(0));
    log.run();
    save(&mut log, vec![payload(3, 14, 2)], 3, 0, 13);
    log.wal.close().unwrap();
    log.run();

    let names: Vec<_> = segments(&disk).iter().map(|path| path.file_name().unwrap().to_owned()).collect();
    assert_eq!(names, SEGMENTS.map(|(name, _)| name));
    for ((_, theirs), path) in SEGMENTS.iter().zip(segments(&disk)) {
        // What is preallocated differs.
        let (ours, theirs) = (file(&disk, &path).1, theirs.to_vec());
        let same = ours.len().min(theirs.len());
        assert_eq!(ours[..same], theirs[..same], "{}", path.display());
        assert!(ours[same..].iter().chain(&theirs[same..]).all(|&byte| byte == 0));
    }
}

#[test]
fn etcds_reader_finds_what_was_written() {
    let Some(reader) = go_reader() else {
        eprintln!("no Go here, or not etcd's modules: not checked");
        return;
    };
    let base = tempfile::tempdir().unwrap();
    let dir = base.path().join("wal");
    wal::create(&RealDisk, &dir, IDENTITY, &[entry(1, 1, 20)], HardState { term: 1, commit: 1, ..Default::default() })
        .unwrap();
    let settings = Settings { segment_bytes: 20_000, max_segments: 2, ..SMALL };
    let fatal = Box::new(|error| panic!("{error}"));
    let (log, _) = Wal::open(Arc::new(RealDisk), &dir, settings, metrics(), fatal, &Threads::Own).unwrap();
    let (sender, synced) = std::sync::mpsc::channel();
    let wait = |sender: &std::sync::mpsc::Sender<()>| {
        let sender = sender.clone();
        Box::new(move |result: std::io::Result<()>| {
            result.unwrap();
            sender.send(()).unwrap();
        })
    };
    log.save_hard_state(HardState { term: 4, vote: 7, vote_committed: true, commit: 0 }, wait(&sender));
    synced.recv().unwrap();
    for index in 2..=300 {
        log.append(vec![entry(4, index, index as usize * 3)], wait(&sender));
        synced.recv().unwrap();
        log.save_commit(index - 1);
        if index == 200 {
            // A tail is replaced, and most of the log purged.
            log.truncate_after(199);
            log.append(vec![entry(5, 200, 64)], wait(&sender));
            synced.recv().unwrap();
            log.purge(at(4, 150), conf(), wait(&sender));
            synced.recv().unwrap();
        }
    }
    log.close().unwrap();

    let output = Command::new(reader).arg("read").arg(&dir).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut expected =
        String::from("ids 8e9e05c52164694d cdf818194e3a8c32\nstate 4 7 299\nsnapshot 4 150 [8e9e05c52164694d]\n");
    for index in 151..=300 {
        let entry = if index == 200 { entry(5, 200, 64) } else { entry(4, index, index as usize * 3) };
        let hex = entry.data.iter().fold(String::new(), |mut hex, byte| {
            write!(hex, "{byte:02x}").unwrap();
            hex
        });
        writeln!(expected, "entry {} {index} 0 {hex}", entry.term).unwrap();
    }
    assert!(String::from_utf8(output.stdout).unwrap() == expected, "etcd reads something else");
}

/// etcd's own reader, built if Go and the modules are there; the network is not asked.
fn go_reader() -> Option<std::path::PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wal/go_reader");
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("go_reader");
    let mut build = Command::new("go");
    build
        .args(["build", "-o"])
        .arg(&program)
        .arg(".")
        .current_dir(source)
        .env("GOPROXY", "off")
        .env("GOFLAGS", "-mod=mod");
    let built = build.output().is_ok_and(|output| output.status.success());
    built.then_some(program)
}

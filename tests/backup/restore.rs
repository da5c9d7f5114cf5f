//! `snapshot restore`: refusals and lines are those of etcdutl, and what fails leaves nothing.

use crate::programs::{run_aside, text_of};
use crate::stored::{Content, content, open, saved, storage_of};
use crate::suite;
use keelstone_harness::{Cluster, ClusterSpec, tools};
use std::process::{Command, Output};

const ETCD_3_7: &[u8] = include_bytes!("etcd-3.7.3/snapshot.db");

/// What both tools log on the way, and what they do not share of a line.
const STEPS: [&str; 5] = [
    "restoring snapshot",
    "bumping latest revision",
    "marking revision compacted",
    "added member",
    "restored snapshot",
];

/// A run of a tool in a folder of its own, which holds the files.
struct Run {
    output: Output,
    folder: std::path::PathBuf,
}

impl Run {
    fn of(mut command: Command, name: &str, args: &[&str]) -> Self {
        let folder = suite().make_folder(name);
        std::fs::write(folder.join("snapshot.db"), ETCD_3_7).expect("write a file");
        std::fs::write(folder.join("bare.db"), &ETCD_3_7[..ETCD_3_7.len() - 32]).expect("write a file");
        let mut changed = ETCD_3_7.to_vec();
        changed[20_000] ^= 1;
        std::fs::write(folder.join("changed.db"), changed).expect("write a file");
        std::fs::create_dir_all(folder.join("full/member")).expect("make a folder");
        std::fs::create_dir(folder.join("empty")).expect("make a folder");
        let output = command.args(args).current_dir(&folder).output().expect("run a tool");
        Self { output, folder }
    }

    fn ours(face: &str, args: &[&str]) -> Self {
        let mut command = Command::new(&suite().server.binary);
        command.arg(face);
        Self::of(command, "ours", args)
    }

    fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.output.stderr).into_owned()
    }

    /// The first line of the error.
    fn error(&self) -> Option<String> {
        self.stderr().lines().find(|line| line.starts_with("Error: ")).map(str::to_owned)
    }

    /// Steps in order, with their fields.
    fn steps(&self) -> Vec<(String, serde_json::Value)> {
        let read = |line: &str| {
            let mut parts = line.split('\t').skip(3);
            let (message, fields) = (parts.next()?, parts.next()?);
            let mut fields: serde_json::Value = serde_json::from_str(fields).ok()?;
            // We have none.
            fields.as_object_mut()?.remove("snap-dir");
            STEPS.contains(&message).then(|| (message.to_owned(), fields))
        };
        self.stderr().lines().filter_map(read).collect()
    }

    fn has(&self, path: &str) -> bool {
        self.folder.join(path).exists()
    }
}

#[test]
fn lines_refusals_and_codes_are_those_of_etcdutl() {
    let Some(etcdutl) = tools::etcdutl(7, "lines_refusals_and_codes_are_those_of_etcdutl") else { return };
    let three = "a=http://127.0.0.1:1,b=http://127.0.0.1:2,c=http://127.0.0.1:3";
    for args in [
        &["snapshot.db", "--data-dir", "d"][..],
        &["snapshot.db"],
        &["snapshot.db", "--name=x", "--initial-cluster=x=http://localhost:2380"],
        &["snapshot.db", "--data-dir", "empty"],
        &["snapshot.db", "--data-dir", "above/d", "--wal-dir", "elsewhere/wal"],
        &["snapshot.db", "--data-dir", "d", "--wal-dir", "d/member/log"],
        &["snapshot.db", "--data-dir=d", "--bump-revision", "1000000000", "--mark-compacted"],
        &[
            "snapshot.db",
            "--data-dir=d",
            "--name=b",
            "--initial-cluster",
            three,
            "--initial-advertise-peer-urls=http://127.0.0.1:2",
            "--initial-cluster-token=tok",
        ],
        &["bare.db", "--data-dir=d", "--skip-hash-check", "--initial-memory-map-size=1000"],
        &["changed.db", "--data-dir=d"],
        &["bare.db", "--data-dir=d"],
        &["/nowhere", "--data-dir=d"],
        &["snapshot.db", "--data-dir", "full"],
        &["snapshot.db", "--data-dir", "d", "--wal-dir", "empty"],
        &["snapshot.db", "--data-dir=d", "--name=x"],
        &["snapshot.db", "--data-dir=d", "--initial-cluster="],
        &["snapshot.db", "--data-dir=d", "--initial-cluster=a=http://a"],
        &["snapshot.db", "--data-dir=d", "--initial-cluster", "default=http://localhost:2380,b=http://localhost:2380"],
        &["snapshot.db", "--data-dir=d", "--initial-cluster=default=http://localhost:2381"],
        &["snapshot.db", "--data-dir=d", "--initial-advertise-peer-urls=foo"],
        &["snapshot.db", "--data-dir=d", "--initial-advertise-peer-urls="],
        &["snapshot.db", "--data-dir=d", "--bump-revision=7"],
        &["snapshot.db", "--data-dir=d", "--mark-compacted"],
        &["snapshot.db", "--data-dir=d", "--bump-revision=x"],
        &["snapshot.db", "--data-dir=d", "--bump-revision"],
        &["snapshot.db", "--data-dir=d", "--nope"],
        &["snapshot.db", "bare.db"],
        &[],
    ] {
        let args: Vec<&str> = ["snapshot", "restore"].iter().chain(args).copied().collect();
        let (ours, theirs) = (Run::ours("utl", &args), Run::of(Command::new(&etcdutl), "theirs", &args));
        assert_eq!(ours.output.status.code(), theirs.output.status.code(), "{args:?}: {}", ours.stderr());
        assert_eq!(ours.error(), theirs.error(), "{args:?}");
        assert_eq!(String::from_utf8_lossy(&ours.output.stdout), String::from_utf8_lossy(&theirs.output.stdout));
        assert_eq!(ours.steps(), theirs.steps(), "{args:?}");
        let is_done = ours.output.status.success();
        for dir in ["d", "above", "elsewhere", "default.etcd", "x.etcd"] {
            // Theirs leaves what it began.
            assert_eq!(ours.has(dir), is_done && theirs.has(dir), "{args:?}: {dir}");
        }
        let files = |run: &Run, path: &str| run.has(path);
        for wal in ["d/member/wal", "d/member/log", "elsewhere/wal"] {
            assert_eq!(files(&ours, wal), is_done && files(&theirs, wal), "{args:?}: {wal}");
        }
    }
}

#[test]
fn the_client_has_the_command_with_the_flags_of_3_5() {
    let args = ["snapshot", "restore", "snapshot.db", "--data-dir=d", "--skip-hash-check", "--wal-dir=w"];
    let restored = Run::ours("ctl", &args);
    assert!(restored.output.status.success(), "{}", restored.stderr());
    assert!(restored.has("d/member/state.redb") && restored.has("w"));
    assert_eq!(restored.steps().len(), 3);
    let refused = Run::ours("ctl", &["snapshot", "restore", "snapshot.db", "--data-dir=d", "--bump-revision=1"]);
    assert_eq!(refused.error().as_deref(), Some("Error: unknown flag: --bump-revision"));
    assert!(!refused.has("d"));
}

#[test]
fn a_blank_behind_a_comma_is_forgiven() {
    let cluster = "--initial-cluster=default=http://127.0.0.1:1, b=http://127.0.0.1:2, default=http://127.0.0.1:3";
    let urls = "--initial-advertise-peer-urls=http://127.0.0.1:1, http://127.0.0.1:3";
    let restored = Run::ours("utl", &["snapshot", "restore", "snapshot.db", "--data-dir=d", cluster, urls]);
    assert!(restored.output.status.success(), "{}", restored.stderr());
    assert_eq!(restored.steps().iter().filter(|(step, _)| step == "added member").count(), 2);
}

/// Restores bytes without looking at their digest.
fn try_bytes(bytes: &[u8]) -> (Run, String) {
    let folder = suite().make_folder("hostile");
    let file = folder.join("file");
    std::fs::write(&file, bytes).expect("write a file");
    let file = file.to_str().expect("a path of the suite");
    let run =
        Run::ours("utl", &["snapshot", "restore", file, "--data-dir=above/d", "--wal-dir=w/wal", "--skip-hash-check"]);
    let error = run.error().unwrap_or_default();
    (run, error)
}

#[test]
fn damaged_foreign_and_hostile_files_are_refused_and_leave_nothing() {
    let rows = |bucket: &str, key: &[u8], value: &[u8]| {
        let content: Content = vec![(bucket.to_owned(), vec![(key.to_vec(), value.to_vec())])];
        saved(&storage_of(&content))
    };
    let mut broken = ETCD_3_7.to_vec();
    // Every page but the two that say what the file is.
    for page in 2..15 {
        broken[page * 4096..][..16].fill(0xff);
    }
    for (bytes, text) in [
        (Vec::new(), "is too short for a bbolt database"),
        (ETCD_3_7[..100].to_vec(), "is too short for a bbolt database"),
        (ETCD_3_7[..8192].to_vec(), "the file has only 8192 bytes"),
        (ETCD_3_7[..ETCD_3_7.len() - 4096].to_vec(), "the file has only"),
        (broken, "page "),
        (vec![b'x'; 100_000], "no bbolt database: it begins with 0x78787878"),
        (rows("meta", b"storageVersion", b"3.8.0"), "version \"3.8.0\" is not supported"),
        (rows("key", b"no revision", b"x"), "table key holds a malformed row"),
        (rows("lease", b"x", b""), "stands under the key of another"),
    ] {
        let (run, error) = try_bytes(&bytes);
        assert_eq!(run.output.status.code(), Some(1), "{text}: {}", run.stderr());
        assert!(error.contains(text), "{text}: {error}");
        assert!(!run.has("above") && !run.has("w"), "{text}");
    }
}

#[test]
fn what_is_in_the_way_stays_as_it_is() {
    let run = Run::ours("utl", &["snapshot", "restore", "snapshot.db", "--data-dir", "full"]);
    assert_eq!(run.error().as_deref(), Some("Error: data-dir \"full\" not empty or could not be read"));
    let names: Vec<_> =
        std::fs::read_dir(run.folder.join("full")).expect("list").map(|e| e.expect("list").file_name()).collect();
    assert_eq!(names, ["member"]);
    let far = Run::ours(
        "utl",
        &[
            "snapshot",
            "restore",
            "snapshot.db",
            "--data-dir=d",
            "--bump-revision=9223372036854775000",
            "--mark-compacted",
        ],
    );
    assert!(far.error().is_some_and(|error| error.contains("revision 46 cannot be increased by")), "{}", far.stderr());
    assert!(!far.has("d"));
}

/// A file like etcd's, with access control enabled.
fn with_auth_enabled() -> Vec<u8> {
    let mut rows = content(&open(ETCD_3_7).expect("a database")).expect("a whole file");
    let (_, auth) = rows.iter_mut().find(|(bucket, _)| bucket == "auth").expect("a bucket of etcd");
    auth.retain(|(key, _)| key != b"authEnabled");
    auth.insert(0, (b"authEnabled".to_vec(), vec![1]));
    saved(&storage_of(&rows))
}

#[tokio::test]
async fn a_state_with_access_control_enabled_is_served_with_it() {
    let spec = ClusterSpec { proxied: false, ..ClusterSpec::of(1) };
    let mut cluster = Cluster::prepare(suite(), &spec).await;
    let file = suite().make_folder("auth").join("snapshot.db");
    std::fs::write(&file, with_auth_enabled()).expect("write a file");
    let data_dir = cluster[0].data_dir();
    run_aside(
        &suite().server.binary,
        &["utl", "snapshot", "restore", text_of(&file), "--data-dir", text_of(&data_dir)],
    )
    .await;
    cluster.start_all().await;
    let refused = cluster[0].client().put("k", "v").await.expect_err("nobody may");
    assert_eq!(refused.message(), "etcdserver: user name is empty");
    cluster.assert_no_unexpected_errors();
}

#[test]
fn a_terminal_is_shown_how_far_a_restore_is_and_nobody_else() {
    let line = ["utl", "snapshot", "restore", "snapshot.db", "--data-dir", "d"];
    let ours = suite().server.binary.display().to_string();
    let shown = Run::of(
        Command::new("script"),
        "terminal",
        &["-qec", &[&[&ours[..]], &line[..]].concat().join(" "), "/dev/null"],
    );
    assert!(shown.output.status.success(), "{:?}", shown.output);
    let bar = String::from_utf8_lossy(&shown.output.stdout).into_owned();
    assert!(bar.contains(" left") && bar.contains('\u{2588}'), "no bar in {bar:?}");
    let plain = Run::ours("utl", &line[1..]);
    assert!(plain.output.status.success() && !plain.stderr().contains('\u{2588}'), "{}", plain.stderr());
}

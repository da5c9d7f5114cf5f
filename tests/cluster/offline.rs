//! Work on the data directory of a member that does not run: `utl defrag`, `utl migrate`, and what a start can do.

use crate::{check, suite};
use keelstone_harness::proto::etcdserverpb::CompactionRequest;
use keelstone_harness::{Client, ClusterSpec, Random, wait};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

fn utl(args: &[&str], data_dir: &Path) -> Command {
    let mut command = Command::new(&suite().server.binary);
    command.arg("utl").args(args).arg("--data-dir").arg(data_dir).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn run(args: &[&str], data_dir: &Path) -> Output {
    utl(args, data_dir).output().expect("run utl")
}

fn said(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().expect("an exit code"), text(&output.stdout), text(&output.stderr))
}

/// Messages and fields of a log for people, as etcdutl 3.7.3 writes them.
fn steps_of(log: &str) -> Vec<String> {
    log.lines().map(|line| line.split('\t').skip(3).collect::<Vec<_>>().join(" ")).collect()
}

/// Megabytes of rows, of which few are left.
async fn fill_and_compact(client: &Client) -> i64 {
    let mut revision = 0;
    for round in 0..4_u8 {
        for number in 0..60 {
            revision = client.put(format!("k{number}"), vec![round; 60_000]).await.expect("put");
        }
    }
    // Durable with all of them: else a clean end would write only what is left.
    client.compact(CompactionRequest { revision: 10, physical: true }).await.expect("compact");
    for number in 1..60 {
        revision = client.delete(format!("k{number}")).await.expect("delete").header.expect("a header").revision;
    }
    client.compact(CompactionRequest { revision, physical: true }).await.expect("compact");
    revision
}

async fn hash(client: &Client) -> u32 {
    client.hash_kv(0).await.expect("hash").hash
}

fn state_bytes(data_dir: &Path) -> u64 {
    std::fs::metadata(data_dir.join("member/state.redb")).expect("a state file").len()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_is_defragmented_offline_and_no_earlier_than_its_server_ends() {
    if suite().server.is_etcd {
        return;
    }
    check(ClusterSpec::of(1), async |cluster| {
        let client = cluster[0].client();
        fill_and_compact(&client).await;
        let (before, dir) = (hash(&client).await, cluster[0].data_dir());
        let (code, _, text) = said(&run(&["defrag", "--timeout", "200ms"], &dir));
        let refused = format!("Error: Failed to defragment etcd data[{}] (timeout: ", dir.display());
        assert!(code == 1 && text.starts_with(&refused), "{code} {text}");
        cluster[0].terminate().await;
        let large = state_bytes(&dir);
        let (code, out, log) = said(&run(&["defrag"], &dir));
        let steps = steps_of(&log);
        assert_eq!((code, out.as_str(), steps.len()), (0, "", 2), "{log}");
        assert!(
            steps[0].starts_with("defragmenting {\"path\": ")
                && steps[1].starts_with("finished defragmenting directory ")
        );
        let small = state_bytes(&dir);
        let figures = ["\"current-db-size-bytes-diff\": -".to_owned(), format!("\"current-db-size-bytes\": {small}")];
        assert!(figures.iter().all(|figure| steps[1].contains(figure)), "{figures:?} in {log}");
        assert!(small < large / 2, "{large} bytes became {small}");
        cluster.restart(0).await;
        assert_eq!(hash(&client).await, before);
        client.put("k", "v").await.expect("put");
    })
    .await;
    let nowhere = Path::new("/nowhere");
    let text = "Error: Failed to defragment etcd data[/nowhere] (stat /nowhere/member/state.redb: no such file or directory)\n";
    assert_eq!(said(&run(&["defrag"], nowhere)), (1, String::new(), text.to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_defragmentation_that_is_killed_leaves_the_old_file_or_the_new_one() {
    if suite().server.is_etcd {
        return;
    }
    let mut random = Random::from_environment();
    check(ClusterSpec::of(1), async |cluster| {
        let client = cluster[0].client();
        fill_and_compact(&client).await;
        let (before, dir) = (hash(&client).await, cluster[0].data_dir());
        cluster[0].terminate().await;
        for _ in 0..6 {
            let mut child: Child = utl(&["defrag"], &dir).spawn().expect("run utl");
            wait::pass(Duration::from_millis(random.below(60))).await;
            child.kill().expect("kill our own process");
            child.wait().expect("wait for it");
        }
        cluster.restart(0).await;
        assert_eq!(hash(&client).await, before);
        let names: Vec<_> =
            std::fs::read_dir(dir.join("member")).expect("list").map(|name| name.unwrap().path()).collect();
        assert!(names.iter().all(|name| !name.to_string_lossy().contains("defrag")), "{names:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_defragments_where_it_frees_enough() {
    check(ClusterSpec::of(1), async |cluster| {
        let client = cluster[0].client();
        fill_and_compact(&client).await;
        let before = hash(&client).await;
        let size = async || client.status().await.expect("status").db_size;
        let large = size().await;
        for (megabytes, line) in [(1_000, "Skipping defragmentation"), (1, "finished defragmenting directory")] {
            cluster[0].terminate().await;
            cluster.launch_with(0, &[&format!("--bootstrap-defrag-threshold-megabytes={megabytes}")]);
            cluster[0].ready().await;
            assert_eq!(cluster[0].log_lines(line).len(), 1, "{line}");
            assert_eq!(hash(&client).await, before);
        }
        let small = size().await;
        assert!(small < large / 2, "{large} bytes became {small}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_start_says_that_it_has_nothing_to_defragment() {
    let flags = vec!["--bootstrap-defrag-threshold-megabytes=1000".to_owned()];
    check(ClusterSpec { flags, ..ClusterSpec::of(1) }, async |cluster| {
        assert_eq!(cluster[0].log_lines("Skipping defragmentation").len(), 1);
    })
    .await;
}

/// Words and codes of etcdutl 3.7.3.
#[tokio::test(flavor = "multi_thread")]
async fn the_version_of_a_state_is_migrated_and_follows_the_cluster_at_the_next_start() {
    if suite().server.is_etcd {
        return;
    }
    check(ClusterSpec::of(1), async |cluster| {
        let client = cluster[0].client();
        client.put("k", "v").await.expect("put");
        let dir = cluster[0].data_dir();
        cluster[0].terminate().await;
        let migrate =
            |target: &str, more: &[&str]| said(&run(&[&["migrate", "--target-version", target], more].concat(), &dir));
        let refused = |target: &str, code: i32, text: &str| {
            assert_eq!(migrate(target, &[]), (code, String::new(), format!("Error: {text}\n")), "{target}");
        };
        let expect = |target: &str, more: &[&str], steps: &[&str]| {
            let (code, out, log) = migrate(target, more);
            assert_eq!((code, out.as_str(), steps_of(&log)), (0, "", steps.iter().map(ToString::to_string).collect()));
        };
        refused("3", 128, "wrong target version format, expected \"X.Y\", got \"3\"");
        refused("3.4", 128, "target version \"3.4\" not supported. Minimal \"3.5\"");
        refused("3.8", 1, "cannot create migration plan: version \"3.8.0\" is not supported");
        refused("4.0", 1, "cannot create migration plan: changing major storage version is not supported");
        expect("3.7", &[], &[r#"storage version up-to-date {"storage-version": "3.7"}"#]);
        let step = |version: &str| format!(r#"updated storage version {{"new-storage-version": "{version}"}}"#);
        expect("3.5", &[], &[&step("3.6.0"), &step("3.5.0")]);
        expect("3.5", &[], &[r#"storage version up-to-date {"storage-version": "3.5"}"#]);
        expect("3.6", &[], &[&step("3.6.0")]);
        let why = r#"{"error": "cannot create migration plan: version \"3.8.0\" is not supported"}"#;
        let forced = r#"forcefully set storage version {"storage-version": "3.9"}"#;
        expect("3.9", &["--force"], &[&format!("normal migrate failed, trying with force {why}"), forced]);
        cluster.restart(0).await;
        assert_eq!(client.status().await.expect("status").storage_version, "3.7.0");
        cluster[0].terminate().await;
        expect("3.7", &[], &[r#"storage version up-to-date {"storage-version": "3.7"}"#]);
    })
    .await;
    let output = Command::new(&suite().server.binary).args(["utl", "migrate"]).output().expect("run utl");
    let text = "Error: required flag(s) \"data-dir\", \"target-version\" not set\n";
    assert_eq!(said(&output), (1, String::new(), text.to_owned()));
}

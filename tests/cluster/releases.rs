//! Data directories that earlier releases left, one folder each beside this file: `data-VERSION/member` as a member was
//! killed on it (its log cut behind the last record), and `answers.txt`, what it had answered. Each must open for ever.
//!
//! That of this release is made by
//! `KEELSTONE_MAKE_DATA=tests/cluster/data-VERSION cargo test --test cluster releases`
//! and is never made again once it is released.

use crate::suite;
use keelstone_harness::proto::etcdserverpb::alarm_request::AlarmAction;
use keelstone_harness::proto::etcdserverpb::{AlarmRequest, AlarmType, CompactionRequest, PutRequest, RangeRequest};
use keelstone_harness::{Client, Cluster, ClusterSpec};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use tonic::Code;

const LEASE: i64 = 7;
/// Of the alarm: no member has it, so that only a request ends it.
const NOBODY: u64 = 77;

fn spec() -> ClusterSpec {
    ClusterSpec { proxied: false, ..ClusterSpec::of(1) }
}

fn alarm(action: AlarmAction) -> AlarmRequest {
    AlarmRequest { action: action.into(), member_id: NOBODY, alarm: AlarmType::Nospace.into() }
}

/// Something of everything that a state and a log can hold. A part of it is in the log alone.
async fn fill(client: &Client) {
    for round in 0..3 {
        for key in ["a", "b", "c"] {
            client.put(key, format!("{key}{round}")).await.expect("put");
        }
    }
    client.delete("b").await.expect("delete");
    client.grant(100_000_000, LEASE).await.expect("grant");
    let leased = PutRequest { key: "leased".into(), value: "v".into(), lease: LEASE, ..Default::default() };
    client.put_request(leased).await.expect("put");
    client.put("large", vec![b'x'; 5000]).await.expect("put");
    client.compact(CompactionRequest { revision: 6, physical: true }).await.expect("compact");
    // The rest is not in the state's file when the process is killed.
    client.put("a", "last").await.expect("put");
    client.delete("c").await.expect("delete");
    client.member_add("http://127.0.0.1:9", true).await.expect("add a learner");
    client.alarm(alarm(AlarmAction::Activate)).await.expect("raise");
}

/// All that a client can see and that does not depend on when and where the member runs.
async fn answers(client: &Client) -> String {
    let mut text = String::new();
    let status = client.status().await.expect("status");
    let hash = client.hash_kv(0).await.expect("hash");
    let mut line = |line: String| writeln!(text, "{line}").expect("a string takes all");
    line(format!("storage version {}, {:?}", status.storage_version, status.errors));
    line(format!("hash {} at {}, compacted {}", hash.hash, hash.hash_revision, hash.compact_revision));
    for revision in [5, 6, 10, 12, 0] {
        let request = RangeRequest { key: vec![0].into(), range_end: vec![0].into(), revision, ..Default::default() };
        match client.range(request).await {
            Err(status) => line(format!("at {revision}: {}", status.message())),
            Ok(reply) => reply.kvs.iter().for_each(|kv| {
                let value = String::from_utf8_lossy(&kv.value[..kv.value.len().min(10)]);
                let (created, changed, version) = (kv.create_revision, kv.mod_revision, kv.version);
                let key = String::from_utf8_lossy(&kv.key);
                line(format!("at {revision}: {key}={value} ({created} {changed} {version} {})", kv.lease));
            }),
        }
    }
    let lease = client.time_to_live(LEASE, true).await.expect("lease");
    line(format!("lease {} of {} s, {:?}", lease.id, lease.granted_ttl, lease.keys));
    line(format!("alarms {:?}", client.alarm(AlarmRequest::default()).await.expect("alarms").alarms));
    for member in client.member_list(false).await.expect("members").members {
        let started = if member.name.is_empty() { "not started" } else { "started" };
        line(format!("member {:x} {:?}, learner {}, {started}", member.id, member.name, member.is_learner));
    }
    text
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("make a folder");
    for entry in std::fs::read_dir(from).expect("list") {
        let from = entry.expect("an entry").path();
        let to = to.join(from.file_name().expect("a name"));
        if from.is_dir() {
            copy(&from, &to);
        } else {
            std::fs::copy(&from, &to).expect("copy a file");
        }
    }
}

async fn make(folder: &Path) {
    let mut cluster = Cluster::start(suite(), &spec()).await;
    let client = cluster[0].client();
    fill(&client).await;
    let text = answers(&client).await;
    cluster[0].kill();
    std::fs::create_dir_all(folder).expect("make the folder");
    copy(&cluster[0].data_dir(), folder);
    std::fs::write(folder.join("answers.txt"), text).expect("write the answers");
    for name in ["keelstone.lock", "wal/1.tmp", "wal/0.tmp"] {
        std::fs::remove_file(folder.join("member").join(name)).ok();
    }
    for entry in std::fs::read_dir(folder.join("member/wal")).expect("list") {
        let path = entry.expect("an entry").path();
        let bytes = std::fs::read(&path).expect("read the log");
        let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| (last + 1).next_multiple_of(8));
        std::fs::write(&path, &bytes[..end]).expect("write the log");
    }
}

fn releases() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cluster");
    let entries = std::fs::read_dir(folder).expect("list").map(|entry| entry.expect("an entry").path());
    let is_data = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("data-"));
    entries.filter(is_data).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_data_directory_of_each_release_opens_and_answers_as_it_did() {
    if suite().server.is_etcd {
        return;
    }
    if let Some(folder) = std::env::var_os("KEELSTONE_MAKE_DATA") {
        make(Path::new(&folder)).await;
    }
    let releases = releases();
    let own = format!("data-{}", env!("CARGO_PKG_VERSION"));
    assert!(releases.iter().any(|path| path.ends_with(&own)), "there is no {own}: see the head of this file");
    for release in releases {
        let mut cluster = Cluster::prepare(suite(), &spec()).await;
        copy(&release.join("member"), &cluster[0].data_dir().join("member"));
        let client = cluster[0].client();
        let wanted = std::fs::read_to_string(release.join("answers.txt")).expect("read the answers");
        // A second time on what this build made of it.
        for _ in 0..2 {
            cluster.start_all().await;
            assert_eq!(answers(&client).await, wanted, "{}", release.display());
            cluster[0].terminate().await;
        }
        cluster.start_all().await;
        let refused = client.put("k", "v").await.expect_err("the alarm is raised");
        assert_eq!(refused.code(), Code::ResourceExhausted, "{refused:?}");
        client.alarm(alarm(AlarmAction::Deactivate)).await.expect("clear");
        client.put("k", "v").await.expect("put");
        client.revoke(LEASE).await.expect("revoke");
        assert_eq!(client.get("leased").await.expect("get").kvs.len(), 0);
        cluster.assert_no_unexpected_errors();
    }
}

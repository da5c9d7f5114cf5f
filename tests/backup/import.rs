//! Data directories that real etcd left, taken over at the first start: members that were killed, alone and together.

use crate::programs::text_of;
use crate::suite;
use keelstone_harness::faults::serves;
use keelstone_harness::proto::etcdserverpb::{CompactionRequest, PutRequest, RangeRequest};
use keelstone_harness::{Client, Cluster, ClusterSpec, tools, wait};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::JoinSet;

pub const LIMIT: Duration = Duration::from_secs(60);

pub fn spec(members: usize) -> ClusterSpec {
    ClusterSpec { proxied: false, ..ClusterSpec::of(members) }
}

/// What members have acknowledged: the number that was put last.
#[derive(Clone, Debug, Default)]
struct Acknowledged(Arc<Mutex<BTreeMap<String, u64>>>);

impl Acknowledged {
    fn len(&self) -> usize {
        self.0.lock().expect("no panic").len()
    }

    /// Puts keys of its own through each client, again and again, until it is killed.
    fn put_through(&self, clients: &[Client], writers: &mut JoinSet<()>) {
        for (place, client) in clients.iter().enumerate() {
            for writer in 0..4 {
                let (acknowledged, client) = (self.clone(), client.clone());
                writers.spawn(async move {
                    for number in 1_u64.. {
                        let key = format!("load/{place}/{writer}/{}", number % 500);
                        if client.put(key.clone(), number.to_string()).await.is_err() {
                            return;
                        }
                        acknowledged.0.lock().expect("no panic").insert(key, number);
                    }
                });
            }
        }
    }

    /// Every key has what was acknowledged, or what was asked for after that.
    async fn check(&self, client: &Client) {
        let expected = self.0.lock().expect("no panic").clone();
        assert!(expected.len() > 100, "{} keys only", expected.len());
        for (key, number) in expected {
            let found = client.get(key.clone()).await.expect("get").kvs;
            let value =
                String::from_utf8_lossy(&found.first().unwrap_or_else(|| panic!("{key} is lost")).value).into_owned();
            let value: u64 = value.parse().expect("a number");
            assert!(value == number || value == number + 500, "{key} is {value}, {number} was acknowledged");
        }
    }
}

/// HashKV of all members at the revision of the first.
pub async fn same_hash(clients: &[Client]) -> (u32, i64) {
    let revision = clients[0].get("none").await.expect("get").header.expect("a header").revision;
    let mut hashes = Vec::new();
    for client in clients {
        let hash =
            wait::until("the member to have that revision", LIMIT, async || client.hash_kv(revision).await.ok()).await;
        hashes.push((hash.hash, hash.compact_revision));
    }
    assert!(hashes.iter().all(|hash| *hash == hashes[0]), "hashes at {revision}: {hashes:?}");
    (hashes[0].0, revision)
}

/// Keys with a lease, deleted ones and a compaction, so that there is some of everything.
pub async fn fill(client: &Client) {
    client.grant(6_000, 77).await.expect("grant");
    for number in 0..200 {
        client.put(format!("filled/{number:03}"), vec![b'v'; 1 + number * 37 % 900]).await.expect("put");
    }
    for number in 0..20 {
        client.delete(format!("filled/{number:03}")).await.expect("delete");
    }
    let leased = PutRequest { key: "leased".into(), value: "v".into(), lease: 77, ..Default::default() };
    let revision = client.put_request(leased).await.expect("put").header.expect("a header").revision;
    client.compact(CompactionRequest { revision: revision - 50, physical: true }).await.expect("compact");
}

pub async fn has_lease(client: &Client) {
    let lease = client.time_to_live(77, true).await.expect("lease");
    assert_eq!((lease.granted_ttl, lease.keys.len()), (6_000, 1));
    assert!(lease.ttl > 5_000, "{} left", lease.ttl);
}

/// Copies a folder.
pub fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status().expect("run cp");
    assert!(copied.success(), "copy {} to {}", from.display(), to.display());
}

/// One etcd of its own on a copy of a data directory.
pub async fn etcd_on_copy(etcd: &Path, data_dir: &Path) -> Cluster {
    let mut cluster = Cluster::prepare(&suite().with_server(etcd), &spec(1)).await;
    copy(data_dir, &cluster[0].data_dir());
    cluster.start_all().await;
    cluster
}

/// Files below a folder and their bytes.
pub fn content_of(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut left = vec![dir.to_owned()];
    while let Some(folder) = left.pop() {
        for entry in std::fs::read_dir(&folder).expect("list").map(|entry| entry.expect("list")) {
            let path = entry.path();
            if path.is_dir() {
                left.push(path);
            } else {
                let name = path.strip_prefix(dir).expect("below").to_owned();
                files.insert(name, std::fs::read(&path).expect("read"));
            }
        }
    }
    files
}

/// The name of the folder in which etcd's own is kept.
pub fn kept(dir: &Path, name: &str) -> PathBuf {
    let beside = dir.join(name);
    let prefix = format!("{}.etcd-", beside.file_name().expect("a name").to_string_lossy());
    let folder = beside.parent().expect("a folder");
    let found: Vec<_> = std::fs::read_dir(folder).expect("list").map(|entry| entry.expect("list").path()).collect();
    let found =
        found.into_iter().find(|path| path.file_name().is_some_and(|n| n.to_string_lossy().starts_with(&prefix)));
    found.unwrap_or_else(|| panic!("nothing is kept of {}", beside.display()))
}

#[tokio::test]
async fn a_member_that_was_killed_under_load_goes_on_with_all_that_it_acknowledged() {
    let name = "a_member_that_was_killed_under_load_goes_on_with_all_that_it_acknowledged";
    let programs = [tools::find_etcd(5), tools::etcd(name)];
    for etcd in programs.into_iter().flatten() {
        let mut cluster = Cluster::start(&suite().with_server(&etcd), &spec(1)).await;
        let (client, acknowledged, mut writers) = (cluster[0].client(), Acknowledged::default(), JoinSet::new());
        fill(&client).await;
        acknowledged.put_through(&cluster.clients(), &mut writers);
        wait::until_true("some writes", LIMIT, || acknowledged.len() > 400).await;
        let ids = client.status().await.expect("status").header.expect("a header");
        cluster[0].kill();
        while writers.join_next().await.is_some() {}

        let member_dir = cluster[0].data_dir().join("member");
        let original = content_of(&member_dir);
        let theirs = etcd_on_copy(&etcd, &cluster[0].data_dir()).await;
        cluster.swap_server(suite());
        cluster.start_all().await;
        let ours = same_hash(&[theirs[0].client(), client.clone()]).await;
        acknowledged.check(&client).await;
        has_lease(&client).await;
        let now = client.status().await.expect("status").header.expect("a header");
        assert_eq!((now.member_id, now.cluster_id), (ids.member_id, ids.cluster_id));
        assert!(now.raft_term > ids.raft_term);
        let said = cluster[0].log_lines("took over etcd's data; the original is kept");
        assert_eq!(said.len(), 1);
        assert!(said[0].contains("\"revision\":") && said[0].contains("snap.etcd-"), "{said:?}");

        // What etcd left is kept, to the byte.
        let (snap, wal) = (kept(&member_dir, "snap"), kept(&member_dir, "wal"));
        for (folder, name) in [(snap, "snap"), (wal, "wal")] {
            let kept = content_of(&folder);
            let of_folder = original.iter().filter_map(|(path, bytes)| Some((path.strip_prefix(name).ok()?, bytes)));
            assert!(kept.iter().map(|(path, bytes)| (path.as_path(), bytes)).eq(of_folder), "{name} differs");
        }
        client.put("later", "v").await.expect("put");
        cluster[0].kill();
        cluster.restart(0).await;
        assert_eq!(client.get("later").await.expect("get").kvs.len(), 1);
        assert_eq!(client.hash_kv(ours.1).await.expect("hash").hash, ours.0);
        assert_eq!(cluster[0].log_lines("took over etcd's data").len(), 1, "once");
        cluster.assert_no_unexpected_errors();
    }
}

#[tokio::test]
async fn a_member_that_was_stopped_goes_on_with_its_log_in_another_place() {
    let name = "a_member_that_was_stopped_goes_on_with_its_log_in_another_place";
    let Some(etcd) = tools::etcd(name) else { return };
    let mut cluster = Cluster::prepare(&suite().with_server(&etcd), &spec(1)).await;
    let wal_dir = suite().make_folder("apart").join("log");
    cluster[0].add_flags(&[&format!("--wal-dir={}", text_of(&wal_dir))]);
    cluster.start_all().await;
    let client = cluster[0].client();
    fill(&client).await;
    let revision = client.get("leased").await.expect("get").header.expect("a header").revision;
    let hash = client.hash_kv(revision).await.expect("hash");
    cluster.expect_errors("setting up serving from embedded etcd failed");
    cluster[0].terminate().await;
    let original = content_of(&wal_dir);
    cluster.swap_server(suite());
    cluster.start_all().await;
    let ours = client.hash_kv(revision).await.expect("hash");
    assert_eq!((ours.hash, ours.compact_revision), (hash.hash, hash.compact_revision));
    has_lease(&client).await;
    assert_eq!(content_of(&kept(wal_dir.parent().expect("a folder"), "log")), original);
    assert!(!cluster[0].data_dir().join("member/wal").exists());
    cluster.restart_after_kill().await;
    assert_eq!(client.hash_kv(revision).await.expect("hash").hash, hash.hash);
    cluster.assert_no_unexpected_errors();
}

#[tokio::test(flavor = "multi_thread")]
async fn three_members_that_were_killed_under_load_go_on_together() {
    let name = "three_members_that_were_killed_under_load_go_on_together";
    let programs = [tools::find_etcd(5), tools::etcd(name)];
    for etcd in programs.into_iter().flatten() {
        // Few entries between snapshots, so that the logs begin at different places.
        let spec = spec(3).with_flags(&["--snapshot-count=300"]);
        let mut cluster = Cluster::start(&suite().with_server(&etcd), &spec).await;
        let (acknowledged, mut writers) = (Acknowledged::default(), JoinSet::new());
        fill(&cluster[0].client()).await;
        acknowledged.put_through(&cluster.clients(), &mut writers);
        wait::until_true("some writes", LIMIT, || acknowledged.len() > 600).await;
        for place in 0..3 {
            cluster[place].kill();
        }
        while writers.join_next().await.is_some() {}
        cluster.swap_server(suite());
        cluster.start_all().await;
        let clients = cluster.clients();
        acknowledged.check(&clients[0]).await;
        same_hash(&clients).await;
        for client in &clients {
            has_lease(client).await;
            client.put("later", "v").await.expect("put");
        }
        cluster.restart_after_kill().await;
        acknowledged.check(&clients[1]).await;
        let (hash, revision) = same_hash(&clients).await;
        println!("{} keys, hash {hash} at {revision}", acknowledged.len());
        cluster.assert_no_unexpected_errors();
    }
}

#[tokio::test]
async fn an_import_that_is_killed_again_and_again_is_begun_again() {
    let name = "an_import_that_is_killed_again_and_again_is_begun_again";
    let Some(etcd) = tools::etcd(name) else { return };
    let mut cluster = Cluster::start(&suite().with_server(&etcd), &spec(1)).await;
    let client = cluster[0].client();
    fill(&client).await;
    for number in 0..60 {
        client.put(format!("large/{number}"), vec![b'v'; 1 << 20]).await.expect("put");
    }
    let (hash, revision) = same_hash(std::slice::from_ref(&client)).await;
    cluster[0].kill();
    cluster.swap_server(suite());
    for round in 0..12 {
        cluster.launch(0);
        wait::pass(Duration::from_millis(40 * round)).await;
        cluster[0].kill();
    }
    cluster.start_all().await;
    assert_eq!(client.hash_kv(revision).await.expect("hash").hash, hash);
    has_lease(&client).await;
    let left = std::fs::read_dir(cluster[0].data_dir().join("member")).expect("list");
    let mut names: Vec<_> = left.map(|entry| entry.expect("list").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    assert_eq!(names.len(), 5, "{names:?}");
    assert!(names[1].starts_with("snap.etcd-") && names[4].starts_with("wal.etcd-"), "{names:?}");
    cluster.assert_no_unexpected_errors();
}

#[tokio::test]
async fn learners_stay_learners() {
    let name = "learners_stay_learners";
    let Some(etcd) = tools::etcd(name) else { return };
    let mut cluster = Cluster::start(&suite().with_server(&etcd), &spec(1)).await;
    let client = cluster[0].client();
    fill(&client).await;
    let (place, url) = cluster.prepare_joiner(&[0]);
    client.member_add(&url, true).await.expect("add a learner");
    cluster.restart(place).await;
    let members = client.member_list(true).await.expect("members").members;
    assert_eq!(members.iter().filter(|member| member.is_learner).count(), 1);
    client.put("after", "v").await.expect("put");
    for place in 0..2 {
        cluster[place].kill();
    }
    cluster.swap_server(suite());
    for place in 0..2 {
        cluster.launch(place);
    }
    for place in 0..2 {
        cluster[place].ready().await;
    }
    serves(&client, LIMIT).await;
    let listed = client.member_list(true).await.expect("members").members;
    assert_eq!(listed, members);
    // A learner tells no hash.
    let learner = members.iter().find(|member| member.is_learner).expect("a learner");
    wait::until("the learner to be promoted", LIMIT, async || client.member_promote(learner.id).await.ok()).await;
    client.put("later", "v").await.expect("put");
    same_hash(&cluster.clients()).await;
    cluster.assert_no_unexpected_errors();
}

#[tokio::test]
async fn a_log_whose_beginning_was_purged_is_enough() {
    let name = "a_log_whose_beginning_was_purged_is_enough";
    let Some(etcd) = tools::etcd(name) else { return };
    let flags = ["--snapshot-count=10", "--max-wals=1", "--max-snapshots=1"];
    let mut cluster = Cluster::start(&suite().with_server(&etcd), &spec(1).with_flags(&flags)).await;
    let client = cluster[0].client();
    for number in 0..150 {
        client.put(format!("k{:02}", number % 20), vec![b'v'; 1 << 20]).await.expect("put");
    }
    let folder = cluster[0].data_dir().join("member/wal");
    let is_purged = || !folder.join("0000000000000000-0000000000000000.wal").exists();
    // etcd looks every 30 seconds.
    wait::until_true("the first file to be purged", 2 * LIMIT, is_purged).await;
    client.put("last", "v").await.expect("put");
    let revision = client.get("last").await.expect("get").header.expect("a header").revision;
    let hash = client.hash_kv(revision).await.expect("hash").hash;
    cluster[0].kill();
    cluster.swap_server(suite());
    cluster.start_all().await;
    assert_eq!(client.hash_kv(revision).await.expect("hash").hash, hash);
    let count = RangeRequest { key: "k".into(), range_end: "l".into(), count_only: true, ..Default::default() };
    assert_eq!(client.range(count).await.expect("range").count, 20);
    cluster.restart_after_kill().await;
    assert_eq!(client.hash_kv(revision).await.expect("hash").hash, hash);
    cluster.assert_no_unexpected_errors();
}

//! `Maintenance.Snapshot` of a running member.

use crate::programs::{FileStatus, run_aside, status, text_of};
use crate::stored::open;
use crate::{restored, suite};
use keelstone::backup::{self, Status};
use keelstone_harness::proto::etcdserverpb::alarm_request::AlarmAction;
use keelstone_harness::proto::etcdserverpb::{
    AlarmRequest, AlarmType, CompactionRequest, DeleteRangeRequest, PutRequest, RangeRequest,
};
use keelstone_harness::{Client, Cluster, ClusterSpec, http, tools, wait};
use sha2::{Digest, Sha256};
use std::path::Path;
use std::time::Duration;
use tokio::task::JoinSet;

const LIMIT: Duration = Duration::from_secs(60);

/// Puts keys of some kilobytes each, so that a file of them takes a while, from a few clients at once.
async fn fill(client: &Client, keys: usize) {
    const CLIENTS: usize = 8;
    let mut writers = JoinSet::new();
    for writer in 0..CLIENTS {
        let client = client.clone();
        writers.spawn(async move {
            for key in (writer..keys).step_by(CLIENTS) {
                client.put(format!("filled/{key:06}"), vec![b'v'; 1 + key * 37 % 9_000]).await.expect("put");
            }
        });
    }
    writers.join_all().await;
}

/// All keys, as of a revision.
async fn keys_at(client: &Client, revision: i64) -> Vec<keelstone_harness::proto::mvccpb::KeyValue> {
    let mut keys = Vec::new();
    let mut from = vec![0];
    loop {
        let range_end = vec![0].into();
        let request = RangeRequest { key: from.into(), range_end, limit: 1_000, revision, ..Default::default() };
        let page = client.range(request).await.expect("range");
        keys.extend(page.kvs);
        if !page.more {
            return keys;
        }
        from = keys.last().map(|kv| [&kv.key[..], &[0]].concat()).expect("more than none");
    }
}

/// Everything that a client can see of both at that revision, and the leases.
async fn same(ours: &Client, restored: &Client, revision: i64) {
    let (hash, theirs) = (ours.hash_kv(revision).await.expect("hash"), restored.hash_kv(revision).await.expect("hash"));
    assert_eq!((hash.hash, hash.compact_revision), (theirs.hash, theirs.compact_revision), "hashes at {revision}");
    assert!(keys_at(ours, revision).await == keys_at(restored, revision).await, "keys differ");
    let leases = restored.leases().await.expect("leases").leases;
    assert_eq!(leases, ours.leases().await.expect("leases").leases);
    for lease in leases {
        let of = async |client: &Client| {
            let mut answer = client.time_to_live(lease.id, true).await.expect("lease");
            // etcd answers them in the order of a map.
            answer.keys.sort();
            (answer.ttl, answer.granted_ttl, answer.keys)
        };
        let ((_, granted, keys), (ttl, theirs, their_keys)) = (of(ours).await, of(restored).await);
        assert_eq!((granted, keys), (theirs, their_keys));
        assert!((1..=granted).contains(&ttl), "{ttl} of {granted}");
    }
}

/// What both etcdutl and we count in a file.
async fn counted(etcdutl: [&Path; 2], file: &Path) -> Status {
    let bytes = std::fs::read(file).expect("read the file");
    let ours = backup::status(&open(&bytes).expect("a database")).expect("a whole file");
    let [theirs, of_3_5] = [status(etcdutl[0], file).await, status(etcdutl[1], file).await];
    let wanted = FileStatus {
        hash: ours.hash.into(),
        revision: ours.revision,
        total_keys: ours.total_keys,
        total_bytes: ours.total_bytes,
    };
    assert_eq!(theirs, wanted);
    // It counts rows as keys.
    assert!(of_3_5.total_keys > theirs.total_keys);
    assert_eq!(FileStatus { total_keys: theirs.total_keys, ..of_3_5 }, theirs);
    ours
}

/// Lets etcd remove nearly all rows from the tree that we built, which merges pages all over it, and has the rest checked.
async fn shrink(restored: &Cluster, etcdutl: &Path, etcdctl: &Path) {
    let client = restored[0].client();
    let keys = DeleteRangeRequest { key: "filled/0001".into(), range_end: "filled/0019".into(), ..Default::default() };
    let deleted = client.delete_range(keys).await.expect("delete");
    assert_eq!(deleted.deleted, 1_800);
    let revision = deleted.header.expect("a header").revision;
    client.compact(CompactionRequest { revision, physical: true }).await.expect("compact");
    let last = client.put("more", "again").await.expect("put");
    let file = suite().make_folder("shrunk").join("snapshot.db");
    let endpoints = format!("--endpoints={}", restored[0].endpoint());
    run_aside(etcdctl, &[&endpoints, "snapshot", "save", text_of(&file)]).await;
    let ours = backup::status_of_file(&file).expect("a whole file");
    assert_eq!((status(etcdutl, &file).await.hash, ours.revision), (ours.hash.into(), last));
}

#[tokio::test]
async fn a_database_that_etcd_left_is_read() {
    let name = "a_database_that_etcd_left_is_read";
    let (Some(etcd), Some(etcdutl)) = (tools::etcd(name), tools::etcdutl(7, name)) else { return };
    let mut cluster = Cluster::start(&suite().with_server(&etcd), &ClusterSpec::of(1)).await;
    let client = cluster[0].client();
    // Three levels of pages, and free ones from what was there before.
    fill(&client, 2_000).await;
    fill(&client, 2_000).await;
    client.compact(CompactionRequest { revision: 3_000, physical: true }).await.expect("compact");
    cluster[0].terminate().await;
    let file = cluster[0].data_dir().join("member/snap/db");
    let theirs = status(&etcdutl, &file).await;
    let ours = backup::status_of_file(&file).expect("a whole file");
    let wanted = FileStatus {
        hash: ours.hash.into(),
        revision: ours.revision,
        total_keys: ours.total_keys,
        total_bytes: ours.total_bytes,
    };
    assert_eq!((theirs, ours.total_keys), (wanted, 2_000));
}

#[tokio::test]
async fn etcd_goes_on_from_a_snapshot_that_was_saved_while_writes_went_on() {
    let name = "etcd_goes_on_from_a_snapshot_that_was_saved_while_writes_went_on";
    let (Some(etcd), Some(etcdutl), Some(etcdutl_3_5)) =
        (tools::etcd(name), tools::etcdutl(7, name), tools::etcdutl(5, name))
    else {
        return;
    };
    let cluster = Cluster::start(suite(), &ClusterSpec::of(1)).await;
    let client = cluster[0].client();
    fill(&client, 2_000).await;
    client.grant(6_000, 77).await.expect("grant");
    for key in ["leased/1", "leased/2"] {
        let request = PutRequest { key: key.into(), value: "v".into(), lease: 77, ..Default::default() };
        client.put_request(request).await.expect("put");
    }
    client.delete("filled/000007").await.expect("delete");
    client.compact(CompactionRequest { revision: 500, physical: true }).await.expect("compact");
    let writer = tokio::spawn({
        let client = client.clone();
        async move {
            for number in 0.. {
                client.put(format!("later/{}", number % 100), vec![b'w'; 300]).await.expect("put");
            }
        }
    });
    let endpoints = format!("--endpoints={}", cluster[0].endpoint());
    for minor in [5, 7] {
        let Some(etcdctl) = tools::etcdctl(minor, name) else { return };
        let file = suite().make_folder("saved").join("snapshot.db");
        let before = client.status().await.expect("status").header.expect("a header").revision;
        run_aside(&etcdctl, &[&endpoints, "snapshot", "save", text_of(&file)]).await;
        let after = client.status().await.expect("status").header.expect("a header").revision;
        let counted = counted([&etcdutl, &etcdutl_3_5], &file).await;
        assert!(before < after, "writes went on");
        assert!((before..=after).contains(&counted.revision), "{} of {before} to {after}", counted.revision);
        assert_eq!(counted.version, "3.7.0");
        let restored = restored::start(&etcdutl, &etcd, &file).await;
        same(&client, &restored[0].client(), counted.revision).await;
        let next = restored[0].client().put("more", "v").await.expect("etcd can be written to");
        assert_eq!(next, counted.revision + 1);
        shrink(&restored, &etcdutl, &etcdctl).await;
    }
    writer.abort();
    cluster.assert_no_unexpected_errors();
}

#[tokio::test]
async fn alarms_are_in_a_snapshot() {
    let name = "alarms_are_in_a_snapshot";
    let (Some(etcd), Some(etcdutl), Some(etcdctl)) =
        (tools::etcd(name), tools::etcdutl(7, name), tools::etcdctl(7, name))
    else {
        return;
    };
    let cluster = Cluster::start(suite(), &ClusterSpec::of(1)).await;
    let client = cluster[0].client();
    client.put("k", "v").await.expect("put");
    let alarm =
        |action: AlarmAction| AlarmRequest { action: action.into(), member_id: 9, alarm: AlarmType::Nospace.into() };
    let raised = client.alarm(alarm(AlarmAction::Activate)).await.expect("raise").alarms;
    let file = suite().make_folder("alarms").join("snapshot.db");
    let endpoints = format!("--endpoints={}", cluster[0].endpoint());
    run_aside(&etcdctl, &[&endpoints, "snapshot", "save", text_of(&file)]).await;
    let restored = restored::start(&etcdutl, &etcd, &file).await;
    let get = AlarmRequest { action: AlarmAction::Get.into(), ..Default::default() };
    assert_eq!(restored[0].client().alarm(get).await.expect("alarms").alarms, raised);
    assert_eq!(raised.len(), 1);
}

#[tokio::test]
async fn the_stream_has_the_pieces_of_etcd_and_the_digest_last() {
    let cluster = Cluster::start(suite(), &ClusterSpec::of(1)).await;
    let client = cluster[0].client();
    fill(&client, 100).await;
    let mut stream = client.snapshot().await.expect("a stream");
    let mut parts = Vec::new();
    while let Some(part) = stream.message().await.expect("a piece") {
        parts.push(part);
    }
    assert!(parts.iter().all(|part| part.version == "3.7.0" && part.header.is_none()));
    let digest = parts.pop().expect("the digest");
    let total: usize = parts.iter().map(|part| part.blob.len()).sum();
    let mut left = total as u64;
    for (number, part) in (1..).zip(&parts) {
        assert!(part.blob.len() == 32 * 1024 || number == parts.len(), "piece {number} of {} bytes", part.blob.len());
        left -= part.blob.len() as u64;
        assert_eq!(part.remaining_bytes, left);
    }
    let mut sha = Sha256::new();
    parts.iter().for_each(|part| sha.update(&part.blob));
    assert_eq!((digest.blob.as_ref(), digest.remaining_bytes), (&sha.finalize()[..], 0));
    let sent = || cluster[0].log_lines("successfully sent database snapshot to client");
    wait::until_true("the line about it", LIMIT, || !sent().is_empty()).await;
    assert!(sent()[0].contains(&format!("\"total-bytes\":{total}")), "{:?}", sent());
}

#[tokio::test]
async fn a_client_that_leaves_lets_go_of_the_state() {
    let cluster = Cluster::start(suite(), &ClusterSpec::of(1)).await;
    let client = cluster[0].client();
    fill(&client, 600).await;
    let pinned = async || {
        let page = http::get(cluster[0].client_port, "/metrics").await.expect("metrics");
        let value = |name: &str| {
            let line = page.body.lines().find_map(|line| line.strip_prefix(name)).expect("a metric");
            line.trim().parse::<f64>().expect("a number")
        };
        (value("etcd_mvcc_db_open_read_transactions "), value("etcd_disk_backend_snapshot_duration_seconds_count "))
    };
    let (before, _) = pinned().await;
    let mut stream = client.snapshot().await.expect("a stream");
    stream.message().await.expect("a piece").expect("the first piece");
    // The view that was newest then is kept by the stream alone.
    client.put("k", "v").await.expect("put");
    wait::until("the stream holds a version", LIMIT, async || (pinned().await == (before + 1.0, 0.0)).then_some(()))
        .await;
    drop(stream);
    wait::until("the version is let go", LIMIT, async || (pinned().await == (before, 1.0)).then_some(())).await;
    client.put("k", "again").await.expect("the member lives");
    cluster.assert_no_unexpected_errors();
}

//! From etcd to us and back to etcd by snapshot files: what a client can see is the same at each stop.

use crate::programs::{run_aside, text_of};
use crate::stored::{Content, content, open};
use crate::{restored, suite};
use keelstone_harness::proto::etcdserverpb::alarm_request::AlarmAction;
use keelstone_harness::proto::etcdserverpb::{
    AlarmMember, AlarmRequest, AlarmType, CompactionRequest, PutRequest, WatchCreateRequest,
};
use keelstone_harness::{Client, Cluster, ClusterSpec, tools};
use std::path::{Path, PathBuf};

/// Buckets of the state that a restore leaves as they are.
const KEPT: [&str; 6] = ["alarm", "auth", "authRoles", "authUsers", "key", "lease"];

/// All that a client sees.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    revision: i64,
    hash: (u32, i64),
    /// Id, granted seconds, keys.
    leases: Vec<(i64, i64, Vec<Vec<u8>>)>,
    alarms: Vec<AlarmMember>,
}

impl Seen {
    async fn by(client: &Client) -> Self {
        let hash = client.hash_kv(0).await.expect("hash");
        let mut leases = Vec::new();
        for lease in client.leases().await.expect("leases").leases {
            let mut answer = client.time_to_live(lease.id, true).await.expect("lease");
            // etcd answers them in the order of a map.
            answer.keys.sort();
            leases.push((lease.id, answer.granted_ttl, answer.keys.iter().map(|key| key.to_vec()).collect()));
        }
        // etcd's order is that of the map that it read them into.
        leases.sort();
        let get = AlarmRequest { action: AlarmAction::Get.into(), ..Default::default() };
        Self {
            revision: hash.header.expect("a header").revision,
            hash: (hash.hash, hash.compact_revision),
            leases,
            alarms: client.alarm(get).await.expect("alarms").alarms,
        }
    }
}

/// Keys of several versions, removed ones, a compaction, leases and, at last, an alarm.
async fn fill(client: &Client) {
    for round in 0..3 {
        for key in 0..60 {
            client.put(format!("key/{key:03}"), format!("value {key} of round {round}")).await.expect("put");
        }
    }
    for key in (0..60).step_by(7) {
        client.delete(format!("key/{key:03}")).await.expect("delete");
    }
    client.compact(CompactionRequest { revision: 100, physical: true }).await.expect("compact");
    for (lease, keys) in [(7, 3), (8, 0)] {
        client.grant(10_000, lease).await.expect("grant");
        for key in 0..keys {
            let key = format!("leased/{key}").into();
            let put = PutRequest { key, value: "v".into(), lease, ..Default::default() };
            client.put_request(put).await.expect("put");
        }
    }
    let alarm = AlarmRequest { action: AlarmAction::Activate.into(), member_id: 9, alarm: AlarmType::Nospace.into() };
    client.alarm(alarm).await.expect("raise");
}

async fn save(etcdctl: &Path, cluster: &Cluster, name: &str) -> PathBuf {
    let file = suite().make_folder(name).join("snapshot.db");
    run_aside(etcdctl, &[&format!("--endpoints={}", cluster[0].endpoint()), "snapshot", "save", text_of(&file)]).await;
    file
}

/// The rows of the buckets that a restore keeps.
fn kept(file: &Path) -> Content {
    let bytes = std::fs::read(file).expect("read the file");
    let mut rows = content(&open(&bytes).expect("a database")).expect("a whole file");
    rows.retain(|(bucket, _)| KEPT.contains(&bucket.as_str()));
    rows
}

async fn there_and_back(name: &str, minor: u32) {
    let (Some(source), Some(source_ctl)) = (tools::find_etcd(minor), tools::etcdctl(minor, name)) else { return };
    let (Some(etcd), Some(etcdctl), Some(etcdutl)) =
        (tools::etcd(name), tools::etcdctl(7, name), tools::etcdutl(7, name))
    else {
        return;
    };
    let spec = ClusterSpec { proxied: false, ..ClusterSpec::of(1) };
    let theirs = Cluster::start(&suite().with_server(&source), &spec).await;
    let endpoints = format!("--endpoints={}", theirs[0].endpoint());
    for line in [
        &["user", "add", "alice", "--new-user-password=secret"][..],
        &["role", "add", "reader"],
        &["role", "grant-permission", "reader", "read", "key/", "--prefix"],
        &["user", "grant-role", "alice", "reader"],
    ] {
        run_aside(&source_ctl, &[&[endpoints.as_str()], line].concat()).await;
    }
    fill(&theirs[0].client()).await;
    let seen = Seen::by(&theirs[0].client()).await;
    assert_eq!((seen.leases.len(), seen.alarms.len(), seen.hash.1), (2, 1, 100));
    let file = save(&source_ctl, &theirs, "from-etcd").await;
    let rows = kept(&file);
    assert!(rows.len() == KEPT.len() && rows.iter().all(|(_, rows)| !rows.is_empty()), "nothing is tested by less");

    let ours = restored::start_ours(&file, &[]).await;
    assert_eq!(Seen::by(&ours[0].client()).await, seen);
    let file = save(&etcdctl, &ours, "from-us").await;
    assert!(kept(&file) == rows, "rows differ");
    ours.assert_no_unexpected_errors();

    let again = restored::start(&etcdutl, &etcd, &file).await;
    assert_eq!(Seen::by(&again[0].client()).await, seen);
    let endpoints = format!("--endpoints={}", again[0].endpoint());
    assert_eq!(run_aside(&etcdctl, &[&endpoints, "user", "get", "alice"]).await, "User: alice\nRoles: reader\n");
    let file = save(&etcdctl, &again, "from-etcd-again").await;
    assert!(kept(&file) == rows, "rows differ");
}

#[tokio::test]
async fn from_etcd_3_7_to_us_and_back() {
    there_and_back("from_etcd_3_7_to_us_and_back", 7).await;
}

#[tokio::test]
async fn from_etcd_3_5_to_us_and_back() {
    there_and_back("from_etcd_3_5_to_us_and_back", 5).await;
}

/// How a watch from a revision before the restore ends: the revision that it is told.
async fn told(client: &Client, start_revision: i64) -> i64 {
    let mut watch = client.watch();
    let created =
        watch.create_and_wait(WatchCreateRequest { key: "key/8".into(), start_revision, ..Default::default() }).await;
    assert!(created.created);
    let ended = watch.expect().await;
    assert!(ended.canceled, "{ended:?}");
    ended.compact_revision
}

#[tokio::test]
async fn a_bumped_revision_ends_the_watches_from_before() {
    let name = "a_bumped_revision_ends_the_watches_from_before";
    let (Some(etcd), Some(etcdutl)) = (tools::etcd(name), tools::etcdutl(7, name)) else { return };
    let file = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/backup/etcd-3.7.3/snapshot.db"));
    let flags = ["--bump-revision=1000", "--mark-compacted"];
    let ours = restored::start_ours(&file, &flags).await;
    let theirs = restored::start_with((&etcdutl, &[]), &suite().with_server(&etcd), &file, &flags).await;
    for cluster in [&ours, &theirs] {
        let client = cluster[0].client();
        for start_revision in [2, 46, 47, 1_045] {
            assert_eq!(told(&client, start_revision).await, 1_046);
        }
        let got = client.get("key/8").await.expect("get");
        assert_eq!((got.header.expect("a header").revision, got.kvs[0].value.as_ref()), (1_046, &b"again"[..]));
        assert_eq!(client.put("key/8", "more").await.expect("put"), 1_047);
        let empty = client.get_all().await.expect("get").kvs.iter().filter(|kv| kv.key.is_empty()).count();
        assert_eq!(empty, 0, "the record that moves the revision is no key");
    }
    let hashes = (ours[0].client().hash_kv(0).await.expect("hash"), theirs[0].client().hash_kv(0).await.expect("hash"));
    assert_eq!((hashes.0.hash, hashes.0.compact_revision), (hashes.1.hash, hashes.1.compact_revision));
    ours.assert_no_unexpected_errors();
}

//! Any revision that is kept can be had back: as a file that real etcd starts on, with exactly the keys, leases and members
//! of that moment.

use crate::support::{Place, suite, text_of};
use keelstone::backup::{bolt::Database, status_of_file};
use keelstone::disk::open_to_read;
use keelstone_harness::proto::etcdserverpb::{
    CompactionRequest, DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest, request_op::Request,
};
use keelstone_harness::proto::mvccpb::KeyValue;
use keelstone_harness::{Client, Cluster, ClusterSpec, tools};
use std::path::Path;
use std::process::Command;

/// What is there at a revision, and what else belongs to that moment.
struct Moment {
    revision: i64,
    keys: Vec<KeyValue>,
    hash: u32,
    leases: Vec<i64>,
}

async fn keys_at(client: &Client, revision: i64) -> Vec<KeyValue> {
    let request = RangeRequest { key: "\0".into(), range_end: "\0".into(), revision, ..Default::default() };
    client.range(request).await.expect("range").kvs
}

async fn moment(client: &Client) -> Moment {
    let hash = client.hash_kv(0).await.expect("hash");
    let revision = hash.hash_revision;
    let mut leases: Vec<i64> = client.leases().await.expect("leases").leases.iter().map(|lease| lease.id).collect();
    leases.sort_unstable();
    Moment { revision, keys: keys_at(client, revision).await, hash: hash.hash, leases }
}

/// Puts, deletions, transactions, leases and a compaction, with moments in between.
async fn history(client: &Client) -> Vec<Moment> {
    let mut moments = Vec::new();
    for round in 0..12_i64 {
        for key in 0..10 {
            client.put(format!("key/{}", (round * 3 + key) % 17), format!("{round}.{key}")).await.expect("put");
        }
        let lease = client.grant(3_600 + round, 100 + round).await.expect("grant").id;
        let held = PutRequest { key: format!("held/{round}").into(), value: "x".into(), lease, ..Default::default() };
        client.put_request(held).await.expect("put");
        let put = |key: &str| {
            let put = PutRequest { key: key.to_owned().into(), value: "both".into(), ..Default::default() };
            RequestOp { request: Some(Request::RequestPut(put)) }
        };
        let txn = TxnRequest { success: vec![put("txn/a"), put(&format!("txn/{round}"))], ..Default::default() };
        client.txn(txn).await.expect("txn");
        let some = DeleteRangeRequest { key: format!("key/{round}").into(), ..Default::default() };
        client.delete_range(some).await.expect("delete");
        if round % 3 == 2 {
            client.revoke(100 + round - 1).await.expect("revoke");
        }
        if round == 6 {
            let revision = moments.last().map_or(1, |moment: &Moment| moment.revision);
            client.compact(CompactionRequest { revision, physical: true }).await.expect("compact");
        }
        // The revision has to be new, so that the leases are those of this moment.
        client.put("moment", round.to_string()).await.expect("put");
        moments.push(moment(client).await);
    }
    moments
}

/// Rows of a bucket of a file.
fn rows(file: &Path, bucket: &str) -> Vec<(Vec<u8>, Vec<u8>)> {
    let opened = open_to_read(file).expect("open the file");
    let bytes = opened.len().expect("a length") / 512 * 512;
    let database = Database::open(opened, bytes).expect("a database");
    let buckets = database.buckets().expect("buckets");
    let bucket = buckets.iter().find(|found| found.name == bucket).expect("the bucket");
    database
        .rows(bucket)
        .expect("rows")
        .map(|row| row.map(|(key, value)| (key.to_vec(), value.to_vec())).expect("a row"))
        .collect()
}

/// Real etcd on what `etcdutl snapshot restore` makes of a file.
async fn etcd_on(etcdutl: &Path, etcd: &Path, file: &Path) -> Cluster {
    let spec = ClusterSpec { proxied: false, ..ClusterSpec::of(1) };
    let mut cluster = Cluster::prepare(&suite().with_server(etcd), &spec).await;
    let url = format!("http://127.0.0.1:{}", cluster.peer_port(0));
    let output = Command::new(etcdutl)
        .args(["snapshot", "restore", text_of(file), "--data-dir", text_of(&cluster[0].data_dir()), "--name=m0"])
        .args([format!("--initial-cluster=m0={url}"), format!("--initial-advertise-peer-urls={url}")])
        .arg("--initial-cluster-token=keelstone-test")
        .output()
        .expect("run etcdutl");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    cluster.start_all().await;
    cluster
}

#[tokio::test]
async fn a_revision_in_the_middle_has_exactly_its_keys_leases_and_members() {
    let name = "a_revision_in_the_middle_has_exactly_its_keys_leases_and_members";
    let place = Place::new();
    // One full backup at the start, all else out of segments.
    let flags = ["--backup-schedule=@every 1h", "--backup-delta-interval=1s"];
    let mut cluster = place.members(1, &flags).await;
    place.reaches(1).await;
    let client = cluster[0].client();
    let mut moments = history(&client).await;
    // A member that is added is in the log like all else.
    let (_, peer_url) = cluster.prepare_joiner(&[0]);
    client.member_add(&peer_url, true).await.expect("add a member");
    client.put("more", "with a learner").await.expect("put");
    moments.push(moment(&client).await);
    let end = moments.last().expect("a moment").revision;
    place.reaches(end).await;
    assert_eq!(place.list("full").await.len(), 1);

    let folder = suite().make_folder("exported");
    for moment in &moments {
        let file = folder.join(format!("{}.db", moment.revision));
        let revision = format!("--revision={}", moment.revision);
        let said = place.backup(&["export", &revision, text_of(&file)]).await.well().out;
        assert_eq!(said, format!("Revision {} saved at {}\n", moment.revision, file.display()));
        let status = status_of_file(&file).expect("a whole file");
        assert_eq!((status.revision, status.total_keys), (moment.revision, moment.keys.len() as u64));
        let leases = rows(&file, "lease")
            .into_iter()
            .map(|(id, _)| i64::from_be_bytes(id.try_into().expect("an id of eight bytes")));
        assert_eq!(leases.collect::<Vec<_>>(), moment.leases, "leases at {}", moment.revision);
    }
    let members = |moment: &Moment| rows(&folder.join(format!("{}.db", moment.revision)), "members").len();
    assert_eq!((members(&moments[0]), members(&moments[12])), (1, 2));

    let (Some(etcd), Some(etcdutl)) = (tools::etcd(name), tools::etcdutl(7, name)) else { return };
    for moment in [&moments[1], &moments[7], &moments[12]] {
        let restored = etcd_on(&etcdutl, &etcd, &folder.join(format!("{}.db", moment.revision))).await;
        let client = restored[0].client();
        assert_eq!(keys_at(&client, 0).await, moment.keys, "keys at {}", moment.revision);
        let hash = client.hash_kv(moment.revision).await.expect("hash");
        assert_eq!(hash.hash, moment.hash, "hash at {}", moment.revision);
    }
}

#[tokio::test]
async fn what_is_not_kept_is_refused_with_what_is() {
    let place = Place::new();
    let cluster = place.members(1, &["--backup-schedule=@every 1h", "--backup-delta-interval=1s"]).await;
    let revision = cluster[0].client().put("a", "b").await.expect("put");
    place.reaches(revision).await;
    let file = suite().make_folder("refused").join("x.db");
    for (args, code, says) in [
        (&["export", "--revision=1000", text_of(&file)][..], 4, "revision 1000 is not kept"),
        (&["export", "--revision=-5", text_of(&file)], 4, "revision -5 is before the oldest full backup"),
        (&["export"], 2, "backup export takes the name of the file to write"),
    ] {
        let ended = place.backup(args).await;
        assert_eq!(ended.code, code, "{ended:?}");
        assert!(ended.err.contains(says), "{ended:?}");
    }
    assert!(!file.exists());
    place.backup(&["export", text_of(&file)]).await.well();
    let ended = place.backup(&["export", text_of(&file)]).await;
    assert!(ended.code == 1 && ended.err.contains("is there already"), "{ended:?}");
    let names: Vec<_> = std::fs::read_dir(file.parent().expect("a folder")).expect("list").collect();
    assert_eq!(names.len(), 1, "no scratch file is left: {names:?}");
}

//! The log on disk, read by the harness's own decoder of etcd's format: every write is there, once, in order,
//! without gaps, over rotation, purge, kills and leader changes.

use crate::suite;
use keelstone_harness::faults::serves;
use keelstone_harness::proto::etcdserverpb::{InternalRaftRequest, RangeRequest};
use keelstone_harness::proto::raftpb::EntryType;
use keelstone_harness::wal_reader::{self, WalContent};
use keelstone_harness::{Cluster, ClusterSpec, tools, wait};
use std::collections::HashMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use tokio::task::JoinSet;

const LIMIT: Duration = Duration::from_secs(30);

/// False, with a word about it, on an etcd whose log still holds requests of its second API.
fn applies() -> bool {
    let applies = suite().server.is_at_least(3, 6);
    if !applies {
        println!("passed by: not before 3.6");
    }
    applies
}

fn wal_of(cluster: &Cluster, place: usize) -> anyhow::Result<WalContent> {
    wal_reader::read(&cluster[place].data_dir().join("member/wal"))
}

/// What etcd's own reader finds in the log: its lines without the entries', and the entries' fields.
fn read_by_etcd(reader: &Path, cluster: &Cluster, place: usize) -> (String, Vec<[String; 4]>) {
    let output = Command::new(reader).arg(cluster[place].data_dir().join("member/wal")).output().expect("run read_wal");
    assert!(output.status.success(), "etcd's own reader refuses the log: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (entries, others): (Vec<&str>, Vec<&str>) = text.lines().partition(|line| line.starts_with("entry "));
    let fields = |line: &str| -> [String; 4] {
        let fields: Vec<String> = line.split(' ').skip(1).map(str::to_owned).collect();
        fields.try_into().expect("four fields of an entry")
    };
    (others.join("\n"), entries.into_iter().map(fields).collect())
}

/// The same fields from our own decoder, from an index on.
fn fields_from(wal: &WalContent, index: u64) -> Vec<[String; 4]> {
    let keys: HashMap<u64, String> = wal
        .requests()
        .expect("every normal entry is a request")
        .into_iter()
        .filter_map(|(index, request)| {
            Some((index, request.put?.key.iter().map(|byte| format!("{byte:02x}")).collect()))
        })
        .collect();
    let entries = wal.entries.iter().filter(|entry| entry.index() >= index);
    let fields = entries.map(|entry| {
        let key = keys.get(&entry.index()).cloned().unwrap_or_else(|| "-".to_owned());
        [entry.index().to_string(), entry.term().to_string(), entry.r#type().as_str_name().to_owned(), key]
    });
    fields.collect()
}

#[tokio::test]
async fn etcds_own_reader_finds_the_same_entries() {
    if !applies() {
        return;
    }
    let Some(reader) = tools::read_wal("etcds_own_reader_finds_the_same_entries") else { return };
    let mut cluster = Cluster::start(suite(), &ClusterSpec::of(1).with_flags(&["--snapshot-count=100"])).await;
    for round in 0..2 {
        put_many(&cluster, (0..150).map(|number| format!("r{round}-{number}")), 10).await;
        put_many(&cluster, (0..35).map(|number| format!("large{round}-{number}")), 1 << 20).await;
        cluster[0].kill();
        let ours = wal_of(&cluster, 0).expect("a well-formed log");
        let (ids, theirs) = read_by_etcd(&reader, &cluster, 0);
        assert!(ids.starts_with(&format!("member {} cluster {}\n", ours.node_id, ours.cluster_id)), "{ids}");
        let first = theirs.first().expect("entries")[0].parse().expect("an index");
        assert_eq!(first, 1, "nothing is purged yet");
        assert!(theirs == fields_from(&ours, first), "both read the same {} entries", theirs.len());
        cluster.restart(0).await;
    }
}

/// Keys of the puts in the log, in log order.
fn put_keys(wal: &WalContent) -> Vec<String> {
    let key =
        |request: &InternalRaftRequest| request.put.as_ref().map(|put| String::from_utf8_lossy(&put.key).into_owned());
    let requests = wal.requests().expect("every normal entry is a request");
    requests.iter().filter_map(|(_, request)| key(request)).collect()
}

async fn put_many(cluster: &Cluster, names: impl Iterator<Item = String>, value_bytes: usize) {
    for name in names {
        cluster[0].client().put(name, "x".repeat(value_bytes)).await.expect("put");
    }
}

#[tokio::test]
async fn every_write_is_in_the_log_from_index_one_without_gaps() {
    if !applies() {
        return;
    }
    let mut cluster = Cluster::start(suite(), &ClusterSpec::of(1).with_flags(&["--snapshot-count=100"])).await;
    let names = |from: u32| (from..from + 250).map(|number| format!("k{number:04}"));
    put_many(&cluster, names(0), 10).await;
    cluster[0].kill();
    let first = wal_of(&cluster, 0).expect("a well-formed log after kill -9");
    assert_eq!(first.first_index(), Some(1));
    assert_eq!(put_keys(&first), names(0).collect::<Vec<_>>());
    cluster.restart(0).await;
    put_many(&cluster, names(250), 10).await;
    let header = cluster[0].client().get("k").await.expect("get").header.expect("a header");
    let exit = cluster[0].terminate().await;
    let wal = wal_of(&cluster, 0).unwrap_or_else(|error| panic!("after {exit:?}: {error:#}"));
    assert_eq!((wal.node_id, wal.cluster_id), (header.member_id, header.cluster_id));
    assert_eq!(wal.first_index(), Some(1));
    assert_eq!(put_keys(&wal), names(0).chain(names(250)).collect::<Vec<_>>());
    // The members themselves come first, as configuration changes of term 1.
    assert_eq!(wal.entries[0].r#type(), EntryType::EntryConfChange);
    assert_eq!(wal.entries[0].term(), 1);
    let state = wal.hard_state.expect("a hard state");
    assert_eq!(state.commit(), wal.last_index().expect("entries"));
    assert_eq!((state.term(), state.vote()), (header.raft_term, header.member_id));
}

#[tokio::test]
async fn requests_of_every_kind_are_etcds() {
    if !applies() {
        return;
    }
    use keelstone_harness::proto::etcdserverpb::{CompactionRequest, TxnRequest};
    let mut cluster = Cluster::start(suite(), &ClusterSpec::of(1)).await;
    let client = cluster[0].client();
    client.put("k", "v").await.expect("put");
    client.delete("k").await.expect("delete");
    use keelstone_harness::proto::etcdserverpb::request_op::Request;
    use keelstone_harness::proto::etcdserverpb::{PutRequest, RequestOp};
    let put = Request::RequestPut(PutRequest { key: "t".into(), ..Default::default() });
    let success = vec![RequestOp { request: Some(put) }];
    client.txn(TxnRequest { success, ..Default::default() }).await.expect("txn");
    let lease = client.grant(600, 0).await.expect("grant").id;
    client.revoke(lease).await.expect("revoke");
    client.compact(CompactionRequest { revision: 3, physical: false }).await.expect("compact");
    cluster[0].kill();
    let wal = wal_of(&cluster, 0).expect("a well-formed log");
    let requests = wal.requests().expect("every normal entry is a request");
    let kinds: Vec<&str> = requests.iter().filter_map(|(_, request)| kind(request)).collect();
    assert_eq!(kinds, ["put", "delete_range", "txn", "lease_grant", "lease_revoke", "compaction"]);
    let mut ids: Vec<u64> =
        requests.iter().filter(|(_, request)| kind(request).is_some()).map(|(_, request)| id(request)).collect();
    assert!(ids.iter().all(|id| *id != 0), "each request has an id: {ids:?}");
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 6, "each has its own");
}

fn id(request: &InternalRaftRequest) -> u64 {
    request.header.as_ref().map_or(0, |header| header.id)
}

/// Which request of a client it is.
fn kind(request: &InternalRaftRequest) -> Option<&'static str> {
    if request.put.is_some() {
        Some("put")
    } else if request.delete_range.is_some() {
        Some("delete_range")
    } else if request.txn.is_some() {
        Some("txn")
    } else if request.lease_grant.is_some() {
        Some("lease_grant")
    } else if request.lease_revoke.is_some() {
        Some("lease_revoke")
    } else if request.compaction.is_some() {
        Some("compaction")
    } else {
        None
    }
}

#[tokio::test]
async fn the_log_goes_on_over_files_and_drops_the_oldest() {
    if !applies() {
        return;
    }
    let flags = ["--snapshot-count=10", "--snapshot-catchup-entries=10"];
    let mut cluster = Cluster::start(suite(), &ClusterSpec::of(1).with_flags(&flags)).await;
    let value_bytes = 1 << 20;
    put_many(&cluster, (0..140).map(|number| format!("k{number:04}")), value_bytes).await;
    cluster[0].kill();
    let wal = wal_of(&cluster, 0).expect("a well-formed log");
    assert!(wal.files.len() > 1, "140 MB in files of 64 MB");
    let kept = put_keys(&wal);
    let expected: Vec<String> = (140 - kept.len()..140).map(|number| format!("k{number:04}")).collect();
    assert_eq!(kept, expected, "the newest ones, in order");
    // Not before: Keelstone drops a file as soon as it may, and there would be one.
    cluster[0].add_flags(&["--max-wals=1"]);
    cluster.restart(0).await;
    let folder = cluster[0].data_dir().join("member/wal");
    let oldest = || {
        let files = std::fs::read_dir(&folder).expect("list the log").flatten();
        files.map(|file| file.file_name().to_string_lossy().into_owned()).filter(|name| name.ends_with(".wal")).min()
    };
    let mut number = 139;
    // etcd looks every 30 seconds; a server that purges with its commits wants some.
    wait::until("the oldest file to be dropped", 3 * LIMIT, || {
        number += 1;
        let (client, gone) = (cluster[0].client(), oldest().is_some_and(|name| !name.starts_with("0000000000000000-")));
        async move {
            client.put(format!("k{number:04}"), "v").await.expect("put");
            gone.then_some(())
        }
    })
    .await;
    cluster[0].kill();
    let wal = wal_of(&cluster, 0).expect("a well-formed log after the purge");
    assert!(wal.first_index() > Some(1));
    let kept = put_keys(&wal);
    let expected: Vec<String> = (number + 1 - kept.len()..=number).map(|number| format!("k{number:04}")).collect();
    assert_eq!(kept, expected, "the newest ones, in order");
    cluster.restart(0).await;
    let count = RangeRequest { key: "k".into(), range_end: "l".into(), count_only: true, ..Default::default() };
    let all = cluster[0].client().range(count).await.expect("range");
    assert_eq!(all.count, number as i64 + 1, "what left the log is in the state");
}

#[tokio::test(flavor = "multi_thread")]
async fn members_agree_on_every_entry_that_a_majority_holds() {
    if !applies() {
        return;
    }
    let mut cluster = Cluster::start(suite(), &ClusterSpec::of(3)).await;
    let mut acknowledged = 0;
    for round in 0..3 {
        let mut puts = JoinSet::new();
        for number in 0..60 {
            let client = cluster[number % 3].client();
            puts.spawn(async move { client.put(format!("r{round}-{number}"), "v").await });
        }
        let leader = cluster.leader().await;
        cluster[leader].kill();
        while let Some(put) = puts.join_next().await {
            acknowledged += usize::from(put.expect("no panic").is_ok());
        }
        cluster.restart(leader).await;
        for client in cluster.clients() {
            serves(&client, LIMIT).await;
        }
    }
    for place in 0..3 {
        cluster[place].kill();
    }
    let wals: Vec<WalContent> = (0..3).map(|place| wal_of(&cluster, place).expect("a well-formed log")).collect();
    let commit = wals.iter().filter_map(|wal| Some(wal.hard_state?.commit())).max().expect("a hard state");
    let mut puts = 0;
    for index in 1..=commit {
        let mut copies: HashMap<(u64, i32, Vec<u8>), usize> = HashMap::new();
        for wal in &wals {
            assert_eq!(wal.first_index(), Some(1));
            if let Some(entry) = wal.entries.get(index as usize - 1) {
                *copies.entry((entry.term(), entry.r#type().into(), entry.data().to_vec())).or_default() += 1;
            }
        }
        let held = copies.into_iter().find(|(_, count)| *count >= 2);
        let ((_, kind, data), _) = held.unwrap_or_else(|| panic!("no majority holds entry {index} of {commit}"));
        let is_put = |data: &[u8]| {
            use prost::Message;
            InternalRaftRequest::decode(data).expect("a request").put.is_some()
        };
        puts += usize::from(kind == i32::from(EntryType::EntryNormal) && is_put(&data));
    }
    assert!(puts >= acknowledged, "{puts} committed puts, {acknowledged} acknowledged");
    println!("{commit} entries, {puts} puts, {acknowledged} acknowledged");
}

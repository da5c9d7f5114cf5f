//! Members that hold different data: altered on the disk, in a way that no checksum of the file tells.

use crate::{check, run, suite};
use keelstone::disk::{Disk, RealDisk};
use keelstone::storage::{Durability, Metrics, Storage, Table};
use keelstone_harness::faults::judge;
use keelstone_harness::load::{Load, LoadSpec};
use keelstone_harness::proto::etcdserverpb::alarm_request::AlarmAction;
use keelstone_harness::proto::etcdserverpb::{AlarmMember, AlarmRequest, AlarmType, CompactionRequest};
use keelstone_harness::{Client, Cluster, ClusterSpec, Member, Random, http, wait};
use std::time::Duration;
use tonic::Code;

const LIMIT: Duration = Duration::from_secs(60);
/// What is altered: nothing else in the files looks like it.
const VALUE: &str = "a value that is altered";
const NO_CHECK_AT_START: &str = "InitialCorruptCheck=false";

/// Makes the first letter of [`VALUE`] another one in the files of a member that does not run.
fn alter(member: &Member, letter: u8) {
    let dir = member.data_dir().join("member");
    if suite().server.is_etcd {
        // A page of bbolt's has no checksum.
        let path = dir.join("snap/db");
        let mut bytes = std::fs::read(&path).expect("read the state");
        assert!(alter_bytes(&mut bytes, letter) > 0, "nothing to alter in {}", path.display());
        return std::fs::write(path, bytes).expect("write the state");
    }
    let file = RealDisk.open(&dir.join("state.redb")).expect("open the state file");
    let metrics = Metrics::register(&prometheus::Registry::new()).expect("a fresh registry");
    let storage = Storage::open(file, 1 << 20, metrics).expect("open the state");
    let rows = storage.version().expect("a version").rows(Table::Key).expect("rows");
    let mut batch = storage.begin().expect("begin");
    let mut altered = 0;
    for (key, mut row) in rows {
        if alter_bytes(&mut row, letter) > 0 {
            batch.put(Table::Key, &key, &row);
            altered += 1;
        }
    }
    assert!(altered > 0, "nothing to alter");
    batch.commit(Durability::Durable).expect("commit");
}

fn alter_bytes(bytes: &mut [u8], letter: u8) -> usize {
    let rest = &VALUE.as_bytes()[1..];
    let places: Vec<usize> = (1..bytes.len()).filter(|&at| bytes[at..].starts_with(rest)).collect();
    for &at in &places {
        bytes[at - 1] = letter;
    }
    places.len()
}

async fn id_of(client: &Client) -> u64 {
    client.status().await.expect("status").header.expect("a header").member_id
}

async fn alarms(client: &Client) -> Vec<AlarmMember> {
    let request = AlarmRequest { action: AlarmAction::Get.into(), ..Default::default() };
    client.alarm(request).await.expect("alarms").alarms
}

async fn await_alarms(client: &Client) -> Vec<AlarmMember> {
    wait::until("an alarm", LIMIT, || async { Some(alarms(client).await).filter(|alarms| !alarms.is_empty()) }).await
}

fn corrupt(member_id: u64) -> AlarmMember {
    AlarmMember { member_id, alarm: AlarmType::Corrupt.into() }
}

/// Three members of which the one at `place` was altered, and runs again.
async fn altered(cluster: &mut Cluster, place: usize) -> u64 {
    let client = cluster[place].client();
    client.put("altered", VALUE).await.expect("put");
    let id = id_of(&client).await;
    cluster[place].terminate().await;
    alter(&cluster[place], b'A');
    cluster.restart(place).await;
    id
}

/// What is refused while the alarm is raised, and what is not.
async fn refuses_writes_alone(cluster: &mut Cluster) {
    // As etcd logs a page that says so.
    cluster.expect_errors("Health check error");
    for client in cluster.clients() {
        let refused = client.put("k", "v").await.expect_err("a put");
        assert_eq!((refused.code(), refused.message()), (Code::DataLoss, "etcdserver: corrupt cluster"));
        client.get("k").await.expect("a linearizable read");
    }
    let page = http::get(cluster[0].client_port, "/health").await.expect("health");
    assert_eq!((page.status, page.body.trim_end()), (503, r#"{"health":"false","reason":"ALARM CORRUPT"}"#));
    let page = http::get(cluster[0].client_port, "/readyz").await.expect("readyz");
    assert!(
        page.status == 503 && page.body.contains("[-]data_corruption failed: alarm activated: CORRUPT"),
        "{page:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_whose_data_differs_does_not_start() {
    let gate = "--feature-gates=InitialCorruptCheck=true";
    let flags: &[&str] = if suite().server.is_etcd { &[gate] } else { &[] };
    check(ClusterSpec::of(3).with_flags(flags), async |cluster| {
        cluster[0].client().put("altered", VALUE).await.expect("put");
        for member in 0..3 {
            cluster[member].client().get("altered").await.expect("a linearizable read");
        }
        // Unaltered it starts.
        cluster[1].terminate().await;
        cluster.restart(1).await;
        assert_eq!(cluster[1].log_lines("initial corruption checking passed; no corruption").len(), 1);
        cluster[1].terminate().await;
        alter(&cluster[1], b'A');
        for text in ["checkInitialHashKV failed", "discovery failed"] {
            cluster[1].expect_errors(text);
        }
        cluster.launch(1);
        let exit = cluster[1].wait_for_exit().await;
        assert_eq!(exit.status.code(), Some(1));
        let said = cluster[1].log_lines("found data inconsistency with peers");
        assert!(said.iter().any(|line| line.contains("discovery failed")), "{said:?}");
        assert_eq!(cluster[1].log_lines("found different hash values from remote peer").len(), 2);
        // Neither does it harm the others, nor do they give up what it lost.
        for member in [0, 2] {
            let kvs = cluster[member].client().get("altered").await.expect("get").kvs;
            assert_eq!(kvs[0].value, VALUE);
        }
        // Those that agree with a majority start beside it.
        cluster.launch_with(1, &["--feature-gates=InitialCorruptCheck=false"]);
        cluster[1].ready().await;
        if !suite().server.is_etcd {
            cluster[0].terminate().await;
            cluster.restart(0).await;
        }
    })
    .await;
}

fn without_check_at_start(flags: &[&str]) -> ClusterSpec {
    let gates = format!("--feature-gates={NO_CHECK_AT_START},CompactHashCheck=true");
    ClusterSpec::of(3).with_flags(&[&gates]).with_flags(flags)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_periodic_check_names_the_member_whose_data_differs() {
    check(without_check_at_start(&["--corrupt-check-time=1s"]), async |cluster| {
        let follower = (cluster.leader().await + 1) % 3;
        let id = altered(cluster, follower).await;
        assert_eq!(await_alarms(&cluster[0].client()).await, [corrupt(id)]);
        refuses_writes_alone(cluster).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_periodic_check_names_the_leader_if_its_data_differs() {
    if suite().server.is_etcd {
        println!("passed by: etcd names a follower");
        return;
    }
    check(without_check_at_start(&["--corrupt-check-time=3s"]), async |cluster| {
        let leader = cluster.leader().await;
        let id = altered(cluster, leader).await;
        let now = cluster.leader().await;
        if now != leader {
            cluster[now].client().move_leader(id).await.expect("a transfer");
        }
        assert_eq!(await_alarms(&cluster[0].client()).await, [corrupt(id)]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hash_of_a_compaction_names_the_member_whose_data_differs() {
    let flags = ["--corrupt-check-time=0s", "--compact-hash-check-time=1s"];
    check(without_check_at_start(&flags), async |cluster| {
        cluster.expect_errors("Detected compaction hash mismatch");
        let follower = (cluster.leader().await + 1) % 3;
        let id = altered(cluster, follower).await;
        let client = cluster[0].client();
        let revision = client.put("k", "v").await.expect("put");
        client.compact(CompactionRequest { revision, physical: true }).await.expect("compact");
        assert_eq!(await_alarms(&client).await, [corrupt(id)]);
        refuses_writes_alone(cluster).await;
        let finished = cluster.iter().flat_map(|member| member.log_lines("finished compaction hash check")).count();
        assert!(finished > 0);
        // All of it can be told by the hash that the compaction made.
        let periodic = cluster.iter().flat_map(|member| member.log_lines("finished peer corruption check")).count();
        assert_eq!(periodic, 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_majority_the_whole_cluster_is_named() {
    let flags = ["--corrupt-check-time=0s", "--compact-hash-check-time=1s"];
    check(without_check_at_start(&flags), async |cluster| {
        cluster.expect_errors("Detected compaction hash mismatch");
        cluster[0].client().put("altered", VALUE).await.expect("put");
        for (place, letter) in [(1, b'B'), (2, b'C')] {
            cluster[place].client().get("altered").await.expect("a linearizable read");
            cluster[place].terminate().await;
            alter(&cluster[place], letter);
            cluster.restart(place).await;
        }
        let client = cluster[0].client();
        let revision = client.put("k", "v").await.expect("put");
        client.compact(CompactionRequest { revision, physical: true }).await.expect("compact");
        assert_eq!(await_alarms(&client).await, [corrupt(0)]);
    })
    .await;
}

/// Waits for a check that compared all three.
async fn await_whole_check(cluster: &Cluster) {
    wait::until_true("a check of all three", LIMIT, || {
        let lines = cluster.iter().flat_map(|member| member.log_lines("finished peer corruption check"));
        lines.filter(|line| line.contains("\"number-of-peers-checked\":2")).count() > 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn puts_through_any_member_leave_all_alike() {
    check(ClusterSpec::of(3).with_flags(&["--corrupt-check-time=1s"]), async |cluster| {
        for (number, client) in cluster.clients().iter().enumerate() {
            // What was written before a check may end the writing.
            client.put(format!("k{number}"), "v").await.ok();
        }
        await_whole_check(cluster).await;
        let raised = alarms(&cluster[0].client()).await;
        assert_eq!(raised, [], "a corruption check says that members differ");
    })
    .await;
}

/// The value of one of our counters for a check.
async fn count(cluster: &Cluster, place: usize, name: &str, check: &str) -> f64 {
    let page = http::get(cluster[place].client_port, "/metrics").await.expect("metrics").body;
    let series = format!("keelstone_corruption_checks_{name}_total{{check=\"{check}\"}} ");
    let series = series.replace("checks__total", "checks_total");
    let line = page.lines().find_map(|line| line.strip_prefix(series.as_str()));
    line.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no series {series}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn members_that_are_alike_raise_nothing_under_load_compactions_and_restarts() {
    let flags = [
        "--feature-gates=InitialCorruptCheck=true,CompactHashCheck=true",
        "--corrupt-check-time=300ms",
        "--compact-hash-check-time=200ms",
    ];
    let mut random = Random::from_environment();
    run(ClusterSpec::of(3).with_flags(&flags), async |cluster| {
        let spec = LoadSpec { compact_behind: Some(500), ..LoadSpec::default() };
        let load = Load::start(&cluster.clients(), spec, &mut random);
        for round in 0..6 {
            load.progress(150, LIMIT).await;
            let place = round % 3;
            match round {
                0 | 2 | 4 => {
                    cluster[place].kill();
                    load.progress(100, LIMIT).await;
                    cluster.restart(place).await;
                }
                1 => {
                    cluster.isolate(place);
                    wait::pass(Duration::from_millis(1500)).await;
                    cluster.heal();
                }
                _ => {
                    cluster[place].pause();
                    wait::pass(Duration::from_secs(1)).await;
                    cluster[place].resume();
                }
            }
        }
        load.progress(100, LIMIT).await;
        println!("{}", judge(&cluster.clients(), load).await);
        for member in 0..3 {
            assert_eq!(alarms(&cluster[member].client()).await, []);
        }
        // In the quiet everybody can be compared with everybody.
        await_whole_check(cluster).await;
        let client = cluster[0].client();
        let revision = client.put("last", "v").await.expect("put");
        client.compact(CompactionRequest { revision, physical: true }).await.expect("compact");
        wait::until_true("a check of a compaction on all three", LIMIT, || {
            cluster.iter().any(|member| !member.log_lines("successfully checked hash on whole cluster").is_empty())
        })
        .await;
        if !suite().server.is_etcd {
            let mut runs = 0.0;
            for member in 0..3 {
                for check in ["initial", "periodic", "compact_hash"] {
                    runs += count(cluster, member, "", check).await;
                    assert_eq!(count(cluster, member, "failed", check).await, 0.0, "{check} of m{member}");
                }
            }
            assert!(runs >= 3.0, "{runs} checks");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_cannot_be_compared_is_counted_and_said_to_be_so() {
    if suite().server.is_etcd {
        println!("passed by: in etcd it passes for compared");
        return;
    }
    check(ClusterSpec::of(3).with_flags(&["--corrupt-check-time=300ms"]), async |cluster| {
        let leader = cluster.leader().await;
        cluster[(leader + 1) % 3].kill();
        let said = "could not compare the data of a member with the leader's, again and again";
        wait::until_true("it to be said", LIMIT, || !cluster[leader].log_lines(said).is_empty()).await;
        assert!(count(cluster, leader, "incomparable", "periodic").await >= 3.0);
        assert_eq!(count(cluster, leader, "failed", "periodic").await, 0.0);
        assert_eq!(alarms(&cluster[leader].client()).await, []);
    })
    .await;
}

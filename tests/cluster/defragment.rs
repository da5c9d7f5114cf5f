//! Defragmentation under load and under sudden ends: nothing that was acknowledged is lost, nobody is told anything else
//! than before.

use crate::{MACHINE, check, run, suite};
use keelstone_harness::load::{Load, LoadSpec};
use keelstone_harness::proto::etcdserverpb::CompactionRequest;
use keelstone_harness::proto::health::health_check_response::ServingStatus;
use keelstone_harness::{Client, ClusterSpec, Random, faults, wait};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::Instant;

const LIMIT: Duration = Duration::from_secs(60);
const ROUNDS: usize = 4;
const WRITERS: usize = 4;

#[tokio::test(flavor = "multi_thread")]
async fn members_that_are_defragmented_under_load_keep_every_promise() {
    let _shared = MACHINE.read().await;
    let mut random = Random::from_environment();
    run(ClusterSpec::of(3), async |cluster| {
        let spec = LoadSpec { compact_behind: Some(200), ..LoadSpec::default() };
        let load = Load::start(&cluster.clients(), spec, &mut random);
        for _ in 0..ROUNDS {
            for client in cluster.clients() {
                load.progress(50, LIMIT).await;
                client.with_deadline(LIMIT).defragment().await.expect("defragment");
            }
        }
        load.progress(50, LIMIT).await;
        println!("{}", faults::judge(&cluster.clients(), load).await);
    })
    .await;
}

/// By key, the last value whose put was answered, and one that may have been put after it.
type Written = Arc<Mutex<BTreeMap<String, (u64, u64)>>>;

async fn write(client: Client, writer: usize, written: Written) {
    for number in 1.. {
        let key = format!("w{writer}/{}", number % 100);
        written.lock().unwrap().entry(key.clone()).or_default().1 = number;
        if client.put(key.clone(), number.to_string()).await.is_err() {
            return;
        }
        written.lock().unwrap().get_mut(&key).expect("noted above").0 = number;
    }
}

/// Rows that take some time to copy.
async fn fill(client: &Client, round: usize) {
    for number in 0..160 {
        client.put(format!("fill/{number}"), vec![round as u8; 200_000]).await.expect("put");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_killed_while_it_is_defragmented_has_all_that_was_acknowledged() {
    let mut random = Random::from_environment();
    check(ClusterSpec::of(1), async |cluster| {
        let (mut ended, mut numbers) = (0, 0);
        for round in 0..2 * ROUNDS {
            let client = cluster[0].client();
            fill(&client, round).await;
            if round == ROUNDS {
                let revision = client.put("r", "").await.expect("put");
                client.compact(CompactionRequest { revision, physical: true }).await.expect("compact");
            }
            let written = Written::default();
            let writers: Vec<_> =
                (0..WRITERS).map(|writer| tokio::spawn(write(client.clone(), writer, written.clone()))).collect();
            let begun = cluster[0].log_lines("\"defragmenting\"").len();
            let defragmenting = tokio::spawn({
                let client = client.with_deadline(LIMIT);
                async move { client.defragment().await }
            });
            wait::until_true("it to begin", LIMIT, || cluster[0].log_lines("\"defragmenting\"").len() > begun).await;
            wait::pass(Duration::from_millis(random.below(600))).await;
            cluster[0].kill();
            ended += usize::from(defragmenting.await.expect("no panic").is_ok());
            for writer in writers {
                writer.await.expect("no panic");
            }
            cluster.restart(0).await;
            let client = cluster[0].client();
            let written = std::mem::take(&mut *written.lock().unwrap());
            for (key, (answered, last)) in written {
                let found = client.get(key.clone()).await.expect("get").kvs.pop();
                let value = found.map_or(0, |kv| String::from_utf8_lossy(&kv.value).parse().expect("a number"));
                // An earlier round's value is there if none of this one was answered.
                assert!(
                    answered == 0 || (answered..=last).contains(&value),
                    "{key} is {value}, not {answered}..={last}"
                );
                numbers += 1;
            }
            let filled = client.get_prefix("fill/").await.expect("get").kvs;
            assert!(filled.iter().all(|kv| kv.value.iter().all(|byte| *byte == round as u8)));
        }
        println!("{ended} of {} defragmentations were over before the end, {numbers} keys looked at", 2 * ROUNDS);
        if !suite().server.is_etcd {
            let names: Vec<_> = std::fs::read_dir(cluster[0].data_dir().join("member"))
                .expect("the member's folder")
                .map(|entry| entry.expect("an entry").file_name())
                .collect();
            assert!(names.iter().all(|name| !name.to_string_lossy().contains("defrag")), "{names:?}");
        }
    })
    .await;
}

/// As etcd's load balancers want it, although here nothing waits for a defragmentation.
#[tokio::test(flavor = "multi_thread")]
async fn with_the_gate_health_says_that_nothing_is_served_while_requests_go_on() {
    let gate = "--feature-gates=StopGRPCServiceOnDefrag=true";
    check(ClusterSpec::of(1).with_flags(&[gate]), async |cluster| {
        let client = cluster[0].client();
        fill(&client, 0).await;
        let health = || async { client.health("").await.expect("health") };
        assert_eq!(health().await, ServingStatus::Serving);
        let defragmenting = tokio::spawn({
            let client = client.with_deadline(LIMIT);
            async move { client.defragment().await.expect("defragment") }
        });
        wait::until("health to say so", LIMIT, || async {
            (health().await == ServingStatus::NotServing).then_some(())
        })
        .await;
        // In etcd it waits for the end, and succeeds too.
        client.with_deadline(LIMIT).put("k", "v").await.expect("put");
        defragmenting.await.expect("no panic");
        wait::until("health to say so", LIMIT, || async { (health().await == ServingStatus::Serving).then_some(()) })
            .await;
        let lines = cluster[0].log_lines("grpc service status changed");
        let of = |status: &str| lines.iter().filter(|line| line.contains(&format!("\"{status}\""))).count();
        assert_eq!((of("NOT_SERVING"), of("SERVING") > 0), (1, true), "{lines:?}");
    })
    .await;
}

/// Nobody waits: what a put waits while the state is copied is printed, and compared with what the copy takes.
#[tokio::test(flavor = "multi_thread")]
async fn puts_go_on_while_the_state_is_copied() {
    if suite().server.is_etcd {
        return;
    }
    check(ClusterSpec::of(1), async |cluster| {
        let client = cluster[0].client();
        for round in 0..2 {
            fill(&client, round).await;
        }
        let before = client.status().await.expect("status").db_size;
        let hash = |client: Client, revision| async move { client.hash_kv(revision).await.expect("hash").hash };
        let revision = client.put("last", "v").await.expect("put");
        let hashed = hash(client.clone(), revision).await;
        let (done, mut over) = tokio::sync::watch::channel(false);
        let defragmenting = tokio::spawn({
            let client = client.with_deadline(LIMIT);
            async move {
                let begun = Instant::now();
                client.defragment().await.expect("defragment");
                done.send_replace(true);
                begun.elapsed()
            }
        });
        let (mut longest, mut puts) = (Duration::ZERO, 0);
        while !*over.borrow_and_update() {
            let begun = Instant::now();
            client.put("k", "v").await.expect("put");
            (longest, puts) = (longest.max(begun.elapsed()), puts + 1);
        }
        let took = defragmenting.await.expect("no panic");
        println!("{puts} puts in {took:?}, the longest took {longest:?}");
        assert!(puts > 10, "{puts} puts while it took {took:?}");
        assert!(longest < took / 2, "a put took {longest:?} of {took:?}");
        assert_eq!(hash(client.clone(), revision).await, hashed);
        let after = client.status().await.expect("status").db_size;
        assert!(after < before * 2, "{before} bytes became {after}");
    })
    .await;
}

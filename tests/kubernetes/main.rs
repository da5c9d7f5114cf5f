//! etcd as Kubernetes uses it: API servers that list in pages at one revision, watch from there on with progress requests,
//! write by compare-and-put on the mod revision, let leases end events, and compact by compare-and-swap on
//! `compact_rev_key`; while members are killed. The shapes of the calls are those that were watched on the wire.
//!
//! `KEELSTONE_KUBERNETES_SECONDS` says for how long members are killed (12), `KEELSTONE_SEED` repeats a run's choices.

mod cache;
mod judge;
mod record;
mod storage;
mod writers;

use cache::Cache;
use keelstone_harness::check::{agreement, assert_none};
use keelstone_harness::faults::once_leases_ended;
use keelstone_harness::{Cluster, ClusterSpec, Random, Suite, wait};
use record::Journal;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use storage::Storage;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use writers::Writers;

/// Further successful writes that are waited for before and after each kill.
const CALM: usize = 50;
const LIMIT: Duration = Duration::from_secs(30);
/// How many servers the API has. Each knows all members and prefers another one.
const API_SERVERS: usize = 3;

fn suite() -> &'static Suite {
    static SUITE: OnceLock<Suite> = OnceLock::new();
    SUITE.get_or_init(|| Suite::new(env!("CARGO_BIN_EXE_keelstone"), env!("CARGO_TARGET_TMPDIR"), "kubernetes"))
}

fn duration() -> Duration {
    let given = std::env::var("KEELSTONE_KUBERNETES_SECONDS").ok();
    Duration::from_secs(given.map_or(12, |text| text.parse().expect("KEELSTONE_KUBERNETES_SECONDS is a number")))
}

/// API servers at work. All of it ends with this value.
struct Api {
    journal: Journal,
    stop: watch::Sender<bool>,
    /// The revision that caches and the chronicle are to come to before they end.
    until: watch::Sender<Option<i64>>,
    writers: Vec<JoinHandle<()>>,
    caches: Vec<JoinHandle<()>>,
    chronicle: JoinHandle<record::Chronicle>,
}

impl Api {
    fn start(cluster: &Cluster, random: &mut Random) -> Self {
        let (stop, until) = (watch::Sender::new(false), watch::Sender::new(None));
        let journal = Journal::default();
        let (mut writers, mut caches) = (Vec::new(), Vec::new());
        for server in 0..API_SERVERS {
            let storage = Arc::new(Storage::new(cluster.clients(), server));
            let writing = Writers { server, storage: Arc::clone(&storage), journal: journal.clone() };
            writers.extend(writing.start(random, &stop));
            let lists = cache::list_now_and_then(Arc::clone(&storage), journal.clone(), stop.subscribe());
            writers.push(tokio::spawn(lists));
            for resource in [storage::PODS, storage::EVENTS] {
                let cache = Cache::new(format!("{resource} of API server {server}"), resource, &storage, &journal);
                caches.push(tokio::spawn(cache.run(until.subscribe())));
            }
        }
        let storage = Storage::new(cluster.clients(), 0);
        let chronicle = tokio::spawn(record::chronicle(storage, until.subscribe()));
        Self { journal, stop, until, writers, caches, chronicle }
    }

    /// Waits until this many more writes have succeeded; `LIMIT` is for the time in which none does.
    async fn progress(&self, more: usize) {
        let begun = self.journal.written();
        let mut done = begun;
        while done < begun + more {
            wait::until_true("the next write to succeed", LIMIT, || self.journal.written() > done).await;
            done = self.journal.written();
        }
    }

    async fn stop_writers(&mut self) {
        self.stop.send_replace(true);
        for writer in self.writers.drain(..) {
            writer.await.expect("a writer does not panic");
        }
    }

    /// Ends the caches and the chronicle once each has come to `revision`.
    async fn finish(self, revision: i64) -> (Journal, record::Chronicle) {
        self.until.send_replace(Some(revision));
        for cache in self.caches {
            let ended = tokio::time::timeout(LIMIT, cache).await;
            ended.expect("a cache comes to the last revision").expect("a cache does not panic");
        }
        let chronicle = tokio::time::timeout(LIMIT, self.chronicle).await;
        (self.journal, chronicle.expect("the chronicle comes to the end").expect("it does not panic"))
    }
}

/// Kills members, now the leader and now any, each once the API works again after the last.
async fn kill_members(cluster: &mut Cluster, api: &Api, random: &mut Random) -> usize {
    let (begun, mut kills) = (Instant::now(), 0);
    while begun.elapsed() < duration() {
        api.progress(CALM).await;
        let any = random.below(cluster.len() as u64) as usize;
        let place = if random.chance(50) { cluster.leader().await } else { any };
        cluster[place].kill();
        api.progress(CALM).await;
        cluster.restart(place).await;
        kills += 1;
    }
    api.progress(CALM).await;
    kills
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_api_server_is_told_is_whole_and_in_order_while_members_are_killed() {
    let mut random = Random::from_environment();
    let mut cluster = Cluster::start(suite(), &ClusterSpec::of(3)).await;
    let mut api = Api::start(&cluster, &mut random);
    let kills = kill_members(&mut cluster, &api, &mut random).await;
    api.stop_writers().await;

    let clients = cluster.clients();
    let everything = once_leases_ended(&clients[0]).await;
    let outlive = everything.kvs.iter().filter(|kv| kv.lease != 0).count();
    assert_eq!(outlive, 0, "no event outlives its lease");
    let last = everything.header.as_ref().map_or(0, |header| header.revision);
    let (journal, chronicle) = api.finish(last).await;
    let (truth, faults) = chronicle.truth();
    assert_none("the history", &faults);
    assert_eq!(truth.last_revision(), last, "the history ends where the scan does");
    assert_none("the final scan", &agreement::check_scan(&everything, &truth));
    let compacted = clients[0].hash_kv(0).await.expect("HashKV").compact_revision;
    println!("{kills} kills, {}", journal.summary(last, compacted));
    assert!(compacted > 0, "the API compacts");
    assert_none("the API", &judge::check(&journal.take(), &truth, &chronicle.arrivals, compacted));
    assert_none("HashKV", &agreement::check_hashes(&clients, last).await);
    storage::refuses_what_it_cannot_tell(&clients[0], compacted, last).await;
    if !suite().server.is_etcd {
        cluster.assert_no_unexpected_errors();
    }
}

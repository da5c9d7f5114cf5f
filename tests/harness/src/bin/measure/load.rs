//! Closed-loop load: each client has one operation outstanding.

use crate::subject;
use crate::usage::Usage;
use bytes::Bytes;
use keelstone_harness::proto::etcdserverpb::kv_client::KvClient;
use keelstone_harness::proto::etcdserverpb::{PutRequest, RangeRequest};
use keelstone_harness::{Cluster, Random};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tonic::transport::Channel;

const WARM_UP: Duration = Duration::from_secs(1);

const MESSAGE_LIMIT: usize = 64 << 20;

/// How many operations are in flight while keys are loaded.
const LOADERS: usize = 500;

/// What a client does again and again.
#[derive(Clone)]
pub enum Work {
    /// Puts one of the keys.
    Put(Arc<Vec<Bytes>>),
    /// Reads one of the keys, linearizable.
    Get(Arc<Vec<Bytes>>),
    /// Reads from one of the keys up to an end so many keys as the limit says, linearizable; each has so many successors.
    Page(Arc<Vec<Bytes>>, Bytes, i64),
}

/// One row in one round.
#[derive(Debug, Clone, Copy)]
pub struct Measured {
    pub ops_per_sec: f64,
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub cpu_us_per_op: f64,
    pub written_bytes_per_op: f64,
    /// At the end of the window.
    pub rss_mib: f64,
}

struct Worker {
    kv: KvClient<Channel>,
    work: Work,
    value: Bytes,
    random: Random,
}

impl Worker {
    /// # Panics
    /// If the server refuses or answers with less than was asked for: nothing that fails is measured.
    async fn once(&mut self) {
        match &self.work {
            Work::Put(keys) => {
                let key = self.random.pick(keys).clone();
                put(&mut self.kv, key, self.value.clone()).await;
            }
            Work::Get(keys) => {
                let key = self.random.pick(keys).clone();
                self.read(RangeRequest { key, ..Default::default() }, 1).await;
            }
            Work::Page(keys, end, limit) => {
                let (key, range_end, limit) = (self.random.pick(keys).clone(), end.clone(), *limit);
                self.read(RangeRequest { key, range_end, limit, ..Default::default() }, limit).await;
            }
        }
    }

    async fn read(&mut self, request: RangeRequest, expected: i64) {
        let answer = self.kv.range(request).await.expect("an answer to a range").into_inner();
        assert_eq!(answer.kvs.len() as i64, expected, "keys in an answer");
    }
}

async fn put(kv: &mut KvClient<Channel>, key: Bytes, value: Bytes) {
    kv.put(PutRequest { key, value, ..Default::default() }).await.expect("an answer to a put");
}

/// Runs `work` with so many clients, and measures for `window` after a warm-up.
pub async fn measure(cluster: &Cluster, work: &Work, clients: usize, window: Duration) -> Measured {
    let pid = cluster[0].pid().expect("a running server");
    let connections = subject::connect(cluster, clients);
    let stop = Arc::new(AtomicBool::new(false));
    let tasks: Vec<_> = (0..clients)
        .map(|number| {
            let kv = connections[number % connections.len()].kv().max_decoding_message_size(MESSAGE_LIMIT);
            let random = Random::new(number as u64);
            let mut worker = Worker { kv, work: work.clone(), value: crate::keys::value(), random };
            let stop = Arc::clone(&stop);
            tokio::spawn(async move {
                let mut done = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let begun = Instant::now();
                    worker.once().await;
                    done.push((begun, Instant::now()));
                }
                done
            })
        })
        .collect();
    tokio::time::sleep(WARM_UP).await;
    let (before, from) = (Usage::of(pid), Instant::now());
    tokio::time::sleep(window).await;
    let (after, to) = (Usage::of(pid), Instant::now());
    stop.store(true, Ordering::Relaxed);
    let mut latencies = Vec::new();
    for task in tasks {
        let done = task.await.expect("a client");
        let within = done.into_iter().filter(|&(_, ended)| from <= ended && ended < to);
        latencies.extend(within.map(|(begun, ended)| ended - begun));
    }
    latencies.sort_unstable();
    let ops = latencies.len().max(1) as f64;
    Measured {
        ops_per_sec: latencies.len() as f64 / (to - from).as_secs_f64(),
        p50_ms: percentile_ms(&latencies, 50),
        p99_ms: percentile_ms(&latencies, 99),
        cpu_us_per_op: (after.cpu_secs - before.cpu_secs) * 1e6 / ops,
        written_bytes_per_op: (after.written_bytes - before.written_bytes) / ops,
        rss_mib: after.rss_mib,
    }
}

fn percentile_ms(sorted: &[Duration], percent: usize) -> f64 {
    let place = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(place).map_or(f64::NAN, |latency| latency.as_secs_f64() * 1e3)
}

/// Puts every key once, each in a request of its own; returns how long it took.
pub async fn fill(cluster: &Cluster, keys: &Arc<Vec<Bytes>>) -> Duration {
    let connections = subject::connect(cluster, LOADERS);
    let (begun, next) = (Instant::now(), Arc::new(AtomicUsize::new(0)));
    let tasks: Vec<_> = (0..LOADERS)
        .map(|number| {
            let (mut kv, value) = (connections[number % connections.len()].kv(), crate::keys::value());
            let (keys, next) = (Arc::clone(keys), Arc::clone(&next));
            tokio::spawn(async move {
                while let Some(key) = keys.get(next.fetch_add(1, Ordering::Relaxed)) {
                    put(&mut kv, key.clone(), value.clone()).await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("a loader");
    }
    begun.elapsed()
}

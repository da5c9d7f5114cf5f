//! What drives clients and counts what they did: closed loop here, open loop in [`crate::open_loop`].
//!
//! An operation counts for the window that its intended start lies in, whenever it ends; the rate is that of
//! operations that ended within the window.

use crate::histogram::Histogram;
use crate::report::{Figure, Sample};
use crate::usage::{Meter, Spent};
use keelstone_harness::{Cluster, wait};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

/// For caches to fill and connections to open, before anything counts.
pub const WARM_UP: Duration = Duration::from_secs(1);

/// How long operations may take to end after the load has been stopped.
const FINISH_LIMIT: Duration = Duration::from_secs(60);

/// What does one operation after another.
pub trait Client: Send + 'static {
    /// One operation, from its request to its answer.
    ///
    /// # Panics
    /// If the server refuses, or answers with less than was asked for.
    fn once(&mut self) -> impl Future<Output = ()> + Send;
}

/// Clients that work, and what they did.
#[derive(Debug, Default)]
pub struct Load {
    stopped: AtomicBool,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
pub struct Counts {
    from: Option<Instant>,
    to: Option<Instant>,
    pub latencies: Histogram,
    /// Operations that ended in the window.
    ended: u64,
}

impl Load {
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    pub fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().expect("no panic while counting")
    }

    pub fn record(&self, intended: Instant, ended: Instant) {
        self.counts().record(intended, ended);
    }

    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// From now on it counts.
    pub fn open_window(&self) {
        self.counts().from = Some(Instant::now());
    }

    /// What begins from now on does not count.
    pub fn close_window(&self) {
        self.counts().to = Some(Instant::now());
    }

    /// When the window was closed.
    pub fn window_end(&self) -> Option<Instant> {
        self.counts().to
    }

    /// Warms up, lets the window pass, and stops the load.
    pub async fn window(&self, cluster: &Cluster, window: Duration) -> Spent {
        wait::pass(WARM_UP).await;
        let meter = Meter::start(cluster).await;
        self.open_window();
        wait::pass(window).await;
        self.close_window();
        self.stop();
        meter.stop(cluster).await
    }

    /// The figures of a window, to be asked for when all clients have finished.
    pub fn sample(&self, spent: &Spent) -> Sample {
        self.counts().sample(spent)
    }
}

impl Counts {
    fn record(&mut self, intended: Instant, ended: Instant) {
        let Some(from) = self.from else { return };
        let is_before_the_end = |at| self.to.is_none_or(|to| at < to);
        if from <= ended && is_before_the_end(ended) {
            self.ended += 1;
        }
        if from <= intended && is_before_the_end(intended) {
            self.latencies.record(ended - intended);
        }
    }

    fn sample(&self, spent: &Spent) -> Sample {
        let ops = self.ended.max(1) as f64;
        vec![
            (Figure::Rate, self.ended as f64 / spent.time.as_secs_f64()),
            (Figure::P50, self.latencies.percentile_ms(0.5)),
            (Figure::P99, self.latencies.percentile_ms(0.99)),
            (Figure::P999, self.latencies.percentile_ms(0.999)),
            (Figure::Cpu, spent.cpu_secs * 1e6 / ops),
            (Figure::Written, spent.written_bytes / ops),
            (Figure::Syncs, spent.syncs / ops),
            (Figure::Rss, spent.rss_mib),
            (Figure::Client, spent.own_cpu_secs * 1e6 / ops),
            (Figure::Others, spent.others_cpu_secs * 100.0 / spent.time.as_secs_f64()),
        ]
    }
}

/// Each client has one operation outstanding; all are measured for `window` after a warm-up.
pub async fn closed_loop<C: Client>(cluster: &Cluster, clients: Vec<C>, window: Duration) -> Sample {
    let load = Load::new();
    let tasks = clients.into_iter().map(|client| tokio::spawn(repeat(Arc::clone(&load), client))).collect();
    let spent = load.window(cluster, window).await;
    finish(tasks).await;
    load.sample(&spent)
}

async fn repeat<C: Client>(load: Arc<Load>, mut client: C) {
    while !load.is_stopped() {
        let begun = Instant::now();
        client.once().await;
        load.record(begun, Instant::now());
    }
}

/// Waits until all have ended that were told to.
pub async fn finish(tasks: Vec<JoinHandle<()>>) {
    finish_within(FINISH_LIMIT, tasks).await;
}

/// Waits until all have ended.
///
/// # Panics
/// If one failed, or they take longer than `limit`.
pub async fn finish_within(limit: Duration, tasks: Vec<JoinHandle<()>>) {
    let all = async {
        for task in tasks {
            task.await.expect("a client that did not fail");
        }
    };
    tokio::time::timeout(limit, all).await.unwrap_or_else(|_| panic!("clients did not end within {limit:?}"));
}

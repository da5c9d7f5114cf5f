//! Whole states that leave a server: to a client that makes a backup, and to a member that has fallen behind. Neither may
//! cost memory by their size.

use crate::args::Args;
use crate::fill::fill_through;
use crate::keys::random_keys;
use crate::report::Report;
use crate::rows::*;
use crate::subject::Subjects;
use crate::usage::{MIB, Usage};
use bytes::Bytes;
use keelstone_harness::{Cluster, wait};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How often memory is looked at.
const LOOK: Duration = Duration::from_millis(20);
/// How long a server is left alone before its memory counts as at rest.
const REST: Duration = Duration::from_secs(3);
const LIMIT: Duration = Duration::from_secs(600);
/// So that the log is cut behind the member that is away.
const FLAGS: [&str; 2] = ["--snapshot-count=10000", "--snapshot-catchup-entries=1000"];

/// All that a client gets of `Maintenance.Snapshot`.
pub async fn to_client(cluster: &Cluster, server: usize, report: &mut Report) {
    let watched = Watched::start(cluster[0].pid().expect("a running server"));
    let (begun, mut bytes) = (Instant::now(), 0);
    let mut stream = cluster[0].client().snapshot().await.expect("a stream");
    while let Some(message) = stream.message().await.expect("the next piece of a snapshot") {
        bytes += message.blob.len();
    }
    report.add_value(SNAPSHOT, server, begun.elapsed().as_secs_f64());
    report.add_value(SNAPSHOT_BYTES, server, bytes as f64 / MIB);
    report.add_value(SNAPSHOT_RSS, server, watched.growth().await);
}

/// A third member misses `--million` puts, of which the log keeps none.
pub async fn to_member(args: &Args, subjects: &Subjects, report: &mut Report) {
    for _ in 0..args.rounds.unwrap_or(1) {
        for &server in &args.servers {
            let mut cluster = subjects.start_with(server, 3, &FLAGS).await;
            let leader = cluster.leader().await;
            let behind = (leader + 1) % 3;
            cluster[behind].kill();
            let keys = Arc::new(random_keys("", 1, args.million));
            let up: Vec<usize> = (0..3).filter(|&place| place != behind).collect();
            fill_through(&cluster, &up, &keys, LIMIT * 3).await;
            wait::pass(REST).await;
            let sender = Watched::start(cluster[leader].pid().expect("a running server"));
            let begun = Instant::now();
            subjects.launch(&mut cluster, behind);
            let receiver = Watched::start(cluster[behind].pid().expect("a running server"));
            has(&cluster, behind, &keys[keys.len() - 1]).await;
            report.add_value(MEMBER, server, begun.elapsed().as_secs_f64());
            report.add_value(MEMBER_SENDER_RSS, server, sender.growth().await);
            wait::pass(REST).await;
            report.add_value(MEMBER_RECEIVER_RSS, server, receiver.surplus().await);
        }
    }
}

async fn has(cluster: &Cluster, place: usize, key: &Bytes) {
    let client = cluster[place].client().with_deadline(Duration::from_secs(1));
    wait::until("the member to catch up", LIMIT, || async {
        client.get(key.clone()).await.ok().filter(|answer| answer.count == 1)
    })
    .await;
}

/// Resident memory of a process over a time.
struct Watched {
    pid: u32,
    before_mib: f64,
    ends: Arc<AtomicBool>,
    highest_mib: tokio::task::JoinHandle<f64>,
}

impl Watched {
    fn start(pid: u32) -> Self {
        let before_mib = Usage::of(pid).rss_mib;
        let ends = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&ends);
        let highest_mib = tokio::spawn(async move {
            let mut highest = before_mib;
            while !until.load(Ordering::Relaxed) {
                highest = Usage::of(pid).rss_mib.max(highest);
                wait::pass(LOOK).await;
            }
            highest
        });
        Self { pid, before_mib, ends, highest_mib }
    }

    /// By how much it was above what it was at the start, at most, in MiB.
    async fn growth(self) -> f64 {
        self.ends.store(true, Ordering::Relaxed);
        self.highest_mib.await.expect("nobody ends it") - self.before_mib
    }

    /// By how much it was above what it is now, at most, in MiB.
    async fn surplus(self) -> f64 {
        self.ends.store(true, Ordering::Relaxed);
        self.highest_mib.await.expect("nobody ends it") - Usage::of(self.pid).rss_mib
    }
}

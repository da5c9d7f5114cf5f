//! Puts while a server cleans up: the longest wait of any while it is quiet, while it compacts, while it defragments.

use crate::calls::{Calls, writers};
use crate::load::{Client, Load, finish};
use crate::open_loop::at_rate;
use crate::report::Report;
use crate::rows::*;
use crate::usage::{MIB, Meter, Spent};
use bytes::Bytes;
use keelstone_harness::proto::etcdserverpb::maintenance_client::MaintenanceClient;
use keelstone_harness::proto::etcdserverpb::{CompactionRequest, DefragmentRequest};
use keelstone_harness::{Cluster, wait};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Puts are due this often, so a stall is seen to five milliseconds.
const PER_SEC: u32 = 200;
const CLIENTS: usize = 1000;
const SOME_KEYS: usize = 10_000;
const QUIET: Duration = Duration::from_secs(10);
const LIMIT: Duration = Duration::from_secs(300);

/// All revisions but the newest of each key are compacted.
pub async fn run(cluster: &Cluster, keys: &[Bytes], server: usize, report: &mut Report) {
    let keys = &keys[..SOME_KEYS.min(keys.len())];
    let client = cluster[0].client().with_deadline(LIMIT);
    let (quiet, _) = puts_during(cluster, keys, wait::pass(QUIET)).await;
    report.add_value(QUIET_WAIT, server, quiet);

    let revision = client.put(keys[0].clone(), "").await.expect("an answer to a put");
    let compact = async {
        let answer = client.compact(CompactionRequest { revision, physical: true }).await;
        answer.expect("a compaction");
    };
    let (longest, spent) = puts_during(cluster, keys, compact).await;
    report.add_value(COMPACTION, server, spent.time.as_secs_f64());
    report.add_value(COMPACTION_CPU, server, spent.cpu_secs);
    report.add_value(COMPACTION_WAIT, server, longest);
    report.add_value(COMPACTION_TIMES, server, longest / quiet);

    let size_mib = async || client.status().await.expect("status").db_size as f64 / MIB;
    let before_mib = size_mib().await;
    let defragment = async {
        MaintenanceClient::new(client.channel()).defragment(DefragmentRequest {}).await.expect("a defragmentation");
    };
    let (longest, spent) = puts_during(cluster, keys, defragment).await;
    let after_mib = size_mib().await;
    report.add_value(DEFRAGMENT, server, spent.time.as_secs_f64());
    report.add_value(DEFRAGMENT_WAIT, server, longest);
    report.add_value(DEFRAGMENT_TIMES, server, longest / quiet);
    report.add_value(DEFRAGMENTED, server, after_mib);
    report.add_value(DEFRAGMENT_FREED, server, 1.0 - after_mib / before_mib);
}

/// etcd lets puts time out while it defragments much. That is how long they waited, and the next one goes on.
struct Patient {
    calls: Calls,
    refused: Arc<AtomicU64>,
}

impl Client for Patient {
    async fn once(&mut self) {
        if let Err(refused) = self.calls.attempt().await
            && self.refused.fetch_add(1, Ordering::Relaxed) == 0
        {
            eprintln!("a put while the server cleans up: {refused}");
        }
    }
}

/// The longest wait, in milliseconds, of a put that was due while `work` went on.
async fn puts_during(cluster: &Cluster, keys: &[Bytes], work: impl Future<Output = ()>) -> (f64, Spent) {
    let load = Load::new();
    let refused = Arc::new(AtomicU64::new(0));
    let patient = |calls| Patient { calls, refused: Arc::clone(&refused) };
    let clients = writers(cluster, CLIENTS, keys).await.into_iter().map(patient).collect();
    let task = tokio::spawn(at_rate(Arc::clone(&load), clients, PER_SEC));
    wait::pass(crate::load::WARM_UP).await;
    let meter = Meter::start(cluster).await;
    load.open_window();
    tokio::time::timeout(LIMIT, work).await.expect("cleaning up ends");
    load.close_window();
    load.stop();
    let spent = meter.stop(cluster).await;
    finish(vec![task]).await;
    match refused.load(Ordering::Relaxed) {
        0 => {}
        count => eprintln!("{count} puts were refused while the server cleaned up"),
    }
    let longest = load.counts().latencies.longest();
    (longest.as_secs_f64() * 1e3, spent)
}

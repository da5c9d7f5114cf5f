//! A server with a million keys: its sizes, a minute of few writes, its restart after kill -9, and cleaning up.

use crate::args::Args;
use crate::fill::fill;
use crate::keys::random_keys;
use crate::report::Report;
use crate::rows::*;
use crate::subject::Subjects;
use crate::usage::{Usage, folder_mib, usage};
use crate::{compaction, few_writes, snapshot};
use bytes::Bytes;
use keelstone_harness::{Cluster, wait};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a server is left alone before its memory counts as at rest.
const REST: Duration = Duration::from_secs(3);

const FILL_LIMIT: Duration = Duration::from_secs(1800);
const RESTART_LIMIT: Duration = Duration::from_secs(120);

pub async fn run(args: &Args, subjects: &Subjects, report: &mut Report) {
    let keys = Arc::new(random_keys("", 1, args.million));
    for _ in 0..args.rounds.unwrap_or(1) {
        for &server in &args.servers {
            let mut cluster = subjects.start(server, 1).await;
            load(&cluster, &keys, server, report).await;
            few_writes::run(&cluster, &keys, server, report).await;
            cluster[0].kill();
            restart(subjects, &mut cluster, &keys, server, report).await;
            // A revision of each key is to be compacted.
            fill(&cluster, &keys, FILL_LIMIT).await;
            wait::pass(REST).await;
            snapshot::to_client(&cluster, server, report).await;
            compaction::run(&cluster, &keys, server, report).await;
        }
    }
}

async fn load(cluster: &Cluster, keys: &Arc<Vec<Bytes>>, server: usize, report: &mut Report) {
    wait::pass(REST).await;
    report.add_value(RSS_EMPTY, server, usage(&cluster[0]).rss_mib);
    report.add_value(LOADING, server, fill(cluster, keys, FILL_LIMIT).await.as_secs_f64());
    wait::pass(REST).await;
    let loaded = usage(&cluster[0]);
    report.add_value(RSS_LOADED, server, loaded.rss_mib);
    report.add_value(RSS_PEAK, server, loaded.peak_rss_mib);
    report.add_value(FOLDER, server, folder_mib(&cluster[0].data_dir()));
}

async fn restart(subjects: &Subjects, cluster: &mut Cluster, keys: &[Bytes], server: usize, report: &mut Report) {
    let (took, at_first_read) = first_read(subjects, cluster, &keys[keys.len() - 1]).await;
    report.add_value(RESTART, server, took.as_secs_f64());
    report.add_value(RESTART_CPU, server, at_first_read.cpu_secs);
    wait::pass(REST).await;
    let restarted = usage(&cluster[0]);
    report.add_value(RSS_RESTARTED, server, restarted.rss_mib);
    report.add_value(RSS_RESTARTED_PEAK, server, restarted.peak_rss_mib);
}

/// From the start of the process to the answer of a read that must find `key`.
async fn first_read(subjects: &Subjects, cluster: &mut Cluster, key: &Bytes) -> (Duration, Usage) {
    let begun = Instant::now();
    subjects.launch(cluster, 0);
    let client = cluster[0].client().with_deadline(Duration::from_secs(1));
    let answer = wait::until("the first linearizable read after a restart", RESTART_LIMIT, || async {
        client.get(key.clone()).await.ok()
    })
    .await;
    assert_eq!(answer.count, 1, "an acknowledged key is there");
    (begun.elapsed(), usage(&cluster[0]))
}

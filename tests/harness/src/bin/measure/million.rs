//! Sizes of a server with many keys, and its restart after kill -9.

use crate::args::Args;
use crate::keys::random_keys;
use crate::load::fill;
use crate::subject::{NAMES, Subjects};
use crate::table::{figure, median, render};
use crate::usage::{Usage, folder_mib};
use bytes::Bytes;
use keelstone_harness::{Cluster, wait};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a server is left alone before its memory counts as at rest.
const REST: Duration = Duration::from_secs(3);

const RESTART_LIMIT: Duration = Duration::from_secs(120);

const LABELS: [&str; 9] = [
    "RSS of an empty server, MiB",
    "loading, s",
    "RSS after the load, MiB",
    "highest RSS of the load, MiB",
    "data directory, MiB",
    "start after kill -9 to the first linearizable read, s",
    "CPU of that start, s",
    "RSS after the restart, MiB",
    "highest RSS of the restart, MiB",
];

/// Runs all rounds and returns the report.
pub async fn run(args: &Args) -> String {
    let subjects = Subjects::find(args);
    let keys = Arc::new(random_keys("", 1, args.keys));
    let mut measured = [Vec::new(), Vec::new()];
    for round in 0..args.rounds {
        for (server, name) in NAMES.iter().enumerate() {
            let result = once(&subjects, server, &keys).await;
            eprintln!("round {} {name}: {result:.1?}", round + 1);
            measured[server].push(result);
        }
    }
    let mut lines = vec![["", "etcd", "keelstone", "ratio"].map(str::to_owned).to_vec()];
    for (place, label) in LABELS.iter().enumerate() {
        let [etcd, ours] = measured.each_ref().map(|rounds| median(rounds.iter().map(|numbers| numbers[place])));
        lines.push(vec![(*label).to_owned(), figure(etcd), figure(ours), figure(ours / etcd)]);
    }
    let head = format!(
        "{}; {} keys of 64 bytes, values of 256, a put each; medians of {} rounds",
        subjects.describe(),
        args.keys,
        args.rounds
    );
    format!("{head}\n\n{}", render(&lines))
}

/// The numbers of [`LABELS`].
async fn once(subjects: &Subjects, server: usize, keys: &Arc<Vec<Bytes>>) -> [f64; LABELS.len()] {
    let mut cluster = subjects.start(server).await;
    wait::pass(REST).await;
    let empty = usage(&cluster);
    let loading = fill(&cluster, keys).await;
    wait::pass(REST).await;
    let (loaded, folder) = (usage(&cluster), folder_mib(&cluster[0].data_dir()));
    cluster[0].kill();
    let (start, at_first_read) = restart(subjects, &mut cluster, &keys[keys.len() - 1]).await;
    wait::pass(REST).await;
    let restarted = usage(&cluster);
    cluster[0].kill();
    // Folders stay until this process ends: the next round needs the room.
    std::fs::remove_dir_all(cluster[0].data_dir()).expect("remove a data directory");
    [
        empty.rss_mib,
        loading.as_secs_f64(),
        loaded.rss_mib,
        loaded.peak_rss_mib,
        folder,
        start.as_secs_f64(),
        at_first_read.cpu_secs,
        restarted.rss_mib,
        restarted.peak_rss_mib,
    ]
}

/// From the start of the process to the answer of a read that must find `key`.
async fn restart(subjects: &Subjects, cluster: &mut Cluster, key: &Bytes) -> (Duration, Usage) {
    let begun = Instant::now();
    subjects.launch(cluster);
    let client = cluster[0].client().with_deadline(Duration::from_secs(1));
    let answer = wait::until("the first linearizable read after a restart", RESTART_LIMIT, || async {
        client.get(key.clone()).await.ok()
    })
    .await;
    assert_eq!(answer.count, 1, "an acknowledged key is there");
    (begun.elapsed(), usage(cluster))
}

fn usage(cluster: &Cluster) -> Usage {
    Usage::of(cluster[0].pid().expect("a running server"))
}

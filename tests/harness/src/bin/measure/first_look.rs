//! Rates, latencies and costs of the commonest operations, side by side.

use crate::args::Args;
use crate::keys::random_keys;
use crate::load::{Measured, Work, fill, measure};
use crate::subject::{NAMES, Subjects};
use crate::table::{figure, median, render};
use bytes::Bytes;
use keelstone_harness::prefix_end;
use std::sync::Arc;

const PAGE: usize = 500;

/// No random key begins with it.
const PAGED_PREFIX: &str = "paged/";

/// Runs all rounds and returns the report.
pub async fn run(args: &Args) -> String {
    let subjects = Subjects::find(args);
    let keys = Arc::new(random_keys("", 1, 100_000));
    let paged = Arc::new(random_keys(PAGED_PREFIX, 2, 50_000));
    let rows: [(&str, Work, usize); 5] = [
        ("put, 1 client", Work::Put(Arc::clone(&keys)), 1),
        ("put, 100 clients", Work::Put(Arc::clone(&keys)), 100),
        ("put, 1000 clients", Work::Put(Arc::clone(&keys)), 1000),
        ("get, linearizable, 100 clients", Work::Get(Arc::clone(&keys)), 100),
        (
            "page of 500 out of 50 k keys, 10 clients",
            Work::Page(Arc::new(page_starts(&paged)), prefix_end(PAGED_PREFIX.as_bytes()), PAGE as i64),
            10,
        ),
    ];
    // By row, server and round.
    let mut measured: Vec<[Vec<Measured>; 2]> = rows.iter().map(|_| [Vec::new(), Vec::new()]).collect();
    for round in 0..args.rounds {
        for (server, name) in NAMES.iter().enumerate() {
            let mut cluster = subjects.start(server).await;
            fill(&cluster, &keys).await;
            fill(&cluster, &paged).await;
            for ((label, work, clients), results) in rows.iter().zip(&mut measured) {
                let result = measure(&cluster, work, *clients, args.window).await;
                eprintln!("round {} {name}: {label}: {result:.1?}", round + 1);
                results[server].push(result);
            }
            cluster[0].kill();
            // Folders stay until this process ends: the next round needs the room.
            std::fs::remove_dir_all(cluster[0].data_dir()).expect("remove a data directory");
        }
    }
    let labels: Vec<&str> = rows.iter().map(|(label, ..)| *label).collect();
    let head = format!(
        "{}; 64-byte keys, 256-byte values, medians of {} rounds of {} s",
        subjects.describe(),
        args.rounds,
        args.window.as_secs()
    );
    format!("{head}\n\n{}", render(&lines(&labels, &measured)))
}

/// Keys from which on there are a whole page's keys.
fn page_starts(keys: &[Bytes]) -> Vec<Bytes> {
    let mut sorted = keys.to_vec();
    sorted.sort();
    sorted.into_iter().step_by(PAGE).collect()
}

fn lines(labels: &[&str], measured: &[[Vec<Measured>; 2]]) -> Vec<Vec<String>> {
    let heads = ["work", "server", "ops/s", "p50 ms", "p99 ms", "CPU us/op", "written B/op", "RSS MiB"];
    let mut lines = vec![heads.map(str::to_owned).to_vec()];
    for (label, servers) in labels.iter().zip(measured) {
        let [etcd, ours] = servers.each_ref().map(|rounds| medians(rounds));
        let ratio: Vec<f64> = ours.iter().zip(&etcd).map(|(ours, etcd)| ours / etcd).collect();
        for (first, second, numbers) in [(*label, "etcd", &etcd), ("", "keelstone", &ours), ("", "ratio", &ratio)] {
            let mut line = vec![first.to_owned(), second.to_owned()];
            line.extend(numbers.iter().map(|number| figure(*number)));
            lines.push(line);
        }
    }
    lines
}

fn medians(rounds: &[Measured]) -> Vec<f64> {
    let columns: [fn(&Measured) -> f64; 6] = [
        |row| row.ops_per_sec,
        |row| row.p50_ms,
        |row| row.p99_ms,
        |row| row.cpu_us_per_op,
        |row| row.written_bytes_per_op,
        |row| row.rss_mib,
    ];
    columns.iter().map(|column| median(rounds.iter().map(column))).collect()
}

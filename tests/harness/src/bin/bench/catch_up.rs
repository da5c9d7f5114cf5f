//! Watchers that lag: 10 000 of them, each of a key of its own, are created 100 000 revisions back.
//!
//! The revisions of the watched keys are the last ones, so that every watcher receives one event and is then known to
//! have caught up. What scanning costs is the difference to watchers that are created just before those: creation
//! and delivery are the same for both.

use crate::args::Args;
use crate::calls::WATCH;
use crate::fill::fill;
use crate::keys::random_keys;
use crate::load::finish_within;
use crate::report::Report;
use crate::rows::*;
use crate::subject::{Subjects, connect};
use crate::table::median;
use crate::usage::{metric, usage};
use crate::wire::frame;
use bytes::Bytes;
use keelstone_harness::proto::etcdserverpb::watch_request::RequestUnion;
use keelstone_harness::proto::etcdserverpb::{WatchCreateRequest, WatchRequest, WatchResponse};
use keelstone_harness::{Cluster, wait};
use prost::Message;
use std::sync::Arc;
use std::time::{Duration, Instant};

const WATCHERS: usize = 10_000;
const STREAMS: usize = 100;
/// Revisions of other keys, before those of the watched ones.
const OTHERS: usize = 100_000 - WATCHERS;
const FILL_LIMIT: Duration = Duration::from_secs(300);
const LIMIT: Duration = Duration::from_secs(120);
/// Each is measured so often, and medians are taken.
const TIMES: usize = 3;
const OPEN_STREAMS: &str = "etcd_debugging_mvcc_watch_stream_total ";

#[derive(Debug, Clone, Copy)]
struct Cost {
    secs: f64,
    cpu_secs: f64,
}

pub async fn run(args: &Args, subjects: &Subjects, report: &mut Report) {
    for _ in 0..args.rounds.unwrap_or(1) {
        for &server in &args.servers {
            let cluster = subjects.start(server, 1).await;
            one_server(&cluster, server, report).await;
        }
    }
}

async fn one_server(cluster: &Cluster, server: usize, report: &mut Report) {
    let others = Arc::new(random_keys("other/", 1, OTHERS));
    let watched = Arc::new(random_keys("watched/", 2, WATCHERS));
    let client = cluster[0].client();
    let far = client.put("first", "").await.expect("an answer to a put");
    fill(cluster, &others, FILL_LIMIT).await;
    let near = client.put("last", "").await.expect("an answer to a put");
    fill(cluster, &watched, FILL_LIMIT).await;
    let mut costs: [Vec<Cost>; 4] = Default::default();
    for _ in 0..TIMES {
        let kinds = [(1, far), (1, near), (WATCHERS, far), (WATCHERS, near)];
        for ((watchers, from), costs) in kinds.into_iter().zip(&mut costs) {
            costs.push(catch_up(cluster, &watched[WATCHERS - watchers..], from).await);
        }
    }
    let [one_far, one_near, all_far, all_near] =
        costs.each_ref().map(|costs| median(costs.iter().map(|cost| cost.cpu_secs)));
    let (one, all) = (one_far - one_near, all_far - all_near);
    report.add_value(CATCH_UP_SECS, server, median(costs[2].iter().map(|cost| cost.secs)));
    report.add_value(CATCH_UP_SCAN_OF_ONE, server, one * 1e3);
    report.add_value(CATCH_UP_SCAN_OF_ALL, server, all * 1e3);
    report.add_value(CATCH_UP_TIMES, server, all / one);
    report.add_value(CATCH_UP_DELIVERY, server, all_near * 1e6 / WATCHERS as f64);
}

/// Creates a watcher for each key and waits until each has received its event; the streams are gone afterwards.
async fn catch_up(cluster: &Cluster, keys: &[Bytes], from: i64) -> Cost {
    let connections = connect(cluster, STREAMS).await;
    let streams: Vec<Vec<Bytes>> =
        keys.chunks(WATCHERS / STREAMS).map(|keys| keys.iter().map(|key| create(key, from)).collect()).collect();
    let (before, begun) = (usage(&cluster[0]), Instant::now());
    let tasks = streams.into_iter().enumerate().map(|(number, creates)| {
        let mut caller = connections[number % connections.len()].caller(WATCH);
        tokio::spawn(async move {
            let (mut requests, mut answers) = caller.open().await;
            let mut missing = creates.len();
            for create in creates {
                requests.send(create);
            }
            while missing > 0 {
                let answer = WatchResponse::decode(answers.next().await).expect("an answer to a watch");
                assert!(!answer.canceled, "{answer:?}");
                missing -= answer.events.len();
            }
        })
    });
    finish_within(LIMIT, tasks.collect()).await;
    let cost = Cost { secs: begun.elapsed().as_secs_f64(), cpu_secs: usage(&cluster[0]).cpu_secs_since(&before) };
    wait::until("the streams to be gone", LIMIT, || async {
        (metric(&cluster[0], OPEN_STREAMS).await == 0.0).then_some(())
    })
    .await;
    cost
}

fn create(key: &Bytes, from: i64) -> Bytes {
    let create = WatchCreateRequest { key: key.clone(), start_revision: from, ..Default::default() };
    frame(&WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) })
}

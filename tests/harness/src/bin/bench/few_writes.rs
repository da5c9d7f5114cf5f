//! A quiet server: few puts a second for a minute. What it writes then is what its commits cost, not its data.

use crate::calls::writers;
use crate::load::{Load, finish};
use crate::open_loop::at_rate;
use crate::report::Report;
use crate::rows::*;
use crate::usage::{MIB, Meter};
use bytes::Bytes;
use keelstone_harness::{Cluster, wait};
use std::sync::Arc;
use std::time::Duration;

const PER_SEC: u32 = 10;
const MINUTE: Duration = Duration::from_secs(60);
const CLIENTS: usize = 10;
/// Keys that are drawn from; building a request for each of a million would take long.
const SOME_KEYS: usize = 10_000;

pub async fn run(cluster: &Cluster, keys: &[Bytes], server: usize, report: &mut Report) {
    let load = Load::new();
    let clients = writers(cluster, CLIENTS, &keys[..SOME_KEYS.min(keys.len())]).await;
    let meter = Meter::start(cluster).await;
    load.open_window();
    let task = tokio::spawn(at_rate(Arc::clone(&load), clients, PER_SEC));
    wait::pass(MINUTE).await;
    load.close_window();
    load.stop();
    let spent = meter.stop(cluster).await;
    finish(vec![task]).await;
    report.add_value(FEW_WRITTEN, server, spent.written_bytes / MIB);
    report.add_value(FEW_SYNCS, server, spent.syncs);
    report.add_value(FEW_CPU, server, spent.cpu_secs * 1e3);
}

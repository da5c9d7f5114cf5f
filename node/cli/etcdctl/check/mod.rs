//! `etcdctl check`: loads a cluster and judges what it makes of it.

mod load;
mod memory;

use super::connection;
use super::failure::{self, BAD_FEATURE, Failure, INVALID_INPUT, Outcome};
use super::flags::{Flag, Kind};
use super::tree::{Command, Group};
use super::{Call, go, lock, printer, range};
use crate::client::{Client, methods};
use indicatif::ProgressBar;
use keelstone_proto::etcdserverpb::{CompactionRequest, DefragmentRequest, DeleteRangeRequest, RangeRequest};
use load::{Load, Pace, Stats};
use std::time::Duration;
use tokio::time::Instant;

pub static COMMAND: Command = Command {
    line: "check <subcommand>",
    short: "Checks what the cluster can do. See `etcdctl check --help`",
    long: "Checks what the cluster can do",
    group: Group::Utility,
    children: &[&PERF, &DATASCALE],
    ..Command::PLAIN
};

static PERF: Command = Command {
    line: "perf [options]",
    short: "Writes for a minute and judges how fast",
    flags: &[
        Flag::new("load", Kind::Text, "s", "s(mall), m(edium), l(arge) or xl(arge): how many clients write how much"),
        Flag::new("prefix", Kind::Text, "/etcdctl-check-perf/", "where the keys are written"),
        Flag::switch("auto-compact", "compact the store afterwards"),
        Flag::switch("auto-defrag", "defragment the store afterwards"),
    ],
    run: Some(|call| Box::pin(perf(call))),
    ..Command::PLAIN
};

static DATASCALE: Command = Command {
    line: "datascale [options]",
    short: "Writes many keys and tells how much memory the server needs for them",
    long: "Writes many keys and tells how much memory the server needs for them. It asks the first of the endpoints.",
    flags: &[
        Flag::new("load", Kind::Text, "s", "s(mall), m(edium), l(arge) or xl(arge): how many keys"),
        Flag::new("prefix", Kind::Text, "/etcdctl-check-datascale/", "where the keys are written"),
        Flag::switch("auto-compact", "compact the store afterwards"),
        Flag::switch("auto-defrag", "defragment the store afterwards"),
    ],
    run: Some(|call| Box::pin(datascale(call))),
    ..Command::PLAIN
};

/// How long `perf` writes.
const SECONDS: u64 = 60;
/// For what is done afterwards.
const AFTERWARDS: Duration = Duration::from_secs(30);

/// Writes a second, clients.
const PERF_LOADS: [(u64, usize); 4] = [(150, 50), (1_000, 200), (8_000, 500), (15_000, 1_000)];
/// Keys, clients. A pair has one KiB.
const DATASCALE_LOADS: [(u64, usize); 4] = [(10_000, 50), (100_000, 200), (1_000_000, 500), (3_000_000, 1_000)];

/// Which of the four loads is meant.
fn size_of(name: &str) -> Result<usize, Failure> {
    match name {
        "s" | "small" => Ok(0),
        "m" | "medium" => Ok(1),
        "l" | "large" => Ok(2),
        "xl" | "xLarge" => Ok(3),
        _ => Err(Failure::new(BAD_FEATURE, format_args!("unknown load option {name}"))),
    }
}

fn say(text: String) -> Outcome {
    printer::print((text + "\n").as_bytes())
}

/// Clients with a connection each.
async fn clients(call: &mut Call, count: usize) -> Result<Vec<Client>, Failure> {
    let (settings, _) = call.settings().await?;
    let mut clients = Vec::new();
    for _ in 0..count {
        clients.push(connection::open(settings.clone()).await?);
    }
    Ok(clients)
}

/// Keys that are there already would be lost at the end.
async fn expect_no_keys(client: &Client, prefix: &str, quoted: bool) -> Outcome {
    let (key, end) = range::with_prefix(prefix);
    let request = RangeRequest { key: key.into(), range_end: end.into(), limit: 1, ..RangeRequest::default() };
    let found = client.call(methods::RANGE, request, None).await.map_err(Failure::error)?;
    if found.kvs.is_empty() {
        return Ok(());
    }
    let command = format!("etcdctl del --prefix {prefix}");
    let command = if quoted { format!("'{command}'") } else { command };
    let prefix = go::quote(prefix.as_bytes());
    Err(Failure::new(INVALID_INPUT, format_args!("prefix {prefix} has keys. Delete with {command} first")))
}

/// Deletes the keys; returns the revision, or why not.
async fn clean(client: &Client, prefix: &str) -> Result<i64, String> {
    let (key, end) = range::with_prefix(prefix);
    let request = DeleteRangeRequest { key: key.into(), range_end: end.into(), ..DeleteRangeRequest::default() };
    let deadline = Some(Instant::now() + AFTERWARDS);
    let deleted = client.call(methods::DELETE, request, deadline).await.map_err(|error| error.to_string())?;
    Ok(deleted.header.map_or(0, |header| header.revision))
}

async fn compact(client: &Client, revision: i64) -> Outcome {
    say(format!("Compacting with revision {revision}"))?;
    let request = CompactionRequest { revision, physical: true };
    client.call(methods::COMPACT, request, Some(Instant::now() + AFTERWARDS)).await.map_err(Failure::error)?;
    say(format!("Compacted with revision {revision}"))
}

async fn defragment(client: &Client) -> Outcome {
    for endpoint in client.settings().given() {
        let quoted = go::quote(endpoint.as_bytes());
        say(format!("Defragmenting {quoted}"))?;
        let one = connection::open(client.settings().to_one(&endpoint)?).await?;
        let deadline = Some(Instant::now() + AFTERWARDS);
        one.call(methods::DEFRAGMENT, DefragmentRequest {}, deadline).await.map_err(Failure::error)?;
        say(format!("Defragmented {quoted}"))?;
    }
    Ok(())
}

async fn perf(call: &mut Call) -> Outcome {
    let (per_second, count) = PERF_LOADS[size_of(call.values.text("load"))?];
    let clients = clients(call, count).await?;
    let prefix = call.values.text("prefix").to_owned();
    expect_no_keys(&clients[0], &prefix, true).await?;
    let bar = ProgressBar::new(SECONDS);
    let pace = Pace::Each { per_second, until: Duration::from_secs(SECONDS) };
    let load = Load { prefix: prefix.clone(), key_size: 256, value_size: 1024, pace };
    let mut interrupts = lock::Interrupts::new()?;
    let stats = tokio::select! {
        stats = load.run(&clients, |_, elapsed| bar.set_position(elapsed.as_secs())) => Some(stats),
        () = interrupts.next() => None,
    };
    bar.finish_and_clear();
    match clean(&clients[0], &prefix).await {
        Ok(revision) if call.values.switch("auto-compact") && stats.is_some() => compact(&clients[0], revision).await?,
        Ok(_) => {}
        Err(error) => say(format!("FAIL: Cleanup failed during key deletion: ERROR({error})"))?,
    }
    let Some(stats) = stats else { return Err(Failure::silent(failure::INTERRUPTED)) };
    if call.values.switch("auto-defrag") {
        defragment(&clients[0]).await?;
    }
    judge(&stats, per_second)
}

fn judge(stats: &Stats, per_second: u64) -> Outcome {
    let mut passed = say_errors(stats)?;
    let mut check = |good: bool, yes: String, no: String| {
        passed &= good;
        say(if good { yes } else { no })
    };
    #[expect(clippy::cast_precision_loss, reason = "a few thousand")]
    let wanted = per_second as f64 * 0.9;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a positive rate, for people")]
    let rate = stats.per_second as u64 + 1;
    check(
        stats.per_second > wanted,
        format!("PASS: Throughput is {rate} writes/s"),
        format!("FAIL: Throughput too low: {rate} writes/s"),
    )?;
    let slowest = stats.slowest_secs;
    check(
        slowest <= 0.5,
        format!("PASS: Slowest request took {slowest:.6}s"),
        format!("Slowest request took too long: {slowest:.6}s"),
    )?;
    let deviation = stats.deviation_secs;
    check(deviation <= 0.1, format!("PASS: Stddev is {deviation:.6}s"), format!("Stddev too high: {deviation:.6}s"))?;
    say(if passed { "PASS" } else { "FAIL" }.to_owned())?;
    if passed { Ok(()) } else { Err(Failure::silent(failure::ERROR)) }
}

/// True if there were none.
fn say_errors(stats: &Stats) -> Result<bool, Failure> {
    if stats.errors.is_empty() {
        return Ok(true);
    }
    say("FAIL: too many errors".to_owned())?;
    for (error, count) in &stats.errors {
        say(format!("FAIL: ERROR({error}) -> {count}"))?;
    }
    Ok(false)
}

async fn datascale(call: &mut Call) -> Outcome {
    let (keys, count) = DATASCALE_LOADS[size_of(call.values.text("load"))?];
    let clients = clients(call, count).await?;
    let prefix = call.values.text("prefix").to_owned();
    expect_no_keys(&clients[0], &prefix, false).await?;
    let endpoint = clients[0].settings().given().remove(0);
    let Some(before) = memory_of(&endpoint, "before").await? else { return Err(Failure::silent(failure::ERROR)) };
    say(format!(
        "Start data scale check for work load [{keys} key-value pairs, 1024 bytes per key-value, {count} concurrent clients]."
    ))?;
    let bar = ProgressBar::new(keys);
    let load = Load { prefix: prefix.clone(), key_size: 512, value_size: 512, pace: Pace::Total(keys) };
    let stats = load.run(&clients, |done, _| bar.set_position(done)).await;
    bar.finish_and_clear();
    let Some(after) = memory_of(&endpoint, "after").await? else { return Err(Failure::silent(failure::ERROR)) };
    let revision = clean(&clients[0], &prefix).await.map_err(Failure::error)?;
    if call.values.switch("auto-compact") {
        compact(&clients[0], revision).await?;
    }
    if call.values.switch("auto-defrag") {
        defragment(&clients[0]).await?;
    }
    if !say_errors(&stats)? {
        return Err(Failure::silent(failure::ERROR));
    }
    let used = (after - before) / (1024.0 * 1024.0);
    say(format!("PASS: Approximate system memory used : {used:.2} MB."))
}

/// In bytes; `None` after it was said that it cannot be had.
async fn memory_of(endpoint: &str, when: &str) -> Result<Option<f64>, Failure> {
    match memory::resident(endpoint).await {
        Ok(bytes) => Ok(Some(bytes)),
        Err(text) => {
            say(text)?;
            say(format!("FAIL: Could not read process_resident_memory_bytes {when} the put operations."))?;
            Ok(None)
        }
    }
}

//! The apply thread: what is durable when, and how it ends.

use super::testing::*;
use super::worker::{Settings, Start, Stopped, Worker};
use super::{Committed, Fatal, Metrics, Payload, Reply, Waiters};
use crate::clock::SystemClock;
use crate::storage::Table;
use crate::storage::memory::MemoryFile;
use crate::threads::{AtOnce, Threads};
use crate::types::LogPosition;
use futures_util::FutureExt;
use keelstone_proto::etcdserverpb as pb;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

const DEADLINE: Duration = Duration::from_secs(20);

struct Running {
    worker: Worker,
    file: Arc<MemoryFile>,
    log_synced: Arc<AtomicU64>,
    waiters: Arc<Waiters>,
    fatal: oneshot::Receiver<Fatal>,
}

impl Running {
    fn start(settings: Settings) -> Self {
        Self::start_on(settings, Threads::Own)
    }

    fn start_on(settings: Settings, threads: Threads) -> Self {
        let file = MemoryFile::new();
        let (log_synced, waiters) = (Arc::new(AtomicU64::new(0)), Arc::new(Waiters::default()));
        let (failed, fatal) = oneshot::channel();
        let worker = Worker::start(Start {
            applier: applier(create(file.clone())),
            settings,
            log_synced: log_synced.clone(),
            waiters: waiters.clone(),
            metrics: Metrics::register(&prometheus::Registry::new()).expect("fresh registry"),
            on_fatal: Box::new(move |fatal| failed.send(fatal).expect("the test listens")),
            clock: Arc::new(SystemClock::new()),
            threads,
        })
        .expect("a thread can be started");
        Self { worker, file, log_synced, waiters, fatal }
    }

    fn sync_log(&self, index: u64) {
        self.log_synced.store(index, Ordering::Release);
    }

    /// The position that a node would start from if the machine lost its power now.
    fn after_crash(&self) -> u64 {
        applier(reopen(self.file.crashed())).applied().index
    }

    async fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let start = Instant::now();
        while !holds(self) {
            assert!(start.elapsed() < DEADLINE, "{what}");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

fn entry(index: u64) -> Committed {
    let request = pb::InternalRaftRequest { put: Some(put("key", &index.to_string())), ..Default::default() };
    Committed { position: LogPosition { term: 1, index }, payload: normal(index, request) }
}

fn entries(range: std::ops::RangeInclusive<u64>) -> Vec<Committed> {
    range.map(entry).collect()
}

fn eager() -> Settings {
    Settings { durable_entries: 5, ..Settings::default() }
}

#[tokio::test]
async fn who_waits_gets_the_reply_once_readers_see_the_entry() {
    let node = Running::start(Settings::default());
    let waiting = node.waiters.register(2);
    let outcome = node.worker.apply(entries(1..=3)).await.expect("runs");
    assert_eq!((outcome.applied.index, outcome.events.len()), (3, 3));
    assert_eq!(*node.worker.applied().borrow(), 3);
    node.waiters.complete(outcome.replies);
    let answer = waiting.await.expect("answered");
    assert!(matches!(answer, Ok(Reply::Put(response)) if revision(&response.header) == 3));
}

#[tokio::test]
async fn a_durable_commit_waits_for_the_log() {
    let node = Running::start(eager());
    node.worker.apply(entries(1..=20)).await.expect("runs");
    let durable = tokio::spawn({
        let worker = node.worker.clone();
        async move { worker.commit_durably().await }
    });
    node.worker.apply(entries(21..=22)).await.expect("runs");
    assert_eq!((node.worker.durable_applied(), node.after_crash()), (0, 0));
    node.sync_log(21);
    node.worker.apply(vec![]).await.expect("runs");
    node.worker.apply(entries(23..=23)).await.expect("runs");
    assert_eq!(node.worker.durable_applied(), 0, "the state must not be ahead of the log");
    node.sync_log(23);
    assert_eq!(durable.await.expect("joins").map(|position| position.index), Ok(23));
    assert_eq!((node.worker.durable_applied(), node.after_crash()), (23, 23));
}

#[tokio::test]
async fn commits_are_durable_after_so_many_entries() {
    let node = Running::start(eager());
    node.sync_log(100);
    node.worker.apply(entries(1..=4)).await.expect("runs");
    assert_eq!(node.worker.durable_applied(), 0);
    node.worker.apply(entries(5..=7)).await.expect("runs");
    assert_eq!((node.worker.durable_applied(), node.after_crash()), (7, 7));
}

#[tokio::test]
async fn commits_are_durable_after_so_many_bytes() {
    let node = Running::start(Settings { durable_bytes: 100, ..Settings::default() });
    node.sync_log(100);
    node.worker.apply(entries(1..=1)).await.expect("runs");
    assert_eq!(node.worker.durable_applied(), 0);
    node.worker.apply(entries(2..=10)).await.expect("runs");
    assert_eq!(node.worker.durable_applied(), 10);
}

#[tokio::test]
async fn a_quiet_node_becomes_durable_by_itself() {
    let node = Running::start(Settings { durable_interval: Duration::from_millis(20), ..Settings::default() });
    node.sync_log(100);
    node.worker.apply(entries(1..=3)).await.expect("runs");
    node.until("a durable commit by time", |node| node.worker.durable_applied() == 3).await;
    assert_eq!(node.after_crash(), 3);
}

/// Whether the caller applies the batch itself. Under threads that are tasks, so that none does anything meanwhile.
async fn applied_by_the_caller(node: &Running, batch: Vec<Committed>) -> Result<bool, Stopped> {
    let last = batch.last().expect("not empty").position.index;
    let mut applied = std::pin::pin!(node.worker.apply(batch));
    // Once for the pace.
    let at_once = applied.as_mut().now_or_never().or_else(|| applied.as_mut().now_or_never());
    let by_the_caller = at_once.is_some();
    let outcome = match at_once {
        Some(outcome) => outcome?,
        None => applied.await?,
    };
    assert_eq!((outcome.applied.index, node.worker.applied_index()), (last, last));
    Ok(by_the_caller)
}

#[tokio::test]
async fn puts_are_applied_by_the_caller_and_become_durable_like_the_rest() {
    let settings = Settings { durable_entries: 4, durable_interval: Duration::from_millis(50), ..Settings::default() };
    let node = Running::start_on(settings, Threads::OnRuntime(Arc::new(AtOnce)));
    node.sync_log(u64::MAX);
    // The thread must know that there is something to make durable.
    assert_eq!(applied_by_the_caller(&node, entries(1..=1)).await, Ok(false));
    assert_eq!(applied_by_the_caller(&node, entries(2..=2)).await, Ok(true));
    node.until("a durable commit by time", |node| node.worker.durable_applied() == 2).await;
    assert_eq!(node.after_crash(), 2);
    assert_eq!(applied_by_the_caller(&node, entries(3..=3)).await, Ok(false));
    assert_eq!(applied_by_the_caller(&node, entries(4..=5)).await, Ok(true));
    // With it a durable commit is due.
    assert_eq!(applied_by_the_caller(&node, entries(6..=6)).await, Ok(false));
    assert_eq!((node.worker.durable_applied(), node.after_crash()), (6, 6));
}

#[tokio::test]
async fn only_a_few_small_puts_are_applied_by_the_caller() {
    let node = Running::start_on(Settings::default(), Threads::OnRuntime(Arc::new(AtOnce)));
    let one =
        |index, request| vec![Committed { position: LogPosition { term: 1, index }, payload: normal(index, request) }];
    let large = pb::InternalRaftRequest { put: Some(put("key", &"x".repeat(20_000))), ..Default::default() };
    for (batch, by_the_caller) in [
        (entries(1..=1), false),
        (entries(2..=5), true),
        (entries(6..=10), false),
        (one(11, large), false),
        (entries(12..=12), true),
        (one(13, compaction(1)), false),
    ] {
        let last = batch.last().map(|entry| entry.position.index);
        assert_eq!(applied_by_the_caller(&node, batch).await, Ok(by_the_caller), "{last:?}");
    }
}

#[tokio::test]
async fn what_the_caller_cannot_apply_stops_the_thread() {
    let node = Running::start_on(Settings::default(), Threads::OnRuntime(Arc::new(AtOnce)));
    node.worker.apply(entries(1..=1)).await.expect("runs");
    assert_eq!(applied_by_the_caller(&node, entries(7..=7)).await, Err(Stopped));
    assert!(matches!(node.fatal.await, Ok(Fatal::Gap { applied: 1, index: 7 })));
    assert_eq!(node.worker.commit_durably().await, Err(Stopped));
    assert!(node.worker.wait_compacted(9).await.is_err());
}

#[tokio::test]
async fn what_is_pinned_has_every_row() {
    let node = Running::start(Settings::default());
    node.worker.apply(entries(1..=3)).await.expect("runs");
    for index in 4..=9 {
        node.worker.apply(entries(index..=index)).await.expect("runs");
        let state = node.worker.pin().await.expect("runs");
        assert_eq!((state.applied.index, state.version.rows(Table::Key).expect("reads").len() as u64), (index, index));
    }
}

#[tokio::test]
async fn a_snapshot_is_durable_and_pinned() {
    let node = Running::start(Settings::default());
    node.sync_log(100);
    node.worker.apply(entries(1..=3)).await.expect("runs");
    let snapshot = node.worker.snapshot().await.expect("runs");
    assert_eq!((snapshot.applied.index, node.after_crash()), (3, 3));
    node.worker.apply(entries(4..=9)).await.expect("runs");
    assert_eq!(snapshot.version.meta().expect("reads").applied.index, 3);
}

#[tokio::test]
async fn a_received_state_replaces_the_own() {
    let (node, other) = (Running::start(Settings::default()), Running::start(Settings::default()));
    other.sync_log(100);
    other.worker.apply(entries(1..=30)).await.expect("runs");
    other.worker.close().await.expect("runs");
    node.worker.apply(entries(1..=3)).await.expect("runs");

    let position = node.worker.install(reopen(other.file.crashed())).await.expect("runs");
    assert_eq!((position.index, *node.worker.applied().borrow(), node.worker.durable_applied()), (30, 30, 30));
    node.worker.apply(entries(31..=31)).await.expect("the log goes on behind it");
}

#[tokio::test]
async fn a_compaction_finishes_while_nothing_else_happens() {
    let node = Running::start(Settings { slice_rows: 2, ..Settings::default() });
    node.worker.apply(entries(1..=50)).await.expect("runs");
    let compaction = Committed { position: LogPosition { term: 1, index: 51 }, payload: normal(51, compaction(40)) };
    node.worker.apply(vec![compaction]).await.expect("runs");
    let finished = tokio::time::timeout(DEADLINE, node.worker.wait_compacted(40)).await;
    assert_eq!(finished, Ok(Ok(())));
}

#[tokio::test]
async fn a_compaction_rests_after_every_batch_of_rows_and_apply_does_not() {
    let hour = Duration::from_secs(3600);
    let node = Running::start(Settings { slice_rows: 10, compaction_rest: hour, ..Settings::default() });
    node.worker.apply(entries(1..=50)).await.expect("runs");
    let compaction = Committed { position: LogPosition { term: 1, index: 51 }, payload: normal(51, compaction(40)) };
    node.worker.apply(vec![compaction]).await.expect("runs");
    // Between any two jobs there would be a slice.
    for index in 52..=100 {
        let outcome = node.worker.apply(entries(index..=index)).await.expect("runs");
        assert_eq!(outcome.applied.index, index);
    }
    node.sync_log(100);
    node.worker.commit_durably().await.expect("what is due meanwhile is done");
    let rows = applier(reopen(node.file.crashed()));
    assert!(rows.is_compacting(), "the rows beyond the first batch are there still");
    assert_eq!(node.worker.wait_compacted(40).now_or_never(), None);
}

#[tokio::test]
async fn closing_makes_durable_and_ends_the_thread() {
    let node = Running::start(Settings::default());
    node.sync_log(2);
    node.worker.apply(entries(1..=2)).await.expect("runs");
    node.worker.close().await.expect("runs");
    assert_eq!(node.after_crash(), 2);
    assert_eq!(node.worker.commit_durably().await, Err(Stopped));
    assert!(node.worker.wait_compacted(9).await.is_err());
}

#[tokio::test]
async fn what_cannot_be_applied_stops_the_thread() {
    let node = Running::start(Settings::default());
    assert!(node.worker.apply(vec![entry(7)]).await.is_err());
    assert!(matches!(node.fatal.await, Ok(Fatal::Gap { applied: 0, index: 7 })));
    let blank = Committed { position: LogPosition { term: 1, index: 1 }, payload: Payload::Blank };
    assert!(node.worker.apply(vec![blank]).await.is_err());
}

//! openraft's own suite for stores, on ours.

use super::log_store::{LogStore, SharedConfState};
use super::snapshot::{Snapshot, SnapshotBuilder, SnapshotSource};
use super::state_files::StateFiles;
use super::state_machine::{OnApplied, StateMachine};
use super::types::{Entry, LogId, SnapshotMeta, StoredMembership, TypeConfig, Vote};
use crate::apply::{self, Applier, Worker};
use crate::clock::SystemClock;
use crate::disk::{Disk, MemoryDisk};
use crate::lease::{self, Lessor};
use crate::storage::{self, Storage};
use crate::threads::Threads;
use crate::types::{LogPosition, MemberId};
use crate::wal::{self, Wal};
use crate::{alarm, cluster, mvcc};
use futures_util::stream::{self, Stream, StreamExt};
use openraft::entry::RaftEntry;
use openraft::storage::{EntryResponder, IOFlushed, LogState, RaftLogStorage, RaftStateMachine};
use openraft::testing::log::{StoreBuilder, Suite};
use openraft::{OptionalSend, RaftLogReader, StorageError};
use prometheus::Registry;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use tokio::sync::watch;

const CACHE_BYTES: usize = 1 << 20;
const STATE_FILE: &str = "/state.redb";

/// Makes empty stores on a disk of their own.
struct Stores;

impl StoreBuilder<TypeConfig, Padded<LogStore>, Padded<StateMachine>> for Stores {
    async fn build(&self) -> Result<((), Padded<LogStore>, Padded<StateMachine>), StorageError<TypeConfig>> {
        let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
        let conf_state = SharedConfState::default();
        let log = LogStore::new(open_wal(&disk), Arc::clone(&conf_state));
        Ok(((), Padded(log), Padded(state_machine(disk, conf_state))))
    }
}

fn open_wal(disk: &Arc<dyn Disk>) -> Wal {
    let identity = wal::Identity { node_id: 1, cluster_id: 1 };
    wal::create(disk.as_ref(), Path::new("/wal"), identity, &[], wal::HardState::default()).expect("an empty disk");
    let settings = wal::Settings { segment_bytes: 64 * 1024, ..wal::Settings::default() };
    let metrics = wal::Metrics::register(&Registry::new()).expect("fresh registry");
    // Whoever waits for the log is told too, which fails the test.
    let on_fatal = Box::new(|error| eprintln!("{error}"));
    let (wal, _) =
        Wal::open(Arc::clone(disk), Path::new("/wal"), settings, metrics, on_fatal, &Threads::Own).expect("just made");
    wal
}

fn state_machine(disk: Arc<dyn Disk>, conf_state: SharedConfState) -> StateMachine {
    let registry = Registry::new();
    let storage_metrics = storage::Metrics::register(&registry).expect("fresh registry");
    let file = disk.create(Path::new(STATE_FILE)).expect("an empty disk");
    let parts = apply::Parts {
        storage: Storage::create(file, CACHE_BYTES, storage_metrics.clone()).expect("an empty file"),
        lessor: Arc::new(Lessor::new(2, lease::Metrics::register(&registry).expect("fresh registry"))),
        access: crate::auth::Access::unserved(&registry).expect("fresh registry"),
        local: MemberId(1),
        mvcc_metrics: mvcc::Metrics::register(&registry).expect("fresh registry"),
        cluster_metrics: cluster::Metrics::register(&registry).expect("fresh registry"),
        alarm_metrics: alarm::Metrics::register(&registry).expect("fresh registry"),
    };
    let waiters = Arc::default();
    let worker = Worker::start(apply::Start {
        applier: Applier::open(parts).expect("an empty state"),
        settings: apply::Settings::default(),
        // The suite applies entries that no log has.
        log_synced: Arc::new(AtomicU64::new(u64::MAX)),
        waiters: Arc::clone(&waiters),
        metrics: apply::Metrics::register(&registry).expect("fresh registry"),
        on_fatal: Box::new(|fatal| eprintln!("{fatal}")),
        clock: Arc::new(SystemClock::new()),
        threads: Threads::Own,
    });
    StateMachine::new(
        worker.expect("a thread can be started"),
        waiters,
        OnApplied::new(|_| {}, || {}),
        conf_state,
        Arc::new(StateFiles::new(
            disk,
            STATE_FILE.into(),
            CACHE_BYTES,
            storage_metrics,
            Threads::Own,
            Arc::new(|error| eprintln!("{error}")),
        )),
        (LogPosition::default(), None),
        watch::channel(0).0,
    )
}

/// A store for the suite, which begins at indexes above 0, as no Raft does: ours refuse gaps. What is left out is
/// filled with blank entries of the term that follows.
struct Padded<S>(S);

/// What is missing between `last` and `first`.
fn padding(last: Option<LogId>, first: Option<LogId>) -> Vec<Entry> {
    let begin = last.map_or(0, |last| last.index + 1);
    let missing = first.into_iter().flat_map(|first| (begin..first.index).map(move |index| (first.leader_id, index)));
    missing.map(|(leader_id, index)| Entry::new_blank(LogId::new(leader_id, index))).collect()
}

impl RaftLogStorage<TypeConfig> for Padded<LogStore> {
    type LogReader = LogStore;

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<Entry> = entries.into_iter().collect();
        let last = self.0.get_log_state().await?.last_log_id;
        let padded = padding(last, entries.first().map(|entry| entry.log_id)).into_iter().chain(entries);
        self.0.append(padded, callback).await
    }

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, io::Error> {
        self.0.get_log_state().await
    }

    async fn get_log_reader(&mut self) -> LogStore {
        self.0.get_log_reader().await
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        self.0.save_vote(vote).await
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        self.0.save_committed(committed).await
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        // The suite purges what no state has applied. Our log counts purged entries as committed, so that openraft
        // would rightly refuse the state as lost.
        let purged = self.0.get_log_state().await?.last_purged_log_id;
        Ok(self.0.read_committed().await?.filter(|committed| Some(*committed) > purged))
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> Result<(), io::Error> {
        self.0.truncate_after(last_log_id).await
    }

    async fn purge(&mut self, log_id: LogId) -> Result<(), io::Error> {
        self.0.purge(log_id).await
    }
}

impl RaftStateMachine<TypeConfig> for Padded<StateMachine> {
    type SnapshotData = SnapshotSource;
    type SnapshotBuilder = SnapshotBuilder;

    async fn apply<S>(&mut self, entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + OptionalSend,
    {
        let (last, _) = self.0.applied_state().await?;
        let mut entries = entries.peekable();
        let first = Pin::new(&mut entries).peek().await;
        let first = first.and_then(|item| item.as_ref().ok()).map(|(entry, _)| entry.log_id);
        let missing = padding(last, first).into_iter().map(|entry| Ok((entry, None)));
        self.0.apply(stream::iter(missing).chain(entries)).await
    }

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        self.0.applied_state().await
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotBuilder {
        self.0.get_snapshot_builder().await
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, snapshot: SnapshotSource) -> Result<(), io::Error> {
        self.0.install_snapshot(meta, snapshot).await
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, io::Error> {
        self.0.get_current_snapshot().await
    }
}

#[tokio::test]
async fn the_stores_do_what_openraft_asks_of_them() {
    Suite::test_all(Stores).await.expect("the suite passes");
}

#[tokio::test]
async fn what_is_read_for_followers_after_it_was_purged_is_nothing_and_no_error() {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    let wal = open_wal(&disk);
    let mut log = LogStore::new(wal.clone(), SharedConfState::default());
    let entry = |index| wal::Entry { term: 1, index, kind: wal::EntryKind::Normal, data: Default::default() };
    wal.append((1..=5).map(entry).collect(), Box::new(drop));
    log.purge(crate::raft::types::log_id(LogPosition { term: 1, index: 3 }).expect("from 1")).await.expect("purges");
    assert!(log.limited_get_log_entries(0, 5).await.expect("no failure of the log").is_empty());
    assert_eq!(log.limited_get_log_entries(3, 5).await.expect("entries").len(), 2);
}

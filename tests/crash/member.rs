//! One member without Raft and without connections: log, state, apply and the files of snapshots as they ship, on a disk
//! in memory, and nothing runs but what the test asks for. It keeps what it promised, so that every image of a crash can
//! be held against it.

use crate::history::{Change, Files, History, Log, payload};
use crate::state;
use anyhow::Context;
use keelstone::apply::{self, Applier, Committed, Outcome, Parts, Published, Waiters, Worker};
use keelstone::auth::Access;
use keelstone::clock::{Clock, Ticks};
use keelstone::config::{self, Loaded, Settings, Surroundings};
use keelstone::disk::{DiskLock, MemoryDisk};
use keelstone::lease::Lessor;
use keelstone::net::{Reach, Sockets};
use keelstone::raft::{self, DefragmentError, StateFileError, StateFiles};
use keelstone::server::bootstrap::{self, Tools};
use keelstone::server::{StateFailed, World};
use keelstone::storage::Chunk;
use keelstone::threads::{AtOnce, Threads};
use keelstone::types::{LogPosition, MemberId};
use keelstone::wal::{self, Done, Entry, HardState, Opened, Wal, Writer};
use keelstone_proto::raftpb::ConfState;
use prometheus::Registry;
use std::fmt;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};
use tokio::runtime::Runtime;

/// Small, so that a test meets every bound.
const LOG: wal::Settings = wal::Settings {
    segment_bytes: 8192,
    max_segments: 2,
    batch_bytes: 3000,
    tail_bytes: 2000,
    commit_delay: Duration::from_millis(5),
};
/// Two pages, so that the rest is read from the file.
const CACHE_BYTES: usize = 8 << 10;
const MIN_TTL_SECS: i64 = 2;

/// What a member has told others, and what it was told to do: after a crash none of it may be lost.
#[derive(Clone, Debug)]
pub struct Promises {
    /// What the cluster has committed.
    pub history: History,
    pub files: Files,
    /// The highest commit index that the log was given.
    pub commit: u64,
    /// Entries up to here are applied and in the synced log: clients have their answers.
    pub acknowledged: u64,
    /// Entries up to here are applied.
    pub applied: u64,
    /// The state file survives a crash with the entries up to here, said the worker.
    pub durable: u64,
    /// Snapshots that were to take the place of the state: it may be at one, whatever the log holds.
    pub snapshots: Vec<LogPosition>,
}

#[derive(Clone, Debug)]
pub struct Shared(Arc<Mutex<Promises>>);

impl Shared {
    pub fn new(promises: Promises) -> Self {
        Self(Arc::new(Mutex::new(promises)))
    }

    /// Of a member that never started.
    pub fn none() -> Self {
        Self::new(Promises {
            history: History::new(),
            files: Files::default(),
            commit: 0,
            acknowledged: 0,
            applied: 0,
            durable: 0,
            snapshots: Vec::new(),
        })
    }

    pub fn lock(&self) -> MutexGuard<'_, Promises> {
        self.0.lock().expect("nothing panics with it")
    }

    pub fn copy(&self) -> Promises {
        self.lock().clone()
    }
}

/// The member ended itself, with this message.
#[derive(Debug)]
pub struct Ended(pub String);

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the member ended itself: {}", self.0)
    }
}

struct Metrics {
    wal: wal::Metrics,
    storage: keelstone::storage::Metrics,
    lease: keelstone::lease::Metrics,
    mvcc: keelstone::mvcc::Metrics,
    cluster: keelstone::cluster::Metrics,
    alarm: keelstone::alarm::Metrics,
    apply: apply::Metrics,
}

/// Counted into and never read.
static METRICS: LazyLock<Metrics> = LazyLock::new(|| {
    let registry = Registry::new();
    Metrics {
        wal: wal::Metrics::register(&registry).unwrap(),
        storage: keelstone::storage::Metrics::register(&registry).unwrap(),
        lease: keelstone::lease::Metrics::register(&registry).unwrap(),
        mvcc: keelstone::mvcc::Metrics::register(&registry).unwrap(),
        cluster: keelstone::cluster::Metrics::register(&registry).unwrap(),
        alarm: keelstone::alarm::Metrics::register(&registry).unwrap(),
        apply: apply::Metrics::register(&registry).unwrap(),
    }
});

static SETTINGS: LazyLock<Box<Settings>> = LazyLock::new(|| {
    let flags = [
        "--name=m0",
        "--data-dir=/data",
        "--initial-cluster=m0=http://127.0.0.1:2380",
        "--initial-advertise-peer-urls=http://127.0.0.1:2380",
    ];
    let surroundings = Surroundings {
        env: Vec::new().into_iter().collect(),
        read_file: &|_| Err(std::io::ErrorKind::NotFound.into()),
        default_host: &|| Err("not asked for".to_owned()),
    };
    match config::load(&flags.map(str::to_owned), &surroundings, &mut config::Report::default()) {
        Ok(Loaded::Run(settings)) => settings,
        other => panic!("{other:?}"),
    }
});

/// Time stands.
#[derive(Debug)]
struct Stopped;

impl Clock for Stopped {
    fn now(&self) -> Ticks {
        Ticks(0)
    }

    fn wall(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH
    }
}

/// What can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Log,
    State,
    /// A state that is received.
    Snapshot,
}

/// Why the member has to end, in the order it was said.
#[derive(Clone, Debug, Default)]
struct Failures(Arc<Mutex<Vec<(Part, String)>>>);

impl Failures {
    fn add(&self, part: Part, text: String) {
        self.0.lock().unwrap().push((part, text));
    }

    fn has(&self, part: Part) -> bool {
        self.0.lock().unwrap().iter().any(|(failed, _)| *failed == part)
    }
}

pub struct Member {
    pub promises: Shared,
    /// The log as its readers see it.
    pub log: Log,
    runtime: Runtime,
    pub wal: Wal,
    writer: Writer,
    worker: Worker,
    pub published: Published,
    waiters: Arc<Waiters>,
    files: Arc<StateFiles>,
    fatal: Failures,
    _lock: Box<dyn DiskLock>,
}

fn conf_state() -> ConfState {
    ConfState { voters: vec![1], ..ConfState::default() }
}

/// The log as it was found, before anything is done about it.
fn read_log(wal: &Wal, opened: &Opened) -> Result<Log, wal::WalError> {
    Ok(Log {
        purged: opened.snapshot.unwrap_or_default(),
        entries: wal.read(wal.first_index()..u64::MAX)?,
        vote: HardState { commit: 0, ..opened.hard_state },
    })
}

impl Member {
    /// Starts a process on what is on the disk, and holds what it finds against what was promised.
    ///
    /// # Errors
    /// It refuses to start, or cannot.
    pub fn start(disk: &MemoryDisk, promises: &Shared) -> anyhow::Result<Member> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        let entered = runtime.enter();
        let fatal = Failures::default();
        let world = World {
            disk: Arc::new(disk.clone()),
            clock: Arc::new(Stopped),
            threads: Threads::OnRuntime(Arc::new(AtOnce)),
            reach: Reach { dial: Arc::new(Sockets::default()), tls: None },
            segment_bytes: LOG.segment_bytes,
            cache_bytes: CACHE_BYTES,
            observer: None,
        };
        let tools = Tools { world: &world, wal_metrics: &METRICS.wal, storage_metrics: &METRICS.storage };
        let mut found = Log::default();
        let (ground, writer) = bootstrap::open_with(&SETTINGS, &tools, None, |dir, _| {
            let failed = fatal.clone();
            let on_fatal = Box::new(move |error: wal::WalError| failed.add(Part::Log, error.to_string()));
            let (wal, writer, opened) = Wal::open_stepped(world.disk.clone(), dir, LOG, METRICS.wal.clone(), on_fatal)?;
            found = read_log(&wal, &opened)?;
            check_log(&found, opened.hard_state.commit, promises);
            Ok((wal, opened, writer))
        })?;
        let wal = ground.wal;
        let lessor = Arc::new(Lessor::new(MIN_TTL_SECS, METRICS.lease.clone()));
        let applier = Applier::open(Parts {
            storage: ground.storage,
            lessor,
            access: Access::unserved(&Registry::new()).unwrap(),
            local: MemberId(ground.identity.member.0),
            mvcc_metrics: METRICS.mvcc.clone(),
            cluster_metrics: METRICS.cluster.clone(),
            alarm_metrics: METRICS.alarm.clone(),
        })
        .with_context(|| format!("read {}", ground.state_path.display()))?;
        let (published, applied) = (applier.published(), applier.applied());
        let log = check_state(applied, found, &wal, promises);
        // Our own look may be the read that fails.
        state::try_check(&published, promises.lock().history.state(applied.index), state::Compaction::MayGoOn)
            .with_context(|| format!("read {}", ground.state_path.display()))?;
        let waiters = Arc::new(Waiters::default());
        let (failed, path) = (fatal.clone(), ground.state_path.clone());
        let worker = Worker::start(apply::Start {
            applier,
            settings: apply::Settings { durable_entries: 12, slice_rows: 4, ..apply::Settings::default() },
            log_synced: wal.synced(),
            waiters: Arc::clone(&waiters),
            metrics: METRICS.apply.clone(),
            on_fatal: Box::new(move |error| {
                failed.add(Part::State, StateFailed { path, cause: &error }.to_string());
            }),
            clock: world.clock,
            threads: world.threads.clone(),
        })?;
        let failed = fatal.clone();
        let files = Arc::new(StateFiles::new(
            world.disk,
            ground.state_path,
            CACHE_BYTES,
            METRICS.storage.clone(),
            world.threads,
            Arc::new(move |error| failed.add(Part::Snapshot, error.to_string())),
        ));
        drop(entered);
        let (promises, _lock) = (promises.clone(), ground.lock);
        Ok(Member { promises, log, runtime, wal, writer, worker, published, waiters, files, fatal, _lock })
    }

    /// Whether the member has said that it cannot go on.
    pub fn fatal(&self) -> Result<(), Ended> {
        match self.fatal.0.lock().unwrap().first() {
            Some((_, text)) => Err(Ended(text.clone())),
            None => Ok(()),
        }
    }

    /// What of it failed first.
    pub fn failed(&self) -> Option<Part> {
        self.fatal.0.lock().unwrap().first().map(|(part, _)| *part)
    }

    /// Notes a request to the log and gives what to do once it is synced.
    fn ask(&mut self, changes: Vec<Change>) -> Done {
        changes.iter().for_each(|change| self.log.apply(change));
        let number = self.promises.lock().files.ask(changes);
        let (promises, fatal) = (self.promises.clone(), self.fatal.clone());
        Box::new(move |result| {
            if result.is_ok() {
                assert!(!fatal.has(Part::Log), "a request is acknowledged after the log failed");
                promises.lock().files.done(number);
            }
        })
    }

    pub fn append(&mut self, entries: Vec<Entry>) {
        let done = self.ask(entries.iter().cloned().map(Change::Entry).collect());
        self.wal.append(entries, done);
    }

    pub fn vote(&mut self, vote: HardState) {
        let done = self.ask(vec![Change::Vote(vote)]);
        self.wal.save_hard_state(vote, done);
    }

    pub fn truncate_after(&mut self, index: u64) {
        self.log.truncate_after(index);
        self.wal.truncate_after(index);
    }

    pub fn commit(&mut self, index: u64) {
        let mut promises = self.promises.lock();
        promises.commit = promises.commit.max(index);
        self.wal.save_commit(index);
    }

    /// Writes and syncs a batch of what is queued. False if there was nothing.
    pub fn step_log(&mut self) -> Result<bool, Ended> {
        let worked = self.writer.step();
        self.fatal()?;
        self.acknowledge();
        Ok(worked)
    }

    fn acknowledge(&self) {
        let mut promises = self.promises.lock();
        promises.acknowledged = promises.acknowledged.max(promises.applied.min(self.wal.synced_index()));
        promises.durable = promises.durable.max(self.worker.durable_applied());
    }

    fn ended(&self) -> Ended {
        self.fatal().err().unwrap_or_else(|| Ended("it said nothing".to_owned()))
    }

    /// Applies committed entries up to `index`, which are read back from the log, and checks the answers.
    pub fn apply_to(&mut self, index: u64) -> Result<(), Ended> {
        let applied = self.worker.applied_index();
        let entries = self.wal.read(applied + 1..index + 1).map_err(|error| Ended(error.to_string()))?;
        let history = self.promises.lock().history.clone();
        let mut batch = Vec::new();
        self.waiters.abandon_all();
        for entry in entries {
            assert_eq!(Some(&entry), history.entry(entry.index), "the log holds another entry than was committed");
            // Nobody looks at the receiver: the outcome has the answers too.
            drop(self.waiters.register(entry.index));
            batch.push(Committed { position: history.position(entry.index), payload: payload(&entry) });
        }
        let outcome = self.runtime.block_on(self.worker.apply(batch)).map_err(|_| self.ended())?;
        assert_eq!(outcome.applied, history.position(index.max(applied)));
        check_answers(&outcome, &history);
        self.promises.lock().applied = outcome.applied.index;
        self.acknowledge();
        self.fatal()
    }

    /// Lets the worker do what is due besides jobs, once.
    pub fn work(&mut self) -> Result<(), Ended> {
        self.runtime.block_on(async {
            for _ in 0..3 {
                tokio::task::yield_now().await;
            }
        });
        self.acknowledge();
        self.fatal()
    }

    pub fn applied(&self) -> u64 {
        self.worker.applied_index()
    }

    /// Asks for a durable commit, if the log allows it now.
    pub fn commit_durably(&mut self) -> Result<(), Ended> {
        if self.wal.synced_index() < self.applied() {
            return Ok(());
        }
        self.runtime.block_on(self.worker.commit_durably()).map_err(|_| self.ended())?;
        self.acknowledge();
        self.fatal()
    }

    /// Finishes the compactions that are due.
    pub fn compact(&mut self) -> Result<(), Ended> {
        let compacted = self.published.views.load().compacted();
        self.runtime.block_on(self.worker.wait_compacted(compacted)).map_err(|_| self.ended())?;
        self.work()
    }

    /// Drops the head of the log up to `index`.
    pub fn purge(&mut self, position: LogPosition) {
        let done = self.ask(vec![Change::Snapshot(position)]);
        {
            let mut promises = self.promises.lock();
            promises.commit = promises.commit.max(position.index);
        }
        self.wal.purge(position, conf_state(), done);
    }

    /// Receives a state and puts it in the place of the present one, as `raft::StateMachine` does for openraft, which has
    /// truncated a log that conflicts and purges it afterwards.
    pub fn install(&mut self, position: LogPosition, chunks: &[Chunk]) -> Result<(), Ended> {
        let failed = |error: StateFileError| Ended(error.to_string());
        let (file, mut import) = self.files.begin_import().map_err(failed)?.expect("one at a time");
        let pushed = chunks.iter().try_for_each(|chunk| import.push(chunk));
        self.files.check("write", file.path(), pushed).map_err(failed)?;
        let storage = self.files.check("write", file.path(), import.finish()).map_err(failed)?;
        if self.log.term_at(position.index).is_some_and(|term| term != position.term) {
            let committed = self.promises.lock().commit;
            self.truncate_after(committed);
        }
        self.promises.lock().snapshots.push(position);
        self.files.put_in_place(&file).map_err(failed)?;
        self.runtime.block_on(self.worker.install(storage)).map_err(|_| self.ended())?;
        {
            let mut promises = self.promises.lock();
            promises.applied = position.index;
            promises.durable = position.index;
        }
        self.purge(position);
        self.fatal()
    }

    /// Defragments the state while entries are applied up to each of `indexes`, and the log is written. A copy that
    /// cannot be made changes nothing; why it could not is returned.
    pub fn defragment(&mut self, indexes: &[u64]) -> Result<Option<DefragmentError>, Ended> {
        let (files, worker) = (Arc::clone(&self.files), self.worker.clone());
        let Member { wal, writer, worker: applier, waiters, promises, fatal, runtime, .. } = self;
        let life = async {
            for index in indexes {
                let applied = applier.applied_index();
                let Ok(entries) = wal.read(applied + 1..(*index).max(applied) + 1) else { return };
                let history = promises.lock().history.clone();
                waiters.abandon_all();
                let committed = entries.iter().map(|entry| {
                    drop(waiters.register(entry.index));
                    Committed { position: history.position(entry.index), payload: payload(entry) }
                });
                let Ok(outcome) = applier.apply(committed.collect()).await else { return };
                check_answers(&outcome, &history);
                {
                    let mut promises = promises.lock();
                    promises.applied = outcome.applied.index;
                    promises.acknowledged = promises.acknowledged.max(promises.applied.min(wal.synced_index()));
                }
                writer.step();
                tokio::task::yield_now().await;
            }
            // Until then the copy is ahead of the log.
            while writer.step() && fatal.0.lock().unwrap().is_empty() {
                tokio::task::yield_now().await;
            }
        };
        let (done, ()) = runtime.block_on(async { tokio::join!(raft::defragment(&files, &worker), life) });
        self.fatal()?;
        self.acknowledge();
        Ok(done.err())
    }

    /// Reads all of log and state, and compares it with what was committed.
    ///
    /// # Errors
    /// It cannot be read, and why.
    pub fn read_everything(&mut self) -> Result<(), String> {
        let entries = self.wal.read(self.wal.first_index()..u64::MAX).map_err(|error| error.to_string())?;
        assert_eq!(entries, self.log.entries, "the log as it is read back");
        let promises = self.promises.copy();
        state::try_check(&self.published, promises.history.state(promises.applied), state::Compaction::MayGoOn)
            .map_err(|error| error.to_string())
    }

    /// Ends the process in order.
    pub fn close(mut self) -> Result<(), Ended> {
        while self.step_log()? {}
        let closing = self.wal.close();
        self.writer.step();
        self.fatal()?;
        closing.map_err(|error| Ended(error.to_string()))?;
        self.acknowledge();
        self.runtime.block_on(self.worker.close()).map_err(|_| self.ended())?;
        self.acknowledge();
        self.fatal()
    }
}

/// What was found in the files is what some first part of the requests made of them.
fn check_log(found: &Log, commit: u64, promises: &Shared) {
    let mut promises = promises.lock();
    let possible = promises.files.possible();
    let is_first = promises.history.last_index() == 0 && possible == [Log::default()];
    if is_first {
        // The log that the member began with.
        found.entries.iter().for_each(|entry| promises.history.push(entry.clone()));
        promises.commit = promises.history.last_index();
    } else {
        assert!(possible.contains(found), "found {found:?}, possible {possible:#?}");
    }
    assert!(commit <= promises.commit, "a commit index from nowhere: {commit}, asked for {}", promises.commit);
    assert!(commit <= found.last().index, "a commit index beyond the log");
    promises.files = Files::of(found.clone());
}

/// The state stands where it was promised to stand, and the log goes on from there. Returns the log as it is now.
fn check_state(applied: LogPosition, mut found: Log, wal: &Wal, promises: &Shared) -> Log {
    let mut promises = promises.lock();
    assert_eq!(applied, promises.history.position(applied.index), "the state is at an entry that was never committed");
    assert!(applied.index >= promises.durable, "the state is at {}, {} was durable", applied.index, promises.durable);
    let was_snapshot = promises.snapshots.contains(&applied);
    assert!(
        applied.index <= found.last().index || was_snapshot,
        "the state at {} is ahead of the log, which ends with {}",
        applied.index,
        found.last().index
    );
    if wal.purged() != found.purged {
        assert!(was_snapshot && wal.purged() == applied, "the log begins behind {:?}", wal.purged());
        let change = Change::Snapshot(applied);
        found.apply(&change);
        promises.files.ask(vec![change]);
        promises.commit = promises.commit.max(applied.index);
    }
    assert_eq!((wal.purged(), wal.last()), (found.purged, found.last()));
    let term = if applied.index == 0 { Some(0) } else { wal.term_at(applied.index) };
    assert_eq!(term, Some(applied.term), "the log holds another entry {} than was applied", applied.index);
    promises.durable = applied.index;
    promises.applied = applied.index;
    found
}

/// Each entry is answered as the model answers it.
fn check_answers(outcome: &Outcome, history: &History) {
    for (index, answer) in &outcome.replies {
        assert_eq!(answer.is_err(), history.is_refused(*index), "entry {index}: {answer:?}");
        if let Some(revision) = answer.as_ref().ok().and_then(state::revision) {
            assert_eq!(revision, history.state(*index).revision, "entry {index}: {answer:?}");
        }
    }
}

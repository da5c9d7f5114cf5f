//! A member with a real log, a real state and real consensus, on a disk in memory and without sockets: peers call its
//! service as a function.

use crate::node::storage_metrics;
use keelstone::apply::{self, Applier, Published, Waiters, Worker};
use keelstone::clock::SystemClock;
use keelstone::cluster::{Member as Described, PeerUrls};
use keelstone::disk::{Disk, MemoryDisk};
use keelstone::lease::Lessor;
use keelstone::net::{Reach, Sockets};
use keelstone::raft::{
    ChangeRules, Consensus, Identity, Limits, OnApplied, Parts, RunningConsensus, StateFiles, Timing, bootstrap_log,
};
use keelstone::storage::Storage;
use keelstone::threads::Threads;
use keelstone::types::{ClusterId, MemberId};
use keelstone::wal::{self, Wal};
use keelstone_harness::proto::etcdserverpb as pb;
use prometheus::Registry;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

pub const IDENTITY: Identity = Identity { cluster: ClusterId(0xc1), member: MemberId(1) };
const TIMING: Timing = Timing {
    heartbeat: Duration::from_millis(10),
    election: Duration::from_millis(60),
    silence: Duration::from_millis(60),
};
const WAL_DIR: &str = "/member/wal";
const STATE: &str = "/member/state.redb";
const CACHE_BYTES: usize = 1 << 20;

/// What ended the process, if it were one.
pub type Fatals = Arc<Mutex<Vec<String>>>;

pub struct Member {
    disk: MemoryDisk,
    running: RunningConsensus,
    pub consensus: Consensus,
    worker: Worker,
    wal: Wal,
    pub published: Published,
    fatals: Fatals,
}

/// An empty member of a cluster of this many, with these peer URLs; it is number one.
pub fn new_disk(urls: &[&str]) -> MemoryDisk {
    let disk = MemoryDisk::new();
    let members: Vec<Described> =
        (1..).zip(urls).map(|(id, url)| Described::new(MemberId(id), PeerUrls::parse([url]).expect("a URL"))).collect();
    let (entries, hard_state) = bootstrap_log(&members);
    let identity = wal::Identity { node_id: IDENTITY.member.0, cluster_id: IDENTITY.cluster.0 };
    disk.create_dir_all(Path::new("/member")).expect("memory does not fail");
    wal::create(&disk, Path::new(WAL_DIR), identity, &entries, hard_state).expect("memory does not fail");
    let file = disk.create(Path::new(STATE)).expect("memory does not fail");
    drop(Storage::create(file, CACHE_BYTES, storage_metrics()).expect("memory does not fail"));
    disk
}

fn recorder(fatals: &Fatals) -> impl Fn(&dyn std::error::Error) + Send + Sync + use<> {
    let fatals = fatals.clone();
    move |error| fatals.lock().unwrap_or_else(PoisonError::into_inner).push(format!("{error}: {error:?}"))
}

impl Member {
    /// # Errors
    /// Log or state cannot be opened.
    pub async fn start(disk: &MemoryDisk) -> anyhow::Result<Self> {
        let registry = Registry::new();
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        let fatals = Fatals::default();
        let log_failed = recorder(&fatals);
        let settings = wal::Settings { segment_bytes: 1 << 18, ..wal::Settings::default() };
        let on_fatal: wal::OnFatal = Box::new(move |error| log_failed(&error));
        let (wal, _) = Wal::open(
            shared.clone(),
            Path::new(WAL_DIR),
            settings,
            wal::Metrics::register(&registry)?,
            on_fatal,
            &Threads::Own,
        )?;
        let storage = Storage::open(disk.open(Path::new(STATE))?, CACHE_BYTES, storage_metrics())?;
        let lessor = Arc::new(Lessor::new(1, keelstone::lease::Metrics::register(&registry)?));
        let mut applier = Applier::open(apply::Parts {
            storage,
            lessor: lessor.clone(),
            access: keelstone::auth::Access::unserved(&registry)?,
            local: IDENTITY.member,
            mvcc_metrics: keelstone::mvcc::Metrics::register(&registry)?,
            cluster_metrics: keelstone::cluster::Metrics::register(&registry)?,
            alarm_metrics: keelstone::alarm::Metrics::register(&registry)?,
        })?;
        let published = applier.published();
        let snapshot = applier.snapshot()?;
        let applied = (snapshot.applied, snapshot.membership.clone());
        drop(snapshot);
        let waiters = Arc::new(Waiters::default());
        let state_failed = recorder(&fatals);
        let files_failed = Arc::new(recorder(&fatals));
        let worker = Worker::start(apply::Start {
            applier,
            settings: apply::Settings::default(),
            log_synced: wal.synced(),
            waiters: waiters.clone(),
            metrics: apply::Metrics::register(&registry)?,
            on_fatal: Box::new(move |fatal| state_failed(&fatal)),
            clock: Arc::new(SystemClock::new()),
            threads: Threads::Own,
        })?;
        let running = Consensus::start(Parts {
            identity: IDENTITY,
            timing: TIMING,
            limits: Limits {
                max_request_bytes: 1 << 20,
                snapshot_count: 10_000,
                snapshot_catchup_entries: 5_000,
                snapshot_timeout: Duration::from_secs(5),
                pre_vote: true,
                stands_at_once: true,
                changes: ChangeRules { strict: true, max_learners: 1 },
                promotes_learners: false,
                prioritises: true,
            },
            clock: Arc::new(SystemClock::new()),
            wal: wal.clone(),
            worker: worker.clone(),
            applied,
            state_files: StateFiles::new(
                shared,
                STATE.into(),
                CACHE_BYTES,
                storage_metrics(),
                Threads::Own,
                files_failed,
            ),
            reach: Reach { dial: Arc::new(Sockets::default()), tls: None },
            cluster: Arc::clone(&published.cluster),
            views: published.views.clone(),
            removed: Arc::default(),
            metrics: keelstone::raft::Metrics::register(&registry)?,
            waiters,
            lessor,
            on_applied: OnApplied::new(|_| {}, || {}),
        })
        .await?;
        Ok(Self { disk: disk.clone(), consensus: running.consensus.clone(), running, worker, wal, published, fatals })
    }

    pub async fn put(&self, key: &str, value: &str) -> Result<(), String> {
        let put = pb::PutRequest { key: key.to_owned().into(), value: value.to_owned().into(), ..Default::default() };
        let request = pb::InternalRaftRequest { put: Some(put), ..Default::default() };
        self.consensus.propose(request).await.map(drop).map_err(|error| error.to_string())
    }

    /// What would have ended the process, or `None`.
    pub async fn ended(&self) -> Option<String> {
        let fatals = self.fatals.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if !fatals.is_empty() {
            return Some(fatals.join("; "));
        }
        let ended = tokio::time::timeout(Duration::ZERO, self.running.ended()).await.is_ok();
        ended.then(|| "consensus ended".to_owned())
    }

    /// Stops, and says what is on the disk then.
    pub async fn stop(self) -> MemoryDisk {
        let Self { disk, running, consensus, worker, wal, published, .. } = self;
        // Whatever had ended before has been found by `ended`.
        running.stop().await.ok();
        wal.close().ok();
        worker.close().await.ok();
        drop((consensus, worker, published));
        disk.kill()
    }
}

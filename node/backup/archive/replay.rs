//! A chain of backups becomes a state: the full one is loaded, and the segments go through the applier that a member has.

use super::catalogue::Chain;
use super::check::{CheckError, Stored, check};
use super::manifest::{Manifest, Place};
use super::segment::{Entries, SegmentError};
use super::stop::{Stop, Stopped};
use crate::apply::{Applier, Committed, Fatal, Parts, Payload, StateSnapshot};
use crate::auth::Access;
use crate::backup::bolt::{BoltError, Database};
use crate::backup::destination::Destination;
use crate::backup::load::{LoadError, load};
use crate::backup::verify::database_bytes;
use crate::disk;
use crate::lease::Lessor;
use crate::mvcc::{ReadError, View};
use crate::storage::{Durability, Import, StorageError, Version};
use crate::types::MemberId;
use crate::wal::{Entry, EntryKind};
use crate::{alarm, cluster, lease, mvcc, storage};
use keelstone_proto::raftpb;
use prometheus::Registry;
use prost::Message;
use std::sync::Arc;

/// Entries that are applied at once, as far as no revision has to be met.
const BATCH_ENTRIES: usize = 1_024;
const BATCH_BYTES: usize = 4 << 20;
/// What redb may keep of the file in memory.
const CACHE_BYTES: usize = 32 << 20;

/// Why a chain does not become a state.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    #[error(transparent)]
    Check(#[from] CheckError),
    #[error("{object}: {source}")]
    Bolt { object: String, source: BoltError },
    #[error("{object}: {source}")]
    Load { object: String, source: LoadError },
    #[error("{object}: {source}")]
    Segment { object: String, source: SegmentError },
    #[error("{object}: entry {index}: conf change: {source}")]
    ConfChange { object: String, index: u64, source: prost::DecodeError },
    #[error("{object}: {source}")]
    Apply { object: String, source: Fatal },
    #[error("{name}: revision {revision} has the hash {found}, recorded is {expected}")]
    Hash { name: String, revision: i64, expected: u32, found: u32 },
    #[error("{name}: the state has revision {found}, recorded is {expected}")]
    Revision { name: String, expected: i64, found: i64 },
    #[error("state file: {0}")]
    Storage(#[from] StorageError),
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
    #[error("hash: {0}")]
    Read(#[from] ReadError),
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// A pinned state, and which one it is.
#[derive(Clone, Debug)]
pub struct Pinned {
    pub version: Version,
    pub at: Place,
    /// -1 if nothing was compacted.
    pub compact_revision: i64,
}

impl Pinned {
    /// # Errors
    /// It cannot be read.
    pub fn of(state: StateSnapshot) -> Result<Self, StorageError> {
        let (revision, compact_revision) = mvcc::revisions(&state.version)?;
        let at = Place { index: state.applied.index, term: state.applied.term, revision };
        Ok(Self { version: state.version, at, compact_revision })
    }
}

/// A state that was made from backups, and what it took.
#[derive(Debug)]
pub struct Replayed {
    pub state: Pinned,
    pub view: Arc<View>,
    pub entries: u64,
    /// Hashes that were compared with those recorded; all were equal.
    pub hashes: u32,
    /// Keeps the file open.
    _applier: Applier,
}

/// Makes the state of `revision`, or the newest of the chain, in an empty file. Everything is verified before it is used.
/// Blocks for as long as that takes.
///
/// # Errors
/// What is wrong, and with which object. The file is of no use then.
pub fn replay(
    destination: &Arc<dyn Destination>,
    chain: &Chain,
    revision: Option<i64>,
    file: Arc<dyn disk::File>,
    stop: &Stop,
) -> Result<Replayed, ReplayError> {
    check(destination, &chain.full, stop)?;
    let full = &chain.full;
    let mut replay = Replay { applier: open(destination, full, file, full.lease_min_ttl_secs)?, entries: 0, hashes: 0 };
    replay.compare(full)?;
    for segment in &chain.segments {
        check(destination, segment, stop)?;
        let wanted = revision.filter(|revision| *revision < segment.to.revision);
        replay.segment(destination, segment, wanted, stop)?;
        if wanted.is_none() {
            replay.compare(segment)?;
        }
    }
    let Replay { mut applier, entries, hashes } = replay;
    let state = applier.snapshot();
    let state = state.map_err(|source| ReplayError::Apply { object: chain.end().object.clone(), source })?;
    let view = applier.published().views.load();
    Ok(Replayed { state: Pinned::of(state)?, view, entries, hashes, _applier: applier })
}

fn open(
    destination: &Arc<dyn Destination>,
    full: &Manifest,
    file: Arc<dyn disk::File>,
    lease_min_ttl_secs: i64,
) -> Result<Applier, ReplayError> {
    // Nobody looks at these.
    let registry = Registry::new();
    let object = || full.object.clone();
    let import = Import::new(file, CACHE_BYTES, storage::Metrics::register(&registry)?)?;
    let database = Database::open(Arc::new(Stored::of(destination, full)), database_bytes(full.bytes).0)
        .map_err(|source| ReplayError::Bolt { object: object(), source })?;
    let loaded = load(&database, import, &[]).map_err(|source| ReplayError::Load { object: object(), source })?;
    Applier::open(Parts {
        storage: loaded.storage,
        lessor: Arc::new(Lessor::new(lease_min_ttl_secs, lease::Metrics::register(&registry)?)),
        access: Access::unserved(&registry)?,
        local: MemberId::default(),
        mvcc_metrics: mvcc::Metrics::register(&registry)?,
        cluster_metrics: cluster::Metrics::register(&registry)?,
        alarm_metrics: alarm::Metrics::register(&registry)?,
    })
    .map_err(|source| ReplayError::Apply { object: object(), source })
}

struct Replay {
    applier: Applier,
    entries: u64,
    hashes: u32,
}

impl Replay {
    fn revision(&self) -> i64 {
        self.applier.published().views.load().revision()
    }

    /// Holds the state against what is recorded of it.
    fn compare(&mut self, with: &Manifest) -> Result<(), ReplayError> {
        let (view, name) = (self.applier.published().views.load(), with.name.clone());
        let (expected, found) = (with.to.revision, view.revision());
        if expected != found {
            return Err(ReplayError::Revision { name, expected, found });
        }
        let Some(expected) = with.hash_kv else { return Ok(()) };
        let found = view.hash_kv(0)?.hash;
        if expected != found {
            return Err(ReplayError::Hash { name, revision: view.revision(), expected, found });
        }
        self.hashes += 1;
        Ok(())
    }

    /// Applies what of a segment is not applied yet, and if a revision is wanted no more than makes it.
    fn segment(
        &mut self,
        destination: &Arc<dyn Destination>,
        segment: &Manifest,
        wanted: Option<i64>,
        stop: &Stop,
    ) -> Result<(), ReplayError> {
        let object = || segment.object.clone();
        let (mut batch, mut bytes) = (Vec::new(), 0);
        for entry in Entries::open(destination, segment) {
            let entry = entry.map_err(|source| ReplayError::Segment { object: object(), source })?;
            if wanted.is_some_and(|wanted| self.revision() >= wanted) {
                return Ok(());
            }
            bytes += entry.data.len();
            batch.push(committed(entry, &segment.object)?);
            // An entry makes one revision at most.
            if wanted.is_some() || batch.len() >= BATCH_ENTRIES || bytes >= BATCH_BYTES {
                stop.check()?;
                self.apply(std::mem::take(&mut batch), segment)?;
                bytes = 0;
            }
        }
        self.apply(batch, segment)
    }

    fn apply(&mut self, batch: Vec<Committed>, segment: &Manifest) -> Result<(), ReplayError> {
        let before = self.applier.applied().index;
        let applied = self.applier.apply_batch(batch, &|_| false, Durability::Volatile);
        applied.map_err(|source| ReplayError::Apply { object: segment.object.clone(), source })?;
        self.entries += self.applier.applied().index - before;
        Ok(())
    }
}

fn committed(entry: Entry, object: &str) -> Result<Committed, ReplayError> {
    let position = crate::types::LogPosition { term: entry.term, index: entry.index };
    let payload =
        match entry.kind {
            EntryKind::Normal if entry.data.is_empty() => Payload::Blank,
            EntryKind::Normal => Payload::Normal(entry.data),
            EntryKind::ConfChange => {
                let change = raftpb::ConfChange::decode(entry.data.clone()).map_err(|source| {
                    ReplayError::ConfChange { object: object.to_owned(), index: entry.index, source }
                })?;
                let membership = change.keelstone_membership.unwrap_or_default();
                Payload::ConfChange { change: entry.data, membership }
            }
        };
    Ok(Committed { position, payload })
}

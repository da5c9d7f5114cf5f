//! The state machine: takes committed entries, changes the state, answers.

use super::command::{Committed, LogCommand, Payload};
use super::metrics::{CommandCount, count};
use super::scope::{Applied, Failure, Scope};
use super::slow::Stopwatch;
use super::state::{SmallTables, read_auth};
use super::{Answer, ApplyError, Fatal, LogError};
use super::{cluster, conf_change};
use crate::alarm::Alarms;
use crate::auth::{Access, AuthState, SimpleTokens};
use crate::cluster::{ClusterState, ClusterVersion};
use crate::defect::{self, Defect, Point};
use crate::lease::Lessor;
use crate::mvcc::{Opened, Progress, RevisionEvents, Store, Views, WriteBatch};
use crate::storage::{Durability, Storage, StorageError, Version};
use crate::types::{LeaseId, LogPosition, MemberId};
use arc_swap::ArcSwap;
use bytes::Bytes;
use prost::Message;
use std::sync::Arc;
use std::time::Duration;

/// What readers may look at any time. Cheap to clone. Each part is replaced as a whole when a batch is committed.
#[derive(Clone, Debug)]
pub struct Published {
    pub views: Views,
    pub lessor: Arc<Lessor>,
    pub cluster: Arc<ArcSwap<ClusterState>>,
    pub alarms: Arc<ArcSwap<Alarms>>,
    pub access: Arc<Access>,
}

/// What an applier is made of.
#[derive(Debug)]
pub struct Parts {
    pub storage: Storage,
    pub lessor: Arc<Lessor>,
    pub access: Arc<Access>,
    /// This member, for its metrics and to see when it is removed.
    pub local: MemberId,
    pub mvcc_metrics: crate::mvcc::Metrics,
    pub cluster_metrics: crate::cluster::Metrics,
    pub alarm_metrics: crate::alarm::Metrics,
}

/// What a batch led to. The state is visible to readers already.
#[derive(Debug)]
pub struct Outcome {
    /// Answers to the requests that somebody waits for here, in log order.
    pub replies: Vec<(u64, Answer)>,
    /// One per revision, in order: for the watchers.
    pub events: Vec<Arc<RevisionEvents>>,
    pub applied: LogPosition,
    /// Members, their attributes or the cluster's version changed.
    pub cluster_changed: bool,
    /// This member was removed and must stop.
    pub removed: bool,
    pub(super) commands: Vec<CommandCount>,
    /// What took longer than [`Applier::warn_after`] says.
    pub(super) slow: u64,
}

/// The state at one position, pinned for a Raft snapshot.
#[derive(Clone, Debug)]
pub struct StateSnapshot {
    pub version: Version,
    pub applied: LogPosition,
    /// Encoded `internal.StoredMembership`; none before the first change.
    pub membership: Option<Bytes>,
}

/// Owned by the apply thread.
#[derive(Debug)]
pub struct Applier {
    store: Store,
    published: Published,
    alarms: Alarms,
    auth: Arc<AuthState>,
    cluster: ClusterState,
    applied: LogPosition,
    /// The last compaction that has removed all its rows; -1 if there was none, or if one goes on since before
    /// this process.
    compacted: i64,
    local: MemberId,
    warn_after: Duration,
    cluster_metrics: crate::cluster::Metrics,
    alarm_metrics: crate::alarm::Metrics,
}

/// etcd's default.
pub(super) const WARN_AFTER: Duration = Duration::from_millis(100);

impl Applier {
    /// Opens the state that `parts.storage` holds. The lessor is filled from it.
    pub fn open(parts: Parts) -> Result<Self, Fatal> {
        let Parts { storage, lessor, access, local, mvcc_metrics, cluster_metrics, alarm_metrics } = parts;
        let Opened { store, attachments } = Store::open(storage, mvcc_metrics)?;
        let (cluster, alarms) = (Arc::default(), Arc::default());
        let published = Published { views: store.views(), lessor, cluster, alarms, access };
        let mut applier = Self {
            store,
            published,
            alarms: Alarms::default(),
            auth: Arc::default(),
            cluster: ClusterState::default(),
            applied: LogPosition::default(),
            compacted: -1,
            local,
            warn_after: WARN_AFTER,
            cluster_metrics,
            alarm_metrics,
        };
        applier.load(attachments)?;
        Ok(applier)
    }

    /// Goes on with the state of another file, a received snapshot. Readers of the old one keep it until they end.
    pub fn install(&mut self, storage: Storage) -> Result<LogPosition, Fatal> {
        // Before its keys can be read.
        self.published.access.replace(Arc::new(read_auth(&storage.version()?)?));
        let Opened { store, attachments } = Store::install(storage, self.store.views())?;
        self.store = store;
        self.load(attachments)?;
        Ok(self.applied)
    }

    /// Goes on in another file that holds the same state. Readers of the old one keep it until they end.
    pub fn move_to(&mut self, storage: Storage) -> Result<(), Fatal> {
        Ok(self.store.move_to(storage)?)
    }

    pub fn storage(&self) -> &Storage {
        self.store.storage()
    }

    /// The lowest revision that can be read; rows below may be there yet. -1 if nothing was compacted.
    pub fn compact_revision(&self) -> i64 {
        self.store.compacted()
    }

    /// Reads what is kept in memory beside the key index, and publishes it.
    fn load(&mut self, attachments: Vec<(Bytes, LeaseId)>) -> Result<(), Fatal> {
        let version = self.store.storage().version()?;
        let SmallTables { cluster, alarms, auth, leases } = SmallTables::read(&version)?;
        let meta = version.meta()?;
        drop(version);
        self.applied = meta.applied;
        self.compacted = if self.store.is_compacting() { -1 } else { self.store.compacted() };
        (self.cluster, self.alarms, self.auth) = (cluster, alarms, Arc::new(auth));
        self.published.access.replace(Arc::clone(&self.auth));
        self.published.lessor.restore(leases, attachments);
        self.follow_version(meta.storage_version.as_deref())?;
        self.publish_cluster();
        self.publish_alarms();
        Ok(())
    }

    /// A file that an operator migrated, or that another version of etcd wrote, says so only until the cluster's version
    /// is looked at (etcd `UpdateStorageVersionIfNeeded`).
    fn follow_version(&mut self, found: Option<&str>) -> Result<(), Fatal> {
        let Some(wanted) = self.cluster.version.map(ClusterVersion::storage_row) else { return Ok(()) };
        if wanted.as_deref() != found {
            let mut batch = self.store.begin()?;
            batch.storage().set_storage_version(wanted.as_deref());
            batch.commit(Durability::Volatile)?;
        }
        Ok(())
    }

    /// Entries that take longer are logged.
    pub fn warn_after(&mut self, limit: Duration) {
        self.warn_after = limit;
    }

    pub fn published(&self) -> Published {
        self.published.clone()
    }

    /// The last applied entry; zero before the first.
    pub fn applied(&self) -> LogPosition {
        self.applied
    }

    /// Pins the state, after a commit of what was put off.
    pub fn snapshot(&mut self) -> Result<StateSnapshot, Fatal> {
        if self.store.has_put_off() {
            self.commit(Durability::Volatile)?;
        }
        let version = self.storage().version()?;
        let meta = version.meta()?;
        Ok(StateSnapshot { version, applied: meta.applied, membership: meta.membership.map(Bytes::from) })
    }

    /// Applies entries that follow those applied before; older ones are skipped. `is_waited_for` says whose reply
    /// is needed here: the rest is applied without reading what only a reply would show.
    pub fn apply_batch(
        &mut self,
        entries: Vec<Committed>,
        is_waited_for: &dyn Fn(u64) -> bool,
        durability: Durability,
    ) -> Result<Outcome, Fatal> {
        self.apply(entries, is_waited_for, |batch, applied| commit_at(batch, applied, durability))
    }

    /// As [`Self::apply_batch`]; if all that the entries change is a few keys, their rows go into the state file with the
    /// commit of a later batch.
    pub fn apply_few(
        &mut self,
        entries: Vec<Committed>,
        is_waited_for: &dyn Fn(u64) -> bool,
    ) -> Result<Outcome, Fatal> {
        self.apply(entries, is_waited_for, |batch, applied| {
            if batch.may_be_put_off() {
                batch.put_off();
                return Ok(());
            }
            commit_at(batch, applied, Durability::Volatile)
        })
    }

    fn apply(
        &mut self,
        entries: Vec<Committed>,
        is_waited_for: &dyn Fn(u64) -> bool,
        publish: impl FnOnce(WriteBatch<'_>, LogPosition) -> Result<(), StorageError>,
    ) -> Result<Outcome, Fatal> {
        let (alarms_before, auth_before) = (self.alarms.clone(), Arc::clone(&self.auth));
        let compacted_before = self.store.compacted();
        let mut run = Run {
            batch: self.store.begin()?,
            lessor: &self.published.lessor,
            alarms: &mut self.alarms,
            auth: &mut self.auth,
            tokens: self.published.access.tokens(),
            cluster: &mut self.cluster,
            local: self.local,
            stopwatch: Stopwatch::start(self.warn_after),
            outcome: Outcome::new(self.applied),
        };
        let count = entries.len();
        for entry in entries {
            let (applied, index) = (run.outcome.applied.index, entry.position.index);
            if index <= applied {
                continue;
            }
            if index != applied + 1 {
                return Err(Fatal::Gap { applied, index });
            }
            run.apply(entry.position, entry.payload, is_waited_for)?;
            run.outcome.applied = entry.position;
        }
        let Run { batch, auth, mut outcome, mut stopwatch, .. } = run;
        // A right that was withdrawn must not show what was written after.
        if !Arc::ptr_eq(auth, &auth_before) {
            self.published.access.publish(Arc::clone(auth));
        }
        let compacts = batch.compacted() != compacted_before;
        if compacts {
            defect::reach(Point::CompactBeforeCommitScheduledCompact);
        }
        publish(batch, outcome.applied)?;
        if compacts {
            defect::reach(Point::CompactAfterCommitScheduledCompact);
        }
        if defect::on(Defect::AppliedIndexApart) {
            let mut apart = self.store.begin()?;
            apart.storage().set_applied(outcome.applied);
            apart.commit(Durability::Volatile)?;
        }
        stopwatch.commit(count);
        outcome.slow = stopwatch.slow();
        self.applied = outcome.applied;
        if outcome.cluster_changed {
            self.publish_cluster();
        }
        if self.alarms != alarms_before {
            self.publish_alarms();
        }
        Ok(outcome)
    }

    /// True while rows of a compaction are left to remove.
    pub fn is_compacting(&self) -> bool {
        self.store.is_compacting()
    }

    /// The last compaction that has removed all its rows. Lower than the revision below which nothing can be
    /// read, while one goes on.
    pub fn compacted(&self) -> i64 {
        self.compacted
    }

    /// Goes on with the compaction that is due, for at most `budget_rows` rows.
    pub fn compaction_slice(&mut self, budget_rows: usize) -> Result<(), Fatal> {
        let mut batch = self.store.begin()?;
        let progress = batch.compaction_slice(budget_rows)?;
        defect::reach(Point::CompactBeforeCommitBatch);
        commit_at(batch, self.applied, Durability::Volatile)?;
        defect::reach(Point::CompactAfterCommitBatch);
        if let Progress::Finished { revision } = progress {
            self.compacted = revision;
        }
        Ok(())
    }

    /// Commits what was put off, and makes durable what was committed before if asked.
    pub fn commit(&mut self, durability: Durability) -> Result<(), Fatal> {
        Ok(commit_at(self.store.begin()?, self.applied, durability)?)
    }

    fn publish_cluster(&self) {
        self.cluster_metrics.show(self.local, &self.cluster);
        self.published.cluster.store(Arc::new(self.cluster.clone()));
    }

    fn publish_alarms(&self) {
        self.alarm_metrics.show(&self.alarms);
        self.published.alarms.store(Arc::new(self.alarms.clone()));
    }
}

/// Rows and the entry that they are of are one commit.
fn commit_at(mut batch: WriteBatch<'_>, applied: LogPosition, durability: Durability) -> Result<(), StorageError> {
    defect::reach(Point::CommitBeforePreCommitHook);
    if !defect::on(Defect::AppliedIndexApart) {
        batch.storage().set_applied(applied);
    }
    defect::reach(Point::CommitAfterPreCommitHook);
    batch.commit(durability).map(drop)
}

impl Outcome {
    fn new(applied: LogPosition) -> Self {
        let (replies, events, commands) = (Vec::new(), Vec::new(), Vec::new());
        Self { replies, events, applied, cluster_changed: false, removed: false, commands, slow: 0 }
    }
}

/// A batch that is being applied.
struct Run<'a> {
    batch: WriteBatch<'a>,
    lessor: &'a Lessor,
    alarms: &'a mut Alarms,
    auth: &'a mut Arc<AuthState>,
    tokens: &'a SimpleTokens,
    cluster: &'a mut ClusterState,
    local: MemberId,
    stopwatch: Stopwatch,
    outcome: Outcome,
}

impl<'a> Run<'a> {
    fn apply(
        &mut self,
        position: LogPosition,
        payload: Payload,
        is_waited_for: &dyn Fn(u64) -> bool,
    ) -> Result<(), Fatal> {
        let entry_error = |source| Fatal::Entry { index: position.index, source };
        match payload {
            Payload::Blank => Ok(()),
            Payload::ConfChange { change, membership } => {
                defect::reach(Point::BeforeApplyOneConfChange);
                let (request_id, change) = conf_change::decode(&change).map_err(entry_error)?;
                let is_waited_for = is_waited_for(request_id);
                let mut scope = self.scope(position.index, is_waited_for);
                let applied =
                    cluster::change_members(&mut scope, position, &change, membership).map_err(entry_error)?;
                self.outcome.cluster_changed = true;
                self.outcome.removed |= applied.is_ok() && cluster::removes(&change, self.local);
                self.stopwatch.skip();
                self.finish(request_id, is_waited_for, applied).map(drop)
            }
            Payload::Normal(data) => {
                defect::reach(Point::BeforeApplyOneEntryNormal);
                let mut entry = LogCommand::decode(data.clone()).map_err(|error| entry_error(error.into()))?;
                let request_id = entry.request_id();
                let command = entry.command.take().ok_or_else(|| entry_error(LogError::UnknownCommand))?;
                let op = command.op();
                self.outcome.cluster_changed |= command.is_about_the_cluster();
                let is_waited_for = is_waited_for(request_id);
                let applied = self.scope(position.index, is_waited_for).dispatch(command, entry.who());
                self.stopwatch.entry(&data, &applied, is_waited_for);
                let success = self.finish(request_id, is_waited_for, applied)?;
                count(&mut self.outcome.commands, op, success);
                Ok(())
            }
        }
    }

    /// Keeps the answer if it is needed. True if the entry counts as applied well, as etcd counts it.
    fn finish(&mut self, request_id: u64, is_waited_for: bool, applied: Applied) -> Result<bool, Fatal> {
        let answer = match applied {
            Ok(reply) => Ok(reply),
            Err(Failure::Refused(error)) => Err(error),
            Err(Failure::Fatal(fatal)) => return Err(fatal),
        };
        let success = answer.as_ref().err().is_none_or(ApplyError::counts_as_success);
        if is_waited_for {
            self.outcome.replies.push((request_id, answer));
        }
        Ok(success)
    }

    fn scope(&mut self, index: u64, wants_reply: bool) -> Scope<'_, 'a> {
        Scope {
            batch: &mut self.batch,
            lessor: self.lessor,
            alarms: self.alarms,
            auth: self.auth,
            tokens: self.tokens,
            index,
            cluster: self.cluster,
            events: &mut self.outcome.events,
            wants_reply,
        }
    }
}

#[cfg(test)]
#[path = "applier_tests.rs"]
mod tests;

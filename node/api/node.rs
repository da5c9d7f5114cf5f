//! What the services share: the parts of the node they ask, and the few steps that many of them take.

use super::backup::BackupDoor;
use super::gate::{Gate, GateSettings};
use super::header::Answerer;
use super::metrics::{Metrics, Outcomes};
use super::status::ApiError;
use crate::admission::{Budget, Taken};
use crate::alarm::{Alarm, AlarmType};
use crate::apply::{Published, Reply, StateSnapshot, Worker, cost};
use crate::cluster::{ClusterState, ClusterVersion};
use crate::lease::Lessor;
use crate::mvcc::{ReadError, Views};
use crate::raft::{Consensus, RequestError};
use crate::storage::{EMPTY_FILE_BYTES, StorageError};
use crate::threads::{Threads, Work};
use keelstone_proto::etcdserverpb as pb;
use keelstone_proto::etcdserverpb::alarm_request::AlarmAction;
use prost::Message;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What the operator sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Of an encoded log entry; chunks of a stream are made near this size too.
    pub max_request_bytes: usize,
    pub max_txn_ops: usize,
    /// The space quota that holds, also when none was set; negative is none.
    pub quota_bytes: i64,
    /// Memory for requests and answers on their way; none: without limit.
    pub max_inflight_bytes: Option<usize>,
    /// Reads that take longer are logged as slow to apply.
    pub warn_apply_after: Duration,
    /// Unary calls that take longer are logged.
    pub warn_unary_after: Duration,
}

/// One for all services and pages.
pub struct Node {
    pub consensus: Consensus,
    pub worker: Worker,
    pub views: Views,
    pub lessor: Arc<Lessor>,
    pub metrics: Metrics,
    pub settings: Settings,
    /// Of requests and answers on their way.
    pub budget: Budget,
    pub gate: Gate,
    /// None: the member has no place for backups.
    pub backups: Option<BackupDoor>,
    published: Published,
    threads: Threads,
    storage_stats: Box<dyn Fn() -> StorageStats + Send + Sync>,
    on_unreadable: OnUnreadable,
}

/// The state cannot be read: the node must stop (DESIGN D9).
pub type OnUnreadable = Box<dyn Fn(&StorageError) + Send + Sync>;

/// Sizes of the state file in bytes, and whether there is room for more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StorageStats {
    pub total_bytes: i64,
    pub in_use_bytes: i64,
    /// The disk is nearly full.
    pub disk_is_low: bool,
}

/// Of cluster and state file, as `major.minor.patch`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Versions {
    /// None until the cluster has agreed on one.
    pub cluster: Option<String>,
    pub storage: String,
}

/// What a [`Node`] is made of.
pub struct Parts {
    pub consensus: Consensus,
    pub worker: Worker,
    pub published: Published,
    pub metrics: Metrics,
    pub settings: Settings,
    pub gate: GateSettings,
    pub backups: Option<BackupDoor>,
    pub threads: Threads,
    pub storage_stats: Box<dyn Fn() -> StorageStats + Send + Sync>,
    pub on_unreadable: OnUnreadable,
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parts").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Node {
    pub fn new(parts: Parts) -> Self {
        let Parts { consensus, worker, published, metrics, settings, gate, .. } = parts;
        let Parts { backups, threads, storage_stats, on_unreadable, .. } = parts;
        let gate = Gate::new(Arc::clone(&published.access), Arc::clone(&published.lessor), consensus.clone(), gate);
        Self {
            consensus,
            worker,
            views: published.views.clone(),
            lessor: Arc::clone(&published.lessor),
            metrics,
            settings,
            budget: Budget::new(settings.max_inflight_bytes),
            gate,
            backups,
            published,
            threads,
            storage_stats,
            on_unreadable,
        }
    }

    pub fn answerer(&self) -> Answerer {
        Answerer {
            cluster: self.consensus.cluster_id(),
            member: self.consensus.member_id(),
            term: self.consensus.term(),
        }
    }

    /// The newest revision that readers of this member see.
    pub fn revision(&self) -> i64 {
        self.views.load().revision()
    }

    /// Completes a header in which apply or a read left the revision.
    pub fn fill(&self, header: &mut Option<pb::ResponseHeader>) {
        self.answerer().fill(header, || self.revision());
    }

    pub fn cluster(&self) -> Arc<ClusterState> {
        self.published.cluster.load_full()
    }

    /// Raised alarms, by type and member.
    pub fn alarms(&self) -> Vec<pb::AlarmMember> {
        let to_proto = |kind: AlarmType| match kind {
            AlarmType::NoSpace => pb::AlarmType::Nospace,
            AlarmType::Corrupt => pb::AlarmType::Corrupt,
        };
        let alarms = self.published.alarms.load();
        alarms
            .get(None)
            .map(|alarm| pb::AlarmMember { member_id: alarm.member.0, alarm: to_proto(alarm.kind).into() })
            .collect()
    }

    pub fn has_leader(&self) -> bool {
        self.consensus.leader().is_some()
    }

    /// As the members agreed on it.
    pub fn is_learner(&self) -> bool {
        let cluster = self.published.cluster.load();
        cluster.members.get(self.consensus.member_id()).is_some_and(|member| member.is_learner)
    }

    /// # Errors
    /// This member is a learner.
    pub fn check_not_learner(&self) -> Result<(), ApiError> {
        if self.is_learner() { Err(ApiError::NotSupportedForLearner) } else { Ok(()) }
    }

    /// The schema of a state file follows the version of the cluster; one that says nothing is of etcd 3.5.
    pub fn versions(&self) -> Versions {
        let version = self.cluster().version;
        let storage = version.and_then(ClusterVersion::storage_row).unwrap_or_else(|| "3.5.0".to_owned());
        Versions { cluster: version.map(|version| version.to_string()), storage }
    }

    pub fn storage_stats(&self) -> StorageStats {
        (self.storage_stats)()
    }

    /// # Errors
    /// See [`Consensus::read_index`].
    pub async fn read_index(&self) -> Result<(), ApiError> {
        Ok(self.consensus.read_index().await?)
    }

    /// As [`Self::read_index`] with this member's log on disk: reads need no disk here, and one that stands still must show
    /// in health checks, as it does in etcd, where it holds up everything.
    ///
    /// # Errors
    /// As [`Self::read_index`], and `Timeout`.
    pub async fn check_reads(&self) -> Result<(), ApiError> {
        self.consensus.await_log_synced().await?;
        self.read_index().await
    }

    /// Puts an entry into the log and answers what applying it here gave. As in etcd the time of an entry that
    /// apply refuses counts as a success.
    ///
    /// # Errors
    /// See [`Consensus::propose`].
    pub async fn propose(&self, mut entry: pb::InternalRaftRequest, durations: &Outcomes) -> Result<Reply, ApiError> {
        self.propose_kept(&mut entry, durations).await
    }

    /// As [`Self::propose`], for a caller that looks at the entry afterwards.
    ///
    /// # Errors
    /// See [`Consensus::propose`].
    pub async fn propose_kept(
        &self,
        entry: &mut pb::InternalRaftRequest,
        durations: &Outcomes,
    ) -> Result<Reply, ApiError> {
        let held = self.hold(entry)?;
        let started = Instant::now();
        let answer = self.consensus.propose_kept(entry).await;
        drop(held);
        let was_applied = matches!(&answer, Ok(_) | Err(RequestError::Refused(_)));
        durations.observe(started.elapsed().as_secs_f64(), was_applied);
        Ok(answer?)
    }

    /// The memory of an entry until it is applied. What frees memory needs none.
    fn hold(&self, entry: &pb::InternalRaftRequest) -> Result<Taken, ApiError> {
        let bytes = entry.encoded_len();
        let frees = entry.lease_revoke.is_some();
        Ok(if frees { self.budget.charge(bytes) } else { self.budget.take(bytes)? })
    }

    /// What a failed read answers. If the state itself cannot be read, the node is told to stop.
    pub fn refuse(&self, error: ReadError) -> ApiError {
        match error {
            ReadError::Compacted { .. } => ApiError::Compacted,
            ReadError::FutureRevision { .. } => ApiError::FutureRevision,
            ReadError::TooLarge => ApiError::OutOfMemory,
            ReadError::Storage(error) => {
                (self.on_unreadable)(&error);
                ApiError::Stopped
            }
        }
    }

    /// Runs a read that takes milliseconds aside, so that other requests of the thread need not wait.
    ///
    /// # Errors
    /// Those of `read`; `Stopped` if the node is ending.
    pub async fn read_aside<T: Send + 'static>(
        &self,
        read: impl FnOnce() -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let read = self.threads.run(Work::Read, read).await.map_err(|_| ApiError::Stopped)?;
        read.map_err(|error| self.refuse(error))
    }

    /// Runs work on files aside, which blocks for as long as it likes.
    ///
    /// # Errors
    /// `Stopped` if the node is ending.
    pub async fn aside<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, ApiError> {
        self.threads.run(Work::Read, work).await.map_err(|_| ApiError::Stopped)
    }

    /// Waits until the rows below a compacted revision are gone for good.
    ///
    /// # Errors
    /// `Stopped` if the node is ending.
    pub async fn await_physical_compaction(&self, revision: i64) -> Result<(), ApiError> {
        self.worker.wait_compacted(revision).await?;
        // Else a crash would bring the rows back.
        self.worker.commit_durably().await?;
        Ok(())
    }

    /// The state as it is now, whole.
    ///
    /// # Errors
    /// `Stopped` if the node is ending.
    pub async fn pin(&self) -> Result<StateSnapshot, ApiError> {
        Ok(self.worker.pin().await?)
    }

    /// # Errors
    /// `NoSpace` if the put would exceed the space quota.
    pub async fn check_quota_for_put(&self, request: &pb::PutRequest) -> Result<(), ApiError> {
        self.check_quota(cost::put(request)).await
    }

    /// # Errors
    /// `NoSpace` if the puts of the dearer branch would exceed the space quota.
    pub async fn check_quota_for_txn(&self, request: &pb::TxnRequest) -> Result<(), ApiError> {
        self.check_quota(cost::txn(request)).await
    }

    /// # Errors
    /// `NoSpace` if a lease would exceed the space quota.
    pub async fn check_quota_for_lease(&self) -> Result<(), ApiError> {
        self.check_quota(cost::lease_grant()).await
    }

    /// A request beyond the quota, or beyond what the disk can take, raises the alarm for all members, which then refuse all that need space. What
    /// needs none is let through (etcd `v3rpc/quota.go`).
    async fn check_quota(&self, cost_bytes: u64) -> Result<(), ApiError> {
        let StorageStats { total_bytes, disk_is_low, .. } = self.storage_stats();
        let fits = !(disk_is_low || exceeds_quota(total_bytes, cost_bytes, self.settings.quota_bytes));
        if cost_bytes == 0 || fits {
            return Ok(());
        }
        let own = Alarm { kind: AlarmType::NoSpace, member: self.consensus.member_id() };
        if self.published.alarms.load().get(Some(own.kind)).any(|alarm| alarm == own) {
            return Err(ApiError::NoSpace);
        }
        let alarm = pb::AlarmRequest {
            action: AlarmAction::Activate.into(),
            member_id: self.consensus.member_id().0,
            alarm: pb::AlarmType::Nospace.into(),
        };
        let entry = pb::InternalRaftRequest { alarm: Some(alarm), ..Default::default() };
        if let Err(error) = self.propose(entry, &self.metrics.requests.alarm).await {
            tracing::warn!(%error, "failed to raise the space alarm");
        }
        Err(ApiError::NoSpace)
    }
}

/// What a file takes before anything is put does not count, so that a quota which is enough for etcd is for us.
fn exceeds_quota(total_bytes: i64, cost_bytes: u64, quota_bytes: i64) -> bool {
    let cost_bytes = i64::try_from(cost_bytes).unwrap_or(i64::MAX);
    quota_bytes >= 0 && total_bytes.saturating_sub(EMPTY_FILE_BYTES).saturating_add(cost_bytes) >= quota_bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quota_is_exceeded_when_it_is_reached() {
        let total_bytes = EMPTY_FILE_BYTES + 100;
        assert!(!exceeds_quota(total_bytes, 99, 200));
        assert!(exceeds_quota(total_bytes, 100, 200));
        assert!(!exceeds_quota(i64::MAX, 100, -1), "there is none");
    }
}

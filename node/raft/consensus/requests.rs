//! Requests of this member's clients: into the log and out of it again, and reads that need all that was committed.

use super::{Consensus, Inner};
use crate::apply::{Answer, ApplyError, Reply};
use crate::raft::propose::{Queued, URGENT_LEN};
use crate::types::LeaseId;
use bytes::Bytes;
use keelstone_proto::etcdserverpb::InternalRaftRequest;
use openraft::async_runtime::watch::WatchReceiver;
use prost::Message;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// Commits that may wait to be applied before new writes are refused (etcd's maxGapBetweenApplyAndCommitIndex).
const MAX_APPLY_GAP: u64 = 5_000;
/// The same for requests that free what others fill (etcd's maxPriorityGap).
const MAX_URGENT_GAP: u64 = 2 * MAX_APPLY_GAP;
/// How often to look whether the log is on disk.
const LOG_POLL: Duration = Duration::from_millis(5);

/// etcd's isPriorityRequest.
fn is_urgent(request: &InternalRaftRequest) -> bool {
    request.lease_revoke.is_some()
}

fn exceeds_gap(gap: u64, is_prior: bool) -> bool {
    gap > if is_prior { MAX_URGENT_GAP } else { MAX_APPLY_GAP }
}

/// Why a request has no answer of its own.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    #[error("no leader")]
    NoLeader,
    #[error("timed out")]
    Timeout,
    #[error("timed out, possibly due to previous leader failure")]
    TimeoutLeaderFailed,
    #[error("timed out, possibly due to connection lost")]
    TimeoutConnectionLost,
    #[error("too many requests")]
    TooManyRequests,
    #[error("request is too large")]
    RequestTooLarge,
    #[error("server stopped")]
    Stopped,
    #[error(transparent)]
    Refused(#[from] ApplyError),
}

/// A proposal that somebody waits for. A client that goes away drops it: then nobody proposes it again.
pub(in crate::raft) struct Waiting<'a> {
    inner: &'a Inner,
    pub(in crate::raft) id: u64,
    pub(in crate::raft) reply: oneshot::Receiver<Answer>,
}

impl<'a> Waiting<'a> {
    pub(super) fn begin(inner: &'a Inner, id: u64) -> Self {
        inner.counters.pending_proposals.fetch_add(1, Ordering::Relaxed);
        Self { inner, id, reply: inner.waiters.register(id) }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.inner.waiters.forget(self.id);
        self.inner.counters.pending_proposals.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Consensus {
    /// How long a request may take here: 5 s and two election timeouts, as etcd's.
    pub fn request_timeout(&self) -> Duration {
        Duration::from_secs(5) + self.inner.timing.election * 2
    }

    /// Puts a request into the log and waits until this member has applied it. `header.id` is set here.
    ///
    /// # Errors
    /// `Refused` is the answer of apply. After a `Timeout…` the request may still be applied.
    pub async fn propose(&self, mut request: InternalRaftRequest) -> Result<Reply, RequestError> {
        self.propose_kept(&mut request).await
    }

    /// An id for a lease whose client has none. Of the ids of requests, as in etcd, so that those of a member ascend.
    pub fn new_lease_id(&self) -> LeaseId {
        LeaseId((self.inner.request_ids.next() & i64::MAX as u64).max(1).cast_signed())
    }

    /// As [`Self::propose`], for a caller that looks at the request afterwards.
    ///
    /// # Errors
    /// As [`Self::propose`].
    pub async fn propose_kept(&self, request: &mut InternalRaftRequest) -> Result<Reply, RequestError> {
        let is_urgent = is_urgent(request);
        if exceeds_gap(self.apply_gap(), is_urgent && self.inner.prioritises) {
            return Err(RequestError::TooManyRequests);
        }
        let id = self.inner.request_ids.next();
        request.header.get_or_insert_default().id = id;
        let data = Bytes::from(request.encode_to_vec());
        if data.len() > self.inner.max_request_bytes {
            return Err(RequestError::RequestTooLarge);
        }
        // The last places are not for all.
        if !is_urgent && self.inner.proposals.capacity() <= URGENT_LEN {
            return Err(RequestError::TooManyRequests);
        }
        let started = self.inner.clock.now();
        let mut waiting = Waiting::begin(&self.inner, id);
        match self.inner.proposals.try_send(Queued { id, data }) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => return Err(RequestError::TooManyRequests),
            Err(mpsc::error::TrySendError::Closed(_)) => return Err(RequestError::Stopped),
        }
        match tokio::time::timeout(self.request_timeout(), &mut waiting.reply).await {
            Ok(Ok(answer)) => Ok(answer?),
            // Given up: a snapshot took the place of entries, this one perhaps among them.
            Ok(Err(_)) | Err(_) => {
                self.inner.counters.failed_proposals.fetch_add(1, Ordering::Relaxed);
                Err(self.timeout_reason(started))
            }
        }
    }

    /// etcd tells a client whether its wait may be due to a leader that was lost meanwhile.
    fn timeout_reason(&self, started: crate::clock::Ticks) -> RequestError {
        let since = self.inner.counters.leader_since.load(Ordering::Relaxed);
        let lost_before = since.saturating_sub(2 * self.inner.timing.election.as_millis() as u64);
        if since > 0 && started.0 > lost_before && started.0 < since {
            return RequestError::TimeoutLeaderFailed;
        }
        // A leader is named, but it is not heard, or as leader this member is not answered.
        match (self.raft_leader(), self.leader()) {
            (Some(_), None) => RequestError::TimeoutConnectionLost,
            (Some(_), Some(_)) | (None, _) => RequestError::Timeout,
        }
    }

    /// Waits until this member has applied all that was committed in the cluster when the call began.
    ///
    /// # Errors
    /// `NoLeader` if none is known; `Timeout`.
    pub async fn read_index(&self) -> Result<(), RequestError> {
        let (done, answer) = oneshot::channel();
        self.inner.reads.send(done).await.map_err(|_| RequestError::Stopped)?;
        match tokio::time::timeout(self.request_timeout(), answer).await {
            Ok(answer) => answer.map_err(|_| RequestError::Stopped)?,
            Err(_elapsed) => Err(RequestError::Timeout),
        }
    }

    /// Waits until this member has applied `index`.
    pub async fn await_applied(&self, index: u64) -> Result<(), RequestError> {
        let mut applied = self.applied_watch();
        let reached = applied.wait_for(|applied| *applied >= index);
        match tokio::time::timeout(self.request_timeout(), reached).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_closed)) => Err(RequestError::Stopped),
            Err(_elapsed) => Err(RequestError::Timeout),
        }
    }

    /// Waits until this member's log is on disk as far as it reaches now.
    ///
    /// # Errors
    /// `Timeout`: the disk stands still.
    pub async fn await_log_synced(&self) -> Result<(), RequestError> {
        let wal = &self.inner.wal;
        let wanted = wal.last().index;
        let deadline = tokio::time::Instant::now() + self.request_timeout();
        // What was cut off meanwhile is not waited for.
        while wal.synced_index() < wanted.min(wal.last().index) {
            if tokio::time::Instant::now() >= deadline {
                return Err(RequestError::Timeout);
            }
            tokio::time::sleep(LOG_POLL).await;
        }
        Ok(())
    }

    /// Committed entries that are not applied here yet.
    fn apply_gap(&self) -> u64 {
        let watched = self.inner.raft.metrics();
        let committed = watched.borrow_watched().local_committed.as_ref().map_or(0, |id| id.index() + 1);
        committed.saturating_sub(self.inner.worker.applied_index())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use keelstone_proto::etcdserverpb::{LeaseRevokeRequest, PutRequest};

    #[test]
    fn leases_are_revoked_while_others_wait_for_apply() {
        let revoke = InternalRaftRequest { lease_revoke: Some(LeaseRevokeRequest { id: 1 }), ..Default::default() };
        let put = InternalRaftRequest { put: Some(PutRequest::default()), ..Default::default() };
        assert!(is_urgent(&revoke) && !is_urgent(&put));
        assert_eq!([5_000, 5_001].map(|gap| exceeds_gap(gap, false)), [false, true]);
        assert_eq!([5_001, 10_000, 10_001].map(|gap| exceeds_gap(gap, true)), [false, false, true]);
    }
}

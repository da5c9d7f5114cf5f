//! Handing leadership over. openraft never undoes a transfer that fails (heartbeats stop, requests go to the dead
//! target), so the target must be alive and caught up before it is named.

use super::Consensus;
use crate::raft::network::Purpose;
use crate::types::MemberId;
use keelstone_proto::internal;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::{Instant, ServerState};
use std::time::Duration;
use tonic::Request;

/// Entries that a target may lack: it gets them before it stands.
const MAX_LAG: u64 = 1_000;

/// Why leadership stayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransferError {
    #[error("not leader")]
    NotLeader,
    #[error("the target is no voter")]
    BadTarget,
    #[error("no other voter is alive and caught up")]
    NoTarget,
    #[error("the target did not take over in time")]
    Timeout,
}

impl Consensus {
    /// Hands leadership to the voter with the longest log that answers now, and waits until it leads.
    ///
    /// # Errors
    /// See [`TransferError`]; leadership stays unless it is `Timeout`.
    pub async fn hand_over(&self, within: Duration) -> Result<MemberId, TransferError> {
        let deadline = tokio::time::Instant::now() + within;
        for target in self.candidates()? {
            if self.answers(target, within / 4).await {
                return self.transfer_to(target, deadline).await;
            }
        }
        Err(TransferError::NoTarget)
    }

    /// Hands leadership to one voter, and waits until it leads. A target that lags, or does not answer, has a request's time
    /// to come up.
    ///
    /// # Errors
    /// See [`TransferError`]; leadership stays unless it is `Timeout`.
    pub async fn move_leader(&self, target: MemberId) -> Result<(), TransferError> {
        let leader = self.leader();
        if leader != Some(self.member_id()) {
            return Err(TransferError::NotLeader);
        }
        if self.cluster().members.get(target).is_none_or(|member| member.is_learner) {
            return Err(TransferError::BadTarget);
        }
        tracing::info!(
            "local-member-id" = %self.member_id(),
            "current-leader-member-id" = %self.member_id(),
            "transferee-member-id" = %target,
            "leadership transfer starting"
        );
        let started = self.now();
        let deadline = tokio::time::Instant::now() + self.request_timeout();
        while target != self.member_id() {
            if self.candidates()?.contains(&target) && self.answers(target, self.timing().election).await {
                self.transfer_to(target, deadline).await?;
                break;
            }
            if tokio::time::Instant::now() >= deadline {
                return Err(TransferError::NoTarget);
            }
            tokio::time::sleep(self.timing().heartbeat).await;
        }
        tracing::info!(
            "local-member-id" = %self.member_id(),
            "old-leader-member-id" = %self.member_id(),
            "new-leader-member-id" = %target,
            took = ?self.now().since(started),
            "leadership transfer finished"
        );
        Ok(())
    }

    /// Other voters within [`MAX_LAG`] of the log's end, longest log first.
    fn candidates(&self) -> Result<Vec<MemberId>, TransferError> {
        let metrics = self.metrics();
        if metrics.state != ServerState::Leader {
            return Err(TransferError::NotLeader);
        }
        let last = metrics.last_log_index.unwrap_or(0);
        let voters: Vec<u64> = metrics.membership_config.membership().voter_ids().collect();
        let replication = metrics.replication.iter().flatten();
        let mut found: Vec<(u64, u64)> = replication
            .filter(|(id, _)| **id != self.member_id().0 && voters.contains(id))
            .filter_map(|(id, matched)| Some((matched.as_ref()?.index(), *id)))
            .filter(|(matched, id)| last.saturating_sub(*matched) <= MAX_LAG && self.recently_answered(&metrics, *id))
            .collect();
        found.sort_unstable();
        Ok(found.into_iter().rev().map(|(_, id)| MemberId(id)).collect())
    }

    /// True of a peer whose answer to this leader is not older than an election timeout.
    pub(super) fn recently_answered(&self, metrics: &openraft::RaftMetrics<super::types::TypeConfig>, id: u64) -> bool {
        let answered = metrics.heartbeat.as_ref().and_then(|by_member| by_member.get(&id));
        answered.and_then(|at| at.as_ref()).is_some_and(|at| at.elapsed() <= self.timing().election)
    }

    pub(super) async fn answers(&self, target: MemberId, within: Duration) -> bool {
        let Ok(mut client) = self.peer_client(target, Purpose::Forward) else {
            return false;
        };
        let mut request = Request::new(internal::PeerInfoRequest::default());
        request.set_timeout(within);
        client.info(request).await.is_ok()
    }

    async fn transfer_to(&self, target: MemberId, deadline: tokio::time::Instant) -> Result<MemberId, TransferError> {
        self.give_leadership_away();
        self.raft().trigger().transfer_leader(target.0).await.map_err(|_| TransferError::NotLeader)?;
        let mut metrics = self.raft().server_metrics();
        let taken = async {
            while metrics.borrow_and_update().current_leader != Some(target.0) {
                if metrics.changed().await.is_err() {
                    return;
                }
            }
        };
        tokio::time::timeout_at(deadline, taken).await.map_err(|_| TransferError::Timeout)?;
        Ok(target)
    }
}

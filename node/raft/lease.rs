//! Questions about leases, and what the leader answers. Their deadlines live in its memory alone (DESIGN D7), so it must be sure
//! that it still leads before it renews one: after a stall another leader may have let it expire.

use super::{Consensus, RequestError};
use crate::defect::{self, Defect, Point};
use crate::lease::{NotPrimary, Renewal};
use crate::raft::Purpose;
use crate::types::LeaseId;
use bytes::Bytes;
use keelstone_proto::etcdserverpb::{InternalRaftRequest, LeaseCheckpoint, LeaseCheckpointRequest};
use keelstone_proto::internal::{
    LeaseRenewRequest, LeaseRenewResponse, LeaseTimeToLiveRequest, LeaseTimeToLiveResponse,
};
use tonic::Request;

/// What a leader says of a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaseAnswer {
    NotFound,
    Found {
        /// Whole seconds left.
        ttl_secs: i64,
        granted_ttl_secs: i64,
        keys: Vec<Bytes>,
    },
}

/// On any member.
impl Consensus {
    /// Renews a lease through the leader.
    ///
    /// # Errors
    /// `NoLeader`, `Timeout`.
    pub async fn lease_renew(&self, id: LeaseId) -> Result<LeaseAnswer, RequestError> {
        self.ask_lease(|consensus| async move {
            if consensus.is_leader() {
                return lease_renewed(consensus.leader_lease_renew(id).await);
            }
            let mut client = consensus.leader_client().await?;
            let mut request = Request::new(LeaseRenewRequest { id: id.0 });
            request.set_timeout(consensus.request_timeout());
            lease_renewed(client.lease_renew(request).await.ok()?.into_inner())
        })
        .await
    }

    /// # Errors
    /// `NoLeader`, `Timeout`.
    pub async fn lease_time_to_live(&self, id: LeaseId, keys: bool) -> Result<LeaseAnswer, RequestError> {
        self.ask_lease(|consensus| async move {
            if consensus.is_leader() {
                return lease_found(consensus.leader_lease_time_to_live(id, keys).await);
            }
            let mut client = consensus.leader_client().await?;
            let mut request = Request::new(LeaseTimeToLiveRequest { id: id.0, keys });
            request.set_timeout(consensus.request_timeout());
            lease_found(client.lease_time_to_live(request).await.ok()?.into_inner())
        })
        .await
    }

    /// Tries until the leader answers or the request's time is over.
    async fn ask_lease<F, A>(&self, ask: F) -> Result<LeaseAnswer, RequestError>
    where
        F: Fn(Consensus) -> A,
        A: Future<Output = Option<LeaseAnswer>>,
    {
        let deadline = tokio::time::Instant::now() + self.request_timeout();
        loop {
            if let Some(answer) = ask(self.clone()).await {
                return Ok(answer);
            }
            if tokio::time::Instant::now() >= deadline {
                return Err(RequestError::Timeout);
            }
            if self.leader().is_none() {
                self.await_leader().await.map_err(|_| RequestError::NoLeader)?;
            } else {
                self.leader_change().await;
            }
        }
    }

    async fn leader_client(&self) -> Option<super::network::Client> {
        let leader = self.leader()?;
        self.peer_client(leader, Purpose::Forward).ok()
    }
}

fn lease_renewed(response: LeaseRenewResponse) -> Option<LeaseAnswer> {
    match response {
        _ if response.not_leader => None,
        _ if response.not_found => Some(LeaseAnswer::NotFound),
        _ => Some(LeaseAnswer::Found { ttl_secs: response.ttl, granted_ttl_secs: response.ttl, keys: Vec::new() }),
    }
}

fn lease_found(response: LeaseTimeToLiveResponse) -> Option<LeaseAnswer> {
    match response {
        _ if response.not_leader => None,
        _ if response.not_found => Some(LeaseAnswer::NotFound),
        _ => Some(LeaseAnswer::Found {
            ttl_secs: response.ttl,
            granted_ttl_secs: response.granted_ttl,
            keys: response.keys,
        }),
    }
}

/// On the leader.
impl Consensus {
    /// Renews if this member leads and a quorum says so. A lease that is due is not renewed: the answer waits until it
    /// is revoked, so that a holder never hears "alive" after its keys went.
    pub(super) async fn leader_lease_renew(&self, id: LeaseId) -> LeaseRenewResponse {
        let not_leader = LeaseRenewResponse { not_leader: true, ..Default::default() };
        let leads = self.leads() || defect::on(Defect::DeposedLeaderRenews);
        if !leads && self.leader_read_index().await.is_none() {
            return not_leader;
        }
        let deadline = tokio::time::Instant::now() + self.request_timeout();
        let mut knows_all = false;
        while tokio::time::Instant::now() < deadline {
            defect::reach_in_task(Point::BeforeCheckpointInLeaseRenew).await;
            match self.lessor().renew(id, self.now()) {
                Renewal::Renewed { ttl_secs } => return LeaseRenewResponse { ttl: ttl_secs, ..Default::default() },
                Renewal::NotFound if knows_all => return LeaseRenewResponse { not_found: true, ..Default::default() },
                Renewal::NotFound if self.await_all_committed().await.is_none() => return not_leader,
                Renewal::NotFound => knows_all = true,
                Renewal::NotPrimary => return not_leader,
                Renewal::Expired(revoked) => {
                    // It ends by being dropped, when the lease is gone or the leadership.
                    if tokio::time::timeout_at(deadline, revoked).await.is_err() {
                        return not_leader;
                    }
                }
                Renewal::Checkpointed => {
                    if self.propose(reset_checkpoint(id)).await.is_err() {
                        return not_leader;
                    }
                }
            }
        }
        not_leader
    }

    /// A grant that another member has applied, and answered, may not be applied here yet: before a lease is said not to
    /// be there, all that was committed when it was asked for has to be applied. None if this member does not lead.
    async fn await_all_committed(&self) -> Option<()> {
        let index = self.leader_read_index().await?;
        self.await_applied(index).await.ok()
    }

    pub(super) async fn leader_lease_time_to_live(&self, id: LeaseId, keys: bool) -> LeaseTimeToLiveResponse {
        let not_leader = LeaseTimeToLiveResponse { not_leader: true, ..Default::default() };
        if !self.leads() {
            return not_leader;
        }
        let mut time = self.lessor().time_to_live(id, self.now(), keys);
        if time == Ok(None) {
            if self.await_all_committed().await.is_none() {
                return not_leader;
            }
            time = self.lessor().time_to_live(id, self.now(), keys);
        }
        match time {
            // Elected, but not up to date yet.
            Err(NotPrimary) => not_leader,
            Ok(None) => LeaseTimeToLiveResponse { not_found: true, ..Default::default() },
            Ok(Some(time)) => LeaseTimeToLiveResponse {
                ttl: time.remaining_secs,
                granted_ttl: time.granted_ttl_secs,
                keys: time.keys,
                ..Default::default()
            },
        }
    }
}

fn reset_checkpoint(id: LeaseId) -> InternalRaftRequest {
    let checkpoint = LeaseCheckpoint { id: id.0, remaining_ttl: 0 };
    let request = LeaseCheckpointRequest { checkpoints: vec![checkpoint] };
    InternalRaftRequest { lease_checkpoint: Some(request), ..Default::default() }
}

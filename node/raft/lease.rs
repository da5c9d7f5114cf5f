//! What the leader answers about leases. Their deadlines live in its memory alone (DESIGN D7), so it must be sure
//! that it still leads before it renews one: after a stall another leader may have let it expire.

use super::Consensus;
use crate::lease::Renewal;
use crate::types::LeaseId;
use keelstone_proto::etcdserverpb::{InternalRaftRequest, LeaseCheckpoint, LeaseCheckpointRequest};
use keelstone_proto::internal::{LeaseRenewResponse, LeaseTimeToLiveResponse};

impl Consensus {
    /// Renews if this member leads and a quorum says so. A lease that is due is not renewed: the answer waits until it
    /// is revoked, so that a holder never hears "alive" after its keys went.
    pub(super) async fn leader_lease_renew(&self, id: LeaseId) -> LeaseRenewResponse {
        let not_leader = LeaseRenewResponse { not_leader: true, ..Default::default() };
        if !self.leads() && self.leader_read_index().await.is_none() {
            return not_leader;
        }
        let deadline = tokio::time::Instant::now() + self.request_timeout();
        while tokio::time::Instant::now() < deadline {
            match self.lessor().renew(id, self.now()) {
                Renewal::Renewed { ttl_secs } => return LeaseRenewResponse { ttl: ttl_secs, ..Default::default() },
                Renewal::NotFound => return LeaseRenewResponse { not_found: true, ..Default::default() },
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

    pub(super) fn leader_lease_time_to_live(&self, id: LeaseId, keys: bool) -> LeaseTimeToLiveResponse {
        if !self.leads() {
            return LeaseTimeToLiveResponse { not_leader: true, ..Default::default() };
        }
        match self.lessor().time_to_live(id, self.now(), keys) {
            None => LeaseTimeToLiveResponse { not_found: true, ..Default::default() },
            Some(time) => LeaseTimeToLiveResponse {
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

//! What the leader answers about leases. Their deadlines live in its memory alone (DESIGN D7), so it must be sure
//! that it still leads before it renews one: after a stall another leader may have let it expire.

use super::Consensus;
use crate::lease::{Remaining, Renewal};
use crate::types::LeaseId;
use keelstone_proto::internal::{LeaseRenewResponse, LeaseTimeToLiveResponse};

impl Consensus {
    /// Renews if this member leads and a quorum says so. A lease that is due is not renewed: the answer waits until it
    /// is revoked, so that a holder never hears "alive" after its keys went.
    pub(super) async fn leader_lease_renew(&self, id: LeaseId) -> LeaseRenewResponse {
        let not_leader = LeaseRenewResponse { not_leader: true, ..Default::default() };
        if !self.leads() && self.leader_read_index().await.is_none() {
            return not_leader;
        }
        let mut applied = self.applied_watch();
        let deadline = tokio::time::Instant::now() + self.request_timeout();
        loop {
            match self.lessor().renew(id, self.now()) {
                Renewal::Renewed { ttl_secs } => return LeaseRenewResponse { ttl: ttl_secs, ..Default::default() },
                Renewal::NotFound => return LeaseRenewResponse { not_found: true, ..Default::default() },
                Renewal::NotPrimary => return not_leader,
                Renewal::Expired => {
                    let next = tokio::time::timeout_at(deadline, applied.changed()).await;
                    if !matches!(next, Ok(Ok(()))) {
                        return not_leader;
                    }
                }
            }
        }
    }

    pub(super) fn leader_lease_time_to_live(&self, id: LeaseId, keys: bool) -> LeaseTimeToLiveResponse {
        if !self.is_leader() {
            return LeaseTimeToLiveResponse { not_leader: true, ..Default::default() };
        }
        match self.lessor().remaining(id, self.now()) {
            None => LeaseTimeToLiveResponse { not_found: true, ..Default::default() },
            Some(Remaining { ttl_secs, granted_ttl_secs }) => LeaseTimeToLiveResponse {
                ttl: ttl_secs,
                granted_ttl: granted_ttl_secs,
                keys: if keys { self.lessor().keys(id) } else { Vec::new() },
                ..Default::default()
            },
        }
    }
}

//! Lets leases expire: on the leader, a revoke is proposed for each lease that is due (etcd `server/lease/lessor.go`,
//! runLoop and `server/etcdserver/server.go`, revokeExpiredLeases).

use crate::auth::{Access, ROOT_USER};
use crate::clock::Clock;
use crate::defect::{self, Defect};
use crate::lease::Lessor;
use crate::raft::Consensus;
use crate::types::LeaseId;
use futures_util::stream::{self, StreamExt};
use keelstone_proto::etcdserverpb::{
    InternalRaftRequest, LeaseCheckpoint, LeaseCheckpointRequest, LeaseRevokeRequest, RequestHeader,
};
use std::sync::Arc;
use std::time::Duration;

/// How often due leases are looked for.
const SCAN_INTERVAL: Duration = Duration::from_millis(500);
/// Revokes in one scan; with the interval, etcd's 1000 a second.
const REVOKES_PER_SCAN: usize = 500;
/// Revokes on their way at once.
const REVOKES_AT_ONCE: usize = 16;

/// How old what a lease's checkpoint says may be (etcd's defaultLeaseCheckpointInterval).
const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(5 * 60);
/// Checkpoints in one entry (etcd's maxLeaseCheckpointBatchSize).
const CHECKPOINTS_PER_ENTRY: usize = 1000;

/// Records what is left of long leases, so that a new leader goes on from there (`--feature-gates=LeaseCheckpoint=true`).
/// Runs until it is dropped.
pub async fn checkpoint(consensus: Consensus, lessor: Arc<Lessor>, clock: Arc<dyn Clock>) {
    let mut scan = tokio::time::interval(SCAN_INTERVAL);
    scan.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        scan.tick().await;
        if !consensus.leads() {
            continue;
        }
        let leases = lessor.checkpoints(clock.now(), CHECKPOINT_INTERVAL, CHECKPOINTS_PER_ENTRY);
        if leases.is_empty() {
            continue;
        }
        let checkpoints =
            leases.iter().map(|lease| LeaseCheckpoint { id: lease.id.0, remaining_ttl: lease.remaining_ttl_secs });
        let request = LeaseCheckpointRequest { checkpoints: checkpoints.collect() };
        let request = InternalRaftRequest { lease_checkpoint: Some(request), ..Default::default() };
        // One that fails is due again at the next scan.
        if let Err(error) = consensus.propose(request).await {
            tracing::warn!(%error, "failed to record lease checkpoints");
        }
    }
}

/// Runs until it is dropped.
pub async fn run(consensus: Consensus, lessor: Arc<Lessor>, access: Arc<Access>, clock: Arc<dyn Clock>) {
    let mut scan = tokio::time::interval(SCAN_INTERVAL);
    scan.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        scan.tick().await;
        if !consensus.leads() && !defect::on(Defect::StalledLeaderEndsLease) {
            continue;
        }
        let due = lessor.due(clock.now(), REVOKES_PER_SCAN);
        if due.is_empty() || !still_leads(&consensus).await {
            continue;
        }
        stream::iter(due).for_each_concurrent(REVOKES_AT_ONCE, |id| revoke(&consensus, &lessor, &access, id)).await;
    }
}

/// A leader that was stopped wakes up with every lease overdue and another leader elected: only a fresh answer of a
/// quorum shows that the deadlines in this memory still count (etcd #15247).
async fn still_leads(consensus: &Consensus) -> bool {
    if defect::on(Defect::StalledLeaderEndsLease) {
        return true;
    }
    consensus.read_index().await.is_ok() && consensus.leads()
}

/// In the name of root, since it deletes the keys of others; of one who cannot go while that counts.
async fn revoke(consensus: &Consensus, lessor: &Lessor, access: &Access, id: LeaseId) {
    let header = access.is_enabled().then(|| RequestHeader {
        username: ROOT_USER.to_owned(),
        auth_revision: access.state().revision(),
        ..RequestHeader::default()
    });
    let request =
        InternalRaftRequest { header, lease_revoke: Some(LeaseRevokeRequest { id: id.0 }), ..Default::default() };
    // One that fails stays due and is tried at the next scan.
    match consensus.propose(request).await {
        Ok(_) => lessor.count_expired(1),
        Err(error) => tracing::warn!("lease-id" = %id, error = %error, "failed to revoke lease"),
    }
}

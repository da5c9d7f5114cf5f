//! Lets leases expire: on the leader, a revoke is proposed for each lease that is due (etcd `server/lease/lessor.go`,
//! runLoop and `server/etcdserver/server.go`, revokeExpiredLeases).

use crate::clock::Clock;
use crate::lease::Lessor;
use crate::raft::Consensus;
use crate::types::LeaseId;
use futures_util::stream::{self, StreamExt};
use keelstone_proto::etcdserverpb::{InternalRaftRequest, LeaseRevokeRequest};
use std::sync::Arc;
use std::time::Duration;

/// How often due leases are looked for.
const SCAN_INTERVAL: Duration = Duration::from_millis(500);
/// Revokes in one scan; with the interval, etcd's 1000 a second.
const REVOKES_PER_SCAN: usize = 500;
/// Revokes on their way at once.
const REVOKES_AT_ONCE: usize = 16;

/// Runs until it is dropped.
pub async fn run(consensus: Consensus, lessor: Arc<Lessor>, clock: Arc<dyn Clock>) {
    let mut scan = tokio::time::interval(SCAN_INTERVAL);
    scan.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        scan.tick().await;
        if !consensus.leads() {
            continue;
        }
        let due = lessor.due(clock.now(), REVOKES_PER_SCAN);
        // A leader that was stopped wakes up with every lease overdue and another leader elected: only a fresh
        // answer of a quorum shows that the deadlines in this memory still count (etcd #15247).
        if due.is_empty() || consensus.read_index().await.is_err() || !consensus.leads() {
            continue;
        }
        stream::iter(due).for_each_concurrent(REVOKES_AT_ONCE, |id| revoke(&consensus, &lessor, id)).await;
    }
}

async fn revoke(consensus: &Consensus, lessor: &Lessor, id: LeaseId) {
    let request = InternalRaftRequest { lease_revoke: Some(LeaseRevokeRequest { id: id.0 }), ..Default::default() };
    // One that fails stays due and is tried at the next scan.
    match consensus.propose(request).await {
        Ok(_) => lessor.count_expired(1),
        Err(error) => tracing::warn!("lease-id" = %id, error = %error, "failed to revoke lease"),
    }
}

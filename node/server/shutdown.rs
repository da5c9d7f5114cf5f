//! The way down: stop accepting, hand over leadership, drain with a deadline, stop tasks, close storage.

use crate::raft::Consensus;
use std::time::Duration;

/// For handing leadership over (etcd's transferLeadership takes at most a request timeout; its tests want a stop
/// within 1.5 s over all).
const HAND_OVER: Duration = Duration::from_millis(500);
/// For requests that are being served.
pub const DRAIN: Duration = Duration::from_millis(500);

/// Gives leadership to a peer, if there is one that can take it.
pub async fn hand_over(consensus: &Consensus) {
    match consensus.hand_over(HAND_OVER).await {
        Ok(target) => {
            tracing::info!(
                "local-member-id" = %consensus.member_id(),
                "new-leader-member-id" = %target,
                "leadership transfer finished"
            );
        }
        Err(error) => {
            tracing::info!(
                "local-member-id" = %consensus.member_id(),
                reason = %error,
                "skipped leadership transfer"
            );
        }
    }
}

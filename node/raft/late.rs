//! Whether a leader is too busy to send its heartbeats in time. They are sent by tasks of the thread on which this one
//! runs: what is late here is late there.

use super::Consensus;
use crate::config::value::GoDuration;
use tokio::time::Instant;

/// Runs until it is dropped.
pub async fn run(consensus: Consensus) {
    let heartbeat = consensus.timing().heartbeat;
    // etcd's.
    let expected = heartbeat * 2;
    loop {
        let begun = Instant::now();
        tokio::time::sleep(heartbeat).await;
        let exceeded = begun.elapsed().saturating_sub(expected);
        if exceeded.is_zero() || !consensus.is_leader() {
            continue;
        }
        let members = consensus.cluster();
        for peer in members.members.iter().filter(|member| member.id != consensus.member_id()) {
            tracing::warn!(
                to = %peer.id,
                "heartbeat-interval" = %GoDuration::from(heartbeat),
                "expected-duration" = %GoDuration::from(expected),
                "exceeded-duration" = %GoDuration::from(exceeded),
                "leader failed to send out heartbeat on time; took too long, leader is overloaded likely from slow disk"
            );
            consensus.peers().traffic().metrics().late_heartbeats.inc();
        }
    }
}

//! A leader whose disk stands still commits only while enough of the others answer, and falls behind with what it makes
//! durable. It hands leadership over (DESIGN D2).

use crate::raft::Consensus;
use crate::wal::Wal;
use std::time::Duration;
use tokio::time::Instant;

/// For finding a peer that can take over, and the change itself.
const HAND_OVER: Duration = Duration::from_millis(500);
/// Looks in one election timeout.
const LOOKS_PER_ELECTION: u32 = 4;

/// Entries that wait for the disk, the oldest of those that were seen to.
#[derive(Clone, Copy, Debug, Default)]
struct Backlog {
    waiting: Option<(u64, Instant)>,
}

impl Backlog {
    /// How long the log has not synced what it was given.
    fn look(&mut self, last: u64, synced: u64, now: Instant) -> Duration {
        match self.waiting {
            Some((index, since)) if synced < index => return now - since,
            _ if synced < last => self.waiting = Some((last, now)),
            _ => self.waiting = None,
        }
        Duration::ZERO
    }
}

/// Runs until it is dropped.
pub async fn run(consensus: Consensus, wal: Wal) {
    let limit = consensus.timing().election;
    let mut backlog = Backlog::default();
    loop {
        tokio::time::sleep(limit / LOOKS_PER_ELECTION).await;
        let stalled = backlog.look(wal.last().index, wal.synced_index(), Instant::now());
        if stalled < limit || !consensus.leads() {
            continue;
        }
        tracing::warn!(
            took = format!("{stalled:?}"),
            expected = format!("{limit:?}"),
            "slow fsync: the log is not synced within an election timeout; handing leadership over"
        );
        match consensus.hand_over(HAND_OVER).await {
            Ok(target) => tracing::info!("new-leader-member-id" = %target, "leadership transfer finished"),
            // The next look tries again.
            Err(error) => tracing::warn!(%error, "leadership stays with a member whose disk is stalled"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_entries_that_wait_all_the_time_make_a_stall() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let mut backlog = Backlog::default();
        assert_eq!(backlog.look(5, 5, start), Duration::ZERO);
        assert_eq!(backlog.look(7, 5, start), Duration::ZERO);
        assert_eq!(backlog.look(9, 6, start + second), second, "7 still waits");
        assert_eq!(backlog.look(12, 7, start + second * 2), Duration::ZERO, "it is busy, not stalled");
        assert_eq!(backlog.look(12, 7, start + second * 5), second * 3);
        assert_eq!(backlog.look(12, 12, start + second * 6), Duration::ZERO);
    }
}

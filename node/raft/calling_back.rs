//! Whether members can call their leader. Appends and their answers go over connections that the leader makes; requests of
//! other members' clients over those that these make. Where only the former come about (a firewall, a broken route), a
//! leader would lead on for ever while nobody else's clients can write. So followers try, and say so in their answers, and a
//! leader that a majority cannot call hands over. etcd's leader loses its followers then, whose messages come by their calls.

use super::Consensus;
use crate::clock::Ticks;
use crate::types::MemberId;
use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// For finding a peer that can take over, and the change itself.
const HAND_OVER: Duration = Duration::from_millis(500);

/// What this member knows of calls to the leader.
#[derive(Debug, Default)]
pub struct CallingBack {
    /// The leader that this member cannot call; 0: there is none such.
    out_of_reach: AtomicU64,
    /// On the leader: who cannot call it, and when that was said last.
    complaints: Mutex<HashMap<MemberId, Ticks>>,
}

impl CallingBack {
    /// True if this member cannot call `leader`, and has tried for an election timeout.
    pub fn fails(&self, leader: MemberId) -> bool {
        self.out_of_reach.load(Ordering::Relaxed) == leader.0
    }

    /// A follower's answer said whether it can call this member.
    pub fn note(&self, follower: MemberId, complains: bool, now: Ticks) {
        let mut complaints = self.complaints.lock().expect("no holder of this lock panics");
        match complains {
            true => drop(complaints.insert(follower, now)),
            false => drop(complaints.remove(&follower)),
        }
    }

    /// Whether a majority of the voters complains, none longer than `age` ago. Those could do without this member.
    fn is_majority(&self, voters: &[u64], now: Ticks, age: Duration) -> bool {
        let complaints = self.complaints.lock().expect("no holder of this lock panics");
        let complains = |id: &&u64| complaints.get(&MemberId(**id)).is_some_and(|at| now.since(*at) <= age);
        voters.iter().filter(complains).count() > voters.len() / 2
    }
}

/// Runs until it is dropped.
pub(super) async fn run(consensus: Consensus) {
    let (election, calling_back) = (consensus.timing().election, consensus.peers().calling_back());
    // The leader that did not answer, and since when.
    let mut silent: Option<(MemberId, Ticks)> = None;
    loop {
        tokio::time::sleep(election / 2).await;
        let leader = consensus.leader().filter(|leader| *leader != consensus.member_id());
        silent = match leader {
            Some(leader) => {
                let begun = consensus.now();
                let known = silent.filter(|(of, _)| *of == leader);
                let answers = consensus.answers(leader, election).await;
                (!answers).then(|| known.unwrap_or((leader, begun)))
            }
            None => None,
        };
        let lasts = silent.filter(|(_, since)| consensus.now().since(*since) >= election);
        let out_of_reach = lasts.map_or(0, |(leader, _)| leader.0);
        calling_back.out_of_reach.store(out_of_reach, Ordering::Relaxed);
        if consensus.leads() {
            give_way(&consensus, calling_back).await;
        }
    }
}

async fn give_way(consensus: &Consensus, calling_back: &CallingBack) {
    let voters: Vec<u64> = consensus.metrics().membership_config.membership().voter_ids().collect();
    if !calling_back.is_majority(&voters, consensus.now(), consensus.timing().election) {
        return;
    }
    tracing::warn!("most members cannot call this leader; handing leadership over");
    match consensus.hand_over(HAND_OVER).await {
        Ok(target) => tracing::info!("new-leader-member-id" = %target, "leadership transfer finished"),
        // The next look tries again.
        Err(error) => tracing::warn!(%error, "leadership stays with a member that most cannot call"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_majority_of_fresh_complaints_makes_a_leader_give_way() {
        let known = CallingBack::default();
        let is_majority = |voters: &[u64]| known.is_majority(voters, Ticks(1010), Duration::from_secs(1));
        known.note(MemberId(2), true, Ticks(10));
        assert!(!is_majority(&[1, 2]), "the other one alone could do nothing");
        assert!(!is_majority(&[1, 2, 3]));
        known.note(MemberId(3), true, Ticks(9));
        assert!(!is_majority(&[1, 2, 3]), "that was long ago");
        known.note(MemberId(3), true, Ticks(11));
        assert!(is_majority(&[1, 2, 3]) && !is_majority(&[1, 2, 3, 4]));
        known.note(MemberId(2), false, Ticks(12));
        assert!(!is_majority(&[1, 2, 3]));
    }
}

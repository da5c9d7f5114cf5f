//! Where this member stands in its cluster, as etcd tells it to whoever looks for a fault (`raft.Status`).

use super::Consensus;
use crate::types::MemberId;
use openraft::ServerState;
use openraft::async_runtime::watch::WatchReceiver;

/// What a member is to the others. A learner is a follower, as in etcd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Follower,
    Candidate,
    Leader,
}

/// How far the log of a member is, by what the leader knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    pub member: MemberId,
    /// The last entry that is known to be in its log; zero: none.
    pub matched: u64,
    /// It answers.
    pub is_reached: bool,
}

/// One reading. Indexes are from 1; zero is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RaftReport {
    pub member: MemberId,
    pub term: u64,
    /// Whom it has voted for in this term.
    pub vote: MemberId,
    pub committed: u64,
    pub leader: Option<MemberId>,
    pub role: Role,
    pub applied: u64,
    /// Of all members, itself among them; only the leader knows.
    pub progress: Vec<Progress>,
}

impl Consensus {
    pub fn report(&self) -> RaftReport {
        let status = self.status();
        let watched = self.inner.raft.metrics();
        let metrics = watched.borrow_watched();
        let role = match metrics.state {
            ServerState::Leader => Role::Leader,
            ServerState::Candidate => Role::Candidate,
            ServerState::Learner | ServerState::Follower | ServerState::Shutdown => Role::Follower,
        };
        let progress = metrics.replication.iter().flatten().map(|(&id, matched)| {
            let member = MemberId(id);
            let is_reached = member == self.member_id() || self.inner.peers.connected_since(member).is_some();
            Progress { member, matched: matched.as_ref().map_or(0, |id| id.index() + 1), is_reached }
        });
        RaftReport {
            member: self.member_id(),
            term: metrics.current_term,
            vote: MemberId(metrics.vote.leader_id.voted_for),
            committed: status.committed,
            leader: status.leader,
            role,
            applied: status.applied,
            progress: progress.collect(),
        }
    }
}

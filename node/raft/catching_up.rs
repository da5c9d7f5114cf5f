//! New voters, who are learners to Raft until they have caught up: the leader lets them vote then. With
//! `--auto-promote-learners` it promotes caught-up learners too.

use super::Consensus;
use super::may_change::is_caught_up;
use super::types::{self, Payload, Peer};
use crate::cluster::MemberChange;
use crate::types::MemberId;
use openraft::ServerState;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::entry::RaftPayload;
use std::collections::{BTreeMap, BTreeSet};

/// Looks at every heartbeat, since progress has no event of its own. Runs until it is dropped.
pub async fn run(consensus: Consensus, promotes_learners: bool) {
    let mut look = tokio::time::interval(consensus.timing().heartbeat);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        look.tick().await;
        if let Some(id) = consensus.next_voter() {
            consensus.let_vote(id).await;
        } else if promotes_learners && let Some(id) = consensus.ready_learner() {
            // It is tried again at the next look.
            if let Err(error) = consensus.change_members(MemberChange::Promote(id)).await {
                tracing::warn!("learner-id" = %id, %error, "failed to promote a learner that has caught up");
            }
        }
    }
}

impl Consensus {
    /// A voter by the member table that may begin to vote.
    fn next_voter(&self) -> Option<MemberId> {
        if !self.is_leader() {
            return None;
        }
        // All is well nearly always: that much must cost next to nothing.
        let waiting: Vec<MemberId> = {
            let (watched, cluster) = (self.raft().metrics(), self.cluster());
            let metrics = watched.borrow_watched();
            let voters: BTreeSet<u64> = metrics.membership_config.membership().voter_ids().collect();
            let is_known = |id: MemberId| metrics.membership_config.membership().get_node(&id.0).is_some();
            let waits = |id: &MemberId| !voters.contains(&id.0) && is_known(*id);
            cluster.members.voters().map(|member| member.id).filter(waits).collect()
        };
        self.first_caught_up(waiting)
    }

    fn ready_learner(&self) -> Option<MemberId> {
        if !self.is_leader() {
            return None;
        }
        let cluster = self.cluster();
        let learners = cluster.members.iter().filter(|member| member.is_learner && member.is_started());
        self.first_caught_up(learners.map(|member| member.id).collect())
    }

    fn first_caught_up(&self, mut ids: Vec<MemberId>) -> Option<MemberId> {
        if ids.is_empty() {
            return None;
        }
        let metrics = self.metrics();
        ids.retain(|id| is_caught_up(&metrics, *id) && self.recently_answered(&metrics, id.0));
        ids.first().copied()
    }

    /// The entry says of the members what is so already, and carries the membership in which one more votes.
    async fn let_vote(&self, id: MemberId) {
        let metrics = self.metrics();
        let observed = &metrics.membership_config;
        let mut voters: BTreeSet<u64> = observed.membership().voter_ids().collect();
        voters.insert(id.0);
        let nodes: BTreeMap<u64, Peer> = observed.membership().nodes().map(|(id, peer)| (*id, peer.clone())).collect();
        if metrics.state != ServerState::Leader {
            return;
        }
        let Ok(after) = types::Membership::new(vec![voters], nodes) else { return };
        let Payload::ConfChange { change, .. } = Payload::blank().with_membership(after.clone()) else { return };
        let appended = self.append_membership(observed, after, change).await;
        tracing::info!("member-id" = %id, ?appended, "a new voter has caught up");
    }
}

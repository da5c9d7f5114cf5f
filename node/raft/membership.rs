//! Changes of the members: checked and appended by the leader, one at a time, and answered by the member that was asked
//! once it has applied them.
//!
//! The leader checks against its member table when that has seen every membership of the log, and appends only if no
//! other comes between: so apply never refuses what Raft follows already.
//!
//! A new voter is a learner to Raft until it has caught up (`catching_up.rs`). Raft counts a membership from the moment it
//! stands in the log: a second voter would have to be up to commit the entry that adds it, and could not be started
//! before; and a new voter that never comes up takes nothing from the quorum.

use super::network::{Client, Purpose};
use super::types::{self, Payload, Peer};
use super::{ChangeRefused, Consensus, RequestError};
use crate::apply::{Reply, conf_change};
use crate::cluster::{Member, MemberChange, MemberChangeError};
use crate::types::MemberId;
use bytes::Bytes;
use keelstone_proto::internal::{self, ChangeMembersRequest, ChangeMembersResponse, ChangeRefusal, PeerInfoRequest};
use openraft::ChangeMembers;
use openraft::errors::{ChangeMembershipError, ClientWriteError, RaftError};
use openraft::raft::{ChangeMembershipRequest, Precondition};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::sync::mpsc;
use tonic::Request;

/// Between attempts, while another change is on its way or the leader is new.
const RETRY_AFTER: Duration = Duration::from_millis(10);

/// Why a change has no list of members as its answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    #[error(transparent)]
    Refused(#[from] ChangeRefused),
    #[error(transparent)]
    Request(#[from] RequestError),
}

/// What became of a change at the leader.
enum Fate {
    /// In the log, or possibly so.
    Sent,
    NotLeader,
    Refused(ChangeRefused),
}

/// A member that is being removed, and the way to it.
pub(super) type Leaving = (MemberId, Client);

/// How many of them may wait to be told.
pub(super) const LEAVING_LEN: usize = 16;

/// Lets members that were removed know. Raft sends them nothing from the moment that their removal stands in the log, and
/// they would find out only once they miss a leader. Tried once: who is away asks when it comes back. Runs until it is dropped.
pub(super) async fn take_leave(consensus: Consensus, mut queue: mpsc::Receiver<Leaving>) {
    while let Some((id, mut client)) = queue.recv().await {
        let index = types::position_or_zero(consensus.metrics().membership_config.log_id().as_ref()).index;
        // It asks whether it is true, and this member is to know by then.
        if consensus.await_applied(index).await.is_err() || !consensus.was_removed(id) {
            continue;
        }
        let mut request = Request::new(PeerInfoRequest { removed: true });
        request.set_timeout(consensus.timing().election);
        if let Err(error) = client.info(request).await {
            tracing::debug!("remote-peer-id" = %id, error = error.message(), "a removed member was not reached");
        }
    }
}

/// On any member.
impl Consensus {
    /// Changes the members and answers who belongs then. Waits until this member has applied the change.
    ///
    /// # Errors
    /// `Refused`: nothing was changed. After a `Timeout` it may still happen.
    pub async fn change_members(&self, change: MemberChange) -> Result<Vec<Member>, ChangeError> {
        let mut waiting = self.wait_for_request();
        let sent = self.send_change(waiting.id, &change);
        let answered = async {
            sent.await?;
            match (&mut waiting.reply).await {
                Ok(Ok(reply)) => Ok(reply),
                Ok(Err(refused)) => Err(RequestError::Refused(refused).into()),
                // Given up: a snapshot took the place of entries, this one perhaps among them.
                Err(_) => Err(ChangeError::from(RequestError::Timeout)),
            }
        };
        let answered = tokio::time::timeout(self.request_timeout(), answered).await;
        match answered.unwrap_or_else(|_| Err(RequestError::Timeout.into()))? {
            Reply::Members(members) => {
                tracing::info!(
                    "local-member-id" = %self.member_id(),
                    "raft-conf-change" = kind(&change),
                    "raft-conf-change-node-id" = %change.member_id(),
                    "applied a configuration change through raft"
                );
                Ok(members)
            }
            _ => unreachable!("a change of members is answered with members"),
        }
    }

    /// Returns once the change may be in the log.
    async fn send_change(&self, request_id: u64, change: &MemberChange) -> Result<(), ChangeError> {
        loop {
            let fate = if self.is_leader() {
                self.change_as_leader(request_id, change).await
            } else {
                self.ask_leader_to_change(request_id, change).await
            };
            match fate {
                Fate::Sent => return Ok(()),
                Fate::Refused(refused) => return Err(refused.into()),
                // A change is worth a whole request's time: nobody repeats it by itself.
                Fate::NotLeader => self.leader_change().await,
            }
        }
    }

    async fn ask_leader_to_change(&self, request_id: u64, change: &MemberChange) -> Fate {
        let client = self.leader().and_then(|leader| self.peer_client(leader, Purpose::Forward).ok());
        let Some(mut client) = client else { return Fate::NotLeader };
        let change = conf_change::encode(request_id, change, &internal::Membership::default());
        let mut request = Request::new(ChangeMembersRequest { change });
        request.set_timeout(self.request_timeout());
        match client.change_members(request).await.map(tonic::Response::into_inner) {
            Ok(answer) if answer.not_leader => Fate::NotLeader,
            Ok(answer) => refusal_from_proto(answer.refusal()).map_or(Fate::Sent, Fate::Refused),
            // It may have arrived.
            Err(_) => Fate::Sent,
        }
    }
}

/// On the leader.
impl Consensus {
    /// On behalf of another member.
    pub(super) async fn leader_change_members(&self, asked: ChangeMembersRequest) -> ChangeMembersResponse {
        let answer = match conf_change::decode(&asked.change) {
            Ok((request_id, change)) => self.change_as_leader(request_id, &change).await,
            Err(error) => {
                tracing::warn!(%error, "refused a change of members that cannot be read");
                Fate::Refused(MemberChangeError::IdNotFound.into())
            }
        };
        match answer {
            Fate::Sent => ChangeMembersResponse { sent: true, ..Default::default() },
            Fate::NotLeader => ChangeMembersResponse { not_leader: true, ..Default::default() },
            Fate::Refused(refused) => {
                ChangeMembersResponse { refusal: refusal_to_proto(refused).into(), ..Default::default() }
            }
        }
    }

    async fn change_as_leader(&self, request_id: u64, change: &MemberChange) -> Fate {
        let fate = self.try_as_leader(request_id, change).await;
        let metrics = self.peers().traffic().metrics();
        match &fate {
            Fate::Sent if matches!(change, MemberChange::Promote(_)) => metrics.promoted.inc(),
            Fate::Refused(refused) if matches!(change, MemberChange::Promote(_)) => {
                metrics.not_promoted.with_label_values(&[&refused.to_string()]).inc();
            }
            Fate::Sent | Fate::NotLeader | Fate::Refused(_) => {}
        }
        fate
    }

    async fn try_as_leader(&self, request_id: u64, change: &MemberChange) -> Fate {
        let deadline = tokio::time::Instant::now() + self.request_timeout();
        while self.is_leader() && tokio::time::Instant::now() < deadline {
            let metrics = self.metrics();
            let observed = &metrics.membership_config;
            // The table must have seen it before it can judge.
            let index = types::position_or_zero(observed.log_id().as_ref()).index;
            if self.await_applied(index).await.is_err() {
                break;
            }
            if let Err(refused) = self.check_change(change, &metrics) {
                self.log_refusal(change, refused);
                return Fate::Refused(refused);
            }
            let Some(after) = membership_after(observed.membership(), change) else {
                return Fate::Refused(ChangeRefused::NotEnoughStarted);
            };
            let data = conf_change::encode(request_id, change, &types::membership_to_proto(&after));
            // Found now: afterwards it is no member any more.
            let leaving = self.way_to_leaving(change);
            match self.append_membership(observed, after, data).await {
                Appended::Sent => {
                    if let Some(leaving) = leaving {
                        // With so many on their way this one asks for itself, later.
                        self.leaving().try_send(leaving).ok();
                    }
                    return Fate::Sent;
                }
                Appended::NotLeader => break,
                Appended::NotNow => tokio::time::sleep(RETRY_AFTER).await,
            }
        }
        Fate::NotLeader
    }

    /// The member that `change` removes, if it is another.
    fn way_to_leaving(&self, change: &MemberChange) -> Option<Leaving> {
        let MemberChange::Remove(id) = change else { return None };
        if *id == self.member_id() {
            return None;
        }
        Some((*id, self.peer_client(*id, Purpose::Forward).ok()?))
    }

    /// Writes one entry that makes `after` of the membership that was observed.
    pub(super) async fn append_membership(
        &self,
        observed: &types::StoredMembership,
        after: types::Membership,
        change: Bytes,
    ) -> Appended {
        let guard = Precondition::LastMembershipLogId { last_membership_log_id: *observed.log_id() };
        let payload = Payload::ConfChange { change, membership: after.clone() };
        let moved: BTreeMap<u64, Peer> = after
            .nodes()
            .filter(|(id, peer)| observed.membership().get_node(id).is_some_and(|before| before != *peer))
            .map(|(id, peer)| (*id, peer.clone()))
            .collect();
        let written = if moved.is_empty() {
            self.raft().append_membership(after, payload, [guard]).await.map(drop)
        } else {
            let request = ChangeMembershipRequest::new(ChangeMembers::SetNodes(moved), true)
                .with_payload(payload.clone(), payload)
                .with_preconditions([guard]);
            self.raft().change_membership_with_payload(request).await.map(drop)
        };
        match written {
            Ok(()) => Appended::Sent,
            Err(RaftError::APIError(ClientWriteError::ForwardToLeader(_))) => Appended::NotLeader,
            Err(RaftError::APIError(
                ClientWriteError::PreconditionFailed(_)
                | ClientWriteError::ChangeMembershipError(
                    ChangeMembershipError::InProgress(_) | ChangeMembershipError::UncommittedLeaderLog(_),
                ),
            )) => Appended::NotNow,
            Err(RaftError::APIError(ClientWriteError::ChangeMembershipError(error))) => {
                tracing::error!(%error, "a change of the members is not possible");
                Appended::NotNow
            }
            // Another leader may have it, or the core has ended.
            Err(RaftError::APIError(ClientWriteError::LogEntryDiscarded(_)) | RaftError::Fatal(_)) => Appended::Sent,
        }
    }
}

/// What became of an entry with a membership.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Appended {
    /// In the log, or possibly so.
    Sent,
    NotLeader,
    /// Another change is on its way, or came in between.
    NotNow,
}

fn kind(change: &MemberChange) -> &'static str {
    match change {
        MemberChange::Add(member) if member.is_learner => "ConfChangeAddLearnerNode",
        MemberChange::Add(_) | MemberChange::Promote(_) => "ConfChangeAddNode",
        MemberChange::Remove(_) => "ConfChangeRemoveNode",
        MemberChange::Update { .. } => "ConfChangeUpdateNode",
    }
}

/// What Raft follows after a change. None: nobody would vote.
fn membership_after(before: &types::Membership, change: &MemberChange) -> Option<types::Membership> {
    let mut voters: BTreeSet<u64> = before.voter_ids().collect();
    let mut nodes: BTreeMap<u64, Peer> = before.nodes().map(|(id, peer)| (*id, peer.clone())).collect();
    match change {
        MemberChange::Add(member) => {
            nodes.insert(member.id.0, Peer { urls: member.peer_urls.clone() });
        }
        MemberChange::Promote(id) => {
            voters.insert(id.0);
        }
        MemberChange::Remove(id) => {
            voters.remove(&id.0);
            nodes.remove(&id.0);
        }
        MemberChange::Update { id, peer_urls } => {
            nodes.insert(id.0, Peer { urls: peer_urls.clone() });
        }
    }
    if voters.is_empty() {
        return None;
    }
    types::Membership::new(vec![voters], nodes).ok()
}

fn refusal_to_proto(refused: ChangeRefused) -> ChangeRefusal {
    match refused {
        ChangeRefused::Table(MemberChangeError::IdRemoved) => ChangeRefusal::IdRemoved,
        ChangeRefused::Table(MemberChangeError::IdExists) => ChangeRefusal::IdExists,
        ChangeRefused::Table(MemberChangeError::IdNotFound) => ChangeRefusal::IdNotFound,
        ChangeRefused::Table(MemberChangeError::PeerUrlExists) => ChangeRefusal::PeerUrlExists,
        ChangeRefused::Table(MemberChangeError::NotLearner) => ChangeRefusal::NotLearner,
        ChangeRefused::Table(MemberChangeError::TooManyLearners) => ChangeRefusal::TooManyLearners,
        ChangeRefused::NotEnoughStarted => ChangeRefusal::NotEnoughStarted,
        ChangeRefused::Unhealthy => ChangeRefusal::Unhealthy,
        ChangeRefused::LearnerNotReady => ChangeRefusal::LearnerNotReady,
    }
}

fn refusal_from_proto(refusal: ChangeRefusal) -> Option<ChangeRefused> {
    Some(match refusal {
        ChangeRefusal::None => return None,
        ChangeRefusal::IdRemoved => MemberChangeError::IdRemoved.into(),
        ChangeRefusal::IdExists => MemberChangeError::IdExists.into(),
        ChangeRefusal::IdNotFound => MemberChangeError::IdNotFound.into(),
        ChangeRefusal::PeerUrlExists => MemberChangeError::PeerUrlExists.into(),
        ChangeRefusal::NotLearner => MemberChangeError::NotLearner.into(),
        ChangeRefusal::TooManyLearners => MemberChangeError::TooManyLearners.into(),
        ChangeRefusal::NotEnoughStarted => ChangeRefused::NotEnoughStarted,
        ChangeRefusal::Unhealthy => ChangeRefused::Unhealthy,
        ChangeRefusal::LearnerNotReady => ChangeRefused::LearnerNotReady,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn membership(voters: &[u64], learners: &[u64]) -> types::Membership {
        let nodes = voters.iter().chain(learners).map(|id| (*id, Peer { urls: vec![format!("http://m{id}:1")] }));
        types::Membership::new(vec![voters.iter().copied().collect()], nodes.collect::<BTreeMap<_, _>>())
            .expect("voters have nodes")
    }

    #[test]
    fn a_new_voter_does_not_vote_before_it_has_caught_up() {
        let member = Member { id: MemberId(2), peer_urls: vec!["http://m2:1".into()], ..Member::default() };
        let added = membership_after(&membership(&[1], &[]), &MemberChange::Add(member));
        assert_eq!(added, Some(membership(&[1], &[2])));
        let promoted = membership_after(&membership(&[1], &[2]), &MemberChange::Promote(MemberId(2)));
        assert_eq!(promoted, Some(membership(&[1, 2], &[])));
    }

    #[test]
    fn the_last_voter_stays() {
        assert_eq!(membership_after(&membership(&[1], &[2]), &MemberChange::Remove(MemberId(1))), None);
        let left = membership_after(&membership(&[1, 2], &[3]), &MemberChange::Remove(MemberId(1)));
        assert_eq!(left, Some(membership(&[2], &[3])));
    }

    #[test]
    fn refusals_survive_the_way_from_the_leader() {
        for number in 0.. {
            let Ok(refusal) = ChangeRefusal::try_from(number) else { return };
            let there_and_back = refusal_from_proto(refusal).map_or(ChangeRefusal::None, refusal_to_proto);
            assert_eq!(there_and_back, refusal);
        }
    }
}

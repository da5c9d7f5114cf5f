//! openraft's type parameters, and the only translation between its types and ours. Nothing of openraft is
//! written to disk or sent to a peer as itself: a change of its version is a compile problem, never a data problem.
//!
//! openraft numbers entries from 0, the log on disk and everything that clients see from 1 as etcd does. The
//! two functions [`log_id`] and [`position`] are the only place that knows.

use crate::apply::conf_change;
use crate::cluster::MemberChange;
use crate::types::{LogPosition, MemberId};
use crate::wal;
use bytes::Bytes;
use keelstone_proto::{internal, raftpb};
use openraft::entry::RaftPayload;
use openraft::impls::leader_id_std;
use prost::Message;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// An encoded `InternalRaftRequest`, as it will stand in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal(pub Bytes);

impl fmt::Display for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

/// What openraft knows of a member besides its id. Names and client URLs live in the member table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peer {
    pub urls: Vec<String>,
}

pub type Membership = openraft::Membership<u64, Peer>;

/// The content of a log entry. Unlike openraft's own payload it keeps data and membership in one entry, as
/// etcd's ConfChange does.
#[derive(Clone, Debug, PartialEq)]
pub enum Payload {
    /// What a new leader writes first.
    Blank,
    Normal(Proposal),
    /// `change` is etcd's encoded `ConfChange`; `membership` is what holds after it.
    ConfChange {
        change: Bytes,
        membership: Membership,
    },
}

impl fmt::Display for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Payload::Blank => f.write_str("blank"),
            Payload::Normal(proposal) => write!(f, "normal:{proposal}"),
            Payload::ConfChange { membership, .. } => write!(f, "conf change:{membership}"),
        }
    }
}

impl RaftPayload for Payload {
    type D = Proposal;
    type NodeId = u64;
    type Node = Peer;

    fn blank() -> Self {
        Payload::Blank
    }

    fn with_normal(self, data: Proposal) -> Self {
        Payload::Normal(data)
    }

    fn with_membership(self, membership: Membership) -> Self {
        let change = match self {
            Payload::ConfChange { change, .. } => change,
            Payload::Normal(proposal) => proposal.0,
            Payload::Blank => no_change(&membership),
        };
        Payload::ConfChange { change, membership }
    }

    fn get_membership(&self) -> Option<Membership> {
        match self {
            Payload::ConfChange { membership, .. } => Some(membership.clone()),
            Payload::Blank | Payload::Normal(_) => None,
        }
    }
}

/// A ConfChange that says what is so already, for a membership that openraft sets by itself: the first member keeps
/// its URLs. Without one the entry in the log would not carry the membership.
fn no_change(membership: &Membership) -> Bytes {
    let proto = membership_to_proto(membership);
    let first = proto.members.first().cloned().unwrap_or_default();
    let change = MemberChange::Update { id: MemberId(first.id), peer_urls: first.peer_urls };
    // Nobody waits for an answer to request 0.
    conf_change::encode(0, &change, &proto)
}

openraft::declare_raft_types!(
    pub TypeConfig:
        D = Proposal,
        R = (),
        NodeId = u64,
        Node = Peer,
        LeaderId = leader_id_std::LeaderId<u64, u64>,
        Payload = Payload,
        AsyncRuntime = openraft_rt_tokio::TokioRuntime,
);

pub type LogId = openraft::type_config::alias::LogIdOf<TypeConfig>;
pub type Vote = openraft::type_config::alias::VoteOf<TypeConfig>;
pub type Entry = openraft::type_config::alias::EntryOf<TypeConfig>;
pub type StoredMembership = openraft::type_config::alias::StoredMembershipOf<TypeConfig>;
pub type SnapshotMeta = openraft::type_config::alias::SnapshotMetaOf<TypeConfig>;

/// What stands in the log cannot be read as what it says it is.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    #[error("entry {index}: conf change: {source}")]
    ConfChange { index: u64, source: prost::DecodeError },
    #[error("entry {index}: conf change without the membership after it")]
    NoMembership { index: u64 },
    #[error("membership: {0}")]
    Membership(#[from] prost::DecodeError),
    #[error("membership without voters")]
    NoVoters,
}

/// Position 0 is before the first entry: openraft's `None`.
pub fn log_id(position: LogPosition) -> Option<LogId> {
    let index = position.index.checked_sub(1)?;
    Some(LogId::new(position.term.into(), index))
}

pub fn position(log_id: &LogId) -> LogPosition {
    LogPosition { term: log_id.leader_id.term, index: log_id.index + 1 }
}

pub fn position_or_zero(log_id: Option<&LogId>) -> LogPosition {
    log_id.map(position).unwrap_or_default()
}

pub fn vote(term: u64, candidate: u64, committed: bool) -> Vote {
    let leader_id = leader_id_std::LeaderId { term, voted_for: candidate };
    Vote { leader_id, committed }
}

pub fn membership_to_proto(membership: &Membership) -> internal::Membership {
    let voters: BTreeSet<u64> = membership.voter_ids().collect();
    let members = membership.nodes().map(|(id, peer)| internal::Member {
        id: *id,
        learner: !voters.contains(id),
        peer_urls: peer.urls.clone(),
    });
    internal::Membership { members: members.collect() }
}

pub fn membership_from_proto(proto: &internal::Membership) -> Result<Membership, DecodeError> {
    let voters: BTreeSet<u64> = proto.members.iter().filter(|m| !m.learner).map(|m| m.id).collect();
    let nodes: BTreeMap<u64, Peer> = proto.members.iter().map(|m| (m.id, Peer { urls: m.peer_urls.clone() })).collect();
    Membership::new(vec![voters], nodes).map_err(|_| DecodeError::NoVoters)
}

/// What a snapshot record of the log says of the members.
pub fn conf_state(membership: &Membership) -> raftpb::ConfState {
    let (voters, learners) = (membership.voter_ids().collect(), membership.learner_ids().collect());
    raftpb::ConfState { voters, learners, ..Default::default() }
}

/// The membership that the state machine keeps beside the applied position.
pub fn stored_membership_to_bytes(stored: &StoredMembership) -> Bytes {
    let log = stored.log_id().as_ref().map(|id| {
        let at = position(id);
        internal::LogId { term: at.term, index: at.index }
    });
    let membership = Some(membership_to_proto(stored.membership()));
    internal::StoredMembership { log, membership }.encode_to_vec().into()
}

pub fn stored_membership_from_bytes(bytes: &[u8]) -> Result<StoredMembership, DecodeError> {
    let proto = internal::StoredMembership::decode(bytes)?;
    let log = proto.log.and_then(|id| log_id(LogPosition { term: id.term, index: id.index }));
    let membership = match &proto.membership {
        Some(membership) if !membership.members.is_empty() => membership_from_proto(membership)?,
        _ => Membership::default(),
    };
    Ok(StoredMembership::new(log, membership))
}

pub fn to_wal(entry: &Entry) -> wal::Entry {
    let at = position(&entry.log_id);
    let (kind, data) = match &entry.payload {
        Payload::Blank => (wal::EntryKind::Normal, Bytes::new()),
        Payload::Normal(proposal) => (wal::EntryKind::Normal, proposal.0.clone()),
        Payload::ConfChange { change, .. } => (wal::EntryKind::ConfChange, change.clone()),
    };
    wal::Entry { term: at.term, index: at.index, kind, data }
}

/// # Errors
/// A conf change that cannot be decoded, or that does not carry the membership after it.
pub fn from_wal(entry: wal::Entry) -> Result<Entry, DecodeError> {
    let index = entry.index;
    let payload = match entry.kind {
        wal::EntryKind::Normal if entry.data.is_empty() => Payload::Blank,
        wal::EntryKind::Normal => Payload::Normal(Proposal(entry.data)),
        wal::EntryKind::ConfChange => {
            let change = raftpb::ConfChange::decode(entry.data.clone())
                .map_err(|source| DecodeError::ConfChange { index, source })?;
            let after = change.keelstone_membership.ok_or(DecodeError::NoMembership { index })?;
            let membership = membership_from_proto(&internal::Membership::decode(after)?)?;
            Payload::ConfChange { change: entry.data, membership }
        }
    };
    let log_id = LogId::new(entry.term.into(), index.saturating_sub(1));
    Ok(Entry { log_id, payload })
}

/// A vote's candidate; none is zero.
pub fn candidate(vote: &Vote) -> MemberId {
    MemberId(vote.leader_id().voted_for)
}

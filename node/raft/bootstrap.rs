//! The log of a new cluster: one ConfChange entry a member, sorted by id, in term 1 and committed (etcd
//! `server/etcdserver/bootstrap.go`). Every member writes the same ones by itself, so that all agree without talking.

use crate::cluster::Member;
use crate::wal::{Entry, EntryKind, HardState};
use bytes::Bytes;
use keelstone_proto::{internal, raftpb};
use prost::Message;

/// The term of the bootstrap entries.
const TERM: u64 = 1;

/// The entries and the hard state that a new member's log begins with. `members` are sorted by id.
pub fn bootstrap_log(members: &[Member]) -> (Vec<Entry>, HardState) {
    let mut membership = internal::Membership::default();
    let mut entries = Vec::with_capacity(members.len());
    for (index, member) in (1_u64..).zip(members) {
        membership.members.push(internal::Member {
            id: member.id.0,
            learner: member.is_learner,
            peer_urls: member.peer_urls.clone(),
        });
        let change = raftpb::ConfChange {
            r#type: Some(raftpb::ConfChangeType::ConfChangeAddNode as i32),
            node_id: Some(member.id.0),
            context: Some(member.to_json().into()),
            keelstone_membership: Some(membership.encode_to_vec().into()),
            ..Default::default()
        };
        let data = Bytes::from(change.encode_to_vec());
        entries.push(Entry { term: TERM, index, kind: EntryKind::ConfChange, data });
    }
    let commit = entries.len() as u64;
    (entries, HardState { term: TERM, vote: 0, vote_committed: false, commit })
}

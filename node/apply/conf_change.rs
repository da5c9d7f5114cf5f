//! Changes of the membership as log entries: etcd's `raftpb.ConfChange` with its JSON context, and in a field of
//! our own the whole membership that holds with it, which is what our Raft follows.

use super::LogError;
use crate::cluster::{Member, MemberChange, MemberTable};
use crate::types::MemberId;
use bytes::Bytes;
use keelstone_proto::internal::{self, LogId};
use keelstone_proto::raftpb::{ConfChange, ConfChangeType};
use prost::Message;

/// The data of an entry that makes `change`, after which `membership` holds. `request_id` joins it to the proposer.
pub fn encode(request_id: u64, change: &MemberChange, membership: &internal::Membership) -> Bytes {
    let (kind, context) = match change {
        MemberChange::Add(member) if member.is_learner => {
            (ConfChangeType::ConfChangeAddLearnerNode, Some(member.to_add_json()))
        }
        MemberChange::Add(member) => (ConfChangeType::ConfChangeAddNode, Some(member.to_add_json())),
        MemberChange::Promote(id) => (ConfChangeType::ConfChangeAddNode, Some(Member::promote_json(*id))),
        MemberChange::Remove(_) => (ConfChangeType::ConfChangeRemoveNode, None),
        MemberChange::Update { id, peer_urls } => {
            let member = Member { id: *id, peer_urls: peer_urls.clone(), ..Member::default() };
            (ConfChangeType::ConfChangeUpdateNode, Some(member.to_json()))
        }
    };
    encode_entry(request_id, kind, change.member_id(), context, membership)
}

fn encode_entry(
    request_id: u64,
    kind: ConfChangeType,
    id: MemberId,
    context: Option<Vec<u8>>,
    membership: &internal::Membership,
) -> Bytes {
    let change = ConfChange {
        id: Some(request_id),
        r#type: Some(kind as i32),
        node_id: Some(id.0),
        context: context.map(Bytes::from),
        keelstone_membership: Some(membership.encode_to_vec().into()),
    };
    change.encode_to_vec().into()
}

/// The data of the entries that every member of a new cluster begins its log with: one for each member, in the
/// order of their ids (all at term 1, from index 1; etcd `raft.StartNode`).
pub fn bootstrap(members: &[Member]) -> Vec<Bytes> {
    let mut sorted: Vec<&Member> = members.iter().collect();
    sorted.sort_unstable_by_key(|member| member.id);
    let mut membership = internal::Membership::default();
    let encode_next = |member: &Member| {
        membership.members.push(raft_member(member));
        let kind = ConfChangeType::ConfChangeAddNode;
        encode_entry(0, kind, member.id, Some(member.to_json()), &membership)
    };
    sorted.into_iter().map(encode_next).collect()
}

/// What Raft needs to know of these members.
pub fn membership(members: &MemberTable) -> internal::Membership {
    internal::Membership { members: members.iter().map(raft_member).collect() }
}

fn raft_member(member: &Member) -> internal::Member {
    internal::Member { id: member.id.0, learner: member.is_learner, peer_urls: member.peer_urls.clone() }
}

/// Reads an entry's data: the request id and what it changes.
pub fn decode(data: &[u8]) -> Result<(u64, MemberChange), LogError> {
    let entry = ConfChange::decode(data)?;
    let id = MemberId(entry.node_id.unwrap_or_default());
    let change = match ConfChangeType::try_from(entry.r#type.unwrap_or_default())? {
        ConfChangeType::ConfChangeAddNode | ConfChangeType::ConfChangeAddLearnerNode => {
            let (member, is_promote) = read_context(id, &entry)?;
            if is_promote { MemberChange::Promote(id) } else { MemberChange::Add(member) }
        }
        ConfChangeType::ConfChangeRemoveNode => MemberChange::Remove(id),
        ConfChangeType::ConfChangeUpdateNode => {
            let (member, _) = read_context(id, &entry)?;
            MemberChange::Update { id, peer_urls: member.peer_urls }
        }
    };
    Ok((entry.id.unwrap_or_default(), change))
}

fn read_context(id: MemberId, entry: &ConfChange) -> Result<(Member, bool), LogError> {
    let context = entry.context.as_deref().unwrap_or_default();
    let (member, is_promote) = Member::from_json(context).map_err(LogError::Context)?;
    if member.id != id {
        return Err(LogError::MemberId { entry: id, context: member.id });
    }
    Ok((member, is_promote))
}

/// raft's ConfState in the JSON that etcd keeps for its tools.
pub(super) fn conf_state_json(members: &MemberTable) -> Vec<u8> {
    let ids = |learners: bool| {
        let matching = members.iter().filter(move |member| member.is_learner == learners);
        matching.map(|member| member.id.0.to_string()).collect::<Vec<_>>().join(",")
    };
    let (voters, learners) = (ids(false), ids(true));
    let learners = if learners.is_empty() { learners } else { format!("\"learners\":[{learners}],") };
    format!("{{\"voters\":[{voters}],{learners}\"auto_leave\":false}}").into_bytes()
}

/// The value of the row `keelstone_membership`: a membership, encoded, and the entry that set it.
pub(super) fn stored_membership(log: LogId, membership: &[u8]) -> Result<Bytes, LogError> {
    Ok(stored(log, internal::Membership::decode(membership)?).encode_to_vec().into())
}

pub(super) fn stored(log: LogId, membership: internal::Membership) -> internal::StoredMembership {
    internal::StoredMembership { log: Some(log), membership: Some(membership) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::InitialCluster;

    fn learner(id: u64) -> Member {
        let peer_urls = vec!["http://a:1".to_owned()];
        Member { id: MemberId(id), is_learner: true, peer_urls, ..Member::default() }
    }

    #[test]
    fn changes_round_trip_as_entries() {
        let voter = Member { is_learner: false, ..learner(2) };
        let changes = [
            MemberChange::Add(learner(1)),
            MemberChange::Add(voter),
            MemberChange::Promote(MemberId(1)),
            MemberChange::Remove(MemberId(1)),
            MemberChange::Update { id: MemberId(1), peer_urls: vec!["http://b:1".into()] },
        ];
        for change in changes {
            let data = encode(5, &change, &internal::Membership::default());
            assert_eq!(decode(&data).expect("own entry"), (5, change));
        }
    }

    #[test]
    fn a_new_cluster_begins_with_one_entry_per_member() {
        let members =
            InitialCluster::parse("a=http://a:1,b=http://b:1").expect("valid").members("t").expect("distinct");
        let entries = bootstrap(&members);
        for (at, data) in entries.iter().enumerate() {
            assert_eq!(decode(data).expect("own entry"), (0, MemberChange::Add(members[at].clone())));
            let entry = ConfChange::decode(data.clone()).expect("own entry");
            let membership = entry.keelstone_membership.expect("ours");
            let membership = internal::Membership::decode(membership).expect("own field");
            let ids: Vec<u64> = membership.members.iter().map(|member| member.id).collect();
            assert_eq!(ids, members[..=at].iter().map(|member| member.id.0).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_context_of_another_member_is_refused() {
        let context = learner(2).to_json();
        let data = encode_entry(0, ConfChangeType::ConfChangeAddNode, MemberId(1), Some(context), &Default::default());
        assert!(matches!(decode(&data), Err(LogError::MemberId { .. })));
        let empty = encode_entry(0, ConfChangeType::ConfChangeUpdateNode, MemberId(1), None, &Default::default());
        assert!(matches!(decode(&empty), Err(LogError::Context(_))));
    }

    /// As found in the database of etcd 3.7.3.
    #[test]
    fn the_conf_state_is_that_of_etcd() {
        let voter = |id| Member { is_learner: false, ..learner(id) };
        let one = MemberTable::with_members([voter(8368382464611673420)]);
        assert_eq!(conf_state_json(&one), br#"{"voters":[8368382464611673420],"auto_leave":false}"#);
        let two = MemberTable::with_members([voter(8368382464611673420), learner(6923366017875292483)]);
        let json: &[u8] = br#"{"voters":[8368382464611673420],"learners":[6923366017875292483],"auto_leave":false}"#;
        assert_eq!(conf_state_json(&two), json);
    }
}

//! Logs that are written without talking to anybody: that of a new cluster, and the end of that of a member who goes on
//! alone. A new cluster begins with one ConfChange entry a member, sorted by id, in term 1 and committed (etcd
//! `server/etcdserver/bootstrap.go`). Every member writes the same ones by itself, so that all agree without talking.

use crate::apply::conf_change;
use crate::cluster::{Member, MemberChange, MemberTable};
use crate::types::{LogPosition, MemberId};
use crate::wal::{Entry, EntryKind, HardState};
use keelstone_proto::internal;

/// The term of the bootstrap entries.
const TERM: u64 = 1;

/// The entries and the hard state that a new member's log begins with. `members` are sorted by id.
pub fn bootstrap_log(members: &[Member]) -> (Vec<Entry>, HardState) {
    let changes = conf_change::bootstrap(members);
    let entry = |(index, data)| Entry { term: TERM, index, kind: EntryKind::ConfChange, data };
    let entries: Vec<Entry> = (1_u64..).zip(changes).map(entry).collect();
    let commit = entries.len() as u64;
    (entries, HardState { term: TERM, vote: 0, vote_committed: false, commit })
}

/// The entries behind `last`, of its term, after which `local` is the only member. To Raft it is the only one from the
/// first of them on: what comes of the others must never count.
pub fn lone_member_log(table: MemberTable, local: MemberId, last: LogPosition) -> Vec<Entry> {
    let Some(member) = table.get(local) else { return Vec::new() };
    let voter = internal::Member { id: local.0, learner: false, peer_urls: member.peer_urls.clone() };
    let alone = internal::Membership { members: vec![voter] };
    let promoted = member.is_learner.then_some(MemberChange::Promote(local));
    let others = table.iter().map(|member| member.id).filter(|id| *id != local);
    let changes = promoted.into_iter().chain(others.map(MemberChange::Remove));
    let entry = |(index, change)| Entry {
        term: last.term,
        index,
        kind: EntryKind::ConfChange,
        // Nobody waits for an answer to request 0.
        data: conf_change::encode(0, &change, &alone),
    };
    (last.index + 1..).zip(changes).map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft::types::{Payload, from_wal, membership_to_proto};

    fn member(id: u64, is_learner: bool) -> Member {
        Member { id: MemberId(id), peer_urls: vec![format!("http://m{id}:1")], is_learner, ..Member::default() }
    }

    #[test]
    fn a_lone_member_removes_the_others_and_votes_alone_from_the_first_entry_on() {
        for is_learner in [false, true] {
            let table = MemberTable::with_members([member(1, false), member(2, is_learner), member(3, true)]);
            let entries = lone_member_log(table.clone(), MemberId(2), LogPosition { term: 5, index: 9 });
            assert_eq!(entries.iter().map(|entry| entry.index).collect::<Vec<_>>()[0], 10);
            let mut after = table;
            for entry in entries {
                assert_eq!(entry.term, 5);
                let (request, change) = conf_change::decode(&entry.data).expect("own entry");
                assert_eq!((request, after.check(&change, 1)), (0, Ok(())));
                after.change(&change);
                let Payload::ConfChange { membership, .. } = from_wal(entry).expect("own entry").payload else {
                    panic!("a membership")
                };
                let members = membership_to_proto(&membership).members;
                assert_eq!(members.iter().map(|member| (member.id, member.learner)).collect::<Vec<_>>(), [(2, false)]);
            }
            assert_eq!(after.voters().map(|member| member.id).collect::<Vec<_>>(), [MemberId(2)]);
            assert_eq!(after.iter().len(), 1);
        }
    }

    #[test]
    fn a_member_that_is_alone_already_needs_no_entry() {
        let alone = MemberTable::with_members([member(2, false)]);
        assert_eq!(lone_member_log(alone, MemberId(2), LogPosition { term: 5, index: 9 }), []);
    }
}

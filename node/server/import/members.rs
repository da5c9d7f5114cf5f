//! Who the members are at the state of a database: its rows, held against what Raft says.
//!
//! Raft's own list counts (conf state of the snapshot record, and the changes behind it). Up to etcd 3.4 the rows are a copy
//! that nobody reads: a directory that etcdctl 3.4 restored still has those of the old cluster, and a member that was removed
//! may have stayed in them (etcd #20793).

use crate::cluster::{Member, MemberChange, MemberTable};
use crate::types::MemberId;
use keelstone_proto::raftpb::ConfState;
use std::collections::BTreeMap;

/// The members that Raft counts, and whether each is a learner.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct RaftMembers(BTreeMap<MemberId, bool>);

/// The members, and what was wrong with their rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Settled {
    pub(super) members: MemberTable,
    /// Not members to Raft.
    pub(super) dropped: Vec<MemberId>,
    /// Without a row, or with one that is wrong.
    pub(super) mended: Vec<MemberId>,
}

/// A member of whom nothing but the id is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("member {0} is known to Raft and neither the database nor the snapshot file says who it is")]
pub(super) struct UnknownMember(pub(super) MemberId);

impl RaftMembers {
    /// `None` if it names nobody, as in records of etcd 3.4.
    pub(super) fn of(conf_state: &ConfState) -> Option<Self> {
        let voters = conf_state.voters.iter().map(|&id| (MemberId(id), false));
        let learners = conf_state.learners.iter().map(|&id| (MemberId(id), true));
        let members: BTreeMap<_, _> = voters.chain(learners).collect();
        (!members.is_empty()).then_some(Self(members))
    }

    pub(super) fn has(&self, id: MemberId) -> bool {
        self.0.contains_key(&id)
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = MemberId> {
        self.0.keys().copied()
    }

    pub(super) fn change(&mut self, change: &MemberChange) {
        match change {
            MemberChange::Add(member) => {
                self.0.entry(member.id).or_insert(member.is_learner);
            }
            MemberChange::Promote(id) => {
                if let Some(is_learner) = self.0.get_mut(id) {
                    *is_learner = false;
                }
            }
            MemberChange::Remove(id) => drop(self.0.remove(id)),
            MemberChange::Update { .. } => {}
        }
    }

    /// The rows as they should be. `first` are the members at the snapshot, of whom `of_file` may tell more; one that came
    /// later and has no row was refused when it was to be added.
    pub(super) fn settle(
        &self,
        rows: &MemberTable,
        first: &RaftMembers,
        of_file: &[Member],
    ) -> Result<Settled, UnknownMember> {
        let mut settled = Settled { members: rows.clone(), ..Settled::default() };
        settled.dropped = rows.iter().map(|member| member.id).filter(|&id| !self.has(id)).collect();
        for id in &settled.dropped {
            settled.members.forget(*id);
        }
        for (&id, &is_learner) in &self.0 {
            let row = rows.get(id);
            if row.is_some_and(|row| row.is_learner == is_learner) || (row.is_none() && !first.has(id)) {
                continue;
            }
            let known = row.or_else(|| of_file.iter().find(|member| member.id == id));
            let member = Member { is_learner, ..known.ok_or(UnknownMember(id))?.clone() };
            settled.members.change(&MemberChange::Add(member));
            settled.mended.push(id);
        }
        Ok(settled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(id: u64, is_learner: bool) -> Member {
        Member { id: MemberId(id), peer_urls: vec![format!("http://m{id}:1")], is_learner, ..Member::default() }
    }

    fn raft(voters: &[u64], learners: &[u64]) -> RaftMembers {
        let conf_state = ConfState { voters: voters.into(), learners: learners.into(), ..Default::default() };
        RaftMembers::of(&conf_state).expect("not empty")
    }

    #[test]
    fn rows_that_raft_agrees_with_stay_as_they_are() {
        let rows = MemberTable::with_members([member(1, false), member(2, true)]);
        let now = raft(&[1], &[2]);
        let settled = now.settle(&rows, &now, &[]).expect("all are known");
        assert_eq!(settled, Settled { members: rows, ..Settled::default() });
    }

    #[test]
    fn rows_follow_raft() {
        let rows = MemberTable::with_members([member(1, true), member(9, false)]);
        let mut now = raft(&[1, 2], &[]);
        let first = now.clone();
        // Refused when it was applied: another member has that URL.
        now.change(&MemberChange::Add(Member { id: MemberId(3), ..member(1, false) }));
        let settled = now.settle(&rows, &first, &[member(2, false)]).expect("the file knows");
        assert_eq!(settled.members, MemberTable::with_members([member(1, false), member(2, false)]));
        assert_eq!((settled.dropped, settled.mended), (vec![MemberId(9)], vec![MemberId(1), MemberId(2)]));
        assert_eq!(now.settle(&rows, &first, &[]), Err(UnknownMember(MemberId(2))));
    }

    #[test]
    fn changes_behind_the_snapshot_count() {
        let mut now = RaftMembers::default();
        for change in [
            MemberChange::Add(member(1, false)),
            MemberChange::Add(member(2, true)),
            MemberChange::Add(member(3, false)),
            MemberChange::Promote(MemberId(2)),
            MemberChange::Promote(MemberId(7)),
            MemberChange::Remove(MemberId(3)),
        ] {
            now.change(&change);
        }
        assert_eq!(now, raft(&[1, 2], &[]));
        assert_eq!(RaftMembers::of(&ConfState::default()), None);
    }
}

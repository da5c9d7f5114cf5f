//! The member table: who belongs, who was removed, and which change is allowed.

use super::RowError;
use super::member::{Member, MemberChange, MemberChangeError};
use crate::types::MemberId;
use std::collections::{BTreeMap, BTreeSet};

/// The value of a row in `members_removed`.
pub const REMOVED_MARK: &[u8] = b"removed";

/// Members and removed ids. Rows are keyed by the id in hex, see [`MemberTable::row_key`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemberTable {
    members: BTreeMap<MemberId, Member>,
    removed: BTreeSet<MemberId>,
}

impl MemberTable {
    /// The table with exactly these members and nobody removed.
    pub fn with_members(members: impl IntoIterator<Item = Member>) -> Self {
        let members = members.into_iter().map(|member| (member.id, member)).collect();
        Self { members, removed: BTreeSet::new() }
    }

    /// Reads the rows of `members` and the keys of `members_removed`.
    pub fn from_rows<'a>(
        members: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
        removed: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<Self, RowError> {
        let mut table = Self::default();
        for (key, value) in members {
            let id = Self::id_of_row(key)?;
            let (member, _) = Member::from_json(value).map_err(|source| RowError::Member { id, source })?;
            // The key is the truth, as in etcd.
            table.members.insert(id, Member { id, ..member });
        }
        for key in removed {
            table.removed.insert(Self::id_of_row(key)?);
        }
        Ok(table)
    }

    pub fn row_key(id: MemberId) -> Vec<u8> {
        id.to_string().into_bytes()
    }

    fn id_of_row(key: &[u8]) -> Result<MemberId, RowError> {
        let id = std::str::from_utf8(key).ok().and_then(|text| u64::from_str_radix(text, 16).ok()).map(MemberId);
        // With leading zeros it would be another row than the one that is written.
        id.filter(|id| Self::row_key(*id) == key)
            .ok_or_else(|| RowError::MemberId(String::from_utf8_lossy(key).into_owned()))
    }

    /// Sorted by id.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Member> {
        self.members.values()
    }

    pub fn voters(&self) -> impl Iterator<Item = &Member> {
        self.members.values().filter(|member| !member.is_learner)
    }

    pub fn get(&self, id: MemberId) -> Option<&Member> {
        self.members.get(&id)
    }

    pub fn is_removed(&self, id: MemberId) -> bool {
        self.removed.contains(&id)
    }

    pub fn removed(&self) -> impl Iterator<Item = MemberId> {
        self.removed.iter().copied()
    }

    /// What etcd checks when it applies a change (`ValidateConfigurationChange`).
    pub fn check(&self, change: &MemberChange, max_learners: usize) -> Result<(), MemberChangeError> {
        let id = change.member_id();
        if self.removed.contains(&id) {
            return Err(MemberChangeError::IdRemoved);
        }
        match (change, self.members.get(&id)) {
            (MemberChange::Add(_), Some(_)) => Err(MemberChangeError::IdExists),
            (MemberChange::Add(member), None) => {
                if self.uses_any(&member.peer_urls, None) {
                    return Err(MemberChangeError::PeerUrlExists);
                }
                let learners = self.members.values().filter(|member| member.is_learner).count();
                if member.is_learner && learners >= max_learners {
                    return Err(MemberChangeError::TooManyLearners);
                }
                Ok(())
            }
            (MemberChange::Promote(_) | MemberChange::Remove(_) | MemberChange::Update { .. }, None) => {
                Err(MemberChangeError::IdNotFound)
            }
            (MemberChange::Promote(_), Some(member)) if !member.is_learner => Err(MemberChangeError::NotLearner),
            (MemberChange::Update { peer_urls, .. }, Some(_)) if self.uses_any(peer_urls, Some(id)) => {
                Err(MemberChangeError::PeerUrlExists)
            }
            (MemberChange::Promote(_) | MemberChange::Remove(_) | MemberChange::Update { .. }, Some(_)) => Ok(()),
        }
    }

    fn uses_any(&self, peer_urls: &[String], except: Option<MemberId>) -> bool {
        let others = self.members.values().filter(|member| Some(member.id) != except);
        others.flat_map(|member| &member.peer_urls).any(|used| peer_urls.contains(used))
    }

    /// Makes the change. The caller has checked it: what does not fit is skipped.
    pub fn change(&mut self, change: &MemberChange) {
        match change {
            MemberChange::Add(member) => {
                self.members.insert(member.id, member.clone());
            }
            MemberChange::Promote(id) => {
                if let Some(member) = self.members.get_mut(id) {
                    member.is_learner = false;
                }
            }
            MemberChange::Remove(id) => {
                self.members.remove(id);
                self.removed.insert(*id);
            }
            MemberChange::Update { id, peer_urls } => {
                if let Some(member) = self.members.get_mut(id) {
                    member.peer_urls.clone_from(peer_urls);
                }
            }
        }
    }

    /// Takes a member out who never was one: its id may come back.
    pub fn forget(&mut self, id: MemberId) {
        self.members.remove(&id);
    }

    /// What a member told about itself at its start. False if there is no such member (it was removed).
    pub fn set_attributes(&mut self, id: MemberId, name: String, client_urls: Vec<String>) -> bool {
        let Some(member) = self.members.get_mut(&id) else { return false };
        member.name = name;
        member.client_urls = client_urls;
        true
    }

    /// Strict reconfiguration: with one voter more, started voters still make a quorum. One started voter may
    /// always add a second: that is how a cluster is grown after a restore.
    pub fn can_add_voter(&self) -> bool {
        let (started, all) = self.count_voters(None);
        (started == 1 && all + 1 == 2) || started >= quorum(all + 1)
    }

    /// Strict reconfiguration: without this voter, the started ones left still make a quorum.
    pub fn can_remove_voter(&self, id: MemberId) -> bool {
        let (started, all) = self.count_voters(Some(id));
        started >= quorum(all)
    }

    /// Strict reconfiguration: with one learner promoted, which counts as started, started voters make a quorum.
    pub fn can_promote_learner(&self) -> bool {
        let (started, all) = self.count_voters(None);
        started + 1 >= quorum(all + 1)
    }

    /// How many voters have started, and how many there are.
    fn count_voters(&self, except: Option<MemberId>) -> (usize, usize) {
        let counted = self.voters().filter(|member| Some(member.id) != except);
        counted.fold((0, 0), |(started, all), member| (started + usize::from(member.is_started()), all + 1))
    }
}

fn quorum(voters: usize) -> usize {
    voters / 2 + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(id: u64, name: &str) -> Member {
        Member { id: MemberId(id), peer_urls: vec![format!("http://m{id}:1")], name: name.into(), ..Member::default() }
    }

    fn learner(id: u64) -> Member {
        Member { is_learner: true, ..member(id, "") }
    }

    fn table(members: impl IntoIterator<Item = Member>) -> MemberTable {
        MemberTable::with_members(members)
    }

    #[test]
    fn a_removed_id_never_comes_back() {
        let mut members = table([member(1, "a"), member(2, "b")]);
        let remove = MemberChange::Remove(MemberId(2));
        assert_eq!(members.check(&remove, 1), Ok(()));
        members.change(&remove);
        assert_eq!(members.check(&remove, 1), Err(MemberChangeError::IdRemoved));
        assert_eq!(members.check(&MemberChange::Add(member(2, "")), 1), Err(MemberChangeError::IdRemoved));
        assert!(members.is_removed(MemberId(2)) && members.get(MemberId(2)).is_none());
    }

    #[test]
    fn additions_are_checked_for_id_url_and_learner_count() {
        let members = table([member(1, "a"), learner(2)]);
        let check = |member| members.check(&MemberChange::Add(member), 1);
        assert_eq!(check(member(1, "")), Err(MemberChangeError::IdExists));
        let same_url = Member { id: MemberId(9), ..member(1, "") };
        assert_eq!(check(same_url), Err(MemberChangeError::PeerUrlExists));
        assert_eq!(check(learner(3)), Err(MemberChangeError::TooManyLearners));
        assert_eq!(check(member(3, "")), Ok(()));
        assert_eq!(members.check(&MemberChange::Add(learner(3)), 2), Ok(()));
    }

    #[test]
    fn only_a_learner_is_promoted() {
        let mut members = table([member(1, "a"), learner(2)]);
        let check = |members: &MemberTable, id| members.check(&MemberChange::Promote(MemberId(id)), 1);
        assert_eq!(check(&members, 1), Err(MemberChangeError::NotLearner));
        assert_eq!(check(&members, 7), Err(MemberChangeError::IdNotFound));
        assert_eq!(check(&members, 2), Ok(()));
        members.change(&MemberChange::Promote(MemberId(2)));
        assert_eq!(members.voters().count(), 2);
    }

    #[test]
    fn an_update_keeps_all_but_the_peer_urls() {
        let mut members = table([member(1, "a"), learner(2)]);
        let update = |id, url: &str| MemberChange::Update { id: MemberId(id), peer_urls: vec![url.into()] };
        assert_eq!(members.check(&update(2, "http://m1:1"), 1), Err(MemberChangeError::PeerUrlExists));
        assert_eq!(members.check(&update(1, "http://m1:1"), 1), Ok(()));
        members.change(&update(2, "http://new:1"));
        let updated = members.get(MemberId(2)).expect("still there");
        assert!(updated.is_learner);
        assert_eq!(updated.peer_urls, ["http://new:1"]);
    }

    #[test]
    fn rows_round_trip() {
        let mut members = table([member(0xab, "a"), learner(2), member(3, "c")]);
        members.change(&MemberChange::Remove(MemberId(3)));
        let rows: Vec<_> = members.iter().map(|member| (MemberTable::row_key(member.id), member.to_json())).collect();
        assert_eq!(rows[1].0, b"ab");
        let removed: Vec<_> = members.removed().map(MemberTable::row_key).collect();
        let rows = rows.iter().map(|(key, value)| (key.as_slice(), value.as_slice()));
        let read = MemberTable::from_rows(rows, removed.iter().map(Vec::as_slice)).expect("own rows");
        assert_eq!(read, members);
        for wrong in [b"xyz".as_slice(), b"0ab", b"AB", b"+1", b""] {
            assert!(matches!(MemberTable::from_rows([], [wrong]), Err(RowError::MemberId(_))), "{wrong:?}");
        }
    }

    #[test]
    fn strict_reconfiguration_counts_started_voters() {
        assert!(table([member(1, "a")]).can_add_voter(), "one started member may add a second");
        assert!(!table([member(1, "a"), member(2, "")]).can_add_voter());
        assert!(table([member(1, "a"), member(2, "b"), learner(3)]).can_add_voter());
        let three = table([member(1, "a"), member(2, "b"), member(3, "")]);
        assert!(three.can_remove_voter(MemberId(3)));
        assert!(!three.can_remove_voter(MemberId(1)));
        assert!(table([member(1, "a"), learner(2)]).can_promote_learner());
        assert!(!table([member(1, ""), member(2, ""), learner(3)]).can_promote_learner());
    }
}

//! What entries say about the cluster itself: members, their attributes, its version.

use super::scope::{Applied, Failure, Scope};
use super::{ApplyError, LogError, Reply, conf_change};
use crate::cluster::{ClusterState, ClusterVersion, Downgrade, MemberChange, MemberTable, REMOVED_MARK};
use crate::storage::{StorageError, Table};
use crate::types::{LogPosition, MemberId};
use bytes::Bytes;
use keelstone_proto::internal::LogId;
use keelstone_proto::membershippb as pb;
use prost::Message;

/// The table follows a change of the membership, or refuses it. Raft's own membership holds either way: it was
/// in force when the entry was appended, and what it is stands in the entry.
pub(super) fn change_members(
    scope: &mut Scope<'_, '_>,
    position: LogPosition,
    change: &MemberChange,
    membership: Bytes,
) -> Result<Applied, LogError> {
    // How many learners there may be was decided before the proposal: it is a setting, which may differ here.
    let checked = scope.cluster.members.check(change, usize::MAX);
    if checked.is_ok() {
        scope.cluster.members.change(change);
    }
    let membership = if membership.is_empty() {
        // An entry that etcd wrote.
        conf_change::membership(&scope.cluster.members).encode_to_vec().into()
    } else {
        membership
    };
    let log = LogId { term: position.term, index: position.index };
    let stored = conf_change::stored_membership(log, &membership)?;
    save_members(scope, change.member_id(), &stored);
    Ok(match checked {
        Err(refused) => Err(ApplyError::from(refused).into()),
        Ok(()) => Ok(Reply::Members(scope.cluster.members.iter().cloned().collect())),
    })
}

fn save_members(scope: &mut Scope<'_, '_>, id: MemberId, stored_membership: &[u8]) {
    save_member(scope, id);
    let conf_state = conf_change::conf_state_json(&scope.cluster.members);
    let batch = scope.batch.storage();
    batch.set_membership(stored_membership);
    batch.set_conf_state(&conf_state);
}

/// Brings the rows of one member in line with the table.
fn save_member(scope: &mut Scope<'_, '_>, id: MemberId) {
    let (key, batch) = (MemberTable::row_key(id), scope.batch.storage());
    match scope.cluster.members.get(id) {
        Some(member) => batch.put(Table::Members, &key, &member.to_json()),
        None if scope.cluster.members.is_removed(id) => {
            batch.remove(Table::Members, &key);
            batch.put(Table::MembersRemoved, &key, REMOVED_MARK);
        }
        None => {}
    }
}

/// A member tells its name and client URLs. One that was removed meanwhile is skipped.
pub(super) fn set_attributes(scope: &mut Scope<'_, '_>, request: pb::ClusterMemberAttrSetRequest) -> Applied {
    let (id, attributes) = (MemberId(request.member_id), request.member_attributes.unwrap_or_default());
    if scope.cluster.members.set_attributes(id, attributes.name, attributes.client_urls) {
        save_member(scope, id);
    }
    Ok(Reply::Done)
}

/// The version that all members speak now, and with it the version of the schema, which etcd keeps apart and
/// moves after it.
pub(super) fn set_version(scope: &mut Scope<'_, '_>, request: &pb::ClusterVersionSetRequest) -> Applied {
    let version = ClusterVersion::parse(&request.ver).map_err(|_| ApplyError::ClusterVersion)?;
    let batch = scope.batch.storage();
    batch.put(Table::Cluster, ClusterVersion::KEY, version.to_string().as_bytes());
    batch.set_storage_version(version.storage_row().as_deref());
    scope.cluster.version = Some(version);
    Ok(Reply::Done)
}

pub(super) fn set_downgrade(scope: &mut Scope<'_, '_>, request: pb::DowngradeInfoSetRequest) -> Applied {
    let target_version = if request.enabled { request.ver } else { String::new() };
    if request.enabled {
        ClusterVersion::parse_release(&target_version).map_err(|_| ApplyError::ClusterVersion)?;
    }
    let downgrade = Downgrade { target_version, enabled: request.enabled };
    scope.batch.storage().put(Table::Cluster, Downgrade::KEY, &downgrade.to_row());
    scope.cluster.downgrade = downgrade;
    Ok(Reply::Done)
}

/// Reads the tables back.
pub(super) fn load(
    rows: impl Fn(Table) -> Result<Vec<(Vec<u8>, Vec<u8>)>, StorageError>,
) -> Result<ClusterState, super::Fatal> {
    let (members, removed) = (rows(Table::Members)?, rows(Table::MembersRemoved)?);
    let members = MemberTable::from_rows(
        members.iter().map(|(key, value)| (key.as_slice(), value.as_slice())),
        removed.iter().map(|(key, _)| key.as_slice()),
    )
    .map_err(super::StateError::from)?;
    let mut state = ClusterState { members, ..ClusterState::default() };
    for (key, value) in rows(Table::Cluster)? {
        match key.as_slice() {
            ClusterVersion::KEY => {
                let version = ClusterVersion::from_row(&value).map_err(crate::cluster::RowError::from);
                state.version = Some(version.map_err(super::StateError::from)?);
            }
            Downgrade::KEY => {
                let downgrade = Downgrade::from_row(&value).map_err(crate::cluster::RowError::Downgrade);
                state.downgrade = downgrade.map_err(super::StateError::from)?;
            }
            // A row of a later version is none of our business.
            _ => {}
        }
    }
    Ok(state)
}

/// True if the change takes `local` out of the cluster.
pub(super) fn removes(change: &MemberChange, local: MemberId) -> bool {
    matches!(change, MemberChange::Remove(id) if *id == local)
}

impl From<crate::cluster::MemberChangeError> for Failure {
    fn from(error: crate::cluster::MemberChangeError) -> Self {
        ApplyError::from(error).into()
    }
}

//! What a state keeps beside its keys, as it is read when the state is opened; and whether one could be opened at all.

use super::{Fatal, StateError, cluster, conf_change};
use crate::alarm::{Alarm, Alarms};
use crate::auth::{AuthReadError, AuthState};
use crate::cluster::{ClusterState, MemberTable};
use crate::lease::LeaseRow;
use crate::mvcc;
use crate::storage::{Batch, Meta, Storage, Table, Version};
use crate::types::LogPosition;
use keelstone_proto::internal::LogId;
use prost::Message;

/// The rows of the small tables.
pub(super) struct SmallTables {
    pub cluster: ClusterState,
    pub alarms: Alarms,
    pub auth: AuthState,
    pub leases: Vec<LeaseRow>,
}

impl SmallTables {
    pub fn read(version: &Version) -> Result<Self, Fatal> {
        let rows = |table| version.rows(table);
        let alarms: Result<_, _> = rows(Table::Alarm)?.iter().map(|(key, _)| Alarm::from_row(key)).collect();
        let leases: Result<_, _> =
            rows(Table::Lease)?.iter().map(|(key, value)| LeaseRow::from_row(key, value)).collect();
        Ok(Self {
            cluster: cluster::load(rows)?,
            alarms: alarms.map_err(StateError::from)?,
            auth: read_auth(version)?,
            leases: leases.map_err(StateError::from)?,
        })
    }
}

/// Users and roles as the state has them.
pub(super) fn read_auth(version: &Version) -> Result<AuthState, Fatal> {
    AuthState::read(version).map_err(|error| match error {
        AuthReadError::Storage(error) => error.into(),
        AuthReadError::Row(error) => StateError::from(error).into(),
    })
}

/// The members as the state has them.
///
/// # Errors
/// A row cannot be read.
pub fn stored_members(storage: &Storage) -> Result<MemberTable, Fatal> {
    let version = storage.version()?;
    Ok(cluster::load(|table| version.rows(table))?.members)
}

/// Reads every row as [`super::Applier::open`] does, keeps none, and answers what the state says of itself. Asked of what a
/// peer sent, before it takes the place of the state that is there.
///
/// # Errors
/// What `open` would stop at.
pub fn check_state(storage: &Storage) -> Result<Meta, Fatal> {
    let version = storage.version()?;
    let meta = version.meta()?;
    mvcc::check_rows(&version)?;
    SmallTables::read(&version)?;
    Ok(meta)
}

/// Lets a state that came from elsewhere stand behind an entry of this member's log, with these members as the membership
/// that holds there. Their own rows are the caller's.
pub fn place(batch: &mut Batch, position: LogPosition, members: &MemberTable) {
    let log = LogId { term: position.term, index: position.index };
    let membership = conf_change::membership(members);
    batch.set_applied(position);
    batch.set_membership(&conf_change::stored(log, membership).encode_to_vec());
    batch.set_conf_state(&conf_change::conf_state_json(members));
}

//! The log payload: what entries say.
//!
//! An entry's data is etcd's `InternalRaftRequest`, a message with an optional field per command of which one
//! is set. [`LogCommand`] reads the same bytes as a choice, so that the dispatcher is an exhaustive `match`.

use super::LogError;
use crate::auth::Who;
use crate::types::LogPosition;
use bytes::Bytes;
use keelstone_proto::etcdserverpb as pb;
use keelstone_proto::membershippb;
use prost::Message;

/// A committed entry, in log order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    pub position: LogPosition,
    pub payload: Payload,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// The entry with which a leader begins its term.
    Blank,
    /// An encoded `InternalRaftRequest`.
    Normal(Bytes),
    /// An encoded `raftpb.ConfChange`, and the encoded `internal.Membership` that is in force with it.
    ConfChange { change: Bytes, membership: Bytes },
}

impl Payload {
    /// True of a request to put one key, by the first byte of its encoding. False in doubt.
    pub fn is_put(&self) -> bool {
        const PUT: u8 = 4 << 3 | 2;
        matches!(self, Payload::Normal(data) if data.first() == Some(&PUT))
    }

    /// How much log it takes, roughly: what a replay has to read.
    pub fn len_bytes(&self) -> usize {
        match self {
            Payload::Blank => 0,
            Payload::Normal(data) => data.len(),
            Payload::ConfChange { change, membership } => change.len() + membership.len(),
        }
    }
}

/// `InternalRaftRequest`, read as a choice. Same field numbers, same bytes.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct LogCommand {
    /// Request id of entries older than etcd 3.0's header.
    #[prost(uint64, tag = "1")]
    pub old_id: u64,
    #[prost(message, optional, tag = "100")]
    pub header: Option<pb::RequestHeader>,
    #[prost(
        oneof = "Command",
        tags = "3, 4, 5, 6, 7, 8, 9, 10, 11, 1000, 1011, 1012, 1013, 1100, 1101, 1102, 1103, 1104, 1105, 1106, \
                1107, 1200, 1201, 1202, 1203, 1204, 1300, 1301, 1302, 9900"
    )]
    pub command: Option<Command>,
}

/// True of an entry that apply can read: to be asked before one enters the log from elsewhere, since every member stops
/// at one that it cannot read.
///
/// # Errors
/// What is wrong with it.
pub fn check_request(data: &Bytes) -> Result<(), LogError> {
    match LogCommand::decode(data.clone())?.command {
        Some(_) => Ok(()),
        None => Err(LogError::UnknownCommand),
    }
}

impl LogCommand {
    /// Who proposed it, as the proposer's member made sure.
    pub fn who(&self) -> Who<'_> {
        let header = self.header.as_ref();
        header.map_or_else(Who::default, |header| Who { user: &header.username, revision: header.auth_revision })
    }

    /// Under which the proposer waits.
    pub fn request_id(&self) -> u64 {
        if self.old_id != 0 { self.old_id } else { self.header.as_ref().map_or(0, |header| header.id) }
    }
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(super) enum Command {
    #[prost(message, tag = "3")]
    Range(pb::RangeRequest),
    #[prost(message, tag = "4")]
    Put(pb::PutRequest),
    #[prost(message, tag = "5")]
    DeleteRange(pb::DeleteRangeRequest),
    #[prost(message, tag = "6")]
    Txn(pb::TxnRequest),
    #[prost(message, tag = "7")]
    Compaction(pb::CompactionRequest),
    #[prost(message, tag = "8")]
    LeaseGrant(pb::LeaseGrantRequest),
    #[prost(message, tag = "9")]
    LeaseRevoke(pb::LeaseRevokeRequest),
    #[prost(message, tag = "10")]
    Alarm(pb::AlarmRequest),
    #[prost(message, tag = "11")]
    LeaseCheckpoint(pb::LeaseCheckpointRequest),
    #[prost(message, tag = "1000")]
    AuthEnable(pb::AuthEnableRequest),
    #[prost(message, tag = "1011")]
    AuthDisable(pb::AuthDisableRequest),
    #[prost(message, tag = "1012")]
    Authenticate(pb::InternalAuthenticateRequest),
    #[prost(message, tag = "1013")]
    AuthStatus(pb::AuthStatusRequest),
    #[prost(message, tag = "1100")]
    AuthUserAdd(pb::AuthUserAddRequest),
    #[prost(message, tag = "1101")]
    AuthUserDelete(pb::AuthUserDeleteRequest),
    #[prost(message, tag = "1102")]
    AuthUserGet(pb::AuthUserGetRequest),
    #[prost(message, tag = "1103")]
    AuthUserChangePassword(pb::AuthUserChangePasswordRequest),
    #[prost(message, tag = "1104")]
    AuthUserGrantRole(pb::AuthUserGrantRoleRequest),
    #[prost(message, tag = "1105")]
    AuthUserRevokeRole(pb::AuthUserRevokeRoleRequest),
    #[prost(message, tag = "1106")]
    AuthUserList(pb::AuthUserListRequest),
    #[prost(message, tag = "1107")]
    AuthRoleList(pb::AuthRoleListRequest),
    #[prost(message, tag = "1200")]
    AuthRoleAdd(pb::AuthRoleAddRequest),
    #[prost(message, tag = "1201")]
    AuthRoleDelete(pb::AuthRoleDeleteRequest),
    #[prost(message, tag = "1202")]
    AuthRoleGet(pb::AuthRoleGetRequest),
    #[prost(message, tag = "1203")]
    AuthRoleGrantPermission(pb::AuthRoleGrantPermissionRequest),
    #[prost(message, tag = "1204")]
    AuthRoleRevokePermission(pb::AuthRoleRevokePermissionRequest),
    #[prost(message, tag = "1300")]
    ClusterVersionSet(membershippb::ClusterVersionSetRequest),
    #[prost(message, tag = "1301")]
    ClusterMemberAttrSet(membershippb::ClusterMemberAttrSetRequest),
    #[prost(message, tag = "1302")]
    DowngradeInfoSet(membershippb::DowngradeInfoSetRequest),
    #[prost(message, tag = "9900")]
    DowngradeVersionTest(pb::DowngradeVersionTestRequest),
}

impl Command {
    /// True if it changes what is published about the cluster.
    pub fn is_about_the_cluster(&self) -> bool {
        matches!(self, Command::ClusterVersionSet(_) | Command::ClusterMemberAttrSet(_) | Command::DowngradeInfoSet(_))
    }

    /// etcd's label of the command in `etcd_server_apply_duration_seconds`.
    pub fn op(&self) -> &'static str {
        match self {
            Command::Range(_) => "Range",
            Command::Put(_) => "Put",
            Command::DeleteRange(_) => "DeleteRange",
            Command::Txn(_) => "Txn",
            Command::Compaction(_) => "Compaction",
            Command::LeaseGrant(_) => "LeaseGrant",
            Command::LeaseRevoke(_) => "LeaseRevoke",
            Command::Alarm(_) => "Alarm",
            Command::LeaseCheckpoint(_) => "LeaseCheckpoint",
            Command::AuthEnable(_) => "AuthEnable",
            Command::AuthDisable(_) => "AuthDisable",
            Command::Authenticate(_) => "Authenticate",
            Command::AuthStatus(_) => "unknown",
            Command::AuthUserAdd(_) => "AuthUserAdd",
            Command::AuthUserDelete(_) => "AuthUserDelete",
            Command::AuthUserGet(_) => "AuthUserGet",
            Command::AuthUserChangePassword(_) => "AuthUserChangePassword",
            Command::AuthUserGrantRole(_) => "AuthUserGrantRole",
            Command::AuthUserRevokeRole(_) => "AuthUserRevokeRole",
            Command::AuthUserList(_) => "AuthUserList",
            Command::AuthRoleList(_) => "AuthRoleList",
            Command::AuthRoleAdd(_) => "AuthRoleAdd",
            Command::AuthRoleDelete(_) => "AuthRoleDelete",
            Command::AuthRoleGet(_) => "AuthRoleGet",
            Command::AuthRoleGrantPermission(_) => "AuthRoleGrantPermission",
            Command::AuthRoleRevokePermission(_) => "AuthRoleRevokePermission",
            Command::ClusterVersionSet(_) => "ClusterVersionSet",
            Command::ClusterMemberAttrSet(_) => "ClusterMemberAttrSet",
            Command::DowngradeInfoSet(_) => "DowngradeInfoSet",
            Command::DowngradeVersionTest(_) => "DowngradeVersionTest",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_reads_the_bytes_of_an_internal_raft_request() {
        let put = pb::PutRequest { key: "a".into(), value: "b".into(), ..pb::PutRequest::default() };
        let request = pb::InternalRaftRequest {
            header: Some(pb::RequestHeader { id: 7, ..pb::RequestHeader::default() }),
            put: Some(put.clone()),
            ..pb::InternalRaftRequest::default()
        };
        let read = LogCommand::decode(request.encode_to_vec().as_slice()).expect("same wire format");
        assert_eq!((read.request_id(), read.command), (7, Some(Command::Put(put))));

        let list = pb::InternalRaftRequest {
            id: 9,
            auth_role_list: Some(pb::AuthRoleListRequest::default()),
            ..pb::InternalRaftRequest::default()
        };
        let read = LogCommand::decode(list.encode_to_vec().as_slice()).expect("same wire format");
        assert_eq!(read.request_id(), 9);
        assert!(matches!(read.command, Some(Command::AuthRoleList(_))));
    }
}

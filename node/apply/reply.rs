//! What an applied entry answers to the one who proposed it, and why one is refused.

use crate::auth::AuthError;
use crate::cluster::{Member, MemberChangeError};
use crate::lease::LeaseError;
use crate::storage::StorageError;
use crate::types::MemberId;
use keelstone_proto::etcdserverpb as pb;

/// The answer, as the message that the client gets. Headers hold the revision only.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    Range(pb::RangeResponse),
    Put(pb::PutResponse),
    DeleteRange(pb::DeleteRangeResponse),
    Txn(pb::TxnResponse),
    Compaction(pb::CompactionResponse),
    LeaseGrant(pb::LeaseGrantResponse),
    LeaseRevoke(pb::LeaseRevokeResponse),
    LeaseCheckpoint(pb::LeaseCheckpointResponse),
    Alarm(pb::AlarmResponse),
    Auth(AuthReply),
    /// Of a change of the membership: all members after it, sorted by id.
    Members(Vec<Member>),
    /// Of what has no answer: member attributes, cluster version, downgrade record.
    Done,
}

/// The answer of a command on access control.
#[derive(Clone, Debug, PartialEq)]
pub enum AuthReply {
    Enable(pb::AuthEnableResponse),
    Disable(pb::AuthDisableResponse),
    Status(pb::AuthStatusResponse),
    Authenticate(Authenticated),
    UserAdd(pb::AuthUserAddResponse),
    UserDelete(pb::AuthUserDeleteResponse),
    UserGet(pb::AuthUserGetResponse),
    UserChangePassword(pb::AuthUserChangePasswordResponse),
    UserGrantRole(pb::AuthUserGrantRoleResponse),
    UserRevokeRole(pb::AuthUserRevokeRoleResponse),
    UserList(pb::AuthUserListResponse),
    RoleAdd(pb::AuthRoleAddResponse),
    RoleDelete(pb::AuthRoleDeleteResponse),
    RoleGet(pb::AuthRoleGetResponse),
    RoleList(pb::AuthRoleListResponse),
    RoleGrantPermission(pb::AuthRoleGrantPermissionResponse),
    RoleRevokePermission(pb::AuthRoleRevokePermissionResponse),
}

/// A user may have a token, as of this state of access control.
#[derive(Clone, PartialEq)]
pub struct Authenticated {
    /// The token is empty if it is not a simple one.
    pub response: pb::AuthenticateResponse,
    pub auth_revision: u64,
}

/// Without the token.
impl std::fmt::Debug for Authenticated {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authenticated").field("auth_revision", &self.auth_revision).finish_non_exhaustive()
    }
}

/// A replicated refusal: every member came to the same one, and nothing changed. Named as etcd's errors, and worded as
/// they are within etcd.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    #[error("etcdserver: key is not provided")]
    EmptyKey,
    #[error("etcdserver: key not found")]
    KeyNotFound,
    #[error("mvcc: required revision has been compacted")]
    Compacted,
    #[error("mvcc: required revision is a future revision")]
    FutureRevision,
    #[error(transparent)]
    Lease(#[from] LeaseError),
    #[error(transparent)]
    Member(#[from] MemberChangeError),
    /// The alarm NOSPACE is raised.
    #[error("etcdserver: no space")]
    NoSpace,
    /// The alarm CORRUPT is raised.
    #[error("etcdserver: corrupt cluster")]
    Corrupt,
    /// Not a version of three numbers.
    #[error("malformed cluster version")]
    ClusterVersion,
    #[error(transparent)]
    Auth(#[from] AuthError),
}

impl ApplyError {
    /// True for what etcd counts as applied well: the client asked for the past.
    pub(super) fn counts_as_success(&self) -> bool {
        *self == ApplyError::Compacted
    }
}

/// Why this member cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum Fatal {
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// Every member stops at the same entry: guessing at it would let them part.
    #[error("entry {index} cannot be applied")]
    Entry { index: u64, source: LogError },
    #[error("entry {index} came after {applied}")]
    Gap { applied: u64, index: u64 },
    /// The state file holds a row that this version cannot read.
    #[error("read state")]
    State(#[from] StateError),
}

/// What is wrong with an entry that was committed.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("decode entry")]
    Decode(#[from] prost::DecodeError),
    /// No command, or one of a later version.
    #[error("command is unknown")]
    UnknownCommand,
    #[error("kind of membership change is unknown")]
    UnknownChange(#[from] prost::UnknownEnumValue),
    #[error("read member of a membership change")]
    Context(#[source] serde_json::Error),
    #[error("membership change of {entry} describes {context}")]
    MemberId { entry: MemberId, context: MemberId },
}

/// A row outside the key table that neither etcd nor we write.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    #[error(transparent)]
    Cluster(#[from] crate::cluster::RowError),
    #[error(transparent)]
    Alarm(#[from] crate::alarm::AlarmRowError),
    #[error(transparent)]
    Auth(#[from] crate::auth::AuthRowError),
    #[error(transparent)]
    Lease(#[from] crate::lease::LeaseRowError),
}

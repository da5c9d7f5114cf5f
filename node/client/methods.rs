//! The calls by their paths, each with its messages and whether it may be repeated (etcd `client/v3/retry.go`).

use keelstone_proto::etcdserverpb::*;
use keelstone_proto::keelstonepb as own;
use std::marker::PhantomData;

/// A call from `Q` to `A`.
#[derive(Debug)]
pub struct Method<Q, A> {
    pub path: &'static str,
    /// Done twice it is as good as once.
    pub repeatable: bool,
    messages: PhantomData<fn(Q) -> A>,
}

/// Declares the calls of a service.
macro_rules! methods {
    ($package:literal: $($name:ident: $request:ty => $response:ty = $path:literal, $repeatable:literal;)*) => {$(
        pub const $name: Method<$request, $response> =
            Method { path: concat!("/", $package, ".", $path), repeatable: $repeatable, messages: PhantomData };
    )*};
}

methods! {
    "etcdserverpb":
    RANGE: RangeRequest => RangeResponse = "KV/Range", true;
    RANGE_STREAM: RangeRequest => RangeStreamResponse = "KV/RangeStream", false;
    PUT: PutRequest => PutResponse = "KV/Put", false;
    DELETE: DeleteRangeRequest => DeleteRangeResponse = "KV/DeleteRange", false;
    TXN: TxnRequest => TxnResponse = "KV/Txn", false;
    COMPACT: CompactionRequest => CompactionResponse = "KV/Compact", false;
    WATCH: WatchRequest => WatchResponse = "Watch/Watch", false;
    LEASE_GRANT: LeaseGrantRequest => LeaseGrantResponse = "Lease/LeaseGrant", true;
    LEASE_REVOKE: LeaseRevokeRequest => LeaseRevokeResponse = "Lease/LeaseRevoke", true;
    LEASE_KEEP_ALIVE: LeaseKeepAliveRequest => LeaseKeepAliveResponse = "Lease/LeaseKeepAlive", false;
    LEASE_TIME_TO_LIVE: LeaseTimeToLiveRequest => LeaseTimeToLiveResponse = "Lease/LeaseTimeToLive", true;
    LEASES: LeaseLeasesRequest => LeaseLeasesResponse = "Lease/LeaseLeases", true;
    MEMBER_ADD: MemberAddRequest => MemberAddResponse = "Cluster/MemberAdd", false;
    MEMBER_REMOVE: MemberRemoveRequest => MemberRemoveResponse = "Cluster/MemberRemove", false;
    MEMBER_UPDATE: MemberUpdateRequest => MemberUpdateResponse = "Cluster/MemberUpdate", false;
    MEMBER_LIST: MemberListRequest => MemberListResponse = "Cluster/MemberList", true;
    MEMBER_PROMOTE: MemberPromoteRequest => MemberPromoteResponse = "Cluster/MemberPromote", false;
    ALARM: AlarmRequest => AlarmResponse = "Maintenance/Alarm", true;
    STATUS: StatusRequest => StatusResponse = "Maintenance/Status", true;
    DEFRAGMENT: DefragmentRequest => DefragmentResponse = "Maintenance/Defragment", false;
    HASH_KV: HashKvRequest => HashKvResponse = "Maintenance/HashKV", true;
    SNAPSHOT: SnapshotRequest => SnapshotResponse = "Maintenance/Snapshot", false;
    MOVE_LEADER: MoveLeaderRequest => MoveLeaderResponse = "Maintenance/MoveLeader", true;
    DOWNGRADE: DowngradeRequest => DowngradeResponse = "Maintenance/Downgrade", false;
    AUTHENTICATE: AuthenticateRequest => AuthenticateResponse = "Auth/Authenticate", false;
    AUTH_ENABLE: AuthEnableRequest => AuthEnableResponse = "Auth/AuthEnable", false;
    AUTH_DISABLE: AuthDisableRequest => AuthDisableResponse = "Auth/AuthDisable", false;
    AUTH_STATUS: AuthStatusRequest => AuthStatusResponse = "Auth/AuthStatus", false;
    USER_ADD: AuthUserAddRequest => AuthUserAddResponse = "Auth/UserAdd", false;
    USER_GET: AuthUserGetRequest => AuthUserGetResponse = "Auth/UserGet", true;
    USER_LIST: AuthUserListRequest => AuthUserListResponse = "Auth/UserList", true;
    USER_DELETE: AuthUserDeleteRequest => AuthUserDeleteResponse = "Auth/UserDelete", false;
    USER_PASSWORD: AuthUserChangePasswordRequest => AuthUserChangePasswordResponse = "Auth/UserChangePassword", false;
    USER_GRANT: AuthUserGrantRoleRequest => AuthUserGrantRoleResponse = "Auth/UserGrantRole", false;
    USER_REVOKE: AuthUserRevokeRoleRequest => AuthUserRevokeRoleResponse = "Auth/UserRevokeRole", false;
    ROLE_ADD: AuthRoleAddRequest => AuthRoleAddResponse = "Auth/RoleAdd", false;
    ROLE_GET: AuthRoleGetRequest => AuthRoleGetResponse = "Auth/RoleGet", true;
    ROLE_LIST: AuthRoleListRequest => AuthRoleListResponse = "Auth/RoleList", true;
    ROLE_DELETE: AuthRoleDeleteRequest => AuthRoleDeleteResponse = "Auth/RoleDelete", false;
    ROLE_GRANT: AuthRoleGrantPermissionRequest => AuthRoleGrantPermissionResponse = "Auth/RoleGrantPermission", false;
    ROLE_REVOKE: AuthRoleRevokePermissionRequest => AuthRoleRevokePermissionResponse = "Auth/RoleRevokePermission", false;
}

methods! {
    "keelstonepb":
    BACKUP_NOW: own::NowRequest => own::NowResponse = "Backup/Now", false;
    BACKUP_LIST: own::ListRequest => own::ListResponse = "Backup/List", true;
    BACKUP_VERIFY: own::VerifyRequest => own::VerifyResponse = "Backup/Verify", false;
    BACKUP_FORGET: own::ForgetRequest => own::ForgetResponse = "Backup/Forget", false;
    BACKUP_DRILL: own::DrillRequest => own::DrillResponse = "Backup/Drill", false;
    BACKUP_SCHEDULE: own::ScheduleRequest => own::ScheduleResponse = "Backup/Schedule", true;
}

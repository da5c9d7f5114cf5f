//! The table of access: what each shape of each call needs.

use super::{Caller, LEASE};
use bytes::Bytes;
use keelstone_harness::proto::authpb::{Permission, permission::Type};
use keelstone_harness::proto::etcdserverpb::request_op::Request as Op;
use keelstone_harness::proto::etcdserverpb::watch_request::RequestUnion;
use keelstone_harness::proto::etcdserverpb::*;
use keelstone_harness::proto::v3electionpb::{
    CampaignRequest, LeaderKey, LeaderRequest, ProclaimRequest, ResignRequest,
};
use keelstone_harness::proto::v3lockpb::{LockRequest, UnlockRequest};
use prost::Message;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    Nothing,
    /// If there is a token it must count.
    Token,
    User,
    /// Rights to keys below `right/`.
    Keys,
    /// Rights to keys of which some are nobody's but root's.
    AllKeys,
    Root,
}

pub struct Row {
    pub path: &'static str,
    pub shape: &'static str,
    pub need: Need,
    /// The message by a caller, encoded.
    pub message: fn(Caller) -> Vec<u8>,
}

impl Row {
    /// Not of ours alone.
    pub fn is_of_etcd(&self) -> bool {
        !self.path.starts_with("/keelstonepb.")
    }
}

pub const WATCH: &str = "/etcdserverpb.Watch/Watch";
pub const KEEP_ALIVE: &str = "/etcdserverpb.Lease/LeaseKeepAlive";

const RANGE: &str = "/etcdserverpb.KV/Range";
const RANGE_STREAM: &str = "/etcdserverpb.KV/RangeStream";
const PUT: &str = "/etcdserverpb.KV/Put";
const DELETE: &str = "/etcdserverpb.KV/DeleteRange";
const TXN: &str = "/etcdserverpb.KV/Txn";
const ALARM: &str = "/etcdserverpb.Maintenance/Alarm";
const TIME_TO_LIVE: &str = "/etcdserverpb.Lease/LeaseTimeToLive";

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn range(key: &str, range_end: &str) -> RangeRequest {
    RangeRequest { key: bytes(key), range_end: bytes(range_end), ..Default::default() }
}

fn put(key: &str) -> PutRequest {
    PutRequest { key: bytes(key), ..Default::default() }
}

fn delete(key: &str, range_end: &str) -> DeleteRangeRequest {
    DeleteRangeRequest { key: bytes(key), range_end: bytes(range_end), prev_kv: false }
}

fn with_op(op: Op) -> TxnRequest {
    TxnRequest { success: vec![RequestOp { request: Some(op) }], ..Default::default() }
}

/// In the branch that is not taken, of a transaction in a transaction.
fn nested(op: Op) -> Vec<u8> {
    let never = Compare { key: bytes("right/k"), ..Default::default() };
    let inner = TxnRequest { compare: vec![never], ..with_op(op) };
    with_op(Op::RequestTxn(with_op(Op::RequestTxn(inner)))).encode_to_vec()
}

fn compared(key: &str, range_end: &str) -> Vec<u8> {
    let compare = Compare { key: bytes(key), range_end: bytes(range_end), ..Default::default() };
    TxnRequest { compare: vec![compare], ..with_op(Op::RequestRange(range("right/k", ""))) }.encode_to_vec()
}

fn watch(key: &str, range_end: &str) -> Vec<u8> {
    let create = WatchCreateRequest { key: bytes(key), range_end: bytes(range_end), ..Default::default() };
    WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) }.encode_to_vec()
}

/// A place of the caller's own, since who comes second would wait.
fn own(what: &str, caller: Caller) -> Bytes {
    bytes(&format!("right/{what}-{}", caller.name()))
}

/// A leader that is none any more.
fn former(caller: Caller) -> Option<LeaderKey> {
    let name = own("former", caller);
    Some(LeaderKey { key: [&name[..], b"/1"].concat().into(), name, rev: 1, lease: LEASE })
}

const fn row(path: &'static str, shape: &'static str, need: Need, message: fn(Caller) -> Vec<u8>) -> Row {
    Row { path, shape, need, message }
}

fn nothing(_: Caller) -> Vec<u8> {
    Vec::new()
}

macro_rules! message {
    ($message:expr) => {
        |_| $message.encode_to_vec()
    };
}

use Need::{AllKeys, Keys, Nothing, Root, Token, User};

pub static ROWS: &[Row] = &[
    row(RANGE, "key", Keys, message!(range("right/k", ""))),
    row(RANGE, "prefix", Keys, message!(range("right/", "right0"))),
    row(RANGE, "serializable", Keys, message!(RangeRequest { serializable: true, ..range("right/k", "") })),
    row(RANGE, "from key", AllKeys, message!(range("right/k", "\0"))),
    row(RANGE, "all", AllKeys, message!(range("\0", "\0"))),
    row(RANGE, "wider", AllKeys, message!(range("right/", "right1"))),
    row(RANGE, "count", AllKeys, message!(RangeRequest { count_only: true, ..range("right/k", "\0") })),
    row(RANGE_STREAM, "prefix", Keys, message!(range("right/", "right0"))),
    row(RANGE_STREAM, "from key", AllKeys, message!(range("right/k", "\0"))),
    row(PUT, "key", Keys, message!(put("right/k"))),
    row(PUT, "previous", Keys, message!(PutRequest { prev_kv: true, ..put("right/k") })),
    row(PUT, "lease", Keys, message!(PutRequest { lease: LEASE, ..put("right/leased") })),
    row(PUT, "elsewhere", AllKeys, message!(put("right"))),
    row(DELETE, "key", Keys, message!(delete("right/gone", ""))),
    row(DELETE, "prefix", Keys, message!(delete("right/gone/", "right/gone0"))),
    row(DELETE, "previous", Keys, message!(DeleteRangeRequest { prev_kv: true, ..delete("right/gone", "") })),
    row(DELETE, "wider", AllKeys, message!(delete("right/zz", "right1"))),
    row(TXN, "read", Keys, message!(with_op(Op::RequestRange(range("right/k", ""))))),
    row(TXN, "read from key", AllKeys, message!(with_op(Op::RequestRange(range("right/k", "\0"))))),
    row(TXN, "put", Keys, message!(with_op(Op::RequestPut(PutRequest { prev_kv: true, ..put("right/k") })))),
    row(TXN, "put elsewhere", AllKeys, message!(with_op(Op::RequestPut(put("right"))))),
    row(TXN, "compare", Keys, |_| compared("right/", "right0")),
    row(TXN, "compare from key", AllKeys, |_| compared("right/k", "\0")),
    row(TXN, "nested put", Keys, |_| nested(Op::RequestPut(PutRequest { lease: LEASE, ..put("right/leased") }))),
    row(TXN, "nested put elsewhere", AllKeys, |_| nested(Op::RequestPut(put("right")))),
    row(TXN, "nested range from key", AllKeys, |_| nested(Op::RequestRange(range("right/k", "\0")))),
    row(TXN, "nested delete", Keys, |_| nested(Op::RequestDeleteRange(delete("right/gone", "")))),
    row(TXN, "nested delete, wider", AllKeys, |_| nested(Op::RequestDeleteRange(delete("right/zz", "right1")))),
    row(TXN, "empty", User, nothing),
    row("/etcdserverpb.KV/Compact", "", Root, message!(CompactionRequest { revision: 1, physical: false })),
    row(WATCH, "key", Keys, |_| watch("right/k", "")),
    row(WATCH, "prefix", Keys, |_| watch("right/", "right0")),
    row(WATCH, "from key", AllKeys, |_| watch("right/k", "\0")),
    row(WATCH, "all", AllKeys, |_| watch("", "\0")),
    row(WATCH, "lowest key", AllKeys, |_| watch("", "")),
    row("/etcdserverpb.Lease/LeaseGrant", "", User, |caller| {
        LeaseGrantRequest { ttl: 3600, id: 800 + caller as i64 }.encode_to_vec()
    }),
    row("/etcdserverpb.Lease/LeaseRevoke", "without keys", User, |caller| {
        LeaseRevokeRequest { id: 800 + caller as i64 }.encode_to_vec()
    }),
    row(KEEP_ALIVE, "", Keys, message!(LeaseKeepAliveRequest { id: LEASE })),
    row(TIME_TO_LIVE, "", User, message!(LeaseTimeToLiveRequest { id: LEASE, keys: false })),
    row(TIME_TO_LIVE, "keys", Keys, message!(LeaseTimeToLiveRequest { id: LEASE, keys: true })),
    row("/etcdserverpb.Lease/LeaseLeases", "", Keys, nothing),
    row("/etcdserverpb.Cluster/MemberList", "", User, nothing),
    row("/etcdserverpb.Cluster/MemberList", "linearizable", User, message!(MemberListRequest { linearizable: true })),
    row("/etcdserverpb.Cluster/MemberAdd", "", Root, |_| {
        // Which counts for no quorum.
        MemberAddRequest { peer_urls: vec!["http://127.0.0.1:1".into()], is_learner: true }.encode_to_vec()
    }),
    row("/etcdserverpb.Cluster/MemberRemove", "", Root, message!(MemberRemoveRequest { id: 7 })),
    row(
        "/etcdserverpb.Cluster/MemberUpdate",
        "",
        Root,
        message!(MemberUpdateRequest { id: 7, peer_urls: vec!["http://127.0.0.1:1".into()] }),
    ),
    row("/etcdserverpb.Cluster/MemberPromote", "", Root, message!(MemberPromoteRequest { id: 7 })),
    row(ALARM, "get", User, nothing),
    row(ALARM, "clear", Root, message!(AlarmRequest { action: 2, member_id: 7, alarm: 1 })),
    row(ALARM, "raise nothing", Root, message!(AlarmRequest { action: 1, member_id: 7, alarm: 0 })),
    row("/etcdserverpb.Maintenance/Status", "", User, nothing),
    row("/etcdserverpb.Maintenance/Defragment", "", Root, nothing),
    row("/etcdserverpb.Maintenance/Hash", "", Root, nothing),
    row("/etcdserverpb.Maintenance/HashKV", "", Root, nothing),
    row("/etcdserverpb.Maintenance/Snapshot", "", Root, nothing),
    row("/etcdserverpb.Maintenance/MoveLeader", "", Root, message!(MoveLeaderRequest { target_id: 7 })),
    row("/etcdserverpb.Maintenance/Downgrade", "validate", Root, |_| {
        DowngradeRequest { action: 0, version: "3.5".into() }.encode_to_vec()
    }),
    row("/etcdserverpb.Auth/AuthStatus", "", Token, nothing),
    row("/etcdserverpb.Auth/Authenticate", "wrong password", Nothing, |_| {
        AuthenticateRequest { name: "none".into(), password: "x".into() }.encode_to_vec()
    }),
    row("/etcdserverpb.Auth/AuthEnable", "", Root, nothing),
    row("/etcdserverpb.Auth/UserAdd", "there is one", Root, |_| {
        AuthUserAddRequest { name: "none".into(), ..Default::default() }.encode_to_vec()
    }),
    row("/etcdserverpb.Auth/UserGet", "own", User, |caller| {
        AuthUserGetRequest { name: caller.name().into() }.encode_to_vec()
    }),
    row("/etcdserverpb.Auth/UserGet", "root", Root, message!(AuthUserGetRequest { name: "root".into() })),
    row("/etcdserverpb.Auth/UserList", "", Root, nothing),
    row("/etcdserverpb.Auth/UserDelete", "of none", Root, message!(AuthUserDeleteRequest { name: "ghost".into() })),
    row("/etcdserverpb.Auth/UserChangePassword", "of none", Root, |_| {
        AuthUserChangePasswordRequest { name: "ghost".into(), ..Default::default() }.encode_to_vec()
    }),
    row("/etcdserverpb.Auth/UserGrantRole", "to none", Root, |_| {
        AuthUserGrantRoleRequest { user: "ghost".into(), role: "right".into() }.encode_to_vec()
    }),
    row("/etcdserverpb.Auth/UserRevokeRole", "from none", Root, |_| {
        AuthUserRevokeRoleRequest { name: "ghost".into(), role: "right".into() }.encode_to_vec()
    }),
    row("/etcdserverpb.Auth/RoleAdd", "there is one", Root, message!(AuthRoleAddRequest { name: "right".into() })),
    row("/etcdserverpb.Auth/RoleGet", "", Keys, message!(AuthRoleGetRequest { role: "right".into() })),
    row("/etcdserverpb.Auth/RoleGet", "of root", Root, message!(AuthRoleGetRequest { role: "root".into() })),
    row("/etcdserverpb.Auth/RoleList", "", Root, nothing),
    row("/etcdserverpb.Auth/RoleDelete", "of none", Root, message!(AuthRoleDeleteRequest { role: "ghost".into() })),
    row("/etcdserverpb.Auth/RoleGrantPermission", "to none", Root, |_| {
        let perm = Permission { perm_type: Type::Read.into(), key: bytes("k"), range_end: Bytes::new() };
        AuthRoleGrantPermissionRequest { name: "ghost".into(), perm: Some(perm) }.encode_to_vec()
    }),
    row("/etcdserverpb.Auth/RoleRevokePermission", "of none", Root, |_| {
        AuthRoleRevokePermissionRequest { role: "ghost".into(), ..Default::default() }.encode_to_vec()
    }),
    row("/v3lockpb.Lock/Lock", "", Keys, |caller| {
        LockRequest { name: own("lock", caller), lease: LEASE }.encode_to_vec()
    }),
    row("/v3lockpb.Lock/Lock", "without a lease", Keys, |caller| {
        LockRequest { name: own("other-lock", caller), lease: 0 }.encode_to_vec()
    }),
    row("/v3lockpb.Lock/Unlock", "", Keys, |caller| UnlockRequest { key: own("lock", caller) }.encode_to_vec()),
    row("/v3electionpb.Election/Campaign", "", Keys, |caller| {
        CampaignRequest { name: own("election", caller), lease: LEASE, value: Bytes::new() }.encode_to_vec()
    }),
    row("/v3electionpb.Election/Proclaim", "", Keys, |caller| {
        ProclaimRequest { leader: former(caller), value: Bytes::new() }.encode_to_vec()
    }),
    row("/v3electionpb.Election/Leader", "", Keys, message!(LeaderRequest { name: bytes("right/observed") })),
    row(
        "/v3electionpb.Election/Observe",
        "leader there is",
        Keys,
        message!(LeaderRequest { name: bytes("right/observed") }),
    ),
    row("/v3electionpb.Election/Resign", "", Keys, |caller| ResignRequest { leader: former(caller) }.encode_to_vec()),
    row("/keelstonepb.Backup/Now", "", Root, nothing),
    row("/keelstonepb.Backup/List", "", Root, nothing),
    row("/keelstonepb.Backup/Verify", "", Root, nothing),
    row("/keelstonepb.Backup/Forget", "", Root, nothing),
    row("/keelstonepb.Backup/Drill", "", Root, nothing),
    row("/keelstonepb.Backup/Schedule", "", Root, nothing),
    row("/grpc.health.v1.Health/Check", "", Nothing, nothing),
    row("/grpc.health.v1.Health/List", "", Nothing, nothing),
    row("/grpc.health.v1.Health/Watch", "", Nothing, nothing),
    // Access is open behind it.
    row("/etcdserverpb.Auth/AuthDisable", "", Root, nothing),
];

//! What the audit log says of each call's message: keys and names. What is not listed here is not told, and values,
//! passwords and tokens never are. Matched without a default arm: a new call must say what of it may be told.

use crate::api::rpc::Rpc;
use keelstone_proto::etcdserverpb as pb;
use keelstone_proto::etcdserverpb::request_op::Request as Op;
use keelstone_proto::{authpb, keelstonepb, v3electionpb, v3lockpb};
use prost::{DecodeError, Message};
use serde_json::{Map, Value, json};

/// Operations of a transaction that are told.
const MAX_KEYS: usize = 256;
/// Of a key, its first bytes.
const MAX_KEY_BYTES: usize = 1_024;

pub type Asked = Map<String, Value>;

/// # Errors
/// The message cannot be read, as one that was refused before it came.
pub fn of(rpc: Rpc, message: &[u8]) -> Result<Asked, DecodeError> {
    let asked = match rpc {
        Rpc::Range | Rpc::RangeStream => {
            let asked = pb::RangeRequest::decode(message)?;
            keys([range("range", &asked.key, &asked.range_end)])
        }
        Rpc::Put => {
            let asked = pb::PutRequest::decode(message)?;
            with(keys([range("put", &asked.key, b"")]), leased(asked.lease))
        }
        Rpc::DeleteRange => {
            let asked = pb::DeleteRangeRequest::decode(message)?;
            keys([range("delete", &asked.key, &asked.range_end)])
        }
        Rpc::Txn => txn(&pb::TxnRequest::decode(message)?),
        Rpc::Compact => {
            let asked = pb::CompactionRequest::decode(message)?;
            facts([("revision", json!(asked.revision)), ("physical", json!(asked.physical))])
        }
        Rpc::LeaseGrant => {
            let asked = pb::LeaseGrantRequest::decode(message)?;
            with(facts([("ttl", json!(asked.ttl))]), leased(asked.id))
        }
        Rpc::LeaseRevoke => leased(pb::LeaseRevokeRequest::decode(message)?.id),
        Rpc::LeaseTimeToLive => leased(pb::LeaseTimeToLiveRequest::decode(message)?.id),
        Rpc::MemberAdd => {
            let asked = pb::MemberAddRequest::decode(message)?;
            facts([("peer-urls", json!(asked.peer_urls)), ("learner", json!(asked.is_learner))])
        }
        Rpc::MemberRemove => member(pb::MemberRemoveRequest::decode(message)?.id),
        Rpc::MemberPromote => member(pb::MemberPromoteRequest::decode(message)?.id),
        Rpc::MemberUpdate => {
            let asked = pb::MemberUpdateRequest::decode(message)?;
            with(member(asked.id), facts([("peer-urls", json!(asked.peer_urls))]))
        }
        Rpc::Alarm => {
            let asked = pb::AlarmRequest::decode(message)?;
            let what = [("action", json!(asked.action().as_str_name())), ("alarm", json!(asked.alarm().as_str_name()))];
            with(member(asked.member_id), facts(what))
        }
        Rpc::HashKv => facts([("revision", json!(pb::HashKvRequest::decode(message)?.revision))]),
        Rpc::MoveLeader => member(pb::MoveLeaderRequest::decode(message)?.target_id),
        Rpc::Downgrade => {
            let asked = pb::DowngradeRequest::decode(message)?;
            facts([("action", json!(asked.action().as_str_name())), ("version", json!(asked.version))])
        }
        Rpc::Authenticate => name(pb::AuthenticateRequest::decode(message)?.name),
        Rpc::UserAdd => name(pb::AuthUserAddRequest::decode(message)?.name),
        Rpc::UserGet => name(pb::AuthUserGetRequest::decode(message)?.name),
        Rpc::UserDelete => name(pb::AuthUserDeleteRequest::decode(message)?.name),
        Rpc::UserChangePassword => name(pb::AuthUserChangePasswordRequest::decode(message)?.name),
        Rpc::UserGrantRole => {
            let asked = pb::AuthUserGrantRoleRequest::decode(message)?;
            with(name(asked.user), role(asked.role))
        }
        Rpc::UserRevokeRole => {
            let asked = pb::AuthUserRevokeRoleRequest::decode(message)?;
            with(name(asked.name), role(asked.role))
        }
        Rpc::RoleAdd => role(pb::AuthRoleAddRequest::decode(message)?.name),
        Rpc::RoleGet => role(pb::AuthRoleGetRequest::decode(message)?.role),
        Rpc::RoleDelete => role(pb::AuthRoleDeleteRequest::decode(message)?.role),
        Rpc::RoleGrantPermission => {
            let asked = pb::AuthRoleGrantPermissionRequest::decode(message)?;
            let authpb::Permission { key, range_end, .. } = asked.perm.clone().unwrap_or_default();
            let kind = asked.perm.map(|permission| json!(permission.perm_type().as_str_name()));
            let permission = with(keys([range("grant", &key, &range_end)]), facts([("permission", json!(kind))]));
            with(role(asked.name), permission)
        }
        Rpc::RoleRevokePermission => {
            let asked = pb::AuthRoleRevokePermissionRequest::decode(message)?;
            with(role(asked.role), keys([range("revoke", &asked.key, &asked.range_end)]))
        }
        Rpc::Lock => {
            let asked = v3lockpb::LockRequest::decode(message)?;
            with(keys([range("lock", &asked.name, b"")]), leased(asked.lease))
        }
        Rpc::Unlock => keys([range("unlock", &v3lockpb::UnlockRequest::decode(message)?.key, b"")]),
        Rpc::Campaign => {
            let asked = v3electionpb::CampaignRequest::decode(message)?;
            with(keys([range("campaign", &asked.name, b"")]), leased(asked.lease))
        }
        Rpc::Proclaim => leader_key("proclaim", v3electionpb::ProclaimRequest::decode(message)?.leader),
        Rpc::Resign => leader_key("resign", v3electionpb::ResignRequest::decode(message)?.leader),
        Rpc::ElectionLeader | Rpc::Observe => {
            keys([range("observe", &v3electionpb::LeaderRequest::decode(message)?.name, b"")])
        }
        Rpc::BackupVerify => facts([("names", json!(keelstonepb::VerifyRequest::decode(message)?.names))]),
        Rpc::BackupForget => facts([("names", json!(keelstonepb::ForgetRequest::decode(message)?.names))]),
        Rpc::Watch
        | Rpc::LeaseKeepAlive
        | Rpc::LeaseLeases
        | Rpc::MemberList
        | Rpc::Status
        | Rpc::Defragment
        | Rpc::Hash
        | Rpc::Snapshot
        | Rpc::AuthEnable
        | Rpc::AuthDisable
        | Rpc::AuthStatus
        | Rpc::UserList
        | Rpc::RoleList
        | Rpc::BackupNow
        | Rpc::BackupList
        | Rpc::BackupDrill
        | Rpc::BackupSchedule
        | Rpc::HealthCheck
        | Rpc::HealthList
        | Rpc::HealthWatch => Asked::new(),
    };
    Ok(asked)
}

fn facts<const N: usize>(facts: [(&str, Value); N]) -> Asked {
    facts.into_iter().map(|(name, fact)| (name.to_owned(), fact)).collect()
}

fn with(mut one: Asked, other: Asked) -> Asked {
    one.extend(other);
    one
}

fn keys(keys: impl IntoIterator<Item = Value>) -> Asked {
    facts([("keys", Value::Array(keys.into_iter().collect()))])
}

fn leased(id: i64) -> Asked {
    if id == 0 { Asked::new() } else { facts([("lease", json!(format!("{id:x}")))]) }
}

fn member(id: u64) -> Asked {
    facts([("member", json!(format!("{id:x}")))])
}

fn name(name: String) -> Asked {
    facts([("name", json!(name))])
}

fn role(role: String) -> Asked {
    facts([("role", json!(role))])
}

fn leader_key(what: &str, leader: Option<v3electionpb::LeaderKey>) -> Asked {
    keys(leader.map(|leader| range(what, &leader.key, b"")))
}

/// Nested ones are told behind those around them.
fn txn(asked: &pb::TxnRequest) -> Asked {
    let (mut told, mut left) = (Vec::new(), 0_usize);
    add_txn(asked, &mut told, &mut left);
    let told = keys(told);
    if left == 0 { told } else { with(told, facts([("further-keys", json!(left))])) }
}

fn add_txn(asked: &pb::TxnRequest, told: &mut Vec<Value>, left: &mut usize) {
    let mut add = |key: Value| if told.len() < MAX_KEYS { told.push(key) } else { *left += 1 };
    for compare in &asked.compare {
        add(range("compare", &compare.key, &compare.range_end));
    }
    for op in asked.success.iter().chain(&asked.failure) {
        match &op.request {
            Some(Op::RequestRange(asked)) => add(range("range", &asked.key, &asked.range_end)),
            Some(Op::RequestPut(asked)) => add(range("put", &asked.key, b"")),
            Some(Op::RequestDeleteRange(asked)) => add(range("delete", &asked.key, &asked.range_end)),
            Some(Op::RequestTxn(_)) | None => {}
        }
    }
    for op in asked.success.iter().chain(&asked.failure) {
        if let Some(Op::RequestTxn(nested)) = &op.request {
            add_txn(nested, told, left);
        }
    }
}

/// What is done to a key, or to all from it to an end.
pub fn range(what: &str, key: &[u8], end: &[u8]) -> Value {
    let mut told = facts([("do", json!(what))]);
    tell(&mut told, "key", key);
    if !end.is_empty() {
        tell(&mut told, "range-end", end);
    }
    Value::Object(told)
}

fn tell(told: &mut Asked, name: &str, key: &[u8]) {
    let shown = &key[..key.len().min(MAX_KEY_BYTES)];
    match std::str::from_utf8(shown) {
        Ok(text) => told.insert(name.to_owned(), json!(text)),
        Err(_) => {
            let hex: String = shown.iter().map(|byte| format!("{byte:02x}")).collect();
            told.insert(format!("{name}-hex"), json!(hex))
        }
    };
    if shown.len() < key.len() {
        told.insert(format!("{name}-bytes"), json!(key.len()));
    }
}

//! Which path of the gateway is which call.

use crate::api::rpc::Rpc;

/// Paths of a call, without `/v3/`. Those that have none have none in etcd either, but for our own.
fn paths(rpc: Rpc) -> &'static [&'static str] {
    match rpc {
        Rpc::Range => &["kv/range"],
        Rpc::Put => &["kv/put"],
        Rpc::DeleteRange => &["kv/deleterange"],
        Rpc::Txn => &["kv/txn"],
        Rpc::Compact => &["kv/compaction"],
        Rpc::Watch => &["watch"],
        Rpc::LeaseGrant => &["lease/grant"],
        Rpc::LeaseRevoke => &["lease/revoke", "kv/lease/revoke"],
        Rpc::LeaseKeepAlive => &["lease/keepalive"],
        Rpc::LeaseTimeToLive => &["lease/timetolive", "kv/lease/timetolive"],
        Rpc::LeaseLeases => &["lease/leases", "kv/lease/leases"],
        Rpc::MemberAdd => &["cluster/member/add"],
        Rpc::MemberRemove => &["cluster/member/remove"],
        Rpc::MemberUpdate => &["cluster/member/update"],
        Rpc::MemberList => &["cluster/member/list"],
        Rpc::MemberPromote => &["cluster/member/promote"],
        Rpc::Alarm => &["maintenance/alarm"],
        Rpc::Status => &["maintenance/status"],
        Rpc::Defragment => &["maintenance/defragment"],
        Rpc::Hash => &["maintenance/hash"],
        Rpc::HashKv => &["maintenance/hashkv"],
        Rpc::Snapshot => &["maintenance/snapshot"],
        Rpc::MoveLeader => &["maintenance/transfer-leadership"],
        Rpc::Downgrade => &["maintenance/downgrade"],
        Rpc::AuthEnable => &["auth/enable"],
        Rpc::AuthDisable => &["auth/disable"],
        Rpc::AuthStatus => &["auth/status"],
        Rpc::Authenticate => &["auth/authenticate"],
        Rpc::UserAdd => &["auth/user/add"],
        Rpc::UserGet => &["auth/user/get"],
        Rpc::UserList => &["auth/user/list"],
        Rpc::UserDelete => &["auth/user/delete"],
        Rpc::UserChangePassword => &["auth/user/changepw"],
        Rpc::UserGrantRole => &["auth/user/grant"],
        Rpc::UserRevokeRole => &["auth/user/revoke"],
        Rpc::RoleAdd => &["auth/role/add"],
        Rpc::RoleGet => &["auth/role/get"],
        Rpc::RoleList => &["auth/role/list"],
        Rpc::RoleDelete => &["auth/role/delete"],
        Rpc::RoleGrantPermission => &["auth/role/grant"],
        Rpc::RoleRevokePermission => &["auth/role/revoke"],
        Rpc::Lock => &["lock/lock"],
        Rpc::Unlock => &["lock/unlock"],
        Rpc::Campaign => &["election/campaign"],
        Rpc::Proclaim => &["election/proclaim"],
        Rpc::ElectionLeader => &["election/leader"],
        Rpc::Observe => &["election/observe"],
        Rpc::Resign => &["election/resign"],
        Rpc::RangeStream
        | Rpc::BackupNow
        | Rpc::BackupList
        | Rpc::BackupVerify
        | Rpc::BackupForget
        | Rpc::BackupDrill
        | Rpc::BackupSchedule
        | Rpc::HealthCheck
        | Rpc::HealthList
        | Rpc::HealthWatch => &[],
    }
}

/// The rest of a path that is the gateway's. `/v3beta/` is what etcd 3.3 called it.
pub fn rest_of(path: &str) -> Option<&str> {
    path.strip_prefix("/v3/").or_else(|| path.strip_prefix("/v3beta/"))
}

/// The call behind such a rest.
pub fn find(rest: &str) -> Option<Rpc> {
    Rpc::ALL.iter().copied().find(|rpc| paths(*rpc).contains(&rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_leads_to_one_call() {
        for rpc in Rpc::ALL {
            for path in paths(*rpc) {
                assert_eq!(find(path), Some(*rpc), "{path}");
            }
        }
        assert_eq!(rest_of("/v3beta/kv/put"), Some("kv/put"));
        assert_eq!((rest_of("/v3"), find("kv/put/"), find("")), (None, None, None));
    }
}

//! Every call a client can make, by its gRPC path. Whoever decides something per call matches on [`Rpc`] without a
//! default arm, so that a new call cannot slip past a gate or a metric (DESIGN D12).

use crate::metrics::grpc::{CallKind, CallLabels};

macro_rules! rpcs {
    ($($name:ident = $service:literal, $method:literal, $kind:ident;)*) => {
        /// One call of the client interface.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Rpc {
            $($name,)*
        }

        impl Rpc {
            /// All calls, in the order of their discriminants.
            pub const ALL: &'static [Rpc] = &[$(Rpc::$name,)*];

            /// How each is named in metrics; indexed by discriminant.
            pub const LABELS: &'static [CallLabels] =
                &[$(CallLabels { service: $service, method: $method, kind: CallKind::$kind },)*];

            /// The call behind an HTTP/2 path.
            pub fn from_path(path: &str) -> Option<Rpc> {
                match path {
                    $(concat!("/", $service, "/", $method) => Some(Rpc::$name),)*
                    _ => None,
                }
            }
        }
    };
}

rpcs! {
    Range = "etcdserverpb.KV", "Range", Unary;
    RangeStream = "etcdserverpb.KV", "RangeStream", ServerStream;
    Put = "etcdserverpb.KV", "Put", Unary;
    DeleteRange = "etcdserverpb.KV", "DeleteRange", Unary;
    Txn = "etcdserverpb.KV", "Txn", Unary;
    Compact = "etcdserverpb.KV", "Compact", Unary;

    Watch = "etcdserverpb.Watch", "Watch", BidiStream;

    LeaseGrant = "etcdserverpb.Lease", "LeaseGrant", Unary;
    LeaseRevoke = "etcdserverpb.Lease", "LeaseRevoke", Unary;
    LeaseKeepAlive = "etcdserverpb.Lease", "LeaseKeepAlive", BidiStream;
    LeaseTimeToLive = "etcdserverpb.Lease", "LeaseTimeToLive", Unary;
    LeaseLeases = "etcdserverpb.Lease", "LeaseLeases", Unary;

    MemberAdd = "etcdserverpb.Cluster", "MemberAdd", Unary;
    MemberRemove = "etcdserverpb.Cluster", "MemberRemove", Unary;
    MemberUpdate = "etcdserverpb.Cluster", "MemberUpdate", Unary;
    MemberList = "etcdserverpb.Cluster", "MemberList", Unary;
    MemberPromote = "etcdserverpb.Cluster", "MemberPromote", Unary;

    Alarm = "etcdserverpb.Maintenance", "Alarm", Unary;
    Status = "etcdserverpb.Maintenance", "Status", Unary;
    Defragment = "etcdserverpb.Maintenance", "Defragment", Unary;
    Hash = "etcdserverpb.Maintenance", "Hash", Unary;
    HashKv = "etcdserverpb.Maintenance", "HashKV", Unary;
    Snapshot = "etcdserverpb.Maintenance", "Snapshot", ServerStream;
    MoveLeader = "etcdserverpb.Maintenance", "MoveLeader", Unary;
    Downgrade = "etcdserverpb.Maintenance", "Downgrade", Unary;

    AuthEnable = "etcdserverpb.Auth", "AuthEnable", Unary;
    AuthDisable = "etcdserverpb.Auth", "AuthDisable", Unary;
    AuthStatus = "etcdserverpb.Auth", "AuthStatus", Unary;
    Authenticate = "etcdserverpb.Auth", "Authenticate", Unary;
    UserAdd = "etcdserverpb.Auth", "UserAdd", Unary;
    UserGet = "etcdserverpb.Auth", "UserGet", Unary;
    UserList = "etcdserverpb.Auth", "UserList", Unary;
    UserDelete = "etcdserverpb.Auth", "UserDelete", Unary;
    UserChangePassword = "etcdserverpb.Auth", "UserChangePassword", Unary;
    UserGrantRole = "etcdserverpb.Auth", "UserGrantRole", Unary;
    UserRevokeRole = "etcdserverpb.Auth", "UserRevokeRole", Unary;
    RoleAdd = "etcdserverpb.Auth", "RoleAdd", Unary;
    RoleGet = "etcdserverpb.Auth", "RoleGet", Unary;
    RoleList = "etcdserverpb.Auth", "RoleList", Unary;
    RoleDelete = "etcdserverpb.Auth", "RoleDelete", Unary;
    RoleGrantPermission = "etcdserverpb.Auth", "RoleGrantPermission", Unary;
    RoleRevokePermission = "etcdserverpb.Auth", "RoleRevokePermission", Unary;

    Lock = "v3lockpb.Lock", "Lock", Unary;
    Unlock = "v3lockpb.Lock", "Unlock", Unary;

    Campaign = "v3electionpb.Election", "Campaign", Unary;
    Proclaim = "v3electionpb.Election", "Proclaim", Unary;
    ElectionLeader = "v3electionpb.Election", "Leader", Unary;
    Observe = "v3electionpb.Election", "Observe", ServerStream;
    Resign = "v3electionpb.Election", "Resign", Unary;

    BackupNow = "keelstonepb.Backup", "Now", Unary;
    BackupList = "keelstonepb.Backup", "List", Unary;
    BackupVerify = "keelstonepb.Backup", "Verify", Unary;
    BackupForget = "keelstonepb.Backup", "Forget", Unary;
    BackupDrill = "keelstonepb.Backup", "Drill", Unary;
    BackupSchedule = "keelstonepb.Backup", "Schedule", Unary;

    HealthCheck = "grpc.health.v1.Health", "Check", Unary;
    HealthList = "grpc.health.v1.Health", "List", Unary;
    HealthWatch = "grpc.health.v1.Health", "Watch", ServerStream;
}

impl Rpc {
    pub fn index(self) -> usize {
        usize::from(self as u8)
    }

    pub fn labels(self) -> CallLabels {
        Self::LABELS[self.index()]
    }

    pub fn is_stream(self) -> bool {
        self.labels().kind != CallKind::Unary
    }

    /// Whether its service takes its time, to say more of it than that (etcd's `logUnaryRequestStats`). Backups take as
    /// long as the state is large, and have lines of their own.
    pub fn times_itself(self) -> bool {
        matches!(
            self,
            Rpc::Range | Rpc::Put | Rpc::DeleteRange | Rpc::Txn | Rpc::BackupNow | Rpc::BackupVerify | Rpc::BackupDrill
        )
    }

    /// Whether a learner may serve the call at all; of `Range` it serves only the serializable ones.
    pub fn is_for_learners(self) -> bool {
        matches!(self, Rpc::Range | Rpc::Status | Rpc::Snapshot)
    }
}

/// What grpc-go answers to a path that leads nowhere.
pub fn unknown_path_text(path: &str) -> String {
    let Some((service, method)) = path.strip_prefix('/').unwrap_or(path).rsplit_once('/') else {
        return format!("malformed method name: {path:?}");
    };
    if Rpc::LABELS.iter().any(|labels| labels.service == service) {
        return format!("unknown method {method} for service {service}");
    }
    format!("unknown service {service}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use keelstone_proto::FILE_DESCRIPTOR_SET;
    use std::collections::BTreeSet;

    #[test]
    fn every_path_leads_to_its_own_call() {
        for (index, rpc) in Rpc::ALL.iter().enumerate() {
            assert_eq!(rpc.index(), index);
            let labels = rpc.labels();
            assert_eq!(Rpc::from_path(&format!("/{}/{}", labels.service, labels.method)), Some(*rpc));
        }
        assert_eq!(Rpc::from_path("/etcdserverpb.KV/range"), None);
    }

    /// grpc-go served a path without its first slash while checks by path did not know it.
    #[test]
    fn cve_2026_33186_a_path_without_its_slash_leads_nowhere() {
        for rpc in Rpc::ALL {
            let path = format!("{}/{}", rpc.labels().service, rpc.labels().method);
            for path in [path.clone(), format!("//{path}"), format!("/{path}/")] {
                assert_eq!(Rpc::from_path(&path), None, "{path}");
            }
        }
    }

    /// The descriptor set is searched as bytes: a method's name stands in it, whatever its service.
    #[test]
    fn every_call_is_in_the_wire_interface() {
        let descriptors: BTreeSet<&str> = Rpc::LABELS
            .iter()
            .flat_map(|labels| [labels.method, labels.service.rsplit('.').next().expect("a name")])
            .collect();
        for name in descriptors {
            assert!(FILE_DESCRIPTOR_SET.windows(name.len()).any(|window| window == name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn unknown_paths_are_named_as_grpc_go_names_them() {
        assert_eq!(unknown_path_text("/etcdserverpb.KV/Get"), "unknown method Get for service etcdserverpb.KV");
        assert_eq!(unknown_path_text("/a.B/C"), "unknown service a.B");
        assert_eq!(unknown_path_text("nothing"), "malformed method name: \"nothing\"");
    }
}

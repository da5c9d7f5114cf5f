//! The wire: etcd's messages and services, and those between Keelstone members. All generated from
//! the `.proto` files of this crate; nothing is written by hand.
//!
//! Every `bytes` field is a [`bytes::Bytes`]. Messages of proto2 packages (`raftpb`, `walpb`, `snappb`,
//! [`etcdserverpb::Metadata`]) have `Option` fields: `Some(0)` is written, `None` is not. Field names are
//! etcd's in snake case, so `peerURLs` is `peer_urls` and `ID` is `id`.

/// Declares the module of one proto package.
macro_rules! package {
    ($(#[$doc:meta])* $name:ident = $package:literal) => {
        $(#[$doc])*
        #[allow(clippy::all, missing_debug_implementations, reason = "generated code")]
        pub mod $name {
            tonic::include_proto!($package);
        }
    };
}

package! {
    /// Client API and the payload of log entries.
    etcdserverpb = "etcdserverpb"
}
package! {
    /// Key-value pairs and events.
    mvccpb = "mvccpb"
}
package! {
    /// Users, roles and permissions.
    authpb = "authpb"
}
package! {
    /// Member records in log entries.
    membershippb = "membershippb"
}
package! {
    /// Raft log entries and hard state, as in etcd's WAL.
    raftpb = "raftpb"
}
package! {
    /// Frames of etcd's WAL.
    walpb = "walpb"
}
package! {
    /// Frame of etcd's snapshot file.
    snappb = "snappb"
}
package! {
    /// Leases at rest.
    leasepb = "leasepb"
}
package! {
    /// Lock recipe.
    v3lockpb = "v3lockpb"
}
package! {
    /// Election recipe.
    v3electionpb = "v3electionpb"
}
package! {
    /// The standard health protocol, `grpc.health.v1`.
    health = "grpc.health.v1"
}
package! {
    /// Between Keelstone members, `keelstone.internal.v1`.
    internal = "keelstone.internal.v1"
}

package! {
    /// What operators may ask of a Keelstone member and not of etcd.
    keelstonepb = "keelstonepb"
}

/// All packages above and `versionpb` (options only, so it has no module), as an encoded
/// `google.protobuf.FileDescriptorSet` with imports and without comments.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

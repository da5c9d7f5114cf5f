//! Members of the cluster and their ids: plain data and the rules that etcd applies to it.
//!
//! Invariants: an id is in the members or among the removed, never in both, and a removed id never comes
//! back. Every function here is deterministic; what comes from outside (the time in an id) is an argument.
//! Knows nothing of Raft's own membership, of connections and of who leads.

mod ids;
mod json;
mod member;
mod metrics;
pub mod negotiate;
mod table;
mod urls;
mod version;

pub use ids::{cluster_id, member_id};
pub use member::{Member, MemberChange, MemberChangeError};
pub use metrics::Metrics;
pub use table::{MemberTable, REMOVED_MARK};
pub use urls::{InitialCluster, InitialClusterError, PeerUrls, UrlError};
pub use version::{ClusterVersion, Downgrade, VersionError};

/// All that is replicated about the cluster itself, published as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterState {
    pub members: MemberTable,
    /// None until the members agreed on one.
    pub version: Option<ClusterVersion>,
    pub downgrade: Downgrade,
}

/// A row of the tables `cluster`, `members` or `members_removed` that no version of etcd writes.
#[derive(Debug, thiserror::Error)]
pub enum RowError {
    #[error("member id {0:?} is not lower-case hex")]
    MemberId(String),
    #[error("read member {id}")]
    Member { id: crate::types::MemberId, source: serde_json::Error },
    #[error("read cluster version")]
    Version(#[from] VersionError),
    #[error("read downgrade record")]
    Downgrade(serde_json::Error),
}

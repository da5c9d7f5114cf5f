//! Settings: etcd's flags, environment and file, parsed and checked before a port opens.

pub mod bootstrap;
pub mod gates;
mod settings;
pub mod url;
pub mod value;

pub use bootstrap::{Bootstrap, BootstrapError, ClusterState};
pub use gates::{FeatureGates, Gate};
pub use settings::{
    Compaction, GrpcKeepalive, Limits, Log, LogFormat, LogLevel, LogOutput, Member, MetricsDetail, Observe, Raft,
    ServerPing, Settings, Storage, Urls, Watch,
};
pub use url::{ListenUrl, Url};

//! What is measured, a file for each kind of load. Each takes the [`Ground`] and returns the figures of a window.

pub mod compare_and_put;
pub mod fan_out;
pub mod get;
pub mod keep_alive;
pub mod lease_grant;
pub mod page;
pub mod page_walk;
pub mod put;

use crate::fill::fill;
use crate::keys::random_keys;
use crate::report::Sample;
use bytes::Bytes;
use keelstone_harness::Cluster;
use std::sync::Arc;
use std::time::Duration;

const KEYS: usize = 100_000;
const PAGED_KEYS: usize = 50_000;
/// No random key begins with it.
pub const PAGED_PREFIX: &str = "paged/";

const FILL_LIMIT: Duration = Duration::from_secs(300);

/// A running server with keys in it.
#[derive(Debug)]
pub struct Ground {
    pub cluster: Cluster,
    pub keys: Arc<Vec<Bytes>>,
    /// All keys with [`PAGED_PREFIX`].
    pub paged: Arc<Vec<Bytes>>,
    /// How long each row is measured.
    pub window: Duration,
}

/// Kinds of load and how much of each.
#[derive(Debug, Clone, Copy)]
pub enum Work {
    Put { clients: usize },
    PutAtRate { per_sec: u32 },
    PutHotKey { clients: usize },
    CompareAndPut { clients: usize },
    Get { clients: usize },
    GetSerializable { clients: usize },
    GetAtRate { per_sec: u32 },
    Page { clients: usize },
    PageWalk { clients: usize },
    FanOut { watchers: usize, writers: usize },
    LeaseGrant { clients: usize },
    KeepAlive { streams: usize },
}

impl Ground {
    pub async fn prepare(cluster: Cluster, window: Duration) -> Self {
        let keys = Arc::new(random_keys("", 1, KEYS));
        let paged = Arc::new(random_keys(PAGED_PREFIX, 2, PAGED_KEYS));
        fill(&cluster, &keys, FILL_LIMIT).await;
        fill(&cluster, &paged, FILL_LIMIT).await;
        Self { cluster, keys, paged, window }
    }

    pub async fn measure(&self, work: Work) -> Sample {
        match work {
            Work::Put { clients } => put::closed(self, clients).await,
            Work::PutAtRate { per_sec } => put::open(self, per_sec).await,
            Work::PutHotKey { clients } => put::hot_key(self, clients).await,
            Work::CompareAndPut { clients } => compare_and_put::run(self, clients).await,
            Work::Get { clients } => get::linearizable(self, clients).await,
            Work::GetSerializable { clients } => get::serializable(self, clients).await,
            Work::GetAtRate { per_sec } => get::open(self, per_sec).await,
            Work::Page { clients } => page::run(self, clients).await,
            Work::PageWalk { clients } => page_walk::run(self, clients).await,
            Work::FanOut { watchers, writers } => fan_out::run(self, watchers, writers).await,
            Work::LeaseGrant { clients } => lease_grant::run(self, clients).await,
            Work::KeepAlive { streams } => keep_alive::run(self, streams).await,
        }
    }
}

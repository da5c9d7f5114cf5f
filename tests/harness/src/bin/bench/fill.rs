//! Puts every key of a list once, each in a request of its own.

use crate::calls::{PUT, put_frame};
use crate::load::finish_within;
use crate::subject::connect;
use bytes::Bytes;
use keelstone_harness::Cluster;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// How many puts are outstanding.
const LOADERS: usize = 500;

/// Returns how long it took.
///
/// # Panics
/// If it takes longer than `limit`.
pub async fn fill(cluster: &Cluster, keys: &Arc<Vec<Bytes>>, limit: Duration) -> Duration {
    let connections = connect(cluster, LOADERS).await;
    let (begun, next) = (Instant::now(), Arc::new(AtomicUsize::new(0)));
    let tasks = (0..LOADERS)
        .map(|number| {
            let (mut caller, value) = (connections[number % connections.len()].caller(PUT), crate::keys::value());
            let (keys, next) = (Arc::clone(keys), Arc::clone(&next));
            tokio::spawn(async move {
                while let Some(key) = keys.get(next.fetch_add(1, Ordering::Relaxed)) {
                    caller.call(put_frame(key, &value)).await;
                }
            })
        })
        .collect();
    finish_within(limit, tasks).await;
    begun.elapsed()
}

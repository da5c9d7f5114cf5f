//! Puts every key of a list, each in a request of its own.

use crate::calls::{PUT, put_frame};
use crate::load::finish_within;
use crate::subject::connect_to;
use crate::wire::Caller;
use bytes::Bytes;
use keelstone_harness::Cluster;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// How many puts are outstanding.
const LOADERS: usize = 500;

/// Of one put. On a machine that does other things etcd lets some time out, which are put again: loading is no measurement.
const ATTEMPTS: usize = 5;

/// Returns how long it took.
///
/// # Panics
/// If it takes longer than `limit`.
pub async fn fill(cluster: &Cluster, keys: &Arc<Vec<Bytes>>, limit: Duration) -> Duration {
    fill_through(cluster, &(0..cluster.len()).collect::<Vec<_>>(), keys, limit).await
}

/// As [`fill`], through some members.
pub async fn fill_through(cluster: &Cluster, places: &[usize], keys: &Arc<Vec<Bytes>>, limit: Duration) -> Duration {
    let connections = connect_to(cluster, places, LOADERS).await;
    let (begun, next, again) = (Instant::now(), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let tasks = (0..LOADERS)
        .map(|number| {
            let (mut caller, value) = (connections[number % connections.len()].caller(PUT), crate::keys::value());
            let (keys, next, again) = (Arc::clone(keys), Arc::clone(&next), Arc::clone(&again));
            tokio::spawn(async move {
                while let Some(key) = keys.get(next.fetch_add(1, Ordering::Relaxed)) {
                    again.fetch_add(put(&mut caller, put_frame(key, &value)).await, Ordering::Relaxed);
                }
            })
        })
        .collect();
    finish_within(limit, tasks).await;
    let again = again.load(Ordering::Relaxed);
    if again > 0 {
        eprintln!("{again} puts were refused while loading, and put again");
    }
    begun.elapsed()
}

/// Returns how often it was refused.
async fn put(caller: &mut Caller, frame: Bytes) -> usize {
    for refused in 0..ATTEMPTS {
        if caller.attempt(frame.clone()).await.is_ok() {
            return refused;
        }
    }
    caller.call(frame).await;
    ATTEMPTS
}

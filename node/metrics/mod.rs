//! The registry and its text form. Parts register their own handles with the registry they are given; here are
//! only the families that belong to no part: the process, and those filled by a collector at scrape time.
//!
//! Invariants: names, types and labels are etcd's where etcd has the metric, else they begin with `keelstone_`
//! (`names.txt` is the list, and a test holds it); a scrape takes no lock that a write needs.

pub mod corruption;
pub mod exposition;
pub mod family;
pub mod grpc;
pub mod process;
pub mod server;

pub use exposition::{CONTENT_TYPE, render};

use prometheus::{Error, Registry};

/// A registry with the families of the process.
///
/// # Errors
/// None on a fresh registry, unless a name is given twice.
pub fn registry() -> Result<Registry, Error> {
    let registry = Registry::new();
    process::register(&registry)?;
    Ok(registry)
}

/// etcd's `ExponentialBuckets`: `count` upper bounds from `start`, each `factor` times the one before.
///
/// # Errors
/// `count` is zero, `start` is not positive or `factor` not above one.
pub fn exponential_buckets(start: f64, factor: f64, count: usize) -> Result<Vec<f64>, Error> {
    prometheus::exponential_buckets(start, factor, count)
}

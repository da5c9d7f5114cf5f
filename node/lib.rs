//! Keelstone: one binary in etcd's place. Modules in reading order: from the edge to the disk.

/// The version of etcd whose behaviour this is; clients decide by it what they may ask.
pub const ETCD_VERSION: &str = "3.7.3";

/// What stands where etcd names its Go runtime.
pub fn runtime_name() -> String {
    format!("none (Keelstone {}, rustc {})", env!("CARGO_PKG_VERSION"), env!("CARGO_PKG_RUST_VERSION"))
}

pub mod cli;
pub mod client;
pub mod config;
pub mod server;

pub mod admission;
pub mod api;
pub mod apply;
pub mod raft;
pub mod watch;

pub mod alarm;
pub mod auth;
pub mod cluster;
pub mod lease;
pub mod mvcc;

pub mod backup;
pub mod storage;
pub mod wal;

pub mod clock;
pub mod defect;
pub mod disk;
pub mod logging;
pub mod metrics;
pub mod net;
pub mod threads;
pub mod types;

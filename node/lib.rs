//! Keelstone: one binary in etcd's place. Modules in reading order: from the edge to the disk.

pub mod cli;
pub mod config;
pub mod server;

pub mod api;
pub mod admission;
pub mod raft;
pub mod apply;
pub mod watch;

pub mod mvcc;
pub mod lease;
pub mod alarm;
pub mod cluster;

pub mod storage;
pub mod wal;

pub mod clock;
pub mod disk;
pub mod metrics;
pub mod types;

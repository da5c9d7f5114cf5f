//! Real servers under test: processes on loopback, clients, faults, histories and their checkers.
//!
//! The server is `keelstone`, or whatever `KEELSTONE_SERVER` names: every suite can run against real
//! etcd, which is how its expectations are proved before ours is judged by them. Nothing here knows
//! the server's code; it is all seen through its flags, its ports, its log and its files.
//!
//! - [`Suite`] finds the binary and the folder for data; [`Cluster`] starts [`Member`]s from it.
//! - [`Client`], [`WatchStream`], [`KeepAlive`] and [`http`] talk to a member.
//! - [`history`] records what clients did, [`check`] judges it, [`load`] and [`faults`] make it.
//! - [`Machine`] tells whether a limit in time can be judged.
//! - [`wal_reader`] reads a member's log with a decoder of its own, [`tools`] runs official etcdctl.

pub mod check;
mod client;
mod cluster;
pub mod faults;
pub mod history;
pub mod http;
mod janitor;
mod keepalive;
mod links;
pub mod load;
mod machine;
mod member;
mod ports;
pub mod preload;
mod random;
mod raw;
mod server_log;
mod suite;
pub mod tools;
pub mod wait;
pub mod wal_reader;
mod watch;

pub use client::{Client, is_definite, prefix_end};
pub use cluster::{Cluster, ClusterSpec};
pub use keelstone_proto as proto;
pub use keepalive::KeepAlive;
pub use links::Flow;
pub use machine::Machine;
pub use member::{Exit, Member};
pub use ports::free_port;
pub use random::Random;
pub use raw::RawCodec;
pub use suite::{KeepFoldersOfFailures, Server, Suite};
pub use watch::WatchStream;

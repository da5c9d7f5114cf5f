//! Keelstone in etcd's place: official etcdctl of three versions prints the same against it as against real etcd,
//! and its log on disk is etcd's.

mod audit;
mod ctl;
mod ctl_help;
mod ctl_running;
mod etcdctl;
mod metrics;
mod transcript;
mod wal;

use keelstone_harness::Suite;
use std::sync::OnceLock;

fn suite() -> &'static Suite {
    static SUITE: OnceLock<Suite> = OnceLock::new();
    SUITE.get_or_init(|| Suite::new(env!("CARGO_BIN_EXE_keelstone"), env!("CARGO_TARGET_TMPDIR"), "compat"))
}

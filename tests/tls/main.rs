//! TLS on each listener and in calls to peers, with real handshakes. What is expected holds of real etcd 3.7 too
//! (`KEELSTONE_SERVER=/path/to/etcd`), but for what is said to be ours.

mod certs;
mod listeners;
mod peers;
mod ports;
mod probe;
mod rotation;
mod tools;
mod users;

use keelstone_harness::Suite;
use std::path::PathBuf;
use std::sync::OnceLock;

fn suite() -> &'static Suite {
    static SUITE: OnceLock<Suite> = OnceLock::new();
    SUITE.get_or_init(|| Suite::new(env!("CARGO_BIN_EXE_keelstone"), env!("CARGO_TARGET_TMPDIR"), "tls"))
}

/// A folder of its own for the certificates of a test.
fn folder(name: &str) -> PathBuf {
    suite().make_folder(name)
}

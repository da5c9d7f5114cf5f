//! What operators keep: files that etcd's own tools write are read here, and files of ours are taken by etcd's own tools and
//! by etcd itself.

mod auth;
mod files;
mod hash_kv;
mod import;
mod import_cases;
mod import_crash;
mod import_refused;
mod import_restored;
mod live;
mod load;
mod page;
mod preflight;
mod programs;
mod readme;
mod restore;
mod restore_crash;
mod restored;
mod round_trip;
mod save;
mod status;
mod stored;

use keelstone_harness::Suite;
use std::sync::OnceLock;

fn suite() -> &'static Suite {
    static SUITE: OnceLock<Suite> = OnceLock::new();
    SUITE.get_or_init(|| Suite::new(env!("CARGO_BIN_EXE_keelstone"), env!("CARGO_TARGET_TMPDIR"), "backup"))
}

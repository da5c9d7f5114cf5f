//! Backups at a destination: full ones, which are snapshot files, and between them segments of the log, so that any revision
//! since the oldest full one can be had again. Each is an object and a manifest, which is written last: without it there is
//! no backup. All of a cluster lies below its id:
//!
//! ```text
//! <cluster>/<time>-full-<revision>-<member>.db      the file that `etcdutl snapshot restore` takes
//! <cluster>/<time>-delta-<index>-<member>.log       entries behind that index
//! <cluster>/<either>.json                           its manifest
//! ```
//!
//! Names hold the member that wrote, so that two that take themselves for the leader do no harm to each other. A full one and
//! the segments belong together by their places in the log: entries of one cluster at one place are the same wherever they
//! were read.

mod catalogue;
mod check;
mod full;
mod manifest;
mod remove;
mod replay;
mod retention;
mod segment;
mod stop;

pub use catalogue::{Catalogue, Chain, Damaged, NoChain, Unknown};
pub use check::{CheckError, check, check_all};
pub use full::{Taken, store};
pub use manifest::{Kind, Link, Manifest, Place, Unreadable, name, prefix};
pub use remove::{Forget, ForgetError, forget, forget_safely, sweep};
pub use replay::{Pinned, ReplayError, Replayed, replay};
pub use retention::expired;
pub use segment::{SegmentError, SegmentWriter};
pub use stop::{Stop, Stopped};

use super::destination::Failure;
use super::save::SaveError;

/// Why there is no new backup.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    #[error("save state: {0}")]
    Save(#[from] SaveError),
    #[error("store: {0}")]
    Store(#[from] Failure),
    /// What was stored is not what was written.
    #[error("verify: {0}")]
    Check(#[from] CheckError),
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

impl ArchiveError {
    /// One word, for metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            ArchiveError::Save(_) => "save",
            ArchiveError::Store(failure) => failure.reason(),
            ArchiveError::Check(_) => "verify",
            ArchiveError::Stopped(_) => "stopped",
        }
    }
}

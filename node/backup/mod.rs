//! Backups as operators know them from etcd: a bbolt database with etcd's buckets, and the SHA-256 of its bytes behind it
//! (DESIGN D10). Made from a pinned version of the state, so that what a file holds is the state after one entry.
//!
//! Invariants: memory is bounded by a few pages and one row, whatever the size of the state; a file that is read is believed
//! in nothing. Knows nothing of Raft and of requests. What rows mean it asks others: [`load`] has a state read as a member
//! reads it; [`status`] alone looks into them, as etcdutl does.
//!
//! [`archive`] keeps such files, and segments of the log between them, at a [`destination`]; the segments go through the
//! applier that a member has.

pub mod archive;
pub mod bolt;
pub mod destination;
mod load;
mod metrics;
mod save;
mod status;
mod verify;

pub use load::{LoadError, Loaded, load, load_observed};
pub use metrics::Metrics;
pub use save::{BLOB_BYTES, Blob, Save, SaveError};
pub use status::{Status, StatusError, status, status_of_file};
pub use verify::{DIGEST_BYTES, VerifyError, database_bytes, verify};

//! Keys by revision: index, reads, writes, compaction, hashes.
//!
//! Rows (one per change, never rewritten) are in storage; the index from keys to revisions is in memory and
//! rebuilt at open. One [`Store`] belongs to the apply thread; it publishes a [`View`] per batch, from which
//! everybody else reads without a lock (DESIGN D5).
//!
//! Invariants: revisions have no gaps and never go back; a view's index names only rows that its storage
//! version holds, or the few that wait for the next commit; rows and hashes are etcd's to the byte. Refuses to
//! know leases (a number in the row), permissions, requests and watchers.

mod bump;
mod compaction;
mod event;
mod hash;
mod history;
mod key_index;
mod load;
mod metrics;
mod query;
mod read;
mod recent;
mod record;
mod retained;
mod revision;
mod rows;
mod store;
mod view;
mod write;

#[cfg(test)]
mod tests;

pub use bump::{Bump, BumpError, bump};
pub use compaction::{CompactError, Progress};
pub use event::{Event, EventKind, RevisionEvents};
pub use hash::{Hashing, KvHash, ShowRow, hash_rows};
pub use history::Change;
pub use key_index::KeyIndex;
pub use metrics::Metrics;
pub use query::{Content, RangeQuery, RangeResult, RangeRows, ReadError, SortOrder, SortTarget};
pub use revision::{Revision, RowKey};
pub use store::{Opened, Store, check_rows, compacted_of, revisions};
pub use view::{View, Views};
pub use write::{KeyRevisions, Txn, WriteBatch};

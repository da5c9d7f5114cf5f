//! The log of a new cluster: one ConfChange entry a member, sorted by id, in term 1 and committed (etcd
//! `server/etcdserver/bootstrap.go`). Every member writes the same ones by itself, so that all agree without talking.

use crate::apply::conf_change;
use crate::cluster::Member;
use crate::wal::{Entry, EntryKind, HardState};

/// The term of the bootstrap entries.
const TERM: u64 = 1;

/// The entries and the hard state that a new member's log begins with. `members` are sorted by id.
pub fn bootstrap_log(members: &[Member]) -> (Vec<Entry>, HardState) {
    let changes = conf_change::bootstrap(members);
    let entry = |(index, data)| Entry { term: TERM, index, kind: EntryKind::ConfChange, data };
    let entries: Vec<Entry> = (1_u64..).zip(changes).map(entry).collect();
    let commit = entries.len() as u64;
    (entries, HardState { term: TERM, vote: 0, vote_committed: false, commit })
}

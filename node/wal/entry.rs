//! What the log holds.

use bytes::Bytes;

/// Terms, indexes and the numbers of files end here, so that sums with them never overflow. A log that counts a million a second takes 290 000
/// years to get there.
pub const MAX_NUMBER: u64 = i64::MAX as u64;

/// An entry of the Raft log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub term: u64,
    /// From 1.
    pub index: u64,
    pub kind: EntryKind,
    /// Empty: the entry with which a leader begins its term.
    pub data: Bytes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// An `InternalRaftRequest`.
    Normal,
    /// A `raftpb::ConfChange`.
    ConfChange,
}

/// What a member must not forget, beside its entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HardState {
    pub term: u64,
    /// The member voted for in `term`; 0 if none.
    pub vote: u64,
    /// A quorum granted that vote.
    pub vote_committed: bool,
    /// Entries up to this index are committed.
    pub commit: u64,
}

/// Whose log it is; at the head of every segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    pub node_id: u64,
    pub cluster_id: u64,
}

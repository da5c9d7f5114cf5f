//! What a transaction changed, as watchers see it.

use keelstone_proto::mvccpb::KeyValue;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    Put,
    Delete,
}

/// One change of one key.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    pub kind: EventKind,
    /// Of a delete only the key and `mod_revision`, the revision of the delete.
    pub kv: KeyValue,
}

/// All changes of one main revision, in order of their sub-revisions. Never empty.
#[derive(Clone, Debug, PartialEq)]
pub struct RevisionEvents {
    pub revision: i64,
    pub events: Vec<Event>,
}

//! One watcher: what it wants, and how far it has been served.

use super::event::SharedEvent;
use super::round::Lane;
use crate::mvcc::EventKind;
use crate::types::KeyInterval;
use std::sync::Arc;

/// A watcher's name within its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WatchId(pub i64);

/// Where a watcher begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// With the first change after its creation.
    Now,
    /// With this revision, past or future.
    At(i64),
}

/// Kinds of events a client does not want.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Filters {
    pub no_put: bool,
    pub no_delete: bool,
}

impl Filters {
    pub fn passes(self, kind: EventKind) -> bool {
        match kind {
            EventKind::Put => !self.no_put,
            EventKind::Delete => !self.no_delete,
        }
    }
}

/// What a client asks for.
#[derive(Clone, Debug)]
pub struct WatchSpec {
    /// `None`: the next unused number of the stream's counter.
    pub id: Option<WatchId>,
    pub interval: KeyInterval,
    pub start: Start,
    pub filters: Filters,
    /// Events come with the pair they replaced.
    pub prev_kv: bool,
    /// Large responses may be split.
    pub fragment: bool,
    /// Quiet watchers report the revision now and then.
    pub progress_notify: bool,
}

/// Why a watcher was not created. The texts are etcd's (`server/storage/mvcc/watcher.go`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CreateError {
    #[error("mvcc: watcher range is empty")]
    EmptyRange,
    #[error("mvcc: duplicate watch ID provided on the WatchStream")]
    DuplicateId,
}

/// A watcher's place in the registry. Reused after its watcher is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Slot(pub usize);

/// A stream's place in the registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct StreamSlot(pub usize);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Served by `publish`; has everything below its cursor and up to the published revision.
    Synced,
    /// Behind, and in no round: its stream has no room, or the next round has not begun.
    Lagging,
    /// Behind, and served by the round of a lane.
    Riding(Lane),
    /// Cancelled, since history below its cursor is gone. Keeps its id until the client lets go of it, as in etcd.
    Compacted,
}

#[derive(Debug)]
pub(super) struct Watcher {
    pub stream: StreamSlot,
    pub id: WatchId,
    pub interval: KeyInterval,
    pub filters: Filters,
    pub prev_kv: bool,
    pub fragment: bool,
    pub progress_notify: bool,
    pub phase: Phase,
    /// The lowest revision still wanted. May stand above the published one.
    pub cursor: i64,
    /// No progress report may name a lower revision: the start, or what the creation was answered with.
    pub progress_from: i64,
    /// No event since the last progress tick.
    pub quiet: bool,
    /// Events chosen for its next delivery. Empty between calls of the registry.
    pub staged: Vec<Arc<SharedEvent>>,
}

impl Watcher {
    pub fn new(stream: StreamSlot, id: WatchId, spec: WatchSpec, cursor: i64, progress_from: i64) -> Self {
        Self {
            stream,
            id,
            interval: spec.interval,
            filters: spec.filters,
            prev_kv: spec.prev_kv,
            fragment: spec.fragment,
            progress_notify: spec.progress_notify,
            phase: Phase::Synced,
            cursor,
            progress_from,
            quiet: true,
            staged: Vec::new(),
        }
    }

    /// True if a report of `revision` would be true and useful to this watcher.
    pub fn may_report(&self, revision: i64) -> bool {
        self.phase == Phase::Synced && revision >= self.progress_from
    }
}

//! A range request and its answer, free of the wire.

use super::history::Change;
use crate::storage::StorageError;
use crate::types::KeyInterval;
use bytes::Bytes;
use keelstone_proto::mvccpb::KeyValue;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SortOrder {
    /// Ascending by the target, as in etcd.
    #[default]
    None,
    Ascend,
    Descend,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SortTarget {
    #[default]
    Key,
    Version,
    Create,
    Mod,
    Value,
}

/// What of each key is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Content {
    #[default]
    KeyValues,
    /// All but the value. Unless sorted by value, the lease is left out too (etcd 3.7 answers from its index).
    Keys,
    Count,
}

/// A range request, with etcd's meaning of every option (`reference/etcd-surface.md` 1.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeQuery {
    pub interval: KeyInterval,
    /// Zero or less is the latest.
    pub revision: i64,
    /// Zero or less is none.
    pub limit: i64,
    pub order: SortOrder,
    pub target: SortTarget,
    pub content: Content,
    /// Bounds, inclusive; zero is none. They do not change the count.
    pub min_mod_revision: i64,
    pub max_mod_revision: i64,
    pub min_create_revision: i64,
    pub max_create_revision: i64,
}

impl RangeQuery {
    /// All keys of the interval with their values, as they are now.
    pub fn latest(interval: KeyInterval) -> Self {
        Self {
            interval,
            revision: 0,
            limit: 0,
            order: SortOrder::None,
            target: SortTarget::Key,
            content: Content::KeyValues,
            min_mod_revision: 0,
            max_mod_revision: 0,
            min_create_revision: 0,
            max_create_revision: 0,
        }
    }

    /// True if results come in the order of the index.
    pub(super) fn is_in_key_order(&self) -> bool {
        // By another target, NONE is ascending (`sortRangeResults`), though a limit is applied before (`rangeLimit`).
        self.target == SortTarget::Key && self.order != SortOrder::Descend
    }

    fn has_filters(&self) -> bool {
        let bounds = [self.min_mod_revision, self.max_mod_revision, self.min_create_revision, self.max_create_revision];
        bounds != [0; 4]
    }

    /// How many keys to take from the index: one above the limit, so that `more` is known, where nothing is
    /// filtered or sorted away. etcd takes an order of NONE for sorted, whatever the target.
    pub(super) fn index_limit(&self) -> Option<usize> {
        let ordered = self.order == SortOrder::None || self.is_in_key_order();
        let limit = self.answer_limit()?;
        (ordered && !self.has_filters()).then(|| limit.saturating_add(1))
    }

    pub(super) fn answer_limit(&self) -> Option<usize> {
        // A limit that does not fit in memory is none.
        usize::try_from(self.limit).ok().filter(|limit| *limit > 0)
    }

    pub(super) fn admits(&self, change: &Change) -> bool {
        let within = |revision: i64, min: i64, max: i64| (min == 0 || revision >= min) && (max == 0 || revision <= max);
        within(change.main, self.min_mod_revision, self.max_mod_revision)
            && within(change.created, self.min_create_revision, self.max_create_revision)
    }
}

/// The answer with decoded keys.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RangeResult {
    pub kvs: Vec<KeyValue>,
    /// Keys of the interval at the revision asked for, whatever limit and filters.
    pub count: i64,
    /// More keys matched than the limit lets through.
    pub more: bool,
    /// The store's revision, for the header.
    pub revision: i64,
}

/// The answer with each key as an encoded `mvccpb.KeyValue`, for those who only pass it on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RangeRows {
    pub rows: Vec<Bytes>,
    pub count: i64,
    pub more: bool,
    pub revision: i64,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("revision is compacted, the oldest is {compacted}")]
    Compacted { compacted: i64 },
    #[error("revision is in the future, the newest is {current}")]
    FutureRevision { current: i64 },
    /// The reader wants no more.
    #[error("the answer is too large for its reader")]
    TooLarge,
    #[error(transparent)]
    Storage(#[from] StorageError),
}

//! What readers read: one state of the store, and how to get at the newest.

use super::event::{Event, EventKind, RevisionEvents};
use super::hash::CompactionHashes;
use super::history::Change;
use super::key_index::KeyIndex;
use super::metrics::Metrics;
use super::query::{RangeQuery, RangeResult, RangeRows, ReadError};
use super::read::{Admit, RowCopies, Source, decode};
use super::recent::Recent;
use super::record::Record;
use super::retained::{Retained, WORTH_KEYS};
use super::revision::{RowKey, end_of, start_of};
use crate::storage::{StorageError, Table, Version};
use crate::types::KeyInterval;
use arc_swap::ArcSwap;
use bytes::Bytes;
use keelstone_proto::mvccpb::KeyValue;
use std::ops::{Bound, ControlFlow};
use std::sync::Arc;

/// Bytes of rows after which [`View::history`] ends early.
const MAX_HISTORY_BYTES: usize = 4 << 20;

/// The newest view, for any number of readers. Clones share it.
#[derive(Clone, Debug)]
pub struct Views {
    newest: Arc<ArcSwap<View>>,
}

/// The store after one batch. Its parts belong together: the index names only rows of the version, or recent ones.
#[derive(Clone, Debug)]
pub struct View {
    pub(super) index: KeyIndex,
    pub(super) revision: i64,
    pub(super) compacted: i64,
    pub(super) version: Version,
    pub(super) recent: Recent,
    pub(super) shared: Arc<Shared>,
}

/// What all views of a store share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) retained: Retained,
    pub(super) hashes: CompactionHashes,
    pub(super) metrics: Metrics,
}

impl Views {
    pub(super) fn new(first: Arc<View>) -> Self {
        Self { newest: Arc::new(ArcSwap::new(first)) }
    }

    /// The state after the last batch. Cheap, never waits.
    pub fn load(&self) -> Arc<View> {
        self.newest.load_full()
    }

    /// Ages what is kept for page readers. To be called every ten seconds or so.
    pub fn tick(&self) {
        self.newest.load().shared.retained.tick();
    }

    pub(super) fn publish(&self, view: Arc<View>) {
        view.shared.retained.published(view.compacted, &view.index);
        self.newest.store(view);
    }

    /// Shows the newest view of `other` here. A store that takes over these views ([`super::Store::install`])
    /// needs none of it.
    pub fn replace(&self, other: &Views) {
        self.newest.store(other.load());
    }
}

impl View {
    /// Revision of the last change; 1 in an empty store.
    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// The lowest revision that can be read, set by the last compaction; -1 if there was none.
    pub fn compacted(&self) -> i64 {
        self.compacted
    }

    /// Shows the rows of a table within `bounds`, in order, until `visit` breaks or fails. What `meta` says of the applied
    /// entry may be that of an earlier view.
    pub fn scan<E: From<StorageError>>(
        &self,
        table: Table,
        bounds: (Bound<&[u8]>, Bound<&[u8]>),
        mut visit: impl FnMut(&[u8], &[u8]) -> Result<ControlFlow<()>, E>,
    ) -> Result<(), E> {
        let mut flow = ControlFlow::Continue(());
        self.version.scan(table, bounds, |key, row| {
            flow = visit(key, row)?;
            Ok::<_, E>(flow)
        })?;
        if table == Table::Key && flow.is_continue() {
            for (key, row) in self.recent.within(bounds) {
                if visit(key.as_bytes(), row)?.is_break() {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Keys that exist.
    pub fn keys(&self) -> usize {
        self.index.live()
    }

    /// Answers a range.
    pub fn range(&self, query: &RangeQuery) -> Result<RangeResult, ReadError> {
        let result = self.source().range(query, &|at| self.count_old(&query.interval, at), &|_| true)?;
        self.ranged(query, result.more, result.count);
        Ok(result)
    }

    /// Answers a range with encoded keys: the cheap way if they are only passed on.
    /// Each row is shown to `admit` first, by its bytes; where that says no the answer is [`ReadError::TooLarge`].
    pub fn range_rows(&self, query: &RangeQuery, admit: Admit<'_>) -> Result<RangeRows, ReadError> {
        let rows = self.source().range_rows(query, &|at| self.count_old(&query.interval, at), admit)?;
        self.ranged(query, rows.more, rows.count);
        Ok(rows)
    }

    fn ranged(&self, query: &RangeQuery, more: bool, count: i64) {
        self.shared.metrics.ranges.inc();
        let latest = query.revision <= 0 || query.revision == self.revision;
        if more && latest && count >= WORTH_KEYS as i64 {
            self.shared.retained.keep(self.revision, &self.index);
        }
    }

    /// Keys of the interval that existed at `revision` (zero or less: now).
    pub fn count(&self, interval: &KeyInterval, revision: i64) -> Result<i64, ReadError> {
        let at = self.source().resolve(revision)?;
        let count = if at == self.revision {
            self.index.count(interval)
        } else {
            self.count_old(interval, at).unwrap_or_else(|| self.index.count_at(interval, at))
        };
        Ok(count as i64)
    }

    fn count_old(&self, interval: &KeyInterval, at: i64) -> Option<usize> {
        self.shared.retained.read(at, |index| index.count(interval))
    }

    /// The key as it was at `revision` (zero or less: now).
    pub fn get_at(&self, key: &[u8], revision: i64) -> Result<Option<KeyValue>, ReadError> {
        let at = self.source().resolve(revision)?;
        let Some(change) = self.index.get_at(key, at) else { return Ok(None) };
        let row = self.fetch(&change, &mut RowCopies::default())?;
        Ok(Some(decode(&row)?))
    }

    /// The changes of revisions `from` to `to`, both included, in order, for watchers that catch up. Ends early
    /// after about `limit_rows` changes or 4 MiB, but never inside a revision: go on behind the last one given.
    /// Empty if there is nothing from `from` on. Refused below the compact revision.
    pub fn history(&self, from: i64, to: i64, limit_rows: usize) -> Result<Vec<Arc<RevisionEvents>>, ReadError> {
        if from < self.compacted {
            return Err(ReadError::Compacted { compacted: self.compacted });
        }
        let mut revisions: Vec<RevisionEvents> = Vec::new();
        let (mut rows, mut bytes, mut copies) = (0, 0, RowCopies::default());
        let interval = (start_of(from), end_of(to.min(self.revision)));
        let bounds = (Bound::Included(&interval.0[..]), Bound::Excluded(&interval.1[..]));
        self.scan(Table::Key, bounds, |row_key, row| {
            let key = parse_row_key(row_key)?;
            let main = key.revision().main;
            let begins = revisions.last().is_none_or(|last| last.revision != main);
            if begins && (rows >= limit_rows || bytes >= MAX_HISTORY_BYTES) {
                return Ok(ControlFlow::Break(()));
            }
            let Some(event) = event(&key, row, &mut copies)? else { return Ok(ControlFlow::Continue(())) };
            rows += 1;
            bytes += row.len();
            match revisions.last_mut() {
                Some(last) if !begins => last.events.push(event),
                _ => revisions.push(RevisionEvents { revision: main, events: vec![event] }),
            }
            Ok::<_, ReadError>(ControlFlow::Continue(()))
        })?;
        Ok(revisions.into_iter().map(Arc::new).collect())
    }

    pub(super) fn source(&self) -> Source<'_, impl Fn(&Change, &mut RowCopies) -> Result<Bytes, StorageError>> {
        Source {
            index: &self.index,
            current: self.revision,
            compacted: self.compacted,
            fetch: |change: &Change, copies: &mut RowCopies| self.fetch(change, copies),
        }
    }

    /// The row of a change that the index names. That it is missing is corruption.
    pub(super) fn fetch(&self, change: &Change, copies: &mut RowCopies) -> Result<Bytes, StorageError> {
        if let Some(row) = self.recent.get(change.revision()) {
            return Ok(row.clone());
        }
        let key = RowKey::new(change.revision(), change.tombstone);
        let row = self.version.get_with(Table::Key, key.as_bytes(), |row| copies.copy(row))?;
        row.ok_or_else(|| StorageError::Missing { table: Table::Key, row: key.as_bytes().to_vec() })
    }
}

pub(super) fn parse_row_key(row_key: &[u8]) -> Result<RowKey, StorageError> {
    RowKey::parse(row_key).ok_or_else(|| StorageError::Malformed { table: Table::Key, row: row_key.to_vec() })
}

/// `None` for the row without a key with which `etcdutl snapshot restore` moves the revision.
fn event(key: &RowKey, row: &[u8], copies: &mut RowCopies) -> Result<Option<Event>, StorageError> {
    if !key.is_tombstone() {
        let kv = decode(&copies.copy(row))?;
        return Ok((!kv.key.is_empty()).then_some(Event { kind: EventKind::Put, kv }));
    }
    let record = Record::parse(row)
        .ok_or_else(|| StorageError::Malformed { table: Table::Key, row: key.as_bytes().to_vec() })?;
    Ok(Some(Event { kind: EventKind::Delete, kv: tombstone(copies.copy(record.key), key.revision().main) }))
}

/// What watchers see of a delete.
pub(super) fn tombstone(key: Bytes, revision: i64) -> KeyValue {
    KeyValue { key, mod_revision: revision, ..KeyValue::default() }
}

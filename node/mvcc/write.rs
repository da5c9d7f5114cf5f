//! A batch of transactions and its commit.

use super::event::{Event, EventKind, RevisionEvents};
use super::history::Change;
use super::key_index::KeyIndex;
use super::query::{RangeQuery, RangeResult, ReadError};
use super::read::{RowCopies, Source, decode};
use super::recent::Recent;
use super::revision::{Revision, RowKey};
use super::store::Store;
use super::view::{View, tombstone};
use crate::defect::{self, Defect, Point};
use crate::storage::{Batch, Durability, StorageError, Table};
use crate::types::{KeyInterval, LeaseId};
use bytes::Bytes;
use keelstone_proto::mvccpb::KeyValue;
use std::ops::ControlFlow;
use std::sync::Arc;

/// The changes of some log entries, all or nothing. Readers see it after the commit.
#[derive(Debug)]
pub struct WriteBatch<'s> {
    pub(super) store: &'s mut Store,
    pub(super) batch: Batch,
}

impl<'s> WriteBatch<'s> {
    pub(super) fn new(store: &'s mut Store) -> Result<Self, StorageError> {
        let batch = store.storage.begin()?;
        Ok(Self { store, batch })
    }

    /// Starts the transaction of one entry. It must be finished.
    pub fn txn(&mut self) -> Txn<'_> {
        let begin = self.store.revision;
        let committed = self.store.last.revision;
        Txn { store: self.store, begin, committed, events: Vec::new(), puts: 0, deletes: 0, ranges: 0, put_bytes: 0 }
    }

    /// Rows of the other tables, in the same commit.
    pub fn storage(&mut self) -> &mut Batch {
        &mut self.batch
    }

    /// Revision after the transactions so far.
    pub fn revision(&self) -> i64 {
        self.store.revision
    }

    pub fn compacted(&self) -> i64 {
        self.store.compacted
    }

    /// Commits and publishes, with what was put off before. Returns what was published.
    pub fn commit(self, durability: Durability) -> Result<Arc<View>, StorageError> {
        let WriteBatch { store, mut batch } = self;
        if !store.rows.is_empty() || store.has_put_off() {
            let recent = store.last.recent.iter().map(|(key, row)| (key.as_bytes(), &row[..]));
            let rows = store.rows.iter().map(|(key, row)| (key.as_bytes(), row));
            batch.append(Table::Key, recent.chain(rows))?;
        }
        batch.commit(durability)?;
        store.rows.clear();
        let version = store.storage.version()?;
        defect::reach(Point::BeforeWritebackBuf);
        let view = store.publish(version, Recent::default());
        defect::reach(Point::AfterWritebackBuf);
        Ok(view)
    }

    /// True if the batch has changed nothing but a few keys, so that [`Self::put_off`] may take the place of a commit.
    pub fn may_be_put_off(&self) -> bool {
        self.batch.is_empty() && self.store.last.recent.has_room(&self.store.rows)
    }

    /// Publishes and leaves the rows to the next commit, which must also say up to which entry it goes. Only for a batch that
    /// [`Self::may_be_put_off`].
    pub fn put_off(self) -> Arc<View> {
        let WriteBatch { store, .. } = self;
        let recent = store.last.recent.with(&store.rows);
        store.rows.clear();
        defect::reach(Point::BeforeWritebackBuf);
        let view = store.publish(store.last.version.clone(), recent);
        defect::reach(Point::AfterWritebackBuf);
        view
    }
}

/// The changes of one entry: one main revision, if it changes anything. Its reads see its own writes.
#[derive(Debug)]
pub struct Txn<'b> {
    store: &'b mut Store,
    /// Revision before this transaction.
    begin: i64,
    /// Rows of later revisions are still pending.
    committed: i64,
    events: Vec<Event>,
    puts: u32,
    deletes: u32,
    ranges: u32,
    put_bytes: usize,
}

/// What the index knows of a key that exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyRevisions {
    pub create_revision: i64,
    pub mod_revision: i64,
    pub version: i64,
}

impl Txn<'_> {
    /// Revision before this transaction.
    pub fn begin_revision(&self) -> i64 {
        self.begin
    }

    /// Revision that a range reports now: one more as soon as something is changed.
    pub fn revision(&self) -> i64 {
        self.begin + i64::from(!self.events.is_empty())
    }

    pub fn compacted(&self) -> i64 {
        self.store.compacted
    }

    /// The changes so far, in order.
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// Sets a key. That the lease exists, and what the key was attached to, is the caller's business.
    pub fn put(&mut self, key: Bytes, value: Bytes, lease: LeaseId) {
        self.puts += 1;
        self.put_bytes += key.len() + value.len();
        let revision = self.next_revision();
        let change = self.store.index.put(&key, revision);
        let kv = KeyValue {
            key,
            create_revision: change.created,
            mod_revision: revision.main,
            version: change.version,
            value,
            lease: lease.0,
        };
        self.store.rows.push(RowKey::new(revision, false), &kv);
        self.events.push(Event { kind: EventKind::Put, kv });
    }

    /// Deletes the keys of the interval that exist, and returns how many. They are in [`Self::events`].
    pub fn delete(&mut self, interval: &KeyInterval) -> u64 {
        self.deletes += 1;
        let mut keys = Vec::new();
        self.store.index.visit_at(interval, i64::MAX, |key, _| {
            keys.push(Bytes::copy_from_slice(key));
            ControlFlow::Continue(())
        });
        let count = keys.len() as u64;
        for key in keys {
            let revision = self.next_revision();
            self.store.index.delete(&key, revision);
            let row = KeyValue { key, ..KeyValue::default() };
            self.store.rows.push(RowKey::new(revision, true), &row);
            self.events.push(Event { kind: EventKind::Delete, kv: tombstone(row.key, revision.main) });
        }
        count
    }

    fn next_revision(&self) -> Revision {
        Revision { main: self.begin + 1, sub: self.events.len() as i64 }
    }

    /// Answers a range as of now, or of a revision up to [`Self::revision`].
    pub fn range(&mut self, query: &RangeQuery) -> Result<RangeResult, ReadError> {
        self.ranges += 1;
        let source = Source {
            index: &self.store.index,
            current: self.revision(),
            compacted: self.store.compacted,
            fetch: |change: &Change, copies: &mut RowCopies| self.fetch(change, copies),
        };
        source.range(query, &|_| None, &|_| true)
    }

    /// The key as it is now, read from its row.
    pub fn previous(&self, key: &[u8]) -> Result<Option<KeyValue>, StorageError> {
        let Some(change) = self.store.index.get(key) else { return Ok(None) };
        Ok(Some(decode(&self.fetch(&change, &mut RowCopies::default())?)?))
    }

    pub fn exists(&self, key: &[u8]) -> bool {
        self.index().get(key).is_some()
    }

    /// What compares need, without reading a row. `None` if the key does not exist.
    pub fn key_revisions(&self, key: &[u8]) -> Option<KeyRevisions> {
        let index = if defect::on(Defect::StaleCompare) { &self.store.last.index } else { self.index() };
        let Change { created, main, version, .. } = index.get(key)?;
        Some(KeyRevisions { create_revision: created, mod_revision: main, version })
    }

    /// Index of the state with the changes so far.
    pub fn index(&self) -> &KeyIndex {
        &self.store.index
    }

    fn fetch(&self, change: &Change, copies: &mut RowCopies) -> Result<Bytes, StorageError> {
        if change.main <= self.committed {
            return self.store.last.fetch(change, copies);
        }
        let row = self.store.rows.get(change.revision());
        row.map(|row| copies.copy(row)).ok_or_else(|| {
            let row = RowKey::new(change.revision(), change.tombstone);
            StorageError::Missing { table: Table::Key, row: row.as_bytes().to_vec() }
        })
    }

    /// Ends the transaction. `None` if it changed nothing: then the revision stays.
    pub fn finish(self) -> Option<Arc<RevisionEvents>> {
        let metrics = self.store.metrics();
        metrics.puts.inc_by(self.puts.into());
        metrics.deletes.inc_by(self.deletes.into());
        metrics.ranges.inc_by(self.ranges.into());
        metrics.put_bytes.add(self.put_bytes as f64);
        if self.puts + self.deletes + self.ranges > 1 {
            metrics.txns.inc();
        }
        if self.events.is_empty() {
            return None;
        }
        self.store.revision = self.begin + 1;
        Some(Arc::new(RevisionEvents { revision: self.begin + 1, events: self.events }))
    }
}

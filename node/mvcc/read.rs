//! How a range is answered, for readers and inside transactions alike: choose in the index, then fetch only
//! the rows that the answer needs. Filters and all orders but that by value are decided by the index alone.

use super::history::Change;
use super::key_index::KeyIndex;
use super::query::{Content, RangeQuery, RangeResult, RangeRows, ReadError, SortOrder, SortTarget};
use super::record;
use crate::storage::{StorageError, Table};
use bytes::{Bytes, BytesMut};
use keelstone_proto::mvccpb::KeyValue;
use prost::Message;
use std::cmp::Reverse;
use std::ops::ControlFlow;

/// Where an answer comes from: an index, and the rows it names.
pub(super) struct Source<'s, F> {
    pub(super) index: &'s KeyIndex,
    /// The newest revision of `index`, which is also that of the answer's header.
    pub(super) current: i64,
    pub(super) compacted: i64,
    /// Copies the row of a change into the copies' buffer.
    pub(super) fetch: F,
}

/// How to count an interval at an old revision without a walk; `None` if there is no way.
pub(super) type CountOld<'c> = &'c dyn Fn(i64) -> Option<usize>;

/// Asked for each row of an answer, by its bytes, and refused beyond what the reader has room for.
pub type Admit<'a> = &'a dyn Fn(usize) -> bool;

/// Keys chosen from the index, in key order, and how many there are in all.
struct Chosen<T> {
    items: Vec<T>,
    count: usize,
}

impl<F> Source<'_, F>
where
    F: Fn(&Change, &mut RowCopies) -> Result<Bytes, StorageError>,
{
    /// The revision to read at.
    pub(super) fn resolve(&self, revision: i64) -> Result<i64, ReadError> {
        match revision {
            i64::MIN..=0 => Ok(self.current),
            future if future > self.current => Err(ReadError::FutureRevision { current: self.current }),
            old if old < self.compacted => Err(ReadError::Compacted { compacted: self.compacted }),
            revision => Ok(revision),
        }
    }

    pub(super) fn range(
        &self,
        query: &RangeQuery,
        count_old: CountOld<'_>,
        admit: Admit<'_>,
    ) -> Result<RangeResult, ReadError> {
        let at = self.resolve(query.revision)?;
        let (kvs, more, count) = match query.content {
            Content::Count => (Vec::new(), false, self.count(query, at, count_old)),
            Content::Keys if query.target != SortTarget::Value => {
                let Chosen { items: mut kvs, count } = self.choose(query, at, count_old, bare);
                if !kvs.iter().all(|kv| admit(kv.key.len())) {
                    return Err(ReadError::TooLarge);
                }
                sort(&mut kvs, query, kv_field);
                let more = cut(&mut kvs, query);
                (kvs, more, count)
            }
            Content::Keys | Content::KeyValues => {
                let (rows, mut more, count) = self.rows_of(query, at, count_old, admit)?;
                let mut kvs = rows.iter().map(decode).collect::<Result<Vec<_>, _>>()?;
                if query.target == SortTarget::Value {
                    sort_by_value(&mut kvs, query.order);
                    more = cut(&mut kvs, query);
                }
                if query.content == Content::Keys {
                    kvs.iter_mut().for_each(|kv| kv.value = Bytes::new());
                }
                (kvs, more, count)
            }
        };
        Ok(RangeResult { kvs, count: count as i64, more, revision: self.current })
    }

    pub(super) fn range_rows(
        &self,
        query: &RangeQuery,
        count_old: CountOld<'_>,
        admit: Admit<'_>,
    ) -> Result<RangeRows, ReadError> {
        if query.content == Content::KeyValues && query.target != SortTarget::Value {
            let at = self.resolve(query.revision)?;
            let (rows, more, count) = self.rows_of(query, at, count_old, admit)?;
            return Ok(RangeRows { rows, count: count as i64, more, revision: self.current });
        }
        let RangeResult { kvs, count, more, revision } = self.range(query, count_old, admit)?;
        let rows = kvs.iter().map(|kv| kv.encode_to_vec().into()).collect();
        Ok(RangeRows { rows, count, more, revision })
    }

    /// The rows of the answer; all that match if they are to be sorted by value, else sorted and cut.
    fn rows_of(
        &self,
        query: &RangeQuery,
        at: i64,
        count_old: CountOld<'_>,
        admit: Admit<'_>,
    ) -> Result<(Vec<Bytes>, bool, usize), ReadError> {
        let Chosen { items: mut changes, count } = self.choose(query, at, count_old, |_, change| change);
        let mut more = false;
        if query.target != SortTarget::Value {
            sort(&mut changes, query, change_field);
            more = cut(&mut changes, query);
        }
        let mut copies = RowCopies::default();
        let fetch = |change| {
            let row = (self.fetch)(change, &mut copies)?;
            if admit(row.len()) { Ok(row) } else { Err(ReadError::TooLarge) }
        };
        let rows = changes.iter().map(fetch).collect::<Result<_, _>>()?;
        Ok((rows, more, count))
    }

    fn choose<T>(
        &self,
        query: &RangeQuery,
        at: i64,
        count_old: CountOld<'_>,
        item: impl Fn(&[u8], Change) -> T,
    ) -> Chosen<T> {
        let limit = query.index_limit().unwrap_or(usize::MAX);
        let (mut items, mut seen) = (Vec::new(), 0);
        self.index.visit_at(&query.interval, at, |key, change| {
            seen += 1;
            if query.admits(&change) {
                items.push(item(key, change));
            }
            if seen < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        let count = if seen < limit { seen } else { self.count(query, at, count_old) };
        Chosen { items, count }
    }

    fn count(&self, query: &RangeQuery, at: i64, count_old: CountOld<'_>) -> usize {
        if at == self.current {
            return self.index.count(&query.interval);
        }
        count_old(at).unwrap_or_else(|| self.index.count_at(&query.interval, at))
    }
}

/// What the index alone knows of a key.
fn bare(key: &[u8], change: Change) -> KeyValue {
    KeyValue {
        key: Bytes::copy_from_slice(key),
        create_revision: change.created,
        mod_revision: change.main,
        version: change.version,
        value: Bytes::new(),
        lease: 0,
    }
}

pub(super) fn decode(row: &Bytes) -> Result<KeyValue, StorageError> {
    record::decode(row).ok_or_else(|| StorageError::Malformed { table: Table::Key, row: row.to_vec() })
}

fn change_field(change: &Change, target: SortTarget) -> i64 {
    match target {
        SortTarget::Version => change.version,
        SortTarget::Create => change.created,
        SortTarget::Mod => change.main,
        SortTarget::Key | SortTarget::Value => 0,
    }
}

fn kv_field(kv: &KeyValue, target: SortTarget) -> i64 {
    match target {
        SortTarget::Version => kv.version,
        SortTarget::Create => kv.create_revision,
        SortTarget::Mod => kv.mod_revision,
        SortTarget::Key | SortTarget::Value => 0,
    }
}

/// Sorts what stands in key order. Equals stay in that order whichever way they are sorted; so they do in etcd, as
/// long as there are few (Go's `sort.Sort`).
fn sort<T>(items: &mut [T], query: &RangeQuery, field: impl Fn(&T, SortTarget) -> i64) {
    match (query.target, query.order) {
        (SortTarget::Key, SortOrder::Descend) => items.reverse(),
        (SortTarget::Key, SortOrder::None | SortOrder::Ascend) => {}
        (target, SortOrder::Descend) => items.sort_by_key(|item| Reverse(field(item, target))),
        (target, SortOrder::None | SortOrder::Ascend) => items.sort_by_key(|item| field(item, target)),
    }
}

fn sort_by_value(kvs: &mut [KeyValue], order: SortOrder) {
    match order {
        SortOrder::Descend => kvs.sort_by(|one, other| other.value.cmp(&one.value)),
        SortOrder::None | SortOrder::Ascend => kvs.sort_by(|one, other| one.value.cmp(&other.value)),
    }
}

/// Cuts to the limit; true if there was more.
fn cut<T>(items: &mut Vec<T>, query: &RangeQuery) -> bool {
    let limit = query.answer_limit().unwrap_or(usize::MAX);
    let more = items.len() > limit;
    items.truncate(limit);
    more
}

/// Rows copied out of storage, many to one allocation.
#[derive(Debug, Default)]
pub(super) struct RowCopies {
    buffer: BytesMut,
    /// Size of the buffer before.
    last_bytes: usize,
}

/// Buffers of copies grow to this, unless a single row needs more.
const MAX_COPY_BYTES: usize = 64 << 10;

impl RowCopies {
    pub(super) fn copy(&mut self, row: &[u8]) -> Bytes {
        if self.buffer.capacity() < row.len() {
            // The first row, mostly the only one, gets what it needs; then each buffer is larger.
            self.last_bytes = (4 * self.last_bytes).min(MAX_COPY_BYTES).max(row.len());
            self.buffer = BytesMut::with_capacity(self.last_bytes);
        }
        self.buffer.extend_from_slice(row);
        self.buffer.split().freeze()
    }
}

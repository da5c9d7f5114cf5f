//! The index of a state file, built when it is opened.
//!
//! Rows come by revision, so their keys are scattered over the whole index, and each insert would miss the
//! processor's caches on every level. Sorted in runs, neighbours are inserted together: two to three times as
//! fast, with bounded memory.

use super::key_index::KeyIndex;
use super::record::Record;
use super::revision::{MAX_MAIN, Revision, RowKey};
use super::view::parse_row_key;
use crate::defect::{self, Defect};
use crate::storage::{StorageError, Table, Version};
use crate::types::LeaseId;
use bytes::Bytes;
use std::ops::{Bound, ControlFlow, Range};

/// Rows of a run.
const RUN_ROWS: usize = 128 << 10;
/// Bytes of keys that end a run early.
const RUN_BYTES: usize = 16 << 20;

/// What the rows of the key table say.
pub(super) struct Loaded {
    pub(super) index: KeyIndex,
    /// Main revision of the last row; zero without any.
    pub(super) last_main: i64,
    /// Keys that exist and have a lease.
    pub(super) attachments: Vec<(Bytes, LeaseId)>,
}

/// Rows that are not in the index yet.
#[derive(Default)]
struct Run {
    keys: Vec<u8>,
    changes: Vec<Loose>,
    /// Of each change, what its key begins with behind what all keys share, and its place.
    order: Vec<(u64, u32)>,
}

struct Loose {
    key: Range<usize>,
    revision: Revision,
    put: Option<(i64, i64)>,
}

pub(super) fn load(version: &Version) -> Result<Loaded, StorageError> {
    let (mut index, mut run) = (KeyIndex::default(), Run::default());
    let mut last_main = 0;
    let mut leased: Vec<(Bytes, Revision, LeaseId)> = Vec::new();
    version.scan(Table::Key, (Bound::Unbounded, Bound::Unbounded), |row_key, row| {
        let (key, record) = parse(row_key, row)?;
        if !(key.is_tombstone() && defect::on(Defect::RevisionUsedTwice)) {
            last_main = key.revision().main;
        }
        // A row without a key moves the revision (`etcdutl snapshot restore --bump-revision`). As in etcd it stays under the
        // empty key, which no request can name: so compactions keep it, and hashes count it.
        let put = (!key.is_tombstone()).then_some((record.create_revision, record.version));
        run.push(record.key, key.revision(), put, &mut index);
        if record.lease != 0 {
            leased.push((Bytes::copy_from_slice(record.key), key.revision(), LeaseId(record.lease)));
        }
        Ok::<_, StorageError>(ControlFlow::Continue(()))
    })?;
    run.insert_into(&mut index);
    let is_newest = |key: &Bytes, revision: Revision| index.get(key).is_some_and(|put| put.revision() == revision);
    leased.retain(|(key, revision, _)| is_newest(key, *revision));
    let attachments = leased.into_iter().map(|(key, _, lease)| (key, lease)).collect();
    Ok(Loaded { index, last_main, attachments })
}

/// Reads all rows as [`load`] does, without an index.
pub(super) fn check(version: &Version) -> Result<(), StorageError> {
    version.scan(Table::Key, (Bound::Unbounded, Bound::Unbounded), |row_key, row| {
        parse(row_key, row).map(|_| ControlFlow::Continue(()))
    })
}

fn parse<'r>(row_key: &[u8], row: &'r [u8]) -> Result<(RowKey, Record<'r>), StorageError> {
    let key = parse_row_key(row_key)?;
    match Record::parse(row) {
        Some(record) if (0..=MAX_MAIN).contains(&record.version) => Ok((key, record)),
        Some(_) | None => Err(StorageError::Malformed { table: Table::Key, row: row_key.to_vec() }),
    }
}

impl Run {
    fn push(&mut self, key: &[u8], revision: Revision, put: Option<(i64, i64)>, index: &mut KeyIndex) {
        let start = self.keys.len();
        self.keys.extend_from_slice(key);
        self.changes.push(Loose { key: start..self.keys.len(), revision, put });
        if self.changes.len() >= RUN_ROWS || self.keys.len() >= RUN_BYTES {
            self.insert_into(index);
        }
    }

    fn insert_into(&mut self, index: &mut KeyIndex) {
        let Self { keys, changes, order } = self;
        let key = |change: &Loose| &keys[change.key.clone()];
        let Some(first) = changes.first().map(key) else { return };
        let shared = changes.iter().fold(first.len(), |shared, change| shared_len(&first[..shared], key(change)));
        // The comparisons of the sort would wait for keys all over memory: most are settled by the numbers.
        order.extend((0..).zip(&*changes).map(|(place, change)| (head(&key(change)[shared..]), place)));
        let at = |place: u32| &changes[place as usize];
        order.sort_unstable_by(|(head, place), (other_head, other)| {
            // The changes of one key stay in the order of their revisions.
            let by_key = || key(at(*place)).cmp(key(at(*other)));
            head.cmp(other_head).then_with(by_key).then(place.cmp(other))
        });
        index.restore(order.iter().map(|(_, place)| {
            let change = at(*place);
            (key(change), change.revision, change.put)
        }));
        order.clear();
        changes.clear();
        keys.clear();
    }
}

fn shared_len(one: &[u8], other: &[u8]) -> usize {
    one.iter().zip(other).take_while(|(one, other)| one == other).count()
}

/// The first eight bytes, as a number that is ordered as they are. Shorter ones end in zeros.
fn head(bytes: &[u8]) -> u64 {
    let mut head = [0; 8];
    let len = bytes.len().min(head.len());
    head[..len].copy_from_slice(&bytes[..len]);
    u64::from_be_bytes(head)
}

//! A member's state held against the model: rows to the byte, what readers see, leases, alarms, members.

use crate::model::Model;
use bytes::Bytes;
use keelstone::alarm::AlarmType;
use keelstone::apply::{Published, Reply};
use keelstone::lease::LeaseRow;
use keelstone::mvcc::{RangeQuery, ReadError, View};
use keelstone::storage::{Row, Table};
use keelstone::types::{KeyInterval, LeaseId};
use keelstone_proto::mvccpb::KeyValue;
use std::collections::BTreeSet;
use std::ops::{Bound, ControlFlow};

/// Whether rows may be left that a compaction has yet to remove.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compaction {
    MayGoOn,
    IsDone,
}

/// Panics at the first difference.
pub fn check(published: &Published, model: &Model, compaction: Compaction) {
    try_check(published, model, compaction).unwrap_or_else(|error| panic!("{error}"));
}

/// As [`check`], where the state may be unreadable.
///
/// # Errors
/// It is.
pub fn try_check(published: &Published, model: &Model, compaction: Compaction) -> Result<(), ReadError> {
    let view = published.views.load();
    assert_eq!((view.revision(), view.compacted()), (model.revision, model.compacted), "revision, compact revision");
    check_rows(&view, model, compaction)?;
    let oldest = model.compacted.max(1);
    for revision in BTreeSet::from([0, oldest, (oldest + model.revision) / 2, model.revision]) {
        let at = if revision == 0 { model.revision } else { revision };
        assert_eq!(range(&view, revision)?, model.at(at), "keys at revision {revision}");
    }
    check_leases(published, &view, model)?;
    let alarms = published.alarms.load();
    assert_eq!(alarms.is_raised(AlarmType::NoSpace), model.no_space);
    let cluster = published.cluster.load();
    assert_eq!(cluster.members.iter().collect::<Vec<_>>(), model.members.values().collect::<Vec<_>>());
    Ok(())
}

fn check_rows(view: &View, model: &Model, compaction: Compaction) -> Result<(), ReadError> {
    let rows = rows_of(view, Table::Key)?;
    let kept = model.kept();
    if compaction == Compaction::IsDone {
        assert_eq!(rows, kept, "the rows that are left");
        assert_eq!(view.hash_kv(0)?.hash, model.hash(), "HashKV");
        return Ok(());
    }
    let (rows, written): (BTreeSet<_>, BTreeSet<_>) =
        (rows.into_iter().collect(), model.written().into_iter().collect());
    assert!(rows.is_subset(&written), "rows that were never written");
    assert!(kept.iter().all(|row| rows.contains(row)), "rows are missing");
    Ok(())
}

fn rows_of(view: &View, table: Table) -> Result<Vec<Row>, ReadError> {
    let mut rows = Vec::new();
    view.scan::<ReadError>(table, (Bound::Unbounded, Bound::Unbounded), |key, row| {
        rows.push((key.to_vec(), row.to_vec()));
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(rows)
}

fn check_leases(published: &Published, view: &View, model: &Model) -> Result<(), ReadError> {
    let rows = rows_of(view, Table::Lease)?;
    let expected = model.leases.iter().map(|(id, lease)| {
        let row = LeaseRow { id: *id, ttl_secs: lease.ttl_secs, remaining_ttl_secs: lease.remaining_secs };
        (LeaseRow::key(LeaseId(*id)).to_vec(), row.value())
    });
    assert_eq!(rows, expected.collect::<Vec<_>>(), "lease rows");
    let mut ids = published.lessor.ids();
    ids.sort_unstable();
    assert_eq!(ids, model.leases.keys().map(|id| LeaseId(*id)).collect::<Vec<_>>(), "leases");
    for id in model.leases.keys() {
        assert_eq!(published.lessor.keys(LeaseId(*id)), Some(model.attached(*id)), "keys of lease {id}");
    }
    Ok(())
}

/// All keys at a revision; 0 is now.
fn range(view: &View, revision: i64) -> Result<Vec<KeyValue>, ReadError> {
    let all = KeyInterval::Range { start: Bytes::new(), end: None };
    let query = RangeQuery { revision, ..RangeQuery::latest(all) };
    Ok(view.range(&query)?.kvs)
}

/// The revision in an answer's header, if it has one.
pub fn revision(reply: &Reply) -> Option<i64> {
    let header = match reply {
        Reply::Put(response) => &response.header,
        Reply::DeleteRange(response) => &response.header,
        Reply::Txn(response) => &response.header,
        Reply::Compaction(response) => &response.header,
        Reply::LeaseGrant(response) => &response.header,
        Reply::LeaseRevoke(response) => &response.header,
        Reply::LeaseCheckpoint(response) => &response.header,
        Reply::Alarm(response) => &response.header,
        Reply::Range(_) | Reply::Auth(_) | Reply::Members(_) | Reply::Done => return None,
    };
    header.as_ref().map(|header| header.revision)
}

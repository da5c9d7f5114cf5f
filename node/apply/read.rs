//! Reads inside a transaction, which see what it has written so far.

use super::ApplyError;
use super::scope::Failure;
use crate::mvcc::{Content, RangeQuery, ReadError, Txn};
use crate::types::KeyInterval;
use keelstone_proto::etcdserverpb::ResponseHeader;
use keelstone_proto::mvccpb::KeyValue;

/// A header with the revision that the transaction would have if it ended now.
pub(super) fn header(txn: &Txn<'_>) -> Option<ResponseHeader> {
    Some(ResponseHeader { revision: txn.revision(), ..ResponseHeader::default() })
}

/// All keys of an interval, in order.
pub(super) fn all(txn: &mut Txn<'_>, interval: KeyInterval) -> Result<Vec<KeyValue>, Failure> {
    match interval {
        KeyInterval::One(key) => Ok(txn.previous(&key)?.into_iter().collect()),
        KeyInterval::Range { .. } => Ok(txn.range(&RangeQuery::latest(interval)).map_err(failure)?.kvs),
    }
}

/// The same from the index alone: without values and leases.
pub(super) fn all_revisions(txn: &mut Txn<'_>, interval: KeyInterval) -> Result<Vec<KeyValue>, Failure> {
    if let KeyInterval::One(key) = &interval {
        let known = txn.key_revisions(key).map(|known| KeyValue {
            create_revision: known.create_revision,
            mod_revision: known.mod_revision,
            version: known.version,
            ..KeyValue::default()
        });
        return Ok(known.into_iter().collect());
    }
    let query = RangeQuery { content: Content::Keys, ..RangeQuery::latest(interval) };
    Ok(txn.range(&query).map_err(failure)?.kvs)
}

pub(super) fn failure(error: ReadError) -> Failure {
    match error {
        ReadError::Compacted { .. } => ApplyError::Compacted.into(),
        ReadError::FutureRevision { .. } => ApplyError::FutureRevision.into(),
        ReadError::TooLarge => unreachable!("apply reads rows of any size"),
        ReadError::Storage(error) => error.into(),
    }
}

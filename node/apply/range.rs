//! Range, as a read of the store sees it, and its answer.

use super::Reply;
use super::read;
use super::scope::{Applied, Scope};
use crate::mvcc::{Content, RangeQuery, RangeResult, SortOrder, SortTarget};
use crate::types::KeyInterval;
use keelstone_proto::etcdserverpb::range_request as pb;
use keelstone_proto::etcdserverpb::{RangeRequest, RangeResponse, ResponseHeader};

/// What a request asks of the store. Its orders are known: admission has checked them.
pub fn query(request: &RangeRequest) -> RangeQuery {
    let order = match pb::SortOrder::try_from(request.sort_order) {
        Ok(pb::SortOrder::None) | Err(_) => SortOrder::None,
        Ok(pb::SortOrder::Ascend) => SortOrder::Ascend,
        Ok(pb::SortOrder::Descend) => SortOrder::Descend,
    };
    let target = match pb::SortTarget::try_from(request.sort_target) {
        Ok(pb::SortTarget::Key) | Err(_) => SortTarget::Key,
        Ok(pb::SortTarget::Version) => SortTarget::Version,
        Ok(pb::SortTarget::Create) => SortTarget::Create,
        Ok(pb::SortTarget::Mod) => SortTarget::Mod,
        Ok(pb::SortTarget::Value) => SortTarget::Value,
    };
    let content = match (request.count_only, request.keys_only) {
        (true, _) => Content::Count,
        (false, true) => Content::Keys,
        (false, false) => Content::KeyValues,
    };
    RangeQuery {
        interval: KeyInterval::new(request.key.clone(), request.range_end.clone()),
        revision: request.revision,
        limit: request.limit,
        order,
        target,
        content,
        min_mod_revision: request.min_mod_revision,
        max_mod_revision: request.max_mod_revision,
        min_create_revision: request.min_create_revision,
        max_create_revision: request.max_create_revision,
    }
}

/// The answer, with nothing but the revision in its header.
pub fn response(result: RangeResult) -> RangeResponse {
    RangeResponse {
        header: Some(ResponseHeader { revision: result.revision, ..ResponseHeader::default() }),
        kvs: result.kvs,
        more: result.more,
        count: result.count,
    }
}

/// Ranges are not proposed; an old log may hold some.
pub(super) fn apply(scope: &mut Scope<'_, '_>, request: &RangeRequest) -> Applied {
    let mut txn = scope.batch.txn();
    let result = txn.range(&query(request)).map_err(read::failure)?;
    Ok(Reply::Range(response(result)))
}

//! Ranges on a pinned view: from the wire to a query and back.

use crate::mvcc::{Content, RangeQuery, ReadError, SortOrder, SortTarget, View};
use crate::types::KeyInterval;
use keelstone_proto::etcdserverpb::range_request;
use keelstone_proto::etcdserverpb::{RangeRequest, RangeResponse, ResponseHeader};

/// What a request asks of the store. Orders and targets that nobody knows were refused at the gate.
pub fn query(request: &RangeRequest) -> RangeQuery {
    RangeQuery {
        revision: request.revision,
        limit: request.limit,
        order: match request.sort_order() {
            range_request::SortOrder::None => SortOrder::None,
            range_request::SortOrder::Ascend => SortOrder::Ascend,
            range_request::SortOrder::Descend => SortOrder::Descend,
        },
        target: match request.sort_target() {
            range_request::SortTarget::Key => SortTarget::Key,
            range_request::SortTarget::Version => SortTarget::Version,
            range_request::SortTarget::Create => SortTarget::Create,
            range_request::SortTarget::Mod => SortTarget::Mod,
            range_request::SortTarget::Value => SortTarget::Value,
        },
        content: match (request.count_only, request.keys_only) {
            (true, _) => Content::Count,
            (false, true) => Content::Keys,
            (false, false) => Content::KeyValues,
        },
        min_mod_revision: request.min_mod_revision,
        max_mod_revision: request.max_mod_revision,
        min_create_revision: request.min_create_revision,
        max_create_revision: request.max_create_revision,
        ..RangeQuery::latest(KeyInterval::new(request.key.clone(), request.range_end.clone()))
    }
}

/// The answer, with nothing but the store's revision in its header.
///
/// # Errors
/// The revision is compacted or does not exist yet; the state cannot be read.
pub fn range(view: &View, request: &RangeRequest) -> Result<RangeResponse, ReadError> {
    let result = view.range(&query(request))?;
    Ok(RangeResponse {
        header: Some(ResponseHeader { revision: result.revision, ..ResponseHeader::default() }),
        kvs: result.kvs,
        more: result.more,
        count: result.count,
    })
}

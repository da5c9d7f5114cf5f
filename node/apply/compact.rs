//! Compaction: old revisions may go. Here they are only marked; the apply thread removes them in slices.

use super::scope::{Applied, Failure, Scope};
use super::{ApplyError, Reply};
use crate::mvcc::CompactError;
use keelstone_proto::etcdserverpb::{CompactionRequest, CompactionResponse};

pub(super) fn apply(scope: &mut Scope<'_, '_>, request: CompactionRequest) -> Applied {
    scope.batch.compact(request.revision).map_err(|error| match error {
        CompactError::Compacted { .. } => Failure::Refused(ApplyError::Compacted),
        CompactError::FutureRevision { .. } => Failure::Refused(ApplyError::FutureRevision),
        CompactError::Storage(error) => error.into(),
    })?;
    Ok(Reply::Compaction(CompactionResponse { header: scope.header() }))
}

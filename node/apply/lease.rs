//! Lease commands: the lessor decides, its rows and the keys follow. etcd `server/lease/lessor.go`.

use super::scope::{Applied, Scope};
use super::{ApplyError, Reply};
use crate::lease::{Lease, LeaseRow};
use crate::storage::Table;
use crate::types::{KeyInterval, LeaseId};
use keelstone_proto::etcdserverpb as pb;

pub(super) fn grant(scope: &mut Scope<'_, '_>, request: pb::LeaseGrantRequest) -> Applied {
    let lease = scope.lessor.grant(LeaseId(request.id), request.ttl).map_err(ApplyError::from)?;
    save(scope, &lease);
    let response = pb::LeaseGrantResponse {
        header: scope.header(),
        id: lease.id.0,
        ttl: lease.ttl_secs,
        ..pb::LeaseGrantResponse::default()
    };
    Ok(Reply::LeaseGrant(response))
}

/// Deletes the attached keys in one revision, in their order, so that all members write the same rows.
pub(super) fn revoke(scope: &mut Scope<'_, '_>, request: pb::LeaseRevokeRequest) -> Applied {
    let id = LeaseId(request.id);
    let keys = scope.lessor.revoke(id).map_err(ApplyError::from)?;
    let mut txn = scope.batch.txn();
    for key in keys {
        txn.delete(&KeyInterval::One(key));
    }
    let events = txn.finish();
    scope.publish(events);
    scope.batch.storage().remove(Table::Lease, &LeaseRow::key(id));
    Ok(Reply::LeaseRevoke(pb::LeaseRevokeResponse { header: scope.header() }))
}

/// A lease that is gone is skipped.
pub(super) fn checkpoint(scope: &mut Scope<'_, '_>, request: pb::LeaseCheckpointRequest) -> Applied {
    for checkpoint in request.checkpoints {
        if let Some(lease) = scope.lessor.checkpoint(LeaseId(checkpoint.id), checkpoint.remaining_ttl) {
            save(scope, &lease);
        }
    }
    Ok(Reply::LeaseCheckpoint(pb::LeaseCheckpointResponse { header: scope.header() }))
}

fn save(scope: &mut Scope<'_, '_>, lease: &Lease) {
    let row = LeaseRow { id: lease.id.0, ttl_secs: lease.ttl_secs, remaining_ttl_secs: lease.remaining_ttl_secs };
    scope.batch.storage().put(Table::Lease, &LeaseRow::key(lease.id), &row.value());
}

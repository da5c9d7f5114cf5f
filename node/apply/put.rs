//! Put: one key gets a value and a lease. etcd `server/etcdserver/txn/put.go`.

use super::read::header;
use super::scope::{Applied, Failure, Scope};
use super::{ApplyError, Reply};
use crate::defect::{self, Defect};
use crate::lease::{LeaseError, Lessor};
use crate::mvcc::Txn;
use crate::types::LeaseId;
use bytes::Bytes;
use keelstone_proto::etcdserverpb::{PutRequest, PutResponse};

pub(super) fn apply(scope: &mut Scope<'_, '_>, request: PutRequest) -> Applied {
    let mut txn = scope.batch.txn();
    check(&txn, scope.lessor, &request)?;
    let response = run(&mut txn, request, scope.wants_reply)?;
    let events = txn.finish();
    scope.publish(events);
    Ok(Reply::Put(response))
}

/// What must hold before anything of the transaction is written: there is a key, the lease exists, and so does the key
/// whose value or lease is to be kept.
pub(super) fn check(txn: &Txn<'_>, lessor: &Lessor, request: &PutRequest) -> Result<(), Failure> {
    // Admission lets none in. A row without a key has another meaning, so that it would be gone after a restart.
    if request.key.is_empty() {
        return Err(ApplyError::EmptyKey.into());
    }
    let lease = LeaseId(request.lease);
    if lease != LeaseId::NONE && !lessor.exists(lease) {
        return Err(ApplyError::Lease(LeaseError::NotFound).into());
    }
    if (request.ignore_value || request.ignore_lease) && !txn.exists(&request.key) {
        return Err(ApplyError::KeyNotFound.into());
    }
    Ok(())
}

pub(super) fn run(txn: &mut Txn<'_>, request: PutRequest, wants_reply: bool) -> Result<PutResponse, Failure> {
    let keeps = request.ignore_value || request.ignore_lease;
    let needs_previous = keeps || (request.prev_kv && wants_reply);
    let previous = if needs_previous { txn.previous(&request.key)? } else { None };
    // It exists, as was checked: admission lets no operation delete a key that the same transaction puts.
    let kept = previous.as_ref().filter(|_| keeps);
    let value = if request.ignore_value { kept.map(|kv| kv.value.clone()).unwrap_or_default() } else { request.value };
    let lease = if request.ignore_lease { kept.map_or(0, |kv| kv.lease) } else { request.lease };
    let is_lost = !wants_reply && defect::on(Defect::ValueOnlyWhereAsked);
    txn.put(request.key, if is_lost { Bytes::new() } else { value }, LeaseId(lease));
    Ok(PutResponse { header: header(txn), prev_kv: previous.filter(|_| request.prev_kv) })
}

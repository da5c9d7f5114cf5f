//! DeleteRange: the keys of an interval get tombstones. etcd `server/etcdserver/txn/delete.go`.

use super::Reply;
use super::read::{self, header};
use super::scope::{Applied, Failure, Scope};
use crate::mvcc::Txn;
use crate::types::KeyInterval;
use keelstone_proto::etcdserverpb::{DeleteRangeRequest, DeleteRangeResponse};

pub(super) fn apply(scope: &mut Scope<'_, '_>, request: DeleteRangeRequest) -> Applied {
    let mut txn = scope.batch.txn();
    let response = run(&mut txn, request, scope.wants_reply)?;
    let events = txn.finish();
    scope.publish(events);
    Ok(Reply::DeleteRange(response))
}

pub(super) fn run(
    txn: &mut Txn<'_>,
    request: DeleteRangeRequest,
    wants_reply: bool,
) -> Result<DeleteRangeResponse, Failure> {
    let interval = KeyInterval::new(request.key, request.range_end);
    let prev_kvs = if request.prev_kv && wants_reply { read::all(txn, interval.clone())? } else { Vec::new() };
    let deleted = txn.delete(&interval);
    Ok(DeleteRangeResponse { header: header(txn), deleted: deleted as i64, prev_kvs })
}

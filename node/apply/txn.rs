//! Txn: compares, then one of two lists of operations, nested at will. etcd `server/etcdserver/txn/txn.go`.
//!
//! First, against the state before the transaction: all compares along the branches taken, and every check of
//! the operations in them. Then the operations, in order, each seeing those before. A transaction that fails
//! has therefore written nothing (etcd #18667).

use super::compare;
use super::range;
use super::read::{self, header};
use super::scope::{Applied, Failure, Scope};
use super::{ApplyError, Reply, delete, put};
use crate::lease::Lessor;
use crate::mvcc::Txn;
use keelstone_proto::etcdserverpb::request_op::Request;
use keelstone_proto::etcdserverpb::response_op::Response;
use keelstone_proto::etcdserverpb::{RangeRequest, RangeResponse, RequestOp, ResponseHeader, ResponseOp};
use keelstone_proto::etcdserverpb::{TxnRequest, TxnResponse};

pub(super) fn apply(scope: &mut Scope<'_, '_>, request: TxnRequest) -> Applied {
    let mut txn = scope.batch.txn();
    let plan = plan(&mut txn, request)?;
    check(&txn, scope.lessor, &plan)?;
    let mut response = run(&mut txn, plan, scope.wants_reply)?;
    response.header = header(&txn);
    let events = txn.finish();
    scope.publish(events);
    Ok(Reply::Txn(response))
}

/// A transaction whose branches are chosen.
struct Plan {
    succeeded: bool,
    steps: Vec<Step>,
}

enum Step {
    Op(Request),
    Txn(Plan),
    /// An operation without content, which admission refuses but an old log may hold.
    Nothing,
}

fn plan(txn: &mut Txn<'_>, request: TxnRequest) -> Result<Plan, Failure> {
    let succeeded = compare::all(txn, &request.compare)?;
    let ops = if succeeded { request.success } else { request.failure };
    let step = |op: RequestOp| match op.request {
        Some(Request::RequestTxn(nested)) => plan(txn, nested).map(Step::Txn),
        Some(request) => Ok(Step::Op(request)),
        None => Ok(Step::Nothing),
    };
    Ok(Plan { succeeded, steps: ops.into_iter().map(step).collect::<Result<_, _>>()? })
}

fn check(txn: &Txn<'_>, lessor: &Lessor, plan: &Plan) -> Result<(), Failure> {
    plan.steps.iter().try_for_each(|step| match step {
        Step::Op(Request::RequestRange(request)) => check_range(txn, request),
        Step::Op(Request::RequestPut(request)) => put::check(txn, lessor, request),
        Step::Txn(nested) => check(txn, lessor, nested),
        Step::Op(Request::RequestDeleteRange(_) | Request::RequestTxn(_)) | Step::Nothing => Ok(()),
    })
}

/// Not what a plain range checks: a negative revision below the compacted one is refused here, taken as the
/// latest there. The same in etcd (`checkRange`).
fn check_range(txn: &Txn<'_>, request: &RangeRequest) -> Result<(), Failure> {
    match request.revision {
        0 => Ok(()),
        revision if revision > txn.begin_revision() => Err(ApplyError::FutureRevision.into()),
        revision if revision < txn.compacted() => Err(ApplyError::Compacted.into()),
        _ => Ok(()),
    }
}

fn run(txn: &mut Txn<'_>, plan: Plan, wants_reply: bool) -> Result<TxnResponse, Failure> {
    let mut responses = Vec::with_capacity(plan.steps.len());
    for step in plan.steps {
        let response = match step {
            Step::Op(Request::RequestRange(request)) => {
                Some(Response::ResponseRange(run_range(txn, &request, wants_reply)?))
            }
            Step::Op(Request::RequestPut(request)) => Some(Response::ResponsePut(put::run(txn, request, wants_reply)?)),
            Step::Op(Request::RequestDeleteRange(request)) => {
                Some(Response::ResponseDeleteRange(delete::run(txn, request, wants_reply)?))
            }
            Step::Txn(nested) => {
                let mut response = run(txn, nested, wants_reply)?;
                // etcd's answers of nested transactions have a header of zeros.
                response.header = Some(ResponseHeader::default());
                Some(Response::ResponseTxn(response))
            }
            Step::Op(Request::RequestTxn(_)) | Step::Nothing => None,
        };
        responses.push(ResponseOp { response });
    }
    Ok(TxnResponse { header: None, succeeded: plan.succeeded, responses })
}

fn run_range(txn: &mut Txn<'_>, request: &RangeRequest, wants_reply: bool) -> Result<RangeResponse, Failure> {
    if !wants_reply {
        return Ok(RangeResponse { header: header(txn), ..RangeResponse::default() });
    }
    let result = txn.range(&range::query(request)).map_err(read::failure)?;
    Ok(range::response(result))
}

//! What the Lock and Election services are made of: contenders that queue by the revision in which their keys were created,
//! under a common prefix. etcd runs the recipes of its client library inside the server (`client/v3/concurrency`), and so
//! does this: each step is a request as a client would send it.

use super::asker::Asker;
use super::gate::Leave;
use super::kv::KvService;
use super::lease::LeaseService;
use super::node::Node;
use super::status::ApiError;
use crate::apply::Asked;
use crate::mvcc::EventKind;
use crate::types::{KeyInterval, LeaseId};
use crate::watch::{Delivery, Events, Filters, Hub, Start, WatchSpec, WatchStream};
use bytes::Bytes;
use keelstone_proto::etcdserverpb as pb;
use keelstone_proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use keelstone_proto::etcdserverpb::range_request::{SortOrder, SortTarget};
use keelstone_proto::etcdserverpb::request_op::Request as Op;
use keelstone_proto::etcdserverpb::response_op::Response as Done;
use keelstone_proto::mvccpb::KeyValue;
use std::sync::Arc;
use tonic::Status;

/// Of a session that names no lease.
const SESSION_TTL_SECS: i64 = 60;

/// The recipes' hands. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Recipes {
    pub node: Arc<Node>,
    kv: KvService,
    lease: LeaseService,
    hub: Arc<Hub>,
}

/// A contender's place in the queue.
#[derive(Clone, Debug)]
pub struct Place {
    pub key: Bytes,
    /// In which its key was created.
    pub revision: i64,
}

/// Errors of single steps reach clients without etcd's codes: only the text is kept.
pub fn as_unknown(error: impl Into<Status>) -> Status {
    Status::unknown(error.into().message())
}

/// All contenders of a name are below it.
pub fn prefix(name: &[u8]) -> Bytes {
    [name, b"/"].concat().into()
}

/// Of the contender with this lease, as Go prints the number in hexadecimal.
pub fn own_key(prefix: &[u8], lease: LeaseId) -> Bytes {
    let sign = if lease.0 < 0 { "-" } else { "" };
    [prefix, format!("{sign}{:x}", lease.0.unsigned_abs()).as_bytes()].concat().into()
}

/// The one that queues longest.
pub fn oldest(prefix: &Bytes) -> Op {
    Op::RequestRange(first_by_creation(prefix, SortOrder::Ascend, 0))
}

pub fn get(key: &Bytes) -> Op {
    Op::RequestRange(pb::RangeRequest { key: key.clone(), ..Default::default() })
}

pub fn put(key: &Bytes, value: &Bytes, lease: LeaseId) -> Op {
    let request = pb::PutRequest { key: key.clone(), value: value.clone(), lease: lease.0, ..Default::default() };
    Op::RequestPut(request)
}

pub fn delete(key: &Bytes) -> Op {
    Op::RequestDeleteRange(pb::DeleteRangeRequest { key: key.clone(), ..Default::default() })
}

/// `then`, if the key was created in this revision (0: it does not exist), and else `otherwise`.
pub fn if_created_at(place: &Place, then: Vec<Op>, otherwise: Vec<Op>) -> pb::TxnRequest {
    let ops = |ops: Vec<Op>| ops.into_iter().map(|op| pb::RequestOp { request: Some(op) }).collect();
    let compare = pb::Compare {
        result: CompareResult::Equal.into(),
        target: CompareTarget::Create.into(),
        key: place.key.clone(),
        target_union: Some(TargetUnion::CreateRevision(place.revision)),
        ..Default::default()
    };
    pb::TxnRequest { compare: vec![compare], success: ops(then), failure: ops(otherwise) }
}

/// The first pair that the operation at `at` of a transaction found.
pub fn found(response: &pb::TxnResponse, at: usize) -> Option<&KeyValue> {
    match response.responses.get(at)?.response.as_ref()? {
        Done::ResponseRange(range) => range.kvs.first(),
        Done::ResponsePut(_) | Done::ResponseDeleteRange(_) | Done::ResponseTxn(_) => None,
    }
}

pub fn revision_of(header: Option<&pb::ResponseHeader>) -> i64 {
    header.map_or(0, |header| header.revision)
}

fn first_by_creation(prefix: &Bytes, order: SortOrder, max_create_revision: i64) -> pb::RangeRequest {
    pb::RangeRequest {
        key: prefix.clone(),
        range_end: end_of(prefix),
        limit: 1,
        sort_order: order.into(),
        sort_target: SortTarget::Create.into(),
        max_create_revision,
        ..Default::default()
    }
}

/// Behind all that begins with the prefix, which ends with a slash.
fn end_of(prefix: &Bytes) -> Bytes {
    let mut end = prefix.to_vec();
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    end.into()
}

impl Recipes {
    pub fn new(node: &Arc<Node>, hub: Arc<Hub>) -> Self {
        let (kv, lease) = (KvService::new(Arc::clone(node)), LeaseService::new(Arc::clone(node)));
        Self { node: Arc::clone(node), kv, lease, hub }
    }

    /// The lease of a session: the one it names, or a new one of a minute, which nobody renews.
    pub async fn lease(&self, asker: &Asker, named: i64) -> Result<LeaseId, Status> {
        if named != LeaseId::NONE.0 {
            return Ok(LeaseId(named));
        }
        let request = pb::LeaseGrantRequest { ttl: SESSION_TTL_SECS, id: LeaseId::NONE.0 };
        // What the gate asks of a client's grant.
        self.node.gate.to_write(asker, Asked::Somebody).await.map_err(as_unknown)?;
        let granted = self.lease.grant(asker, request).await.map_err(as_unknown)?;
        Ok(LeaseId(granted.id))
    }

    pub async fn txn(&self, asker: &Asker, request: pb::TxnRequest) -> Result<pb::TxnResponse, Status> {
        self.kv.run_txn(asker, request).await.map_err(as_unknown)
    }

    /// One linearizable range, as a transaction.
    pub async fn read(&self, asker: &Asker, op: Op) -> Result<pb::TxnResponse, Status> {
        self.txn(asker, pb::TxnRequest { success: vec![pb::RequestOp { request: Some(op) }], ..Default::default() })
            .await
    }

    pub async fn delete(&self, asker: &Asker, key: Bytes) -> Result<pb::DeleteRangeResponse, Status> {
        self.kv.run_delete(asker, pb::DeleteRangeRequest { key, ..Default::default() }).await.map_err(as_unknown)
    }

    /// Waits until every key below the prefix that was created before `place` is gone.
    pub async fn wait_for_turn(&self, asker: &Asker, prefix: &Bytes, place: &Place) -> Result<(), Status> {
        loop {
            let before = first_by_creation(prefix, SortOrder::Descend, place.revision - 1);
            let response = self.read(asker, Op::RequestRange(before)).await?;
            let Some(last) = found(&response, 0) else { return Ok(()) };
            self.wait_for_delete(asker, last.key.clone(), revision_of(response.header.as_ref())).await?;
        }
    }

    async fn wait_for_delete(&self, asker: &Asker, key: Bytes, from: i64) -> Result<(), Status> {
        let mut stream = self.watch(asker, KeyInterval::One(key), from).await?;
        while let Some(events) = stream.next().await? {
            if events.events.iter().any(|event| event.event().kind == EventKind::Delete) {
                return Ok(());
            }
        }
        Err(Status::unknown("lost watcher waiting for delete"))
    }

    /// What happens below a prefix, which ends with a slash.
    pub async fn watch_below(&self, asker: &Asker, prefix: &Bytes, from: i64) -> Result<Watched, Status> {
        self.watch(asker, KeyInterval::Range { start: prefix.clone(), end: Some(end_of(prefix)) }, from).await
    }

    /// A stream with one watcher, whose events begin with a revision.
    pub async fn watch(&self, asker: &Asker, interval: KeyInterval, from: i64) -> Result<Watched, Status> {
        // Without a change since, the leave holds.
        let leave = self.node.gate.to_read(asker, Asked::Watch(&interval)).await.map_err(as_unknown)?;
        let stream = self.hub.open();
        let spec = WatchSpec {
            id: None,
            interval: interval.clone(),
            start: Start::At(from),
            filters: Filters::default(),
            prev_kv: false,
            fragment: true,
            progress_notify: false,
        };
        stream.create(spec).map_err(|error| Status::unknown(error.to_string()))?;
        Ok(Watched { node: Arc::clone(&self.node), asker: asker.clone(), interval, leave, stream })
    }
}

/// A stream with one watcher, for as long as the one who asked may read what it watches.
#[derive(Debug)]
pub struct Watched {
    node: Arc<Node>,
    asker: Asker,
    interval: KeyInterval,
    leave: Leave,
    stream: WatchStream,
}

impl Watched {
    /// The next events; `None` when there will be none.
    pub async fn next(&mut self) -> Result<Option<Events>, Status> {
        let events = next_events(&self.stream).await?;
        if !self.node.gate.holds_as_given(self.leave) {
            let again = self.node.gate.to_read(&self.asker, Asked::Watch(&self.interval)).await;
            self.leave = again.map_err(as_unknown)?;
        }
        Ok(events)
    }
}

async fn next_events(stream: &WatchStream) -> Result<Option<Events>, Status> {
    loop {
        match stream.next().await {
            Some(Delivery::Events(events)) => return Ok(Some(events)),
            Some(Delivery::Created { .. } | Delivery::Progress { .. }) => {}
            Some(Delivery::Compacted { .. }) => return Err(as_unknown(ApiError::Compacted)),
            Some(Delivery::Refused { reason, .. }) => return Err(Status::unknown(reason)),
            Some(Delivery::Canceled { .. }) | None => return Ok(None),
        }
    }
}

/// Takes a contender out of the queue if its client goes away while it waits. If the node ends first, the lease does it.
#[derive(Debug)]
pub struct LeavesQueue {
    recipes: Recipes,
    asker: Asker,
    /// None once it may stay.
    leave: Option<pb::TxnRequest>,
}

impl LeavesQueue {
    /// `leave` is done unless [`Self::stays`] is called.
    pub fn new(recipes: &Recipes, asker: &Asker, leave: pb::TxnRequest) -> Self {
        Self { recipes: recipes.clone(), asker: asker.clone(), leave: Some(leave) }
    }

    pub fn stays(mut self) {
        self.leave = None;
    }
}

impl Drop for LeavesQueue {
    fn drop(&mut self) {
        let Some(leave) = self.leave.take() else { return };
        let (recipes, asker) = (self.recipes.clone(), std::mem::take(&mut self.asker));
        tokio::spawn(async move {
            if let Err(error) = recipes.txn(&asker, leave).await {
                tracing::warn!(error = error.message(), "failed to take a contender that left out of its queue");
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_contenders_are_named_as_go_prints_leases() {
        let prefix = prefix(b"job");
        assert_eq!(own_key(&prefix, LeaseId(0x694d)), "job/694d");
        assert_eq!(own_key(&prefix, LeaseId(-1)), "job/-1");
        assert_eq!(end_of(&prefix), "job0");
    }
}

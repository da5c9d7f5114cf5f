//! A state machine in memory, for tests of the commands.

use super::{Answer, Applier, ApplyError, Committed, Outcome, Parts, Payload, Reply};
use crate::lease::Lessor;
use crate::storage::memory::MemoryFile;
use crate::storage::{Durability, Storage};
use crate::types::{LogPosition, MemberId};
use bytes::Bytes;
use keelstone_proto::etcdserverpb as pb;
use prometheus::Registry;
use prost::Message;
use std::sync::Arc;

pub(super) const LOCAL: MemberId = MemberId(1);

const CACHE_BYTES: usize = 1 << 20;

pub(super) fn create(file: Arc<MemoryFile>) -> Storage {
    let metrics = crate::storage::Metrics::register(&Registry::new()).expect("fresh registry");
    Storage::create(file, CACHE_BYTES, metrics).expect("memory does not fail")
}

pub(super) fn reopen(file: Arc<MemoryFile>) -> Storage {
    let metrics = crate::storage::Metrics::register(&Registry::new()).expect("fresh registry");
    Storage::open(file, CACHE_BYTES, metrics).expect("memory does not fail")
}

pub(super) fn applier(storage: Storage) -> Applier {
    let registry = Registry::new();
    let lease_metrics = crate::lease::Metrics::register(&registry).expect("fresh registry");
    let parts = Parts {
        storage,
        lessor: Arc::new(Lessor::new(2, lease_metrics)),
        access: crate::auth::Access::unserved(&registry).expect("fresh registry"),
        local: LOCAL,
        mvcc_metrics: crate::mvcc::Metrics::register(&registry).expect("fresh registry"),
        cluster_metrics: crate::cluster::Metrics::register(&registry).expect("fresh registry"),
        alarm_metrics: crate::alarm::Metrics::register(&registry).expect("fresh registry"),
    };
    Applier::open(parts).expect("memory does not fail")
}

/// A member that applies one command at a time. Request ids equal log indexes.
pub(super) struct Node {
    pub applier: Applier,
}

impl Node {
    pub fn new() -> Self {
        Self { applier: applier(create(MemoryFile::new())) }
    }

    pub fn next_position(&self) -> LogPosition {
        LogPosition { term: 1, index: self.applier.applied().index + 1 }
    }

    pub fn apply_payload(&mut self, payload: Payload) -> Outcome {
        let entry = Committed { position: self.next_position(), payload };
        self.applier.apply_batch(vec![entry], &|_| true, Durability::Volatile).expect("memory does not fail")
    }

    pub fn outcome(&mut self, request: pb::InternalRaftRequest) -> Outcome {
        let payload = normal(self.next_position().index, request);
        self.apply_payload(payload)
    }

    pub fn apply(&mut self, request: pb::InternalRaftRequest) -> Answer {
        let outcome = self.outcome(request);
        let [(id, answer)] = <[_; 1]>::try_from(outcome.replies).expect("one reply");
        assert_eq!(id, outcome.applied.index);
        answer
    }

    pub fn put(&mut self, request: pb::PutRequest) -> Result<pb::PutResponse, ApplyError> {
        let answer = self.apply(pb::InternalRaftRequest { put: Some(request), ..Default::default() });
        answer.map(|reply| match reply {
            Reply::Put(response) => response,
            other => panic!("{other:?}"),
        })
    }

    pub fn delete(&mut self, request: pb::DeleteRangeRequest) -> Result<pb::DeleteRangeResponse, ApplyError> {
        let answer = self.apply(pb::InternalRaftRequest { delete_range: Some(request), ..Default::default() });
        answer.map(|reply| match reply {
            Reply::DeleteRange(response) => response,
            other => panic!("{other:?}"),
        })
    }

    pub fn txn(&mut self, request: pb::TxnRequest) -> Result<pb::TxnResponse, ApplyError> {
        let answer = self.apply(pb::InternalRaftRequest { txn: Some(request), ..Default::default() });
        answer.map(|reply| match reply {
            Reply::Txn(response) => response,
            other => panic!("{other:?}"),
        })
    }

    pub fn grant(&mut self, id: i64, ttl: i64) -> Result<pb::LeaseGrantResponse, ApplyError> {
        let answer = self.apply(grant(id, ttl));
        answer.map(|reply| match reply {
            Reply::LeaseGrant(response) => response,
            other => panic!("{other:?}"),
        })
    }

    /// The live value of a key.
    pub fn get(&mut self, key: &str) -> Option<keelstone_proto::mvccpb::KeyValue> {
        let range = pb::RangeRequest { key: bytes(key), ..Default::default() };
        let answer = self.apply(pb::InternalRaftRequest { range: Some(range), ..Default::default() });
        match answer {
            Ok(Reply::Range(mut response)) => response.kvs.pop(),
            other => panic!("{other:?}"),
        }
    }
}

pub(super) fn grant(id: i64, ttl: i64) -> pb::InternalRaftRequest {
    pb::InternalRaftRequest { lease_grant: Some(pb::LeaseGrantRequest { id, ttl }), ..Default::default() }
}

pub(super) fn revoke(id: i64) -> pb::InternalRaftRequest {
    pb::InternalRaftRequest { lease_revoke: Some(pb::LeaseRevokeRequest { id }), ..Default::default() }
}

pub(super) fn compaction(revision: i64) -> pb::InternalRaftRequest {
    let compaction = pb::CompactionRequest { revision, physical: false };
    pb::InternalRaftRequest { compaction: Some(compaction), ..Default::default() }
}

/// The header that the gate has filled stays.
pub(super) fn normal(request_id: u64, request: pb::InternalRaftRequest) -> Payload {
    let given = request.header.clone().unwrap_or_default();
    let header = Some(pb::RequestHeader { id: request_id, ..given });
    Payload::Normal(pb::InternalRaftRequest { header, ..request }.encode_to_vec().into())
}

pub(super) fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

pub(super) fn put(key: &str, value: &str) -> pb::PutRequest {
    pb::PutRequest { key: bytes(key), value: bytes(value), ..Default::default() }
}

pub(super) fn delete(key: &str, range_end: &str) -> pb::DeleteRangeRequest {
    pb::DeleteRangeRequest { key: bytes(key), range_end: bytes(range_end), prev_kv: false }
}

pub(super) fn range(key: &str, range_end: &str) -> pb::RangeRequest {
    pb::RangeRequest { key: bytes(key), range_end: bytes(range_end), ..Default::default() }
}

pub(super) fn op(request: pb::request_op::Request) -> pb::RequestOp {
    pb::RequestOp { request: Some(request) }
}

pub(super) fn revision(header: &Option<pb::ResponseHeader>) -> i64 {
    header.as_ref().expect("a header").revision
}

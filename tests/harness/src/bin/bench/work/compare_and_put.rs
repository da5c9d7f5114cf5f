//! The transaction with which Kubernetes updates an object: put if the key was not modified since it was read, else
//! get. Every client has keys of its own, so that no compare fails.

use super::Ground;
use crate::calls::TXN;
use crate::load::{Client, closed_loop};
use crate::report::Sample;
use crate::subject::connect;
use crate::wire::{Caller, Connection, frame};
use bytes::Bytes;
use keelstone_harness::proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use keelstone_harness::proto::etcdserverpb::request_op::Request;
use keelstone_harness::proto::etcdserverpb::{
    Compare, PutRequest, RangeRequest, RangeResponse, RequestOp, TxnRequest, TxnResponse,
};
use prost::Message;

/// Of each client.
const OWN_KEYS: usize = 100;

pub async fn run(ground: &Ground, clients: usize) -> Sample {
    let connections = connect(&ground.cluster, clients).await;
    let mut updaters = Vec::new();
    for (number, keys) in ground.keys.chunks(OWN_KEYS).take(clients).enumerate() {
        updaters.push(Updater::new(&connections[number % connections.len()], keys).await);
    }
    assert_eq!(updaters.len(), clients, "keys for all clients");
    closed_loop(&ground.cluster, updaters, ground.window).await
}

struct Updater {
    caller: Caller,
    /// Keys and the revisions at which they were last modified.
    keys: Vec<(Bytes, i64)>,
    next: usize,
    value: Bytes,
}

impl Updater {
    async fn new(connection: &Connection, keys: &[Bytes]) -> Self {
        let mut reader = connection.caller(crate::calls::RANGE);
        let mut known = Vec::new();
        for key in keys {
            let answer = reader.call(frame(&RangeRequest { key: key.clone(), ..Default::default() })).await;
            let answer = RangeResponse::decode(answer).expect("an answer to a range");
            known.push((key.clone(), answer.kvs.first().expect("a key that was put").mod_revision));
        }
        Self { caller: connection.caller(TXN), keys: known, next: 0, value: crate::keys::value() }
    }
}

impl Client for Updater {
    async fn once(&mut self) {
        let (key, revision) = &mut self.keys[self.next];
        let answer = self.caller.call(frame(&update(key, *revision, &self.value))).await;
        let answer = TxnResponse::decode(answer).expect("an answer to a transaction");
        assert!(answer.succeeded, "nobody else modifies the key");
        *revision = answer.header.expect("a header").revision;
        self.next = (self.next + 1) % self.keys.len();
    }
}

fn update(key: &Bytes, revision: i64, value: &Bytes) -> TxnRequest {
    let unmodified = Compare {
        result: CompareResult::Equal.into(),
        target: CompareTarget::Mod.into(),
        key: key.clone(),
        target_union: Some(TargetUnion::ModRevision(revision)),
        ..Default::default()
    };
    let put = PutRequest { key: key.clone(), value: value.clone(), ..Default::default() };
    let get = RangeRequest { key: key.clone(), ..Default::default() };
    TxnRequest {
        compare: vec![unmodified],
        success: vec![RequestOp { request: Some(Request::RequestPut(put)) }],
        failure: vec![RequestOp { request: Some(Request::RequestRange(get)) }],
    }
}

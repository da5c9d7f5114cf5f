//! Transactions against a model that keeps every revision in a plain map, and the same log in different batches.

use crate::apply::compare_tests::kinds;
use crate::apply::testing::*;
use crate::apply::{Answer, ApplyError, Committed, Reply};
use crate::lease::LeaseError;
use crate::storage::Durability;
use crate::types::LogPosition;
use bytes::Bytes;
use keelstone_proto::etcdserverpb as pb;
use keelstone_proto::etcdserverpb::request_op::Request;
use keelstone_proto::etcdserverpb::response_op::Response;
use keelstone_proto::mvccpb::KeyValue;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// The state after each revision, and everything a transaction does to it, written as plainly as possible.
#[derive(Default)]
struct Model {
    /// `states[r - 1]` is the state after revision `r`; the first is empty, at revision 1.
    states: Vec<BTreeMap<Bytes, KeyValue>>,
    leases: BTreeSet<i64>,
    compacted: i64,
}

type State = BTreeMap<Bytes, KeyValue>;

impl Model {
    fn new() -> Self {
        Self { states: vec![State::new()], compacted: -1, ..Self::default() }
    }

    fn revision(&self) -> i64 {
        self.states.len() as i64
    }

    fn txn(&mut self, request: &pb::TxnRequest) -> Result<pb::TxnResponse, ApplyError> {
        let before = self.states.last().expect("never empty").clone();
        self.check(request, &before)?;
        let (mut state, mut changed) = (before.clone(), false);
        let mut response = self.run(request, &before, &mut state, &mut changed);
        response.header = self.header(changed);
        if changed {
            self.states.push(state);
        }
        Ok(response)
    }

    fn header(&self, changed: bool) -> Option<pb::ResponseHeader> {
        Some(pb::ResponseHeader { revision: self.revision() + i64::from(changed), ..Default::default() })
    }

    fn branch<'a>(request: &'a pb::TxnRequest, before: &State) -> (bool, &'a [pb::RequestOp]) {
        let holds = request.compare.iter().all(|compare| {
            let mut kvs = in_interval(before, &compare.key, &compare.range_end);
            if kvs.is_empty() {
                if compare.target == pb::compare::CompareTarget::Value as i32 {
                    return false;
                }
                kvs.push(KeyValue::default());
            }
            kvs.iter().all(|kv| kinds::holds(compare, kv))
        });
        (holds, if holds { &request.success } else { &request.failure })
    }

    fn check(&self, request: &pb::TxnRequest, before: &State) -> Result<(), ApplyError> {
        for op in Self::branch(request, before).1 {
            match op.request.as_ref().expect("generated") {
                Request::RequestRange(range) if range.revision > self.revision() => {
                    return Err(ApplyError::FutureRevision);
                }
                Request::RequestRange(range) if range.revision != 0 && range.revision < self.compacted => {
                    return Err(ApplyError::Compacted);
                }
                Request::RequestPut(put) if put.lease != 0 && !self.leases.contains(&put.lease) => {
                    return Err(ApplyError::Lease(LeaseError::NotFound));
                }
                Request::RequestPut(put)
                    if (put.ignore_value || put.ignore_lease) && !before.contains_key(&put.key) =>
                {
                    return Err(ApplyError::KeyNotFound);
                }
                Request::RequestTxn(nested) => self.check(nested, before)?,
                Request::RequestRange(_) | Request::RequestPut(_) | Request::RequestDeleteRange(_) => {}
            }
        }
        Ok(())
    }

    fn run(&self, request: &pb::TxnRequest, before: &State, state: &mut State, changed: &mut bool) -> pb::TxnResponse {
        let (succeeded, ops) = Self::branch(request, before);
        let mut responses = Vec::new();
        for op in ops {
            let response = match op.request.as_ref().expect("generated") {
                Request::RequestRange(range) => {
                    let at = if range.revision == 0 { &*state } else { &self.states[range.revision as usize - 1] };
                    let kvs = in_interval(at, &range.key, &range.range_end);
                    let header = self.header(*changed);
                    let count = kvs.len() as i64;
                    Response::ResponseRange(pb::RangeResponse { header, kvs, count, more: false })
                }
                Request::RequestPut(put) => {
                    *changed = true;
                    Response::ResponsePut(self.put(put, state))
                }
                Request::RequestDeleteRange(delete) => {
                    let doomed = in_interval(state, &delete.key, &delete.range_end);
                    for kv in &doomed {
                        state.remove(&kv.key);
                    }
                    *changed |= !doomed.is_empty();
                    let (header, deleted) = (self.header(*changed), doomed.len() as i64);
                    let prev_kvs = if delete.prev_kv { doomed } else { vec![] };
                    Response::ResponseDeleteRange(pb::DeleteRangeResponse { header, deleted, prev_kvs })
                }
                Request::RequestTxn(nested) => {
                    let header = Some(pb::ResponseHeader::default());
                    Response::ResponseTxn(pb::TxnResponse { header, ..self.run(nested, before, state, changed) })
                }
            };
            responses.push(pb::ResponseOp { response: Some(response) });
        }
        pb::TxnResponse { header: None, succeeded, responses }
    }

    fn put(&self, put: &pb::PutRequest, state: &mut State) -> pb::PutResponse {
        let previous = state.get(&put.key).cloned();
        let revision = self.revision() + 1;
        let old = previous.clone().unwrap_or_else(|| KeyValue { create_revision: revision, ..KeyValue::default() });
        let kv = KeyValue {
            key: put.key.clone(),
            create_revision: old.create_revision,
            mod_revision: revision,
            version: old.version + 1,
            value: if put.ignore_value { old.value } else { put.value.clone() },
            lease: if put.ignore_lease { old.lease } else { put.lease },
        };
        state.insert(put.key.clone(), kv);
        pb::PutResponse { header: self.header(true), prev_kv: previous.filter(|_| put.prev_kv) }
    }
}

fn in_interval(state: &State, key: &Bytes, range_end: &Bytes) -> Vec<KeyValue> {
    let interval = crate::types::KeyInterval::new(key.clone(), range_end.clone());
    state.values().filter(|kv| interval.contains(&kv.key)).cloned().collect()
}

const KEYS: u8 = 6;

fn key() -> impl Strategy<Value = Bytes> {
    (0..KEYS).prop_map(|key| Bytes::from(vec![b'a' + key]))
}

/// No end, an end, or open.
fn range_end() -> impl Strategy<Value = Bytes> {
    prop_oneof![2 => Just(Bytes::new()), 2 => key(), 1 => Just(Bytes::from_static(b"\0"))]
}

fn lease() -> impl Strategy<Value = i64> {
    prop_oneof![4 => Just(0_i64), 4 => 1..3_i64, 1 => Just(9_i64)]
}

fn a_put() -> impl Strategy<Value = pb::PutRequest> {
    let flags = (prop::bool::weighted(0.3), prop::bool::weighted(0.2), prop::bool::weighted(0.2));
    (key(), any::<u8>(), lease(), flags).prop_map(|(key, value, lease, (prev_kv, ignore_value, ignore_lease))| {
        pb::PutRequest {
            key,
            value: if ignore_value { Bytes::new() } else { Bytes::from(vec![value]) },
            lease: if ignore_lease { 0 } else { lease },
            prev_kv,
            ignore_value,
            ignore_lease,
        }
    })
}

fn a_delete() -> impl Strategy<Value = pb::DeleteRangeRequest> {
    let request = |(key, range_end, prev_kv)| pb::DeleteRangeRequest { key, range_end, prev_kv };
    (key(), range_end(), any::<bool>()).prop_map(request)
}

fn a_range() -> impl Strategy<Value = pb::RangeRequest> {
    let revision = prop_oneof![3 => Just(0_i64), 1 => 1..12_i64];
    let request = |(key, range_end, revision)| pb::RangeRequest { key, range_end, revision, ..Default::default() };
    (key(), range_end(), revision).prop_map(request)
}

fn an_op(depth: u32) -> BoxedStrategy<pb::RequestOp> {
    let leaf = prop_oneof![
        4 => a_put().prop_map(|request| op(Request::RequestPut(request))),
        2 => a_delete().prop_map(|request| op(Request::RequestDeleteRange(request))),
        2 => a_range().prop_map(|request| op(Request::RequestRange(request))),
    ];
    if depth == 0 {
        return leaf.boxed();
    }
    prop_oneof![4 => leaf, 1 => a_txn(depth - 1).prop_map(|request| op(Request::RequestTxn(request)))].boxed()
}

fn a_txn(depth: u32) -> BoxedStrategy<pb::TxnRequest> {
    let ops = || prop::collection::vec(an_op(depth), 0..4);
    let compares = prop::collection::vec(kinds::any_compare(key(), range_end()), 0..2);
    (compares, ops(), ops())
        .prop_map(|(compare, success, failure)| pb::TxnRequest { compare, success, failure })
        .boxed()
}

/// Admission lets no key be put twice in a transaction, or put and deleted; here what offends becomes a read.
fn made_valid(mut request: pb::TxnRequest) -> pb::TxnRequest {
    fn visit(request: &mut pb::TxnRequest, touched: &mut Vec<(bool, Bytes, Bytes)>) {
        for op in request.success.iter_mut().chain(&mut request.failure) {
            let (is_put, key, end) = match op.request.as_mut().expect("generated") {
                Request::RequestPut(put) => (true, put.key.clone(), Bytes::new()),
                Request::RequestDeleteRange(delete) => (false, delete.key.clone(), delete.range_end.clone()),
                Request::RequestTxn(nested) => {
                    visit(nested, touched);
                    continue;
                }
                Request::RequestRange(_) => continue,
            };
            let holds = |key: &Bytes, end: &Bytes, other: &Bytes| {
                crate::types::KeyInterval::new(key.clone(), end.clone()).contains(other)
            };
            let offends = touched.iter().any(|(was_put, other, other_end)| {
                (is_put && holds(other, other_end, &key)) || (*was_put && holds(&key, &end, other))
            });
            if offends {
                *op = crate::apply::testing::op(Request::RequestRange(pb::RangeRequest {
                    key,
                    range_end: end,
                    ..Default::default()
                }));
            } else {
                touched.push((is_put, key, end));
            }
        }
    }
    visit(&mut request, &mut Vec::new());
    request
}

#[derive(Clone, Debug)]
enum Step {
    Txn(pb::TxnRequest),
    Grant(i64),
    Revoke(i64),
    Compact(i64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => a_txn(2).prop_map(made_valid).prop_map(Step::Txn),
        2 => (1..3_i64).prop_map(Step::Grant),
        1 => (1..3_i64).prop_map(Step::Revoke),
        1 => (1..12_i64).prop_map(Step::Compact),
    ];
    prop::collection::vec(step, 1..30)
}

fn request(step: &Step) -> pb::InternalRaftRequest {
    match step {
        Step::Txn(request) => pb::InternalRaftRequest { txn: Some(request.clone()), ..Default::default() },
        Step::Grant(id) => grant(*id, 60),
        Step::Revoke(id) => revoke(*id),
        Step::Compact(revision) => compaction(*revision),
    }
}

fn compare_with_model(steps: &[Step]) {
    let (mut node, mut model) = (Node::new(), Model::new());
    for step in steps {
        let answer = node.apply(request(step));
        match step {
            Step::Txn(request) => assert_eq!(answer, model.txn(request).map(Reply::Txn), "{request:#?}"),
            Step::Grant(id) => assert_eq!(answer.is_ok(), model.leases.insert(*id)),
            Step::Revoke(id) => {
                assert_eq!(answer.is_ok(), model.leases.remove(id));
                let (mut state, before) = (State::new(), model.states.last().expect("never empty"));
                state
                    .extend(before.iter().filter(|(_, kv)| kv.lease != *id).map(|(key, kv)| (key.clone(), kv.clone())));
                if state.len() != before.len() {
                    model.states.push(state);
                }
            }
            Step::Compact(revision) => {
                let allowed = *revision > model.compacted && *revision <= model.revision();
                assert_eq!(answer.is_ok(), allowed);
                if allowed {
                    model.compacted = *revision;
                }
            }
        }
        if node.applier.is_compacting() {
            node.applier.compaction_slice(3).expect("memory does not fail");
        }
    }
    for id in &model.leases {
        let attached = model.states.last().expect("never empty").values().filter(|kv| kv.lease == *id);
        let keys = node.applier.published().lessor.keys(crate::types::LeaseId(*id));
        assert_eq!(keys, Some(attached.map(|kv| kv.key.clone()).collect()));
    }
}

/// The replies, and the hash of all rows.
fn run_in_batches(steps: &[Step], sizes: &[usize], compact_at_once: bool) -> (Vec<(u64, Answer)>, u32) {
    let (mut node, mut replies, mut sizes) = (Node::new(), Vec::new(), sizes.iter().cycle());
    let entry = |(at, step)| {
        let index = at as u64 + 1;
        Committed { position: LogPosition { term: 1, index }, payload: normal(index, request(step)) }
    };
    let mut entries: Vec<Committed> = steps.iter().enumerate().map(entry).collect();
    while !entries.is_empty() {
        let size = *sizes.next().expect("endless");
        let batch: Vec<_> = entries.drain(..size.min(entries.len())).collect();
        let outcome = node.applier.apply_batch(batch, &|_| true, Durability::Volatile).expect("memory does not fail");
        replies.extend(outcome.replies);
        if compact_at_once {
            compact_all(&mut node);
        }
    }
    // etcd's hash of an emptied store depends on rows that a compaction has not reached yet, and so does ours.
    compact_all(&mut node);
    let view = node.applier.published().views.load();
    let hash = view.hash_kv(0).expect("the present is readable").hash;
    (replies, hash)
}

fn compact_all(node: &mut Node) {
    while node.applier.is_compacting() {
        node.applier.compaction_slice(2).expect("memory does not fail");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn transactions_do_what_the_model_does(steps in steps()) {
        compare_with_model(&steps);
    }

    #[test]
    fn batches_and_the_pace_of_compaction_do_not_matter(
        steps in steps(),
        sizes in prop::collection::vec(1..7_usize, 1..5),
    ) {
        let one_by_one = run_in_batches(&steps, &[1], true);
        prop_assert_eq!(&run_in_batches(&steps, &sizes, true), &one_by_one);
        prop_assert_eq!(&run_in_batches(&steps, &[usize::MAX], false), &one_by_one);
    }
}

//! Transactions, nested at will.

use super::keys::{bound, interval, key, value};
use super::kv;
use crate::world::{LEASE_IDS, World};
use bytes::Bytes;
use keelstone_harness::Random;
use keelstone_harness::proto::etcdserverpb::compare::TargetUnion;
use keelstone_harness::proto::etcdserverpb::request_op::Request;
use keelstone_harness::proto::etcdserverpb::*;
use std::collections::BTreeSet;

const MAX_DEPTH: usize = 3;

/// What a transaction is made of.
struct Draft<'a> {
    random: &'a mut Random,
    world: &'a World,
    /// Keys that are put or deleted already. A careful client touches none twice.
    touched: BTreeSet<Bytes>,
    is_careful: bool,
    /// Puts that keep a value or a lease, or deletes without end, but not both: etcd takes such an end literally
    /// when it looks for keys that are touched twice, and its member ends with an index out of range when a put
    /// then finds nothing to keep.
    may_keep: bool,
}

pub fn txn(random: &mut Random, world: &World) -> TxnRequest {
    let (is_careful, may_keep) = (random.chance(75), random.chance(70));
    let is_read_only = random.chance(15);
    let too_many = random.chance(2);
    let mut draft = Draft { random, world, touched: BTreeSet::new(), is_careful, may_keep };
    if is_read_only {
        return draft.read_only();
    }
    let mut request = draft.txn(0);
    if too_many {
        let count = world.max_txn_ops - request.success.len().min(world.max_txn_ops) + random.below(2) as usize;
        for _ in 0..count {
            let range = RangeRequest { key: key(random), ..Default::default() };
            request.success.push(op(Request::RequestRange(range)));
        }
    }
    request
}

fn op(request: Request) -> RequestOp {
    RequestOp { request: Some(request) }
}

impl Draft<'_> {
    fn txn(&mut self, depth: usize) -> TxnRequest {
        TxnRequest { compare: self.compares(), success: self.ops(depth), failure: self.ops(depth) }
    }

    fn read_only(&mut self) -> TxnRequest {
        let mut ranges = || {
            let count = self.random.below(4);
            (0..count).map(|_| op(Request::RequestRange(kv::range(self.random, self.world)))).collect()
        };
        let (success, failure) = (ranges(), ranges());
        TxnRequest { compare: self.compares(), success, failure }
    }

    fn compares(&mut self) -> Vec<Compare> {
        (0..self.random.below(4)).map(|_| self.compare()).collect()
    }

    fn ops(&mut self, depth: usize) -> Vec<RequestOp> {
        let most = if depth == 0 { 5 } else { 4 };
        (0..self.random.below(most)).map(|_| self.op(depth)).collect()
    }

    fn op(&mut self, depth: usize) -> RequestOp {
        match self.random.below(100) {
            0..=29 => op(Request::RequestRange(kv::range(self.random, self.world))),
            30..=64 => op(Request::RequestPut(self.put())),
            65..=79 => op(Request::RequestDeleteRange(self.delete())),
            80..=98 if depth < MAX_DEPTH => op(Request::RequestTxn(self.txn(depth + 1))),
            99 if self.random.chance(50) => RequestOp { request: None },
            _ => op(Request::RequestPut(self.put())),
        }
    }

    fn put(&mut self) -> PutRequest {
        let mut request = kv::put(self.random, self.world);
        if !self.may_keep {
            (request.ignore_value, request.ignore_lease) = (false, false);
        }
        request.key = self.touch(request.key);
        request
    }

    fn delete(&mut self) -> DeleteRangeRequest {
        let mut request = kv::delete_range(self.random);
        if self.is_careful {
            request.range_end = Bytes::new();
        } else if self.may_keep && request.range_end == b"\0"[..] {
            request.range_end = Bytes::from_static(b"\xff\xff\xff");
        }
        request.key = self.touch(request.key);
        request
    }

    /// This key, or for a careful client another one that is not touched yet.
    fn touch(&mut self, mut wanted: Bytes) -> Bytes {
        for _ in 0..20 {
            if !self.is_careful || wanted.is_empty() || self.touched.insert(wanted.clone()) {
                break;
            }
            wanted = key(self.random);
        }
        wanted
    }

    fn compare(&mut self) -> Compare {
        let (key, range_end) = interval(self.random);
        let range_end = if self.random.chance(60) { Bytes::new() } else { range_end };
        let target = self.random.below(5) as i32;
        let of = if self.random.chance(95) { target } else { target + 1 };
        let target_union = self.operand(of);
        let weird = self.random.chance(2);
        let (target, result) = if weird { (target + 3, 7) } else { (target, self.random.below(4) as i32) };
        Compare { result, target, key, range_end, target_union }
    }

    /// The operand that belongs to a target, near what is there.
    fn operand(&mut self, target: i32) -> Option<TargetUnion> {
        let random = &mut *self.random;
        Some(match target {
            0 => TargetUnion::Version(random.below(4).cast_signed()),
            1 => TargetUnion::CreateRevision(if random.chance(40) { 0 } else { bound(random, self.world) }),
            2 => TargetUnion::ModRevision(if random.chance(20) { 0 } else { bound(random, self.world) }),
            3 => TargetUnion::Value(value(random, self.world)),
            4 => TargetUnion::Lease(if random.chance(50) { 0 } else { *random.pick(&LEASE_IDS) }),
            _ => return None,
        })
    }
}

//! The conditions of a transaction. etcd `applyCompare` in `server/etcdserver/txn/txn.go`.

use super::read;
use super::scope::Failure;
use crate::mvcc::Txn;
use crate::types::KeyInterval;
use keelstone_proto::etcdserverpb::Compare;
use keelstone_proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use keelstone_proto::mvccpb::KeyValue;
use std::cmp::Ordering;

pub(super) fn all(txn: &mut Txn<'_>, compares: &[Compare]) -> Result<bool, Failure> {
    for compare in compares {
        if !one(txn, compare)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// True if it holds for every key of the interval. No key at all compares as a key of zeros, but no comparison
/// with a value holds then, since the wire cannot tell an absent value from an empty one.
fn one(txn: &mut Txn<'_>, compare: &Compare) -> Result<bool, Failure> {
    let interval = KeyInterval::new(compare.key.clone(), compare.range_end.clone());
    let target = CompareTarget::try_from(compare.target).ok();
    let kvs = match target {
        // These are known without the rows.
        Some(CompareTarget::Version | CompareTarget::Create | CompareTarget::Mod) => {
            read::all_revisions(txn, interval)?
        }
        Some(CompareTarget::Value | CompareTarget::Lease) | None => read::all(txn, interval)?,
    };
    if kvs.is_empty() {
        return Ok(target != Some(CompareTarget::Value) && holds(compare, &KeyValue::default()));
    }
    Ok(kvs.iter().all(|kv| holds(compare, kv)))
}

/// True if the comparison holds for this key. An operand of another kind than the target counts as zero; an unknown
/// target compares as equal and an unknown result always holds, as in etcd.
pub fn holds(compare: &Compare, kv: &KeyValue) -> bool {
    let operand = compare.target_union.as_ref();
    let ordering = match CompareTarget::try_from(compare.target) {
        Ok(CompareTarget::Version) => kv.version.cmp(&match operand {
            Some(TargetUnion::Version(version)) => *version,
            _ => 0,
        }),
        Ok(CompareTarget::Create) => kv.create_revision.cmp(&match operand {
            Some(TargetUnion::CreateRevision(revision)) => *revision,
            _ => 0,
        }),
        Ok(CompareTarget::Mod) => kv.mod_revision.cmp(&match operand {
            Some(TargetUnion::ModRevision(revision)) => *revision,
            _ => 0,
        }),
        Ok(CompareTarget::Lease) => kv.lease.cmp(&match operand {
            Some(TargetUnion::Lease(lease)) => *lease,
            _ => 0,
        }),
        Ok(CompareTarget::Value) => kv.value.as_ref().cmp(match operand {
            Some(TargetUnion::Value(value)) => value.as_ref(),
            _ => b"",
        }),
        Err(_) => Ordering::Equal,
    };
    match CompareResult::try_from(compare.result) {
        Ok(CompareResult::Equal) => ordering.is_eq(),
        Ok(CompareResult::NotEqual) => ordering.is_ne(),
        Ok(CompareResult::Greater) => ordering.is_gt(),
        Ok(CompareResult::Less) => ordering.is_lt(),
        Err(_) => true,
    }
}

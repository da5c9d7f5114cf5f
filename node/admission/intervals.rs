//! No key may be put twice in a transaction, nor both put and deleted, since the operations have no order that
//! a client could rely on. etcd's rule (`checkIntervals` in `server/etcdserver/api/v3rpc/key.go`), with its
//! gaps: nested transactions are folded from left to right, so that a delete does not see the puts of an
//! earlier sibling; and a delete without end (`\0`) meets nothing, since it is taken literally.

use super::AdmissionError;
use bytes::Bytes;
use keelstone_proto::etcdserverpb::{RequestOp, request_op::Request};
use std::collections::{BTreeMap, HashSet};
use std::ops::Bound;

/// Checks one branch with all that is nested in it.
pub fn check_intervals(ops: &[RequestOp]) -> Result<(), AdmissionError> {
    collect(ops).map(|_| ())
}

#[derive(Default)]
struct Touched<'a> {
    puts: HashSet<&'a Bytes>,
    deletes: Intervals,
}

/// What a branch puts and deletes, or the error if that collides.
fn collect(ops: &[RequestOp]) -> Result<Touched<'_>, AdmissionError> {
    let mut touched = Touched::default();
    for op in ops {
        if let Some(Request::RequestDeleteRange(delete)) = &op.request {
            let end = if delete.range_end.is_empty() { successor(&delete.key) } else { delete.range_end.clone() };
            touched.deletes.insert(delete.key.clone(), end);
        }
    }
    for op in ops {
        let Some(Request::RequestTxn(nested)) = &op.request else { continue };
        let (success, failure) = (collect(&nested.success)?, collect(&nested.failure)?);
        for key in &success.puts {
            touched.put(key)?;
        }
        for key in &failure.puts {
            // Only one of the two branches runs, so both may put the same key.
            if !success.puts.contains(key) {
                touched.put(key)?;
            }
        }
        touched.deletes.extend(success.deletes);
        touched.deletes.extend(failure.deletes);
    }
    for op in ops {
        if let Some(Request::RequestPut(put)) = &op.request {
            touched.put(&put.key)?;
        }
    }
    Ok(touched)
}

impl<'a> Touched<'a> {
    fn put(&mut self, key: &'a Bytes) -> Result<(), AdmissionError> {
        if self.deletes.contains(key) || !self.puts.insert(key) {
            return Err(AdmissionError::DuplicateKey);
        }
        Ok(())
    }
}

fn successor(key: &Bytes) -> Bytes {
    let mut next = Vec::with_capacity(key.len() + 1);
    next.extend_from_slice(key);
    next.push(0);
    next.into()
}

/// A set of keys as disjoint intervals `[start, end)`. Merged, so that a request of many overlapping
/// deletes costs no more than its size.
#[derive(Default)]
struct Intervals(BTreeMap<Bytes, Bytes>);

impl Intervals {
    fn insert(&mut self, mut start: Bytes, mut end: Bytes) {
        if end <= start {
            return;
        }
        if let Some((before, before_end)) = self.0.range::<Bytes, _>(..=&start).next_back()
            && *before_end >= start
        {
            start = before.clone();
        }
        while let Some((next, next_end)) =
            self.0.range::<Bytes, _>((Bound::Included(&start), Bound::Included(&end))).next()
        {
            let next = next.clone();
            end = end.max(next_end.clone());
            self.0.remove(&next);
        }
        self.0.insert(start, end);
    }

    fn contains(&self, key: &Bytes) -> bool {
        self.0.range::<Bytes, _>(..=key).next_back().is_some_and(|(_, end)| key < end)
    }

    fn extend(&mut self, other: Intervals) {
        for (start, end) in other.0 {
            self.insert(start, end);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn merged_intervals_hold_what_the_single_ones_hold(
            intervals in prop::collection::vec((0..20_u8, 0..20_u8), 0..20),
        ) {
            let mut set = Intervals::default();
            for &(start, end) in &intervals {
                set.insert(Bytes::from(vec![start]), Bytes::from(vec![end]));
            }
            for key in 0..21_u8 {
                let expected = intervals.iter().any(|&(start, end)| start <= key && key < end);
                prop_assert_eq!(set.contains(&Bytes::from(vec![key])), expected);
            }
        }
    }
}

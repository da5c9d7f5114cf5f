//! Which leases are due, known to the leader only. Wall time never enters replicated state:
//! members learn that a lease ended from a `LeaseRevoke` command, which the leader proposes.

use crate::clock::Ticks;
use crate::types::LeaseId;
use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Times {
    deadline: Ticks,
    /// When to look at the lease: its deadline, or later if its revoke was handed out.
    look: Ticks,
    /// Counts schedulings: within a millisecond, what was scheduled earlier ends earlier.
    turn: u64,
}

/// Live leases by deadline. Does not know their keys.
#[derive(Debug, Default)]
pub struct ExpiryQueue {
    /// Invariant: exactly the `(look, lease)` pairs of `times_of`.
    by_look: BTreeSet<(Ticks, LeaseId)>,
    times_of: HashMap<LeaseId, Times>,
    turns: u64,
}

impl ExpiryQueue {
    /// Sets the deadline, on grant, on keep-alive and when a leader starts.
    pub fn schedule(&mut self, lease: LeaseId, deadline: Ticks) {
        self.turns += 1;
        self.set(lease, Times { deadline, look: deadline, turn: self.turns });
    }

    fn set(&mut self, lease: LeaseId, times: Times) {
        if let Some(earlier) = self.times_of.insert(lease, times) {
            self.by_look.remove(&(earlier.look, lease));
        }
        self.by_look.insert((times.look, lease));
    }

    /// None if the lease is not queued.
    pub fn deadline(&self, lease: LeaseId) -> Option<Ticks> {
        self.times_of.get(&lease).map(|times| times.deadline)
    }

    /// Sorts leases by when they end. None as [`Self::deadline`].
    pub fn place(&self, lease: LeaseId) -> Option<(Ticks, u64)> {
        self.times_of.get(&lease).map(|times| (times.deadline, times.turn))
    }

    /// Leases with a deadline at or before `now`, longest overdue first, at most `limit` (one round
    /// of proposals, bounded as in etcd's `server/lease/lessor.go`). They stay queued, since a
    /// proposal can be lost with the leadership, but are not named again before `retry_after` has passed.
    pub fn take_due(&mut self, now: Ticks, limit: usize, retry_after: Duration) -> Vec<LeaseId> {
        let overdue = self.by_look.iter().take_while(|(look, _)| *look <= now);
        let due: Vec<LeaseId> = overdue.take(limit).map(|&(_, lease)| lease).collect();
        for &lease in &due {
            if let Some(times) = self.times_of.get(&lease).copied() {
                self.set(lease, Times { look: now.saturating_add(retry_after), ..times });
            }
        }
        due
    }

    /// Drops the lease once its revoke is applied. False if it was not queued.
    pub fn forget(&mut self, lease: LeaseId) -> bool {
        let times = self.times_of.remove(&lease);
        times.is_some_and(|times| self.by_look.remove(&(times.look, lease)))
    }

    /// Ids and deadlines, in no order.
    pub fn deadlines(&self) -> impl Iterator<Item = (LeaseId, Ticks)> {
        self.times_of.iter().map(|(&lease, times)| (lease, times.deadline))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RETRY: Duration = Duration::from_millis(3);

    #[test]
    fn a_renewed_lease_is_not_due_at_its_first_deadline() {
        let (lease, mut queue) = (LeaseId(7), ExpiryQueue::default());
        queue.schedule(lease, Ticks(10));
        queue.schedule(lease, Ticks(19));
        assert!(queue.take_due(Ticks(18), 100, RETRY).is_empty());
        assert_eq!(queue.take_due(Ticks(19), 100, RETRY), [lease]);
    }

    #[test]
    fn a_due_lease_is_named_again_only_after_a_while() {
        let (lease, mut queue) = (LeaseId(7), ExpiryQueue::default());
        queue.schedule(lease, Ticks(10));
        assert_eq!(queue.take_due(Ticks(11), 100, RETRY), [lease]);
        assert!(queue.take_due(Ticks(13), 100, RETRY).is_empty());
        assert_eq!(queue.take_due(Ticks(14), 100, RETRY), [lease]);
        assert_eq!(queue.deadline(lease), Some(Ticks(10)), "the deadline itself stays");
        assert!(queue.forget(lease) && !queue.forget(lease));
        assert!(queue.take_due(Ticks(99), 100, RETRY).is_empty());
    }

    #[test]
    fn the_longest_overdue_comes_first_and_the_limit_holds() {
        let mut queue = ExpiryQueue::default();
        for (id, deadline) in [(1, 30), (2, 10), (3, 20)] {
            queue.schedule(LeaseId(id), Ticks(deadline));
        }
        assert_eq!(queue.take_due(Ticks(50), 2, RETRY), [LeaseId(2), LeaseId(3)]);
        assert_eq!(queue.take_due(Ticks(50), 2, RETRY), [LeaseId(1)]);
    }
}

//! The leases of a member, see the folder's page. One mutex, held for table look-ups only.

use super::{ExpiryQueue, LeaseError, LeaseRow, MAX_TTL_SECS, Metrics};
use crate::clock::Ticks;
use crate::defect::{self, Defect};
use crate::types::LeaseId;
use bytes::Bytes;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;

/// A due lease is not named again before this (etcd `defaultExpiredleaseRetryInterval`).
const REVOKE_RETRY: Duration = Duration::from_secs(3);

/// More leases than this within one second are spread when a leader starts, so that those which nobody
/// renews do not use up the rate of revokes (three quarters of etcd's 1000 a second).
const EXPIRIES_PER_SEC: usize = 750;

/// What all members know of a lease. Times in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    pub id: LeaseId,
    /// Granted, after the minimum was applied.
    pub ttl_secs: i64,
    /// Left at the last checkpoint; zero if there was none since the last renewal.
    pub remaining_ttl_secs: i64,
}

/// What a client may ask about a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseTime {
    pub granted_ttl_secs: i64,
    /// Whole seconds left, rounded down; zero if it is due.
    pub remaining_secs: i64,
    /// Attached keys, sorted; empty unless asked for.
    pub keys: Vec<Bytes>,
}

/// Ends when the lease is revoked or this member stops leading; then ask again. It ends with `Err` always,
/// since nothing is ever sent.
pub type RevokeWait = oneshot::Receiver<std::convert::Infallible>;

/// The answer to a keep-alive.
#[derive(Debug)]
pub enum Renewal {
    Renewed {
        ttl_secs: i64,
    },
    NotFound,
    /// Only the leader's lessor renews.
    NotPrimary,
    /// Due, so it will be revoked unless the leadership is lost first.
    Expired(RevokeWait),
    /// A checkpoint is recorded: propose one of zero seconds for this lease, then renew again. Otherwise the
    /// next leader would start from the recorded rest, though the client was promised the full time.
    Checkpointed,
}

/// When leases end is known to the leader's lessor only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the primary lessor")]
pub struct NotPrimary;

#[derive(Debug)]
struct Entry {
    lease: Lease,
    /// In no order: sorted where they are shown, which is rare.
    keys: HashSet<Bytes>,
    /// Keep-alives that wait for the revoke; dropping them ends the wait.
    waiting: Vec<oneshot::Sender<std::convert::Infallible>>,
}

impl Entry {
    fn new(lease: Lease) -> Self {
        Self { lease, keys: HashSet::new(), waiting: Vec::new() }
    }

    fn sorted_keys(&self) -> Vec<Bytes> {
        let mut keys: Vec<Bytes> = self.keys.iter().cloned().collect();
        keys.sort_unstable();
        keys
    }
}

#[derive(Debug, Default)]
struct Inner {
    leases: BTreeMap<LeaseId, Entry>,
    lease_of: HashMap<Bytes, LeaseId>,
    /// Present while this member leads.
    expiry: Option<ExpiryQueue>,
    /// Granted or reset since the leader's half was last called: apply knows no time, so they start then.
    unscheduled: Vec<LeaseId>,
}

#[derive(Debug)]
pub struct Lessor {
    inner: Mutex<Inner>,
    min_ttl_secs: i64,
    metrics: Metrics,
}

impl Lessor {
    /// Without leases. `min_ttl_secs` as from [`super::min_ttl_secs`].
    pub fn new(min_ttl_secs: i64, metrics: Metrics) -> Self {
        Self { inner: Mutex::default(), min_ttl_secs, metrics }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic ends the process, so a poisoned lock is never seen.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces everything by what a state file holds: its lease rows, and the live keys with a lease. Ends the
    /// leader's half. A key of a lease that is not there hangs on nothing, as in etcd.
    pub fn restore(
        &self,
        rows: impl IntoIterator<Item = LeaseRow>,
        attached: impl IntoIterator<Item = (Bytes, LeaseId)>,
    ) {
        let mut fresh = Inner::default();
        for row in rows {
            let id = LeaseId(row.id);
            let ttl_secs = row.ttl_secs.max(self.min_ttl_secs);
            let lease = Lease { id, ttl_secs, remaining_ttl_secs: row.remaining_ttl_secs };
            fresh.leases.insert(id, Entry::new(lease));
        }
        if !defect::on(Defect::LeaseKeysForgotten) {
            attached.into_iter().for_each(|(key, id)| fresh.attach(key, id));
        }
        *self.lock() = fresh;
    }

    // The replicated half: called by apply, in log order.

    /// Creates a lease of at least the shortest time to live; answers what was really granted.
    pub fn grant(&self, id: LeaseId, ttl_secs: i64) -> Result<Lease, LeaseError> {
        if id == LeaseId::NONE {
            return Err(LeaseError::NotFound);
        }
        if ttl_secs > MAX_TTL_SECS {
            return Err(LeaseError::TtlTooLarge);
        }
        let lease = Lease { id, ttl_secs: ttl_secs.max(self.min_ttl_secs), remaining_ttl_secs: 0 };
        let mut inner = self.lock();
        if inner.leases.contains_key(&id) {
            return Err(LeaseError::Exists);
        }
        inner.leases.insert(id, Entry::new(lease));
        if inner.expiry.is_some() {
            inner.unscheduled.push(id);
        }
        drop(inner);
        self.metrics.granted.inc();
        self.metrics.ttl_secs.observe(lease.ttl_secs as f64);
        Ok(lease)
    }

    /// Ends a lease and answers the keys to delete, sorted.
    pub fn revoke(&self, id: LeaseId) -> Result<Vec<Bytes>, LeaseError> {
        let mut inner = self.lock();
        let entry = inner.leases.remove(&id).ok_or(LeaseError::NotFound)?;
        for key in &entry.keys {
            inner.lease_of.remove(key);
        }
        if let Some(expiry) = &mut inner.expiry {
            expiry.forget(id);
        }
        drop(inner);
        self.metrics.revoked.inc();
        let mut keys: Vec<Bytes> = entry.keys.into_iter().collect();
        keys.sort_unstable();
        Ok(keys)
    }

    /// Records what is left of a lease. None if there is no such lease, which is not an error.
    pub fn checkpoint(&self, id: LeaseId, remaining_ttl_secs: i64) -> Option<Lease> {
        let mut inner = self.lock();
        let entry = inner.leases.get_mut(&id)?;
        entry.lease.remaining_ttl_secs = remaining_ttl_secs;
        let lease = entry.lease;
        if remaining_ttl_secs == 0 && inner.expiry.is_some() {
            // An earlier leader renewed it, and this one may have started from the checkpoint before.
            inner.unscheduled.push(id);
        }
        Some(lease)
    }

    /// Follows the changes of one revision: a put hangs its key on its lease and on no other, [`LeaseId::NONE`]
    /// and a delete on none.
    pub fn follow<'a>(&self, changes: impl IntoIterator<Item = (&'a Bytes, LeaseId)>) {
        let mut inner = self.lock();
        for (key, id) in changes {
            if inner.lease_of.get(key).is_some_and(|&held_by| held_by != id) {
                inner.detach(key);
            }
            if id != LeaseId::NONE {
                // A copy: the key of an event is a slice of its whole log entry, which must not live as long.
                inner.attach(Bytes::copy_from_slice(key), id);
            }
        }
    }

    pub fn exists(&self, id: LeaseId) -> bool {
        self.lock().leases.contains_key(&id)
    }

    pub fn lease_of(&self, key: &[u8]) -> LeaseId {
        self.lock().lease_of.get(key).copied().unwrap_or(LeaseId::NONE)
    }

    // The leader's half. `now` never goes back.

    /// This member leads and has applied everything of earlier terms: every lease starts anew, from its full
    /// time to live or its checkpoint, plus `extend` (the election in which nobody could renew).
    pub fn promote(&self, now: Ticks, extend: Duration) {
        let mut inner = self.lock();
        let mut deadlines: Vec<(Ticks, LeaseId)> = Vec::with_capacity(inner.leases.len());
        for entry in inner.leases.values() {
            deadlines.push((now.saturating_add(rest_of(&entry.lease)).saturating_add(extend), entry.lease.id));
        }
        spread(&mut deadlines);
        let mut expiry = ExpiryQueue::default();
        for (deadline, id) in deadlines {
            expiry.schedule(id, deadline);
        }
        inner.unscheduled.clear();
        inner.expiry = Some(expiry);
    }

    /// This member no longer leads. Keep-alives that wait are sent on to the new leader.
    pub fn demote(&self) {
        let mut inner = self.lock();
        inner.expiry = None;
        inner.unscheduled.clear();
        for entry in inner.leases.values_mut() {
            entry.waiting.clear();
        }
    }

    pub fn is_primary(&self) -> bool {
        self.lock().expiry.is_some()
    }

    /// Starts the time of leases granted since the last call. Every call of this half does it; call it after an
    /// apply batch, lest a lease lives longer by the pause between two calls.
    pub fn schedule_granted(&self, now: Ticks) {
        self.lock().schedule_granted(now);
    }

    /// A keep-alive. On success the lease has its full time to live from `now`.
    pub fn renew(&self, id: LeaseId, now: Ticks) -> Renewal {
        let mut inner = self.lock();
        inner.schedule_granted(now);
        let Inner { leases, expiry, .. } = &mut *inner;
        let Some(expiry) = expiry else { return Renewal::NotPrimary };
        let Some(entry) = leases.get_mut(&id) else { return Renewal::NotFound };
        if expiry.deadline(id).is_some_and(|deadline| deadline <= now) {
            let (sender, wait) = oneshot::channel();
            entry.waiting.retain(|waiting| !waiting.is_closed());
            entry.waiting.push(sender);
            return Renewal::Expired(wait);
        }
        if entry.lease.remaining_ttl_secs > 0 {
            return Renewal::Checkpointed;
        }
        expiry.schedule(id, now.saturating_add(rest_of(&entry.lease)));
        let ttl_secs = entry.lease.ttl_secs;
        drop(inner);
        self.metrics.renewed.inc();
        Renewal::Renewed { ttl_secs }
    }

    /// Leases to revoke, at most `limit`, longest overdue first. One that is not revoked within three seconds is
    /// named again. Empty unless this member leads.
    pub fn due(&self, now: Ticks, limit: usize) -> Vec<LeaseId> {
        let mut inner = self.lock();
        inner.schedule_granted(now);
        inner.expiry.as_mut().map_or_else(Vec::new, |expiry| expiry.take_due(now, limit, REVOKE_RETRY))
    }

    /// Checkpoints worth recording: what is left of leases that live longer than `interval`, at most `limit`.
    pub fn checkpoints(&self, now: Ticks, interval: Duration, limit: usize) -> Vec<Lease> {
        let mut inner = self.lock();
        inner.schedule_granted(now);
        let Inner { leases, expiry, .. } = &*inner;
        let Some(expiry) = expiry else { return Vec::new() };
        let interval_secs = i64::try_from(interval.as_secs()).unwrap_or(i64::MAX);
        let worth = leases.values().map(|entry| entry.lease).filter_map(|lease| {
            let left = expiry.deadline(lease.id)?.since(now);
            let left_secs = i64::try_from(left.as_millis().div_ceil(1000)).unwrap_or(i64::MAX);
            let recorded = if lease.remaining_ttl_secs > 0 { lease.remaining_ttl_secs } else { lease.ttl_secs };
            let is_worth = left_secs > 0 && recorded > interval_secs && recorded - left_secs >= interval_secs;
            is_worth.then_some(Lease { remaining_ttl_secs: left_secs, ..lease })
        });
        worth.take(limit).collect()
    }

    /// What is left of a lease. None if there is no such lease.
    pub fn time_to_live(&self, id: LeaseId, now: Ticks, with_keys: bool) -> Result<Option<LeaseTime>, NotPrimary> {
        let mut inner = self.lock();
        inner.schedule_granted(now);
        let Some(expiry) = &inner.expiry else { return Err(NotPrimary) };
        let (Some(deadline), Some(entry)) = (expiry.deadline(id), inner.leases.get(&id)) else { return Ok(None) };
        let remaining_secs = i64::try_from(deadline.since(now).as_secs()).unwrap_or(i64::MAX);
        let keys = if with_keys { entry.sorted_keys() } else { Vec::new() };
        Ok(Some(LeaseTime { granted_ttl_secs: entry.lease.ttl_secs, remaining_secs, keys }))
    }

    /// All leases, next to end first; by id where no time is known, as on a follower.
    pub fn ids(&self) -> Vec<LeaseId> {
        let inner = self.lock();
        let place = |id| inner.expiry.as_ref().and_then(|expiry| expiry.place(id)).unwrap_or((Ticks(u64::MAX), 0));
        let mut ids: Vec<((Ticks, u64), LeaseId)> = inner.leases.keys().map(|&id| (place(id), id)).collect();
        ids.sort_unstable();
        ids.into_iter().map(|(_, id)| id).collect()
    }

    /// The attached keys, sorted, as this member knows them. None if there is no such lease.
    pub fn keys(&self, id: LeaseId) -> Option<Vec<Bytes>> {
        self.lock().leases.get(&id).map(Entry::sorted_keys)
    }

    /// Counts leases whose revoke, proposed because they were due, was applied.
    pub fn count_expired(&self, leases: u64) {
        self.metrics.expired.inc_by(leases);
    }
}

impl Inner {
    fn attach(&mut self, key: Bytes, id: LeaseId) {
        if let Some(entry) = self.leases.get_mut(&id) {
            entry.keys.insert(key.clone());
            self.lease_of.insert(key, id);
        }
    }

    fn detach(&mut self, key: &Bytes) {
        let Some(id) = self.lease_of.remove(key) else { return };
        if let Some(entry) = self.leases.get_mut(&id) {
            entry.keys.remove(key);
        }
    }

    fn schedule_granted(&mut self, now: Ticks) {
        let Some(expiry) = &mut self.expiry else { return };
        for id in self.unscheduled.drain(..) {
            // Revoked in between: nothing to schedule.
            let Some(entry) = self.leases.get(&id) else { continue };
            let deadline = now.saturating_add(rest_of(&entry.lease));
            // Never downward, and never back to life: the revoke of a lease that is due may be on its way.
            if expiry.deadline(id).is_none_or(|earlier| now < earlier && earlier < deadline) {
                expiry.schedule(id, deadline);
            }
        }
    }
}

/// From where a leader starts: the checkpoint if there is one.
fn rest_of(lease: &Lease) -> Duration {
    let secs = if lease.remaining_ttl_secs > 0 { lease.remaining_ttl_secs } else { lease.ttl_secs };
    Duration::from_secs(u64::try_from(secs).unwrap_or(0))
}

/// Sorts the deadlines and moves some back, so that no second holds more than [`EXPIRIES_PER_SEC`].
fn spread(deadlines: &mut [(Ticks, LeaseId)]) {
    deadlines.sort_unstable();
    for at in EXPIRIES_PER_SEC..deadlines.len() {
        let earliest = deadlines[at - EXPIRIES_PER_SEC].0.saturating_add(Duration::from_secs(1));
        deadlines[at].0 = deadlines[at].0.max(earliest);
    }
}

#[cfg(test)]
#[path = "lessor_tests.rs"]
mod tests;

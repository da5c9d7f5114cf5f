//! Whether leases lived long enough: once a grant or renewal was acknowledged, nothing that its time keeps
//! alive may end before that time has passed since the request was *sent*; and no renewal may succeed once
//! the end was visible. Both follow from one rule, since the lease can only have been renewed later than the
//! request was sent, and can only have ended earlier than the end was seen.

use super::{Faults, Truth};
use crate::history::{Action, Operation, Outcome, Reply};
use crate::proto::mvccpb::event::EventType;
use std::collections::{HashMap, HashSet};
use std::time::Duration;

/// `seen_at` is when any watcher first received the events of a revision.
pub fn check(operations: &[Operation], truth: &Truth, seen_at: &HashMap<i64, Duration>) -> Faults {
    let mut faults = Faults::new();
    // Ends by request of a client are not the server's judgement.
    let asked = |action: &Action| match action {
        Action::Revoke { lease } => Some(*lease),
        _ => None,
    };
    let revoked: HashSet<i64> = operations.iter().filter_map(|operation| asked(&operation.action)).collect();
    let deleted: HashSet<i64> =
        operations.iter().filter(|operation| operation.wrote()).filter_map(deleted_at).collect();
    let lost: HashSet<&[u8]> = operations.iter().filter_map(lost_delete).collect();
    for (revision, events) in truth.events() {
        for event in events.iter().filter(|event| event.r#type() == EventType::Delete) {
            let Some(key) = event.kv.as_ref().map(|kv| &kv.key) else { continue };
            let lease = truth.get(key, revision - 1).map_or(0, |kv| kv.lease);
            let by_client = deleted.contains(&revision) || lost.contains(&key[..]) || revoked.contains(&lease);
            let Some(seen) = seen_at.get(&revision).filter(|_| lease != 0 && !by_client) else { continue };
            for operation in operations.iter().filter(|operation| kept_until(operation, lease) > Some(*seen)) {
                let name = String::from_utf8_lossy(key);
                faults.push(format!(
                    "lease {lease} of {name} ended at {revision}, seen at {seen:?}, too early for {operation:?}"
                ));
            }
        }
    }
    faults
}

fn deleted_at(operation: &Operation) -> Option<i64> {
    if matches!(operation.action, Action::Delete { .. }) { operation.revision() } else { None }
}

fn lost_delete(operation: &Operation) -> Option<&[u8]> {
    match (&operation.action, &operation.outcome) {
        (Action::Delete { key }, Outcome::Unknown(_)) => Some(key),
        _ => None,
    }
}

/// Until when this operation surely keeps the lease alive.
fn kept_until(operation: &Operation, wanted: i64) -> Option<Duration> {
    match (&operation.action, &operation.outcome) {
        (Action::Grant { lease, .. } | Action::KeepAlive { lease }, Outcome::Done(Reply::Leased { ttl_secs }))
            if *lease == wanted && *ttl_secs > 0 =>
        {
            Some(operation.invoked + Duration::from_secs(ttl_secs.unsigned_abs()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::truth::tests::{delete, put};
    use super::*;

    const LEASE: i64 = 7;

    fn truth() -> Truth {
        let mut attached = put("a", "1", 2, 2, 1);
        attached.kv.as_mut().expect("a key").lease = LEASE;
        Truth::replay(&[attached, delete("a", 3)]).0
    }

    fn leased(action: Action, at_secs: u64, ttl_secs: i64) -> Operation {
        let (invoked, returned) = (Duration::from_secs(at_secs), Duration::from_secs(at_secs + 1));
        let outcome = Outcome::Done(Reply::Leased { ttl_secs });
        Operation { client: 0, member: 0, invoked, returned, action, outcome }
    }

    fn faults(operations: &[Operation], seen_secs: u64) -> usize {
        check(operations, &truth(), &HashMap::from([(3, Duration::from_secs(seen_secs))])).len()
    }

    #[test]
    fn a_lease_that_ran_out_passes_and_an_early_end_is_found() {
        let grant = [leased(Action::Grant { lease: LEASE, ttl_secs: 10 }, 5, 10)];
        assert_eq!(faults(&grant, 15), 0);
        assert_eq!(faults(&grant, 14), 1);
    }

    #[test]
    fn the_last_renewal_counts() {
        let grant = leased(Action::Grant { lease: LEASE, ttl_secs: 10 }, 0, 10);
        let renewal = leased(Action::KeepAlive { lease: LEASE }, 8, 10);
        let late = leased(Action::KeepAlive { lease: LEASE }, 17, 0);
        assert_eq!(faults(&[grant.clone(), renewal.clone(), late.clone()], 18), 0);
        assert_eq!(faults(&[grant, renewal, late], 12), 1);
    }

    #[test]
    fn a_renewal_after_the_end_was_seen_is_found() {
        let grant = leased(Action::Grant { lease: LEASE, ttl_secs: 10 }, 0, 10);
        let renewal = leased(Action::KeepAlive { lease: LEASE }, 21, 10);
        assert_eq!(faults(&[grant, renewal], 20), 1);
    }

    #[test]
    fn an_end_by_request_is_no_fault() {
        let grant = leased(Action::Grant { lease: LEASE, ttl_secs: 10 }, 0, 10);
        let mut revoke = leased(Action::Revoke { lease: LEASE }, 1, 0);
        revoke.outcome = Outcome::Unknown("lost".to_owned());
        assert_eq!(faults(&[grant, revoke], 2), 0);
    }
}

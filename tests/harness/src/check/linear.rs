//! Whether what clients heard is linearizable. etcd's answers carry revisions, so all writes are ordered
//! already and no search is needed: every answer must fit the truth at its revision, every write of the
//! truth must have been asked for once, and real time must agree with the revisions. Serializable reads
//! may be old, but not from the future and not from no state at all.

use super::{Faults, Truth};
use crate::history::{Action, Operation, Outcome, Reply};
use crate::proto::mvccpb::event::EventType;
use crate::proto::mvccpb::{Event, KeyValue};
use bytes::Bytes;
use std::collections::{HashMap, HashSet};
use std::time::Duration;

/// Judges a history against the truth.
pub fn check(operations: &[Operation], truth: &Truth) -> Faults {
    let mut faults = Faults::new();
    for operation in operations {
        if let Outcome::Done(reply) = &operation.outcome
            && let Some(fault) = answer_fault(operation, reply, truth)
        {
            faults.push(format!("{fault}: {operation:?}"));
        }
    }
    let placed = place_writes(operations, truth, &mut faults);
    check_real_time(operations, &placed, &mut faults);
    faults
}

/// What is wrong with one answer, given the truth.
fn answer_fault(operation: &Operation, reply: &Reply, truth: &Truth) -> Option<&'static str> {
    match (&operation.action, reply) {
        (Action::Put { keys, value, lease }, Reply::Written { revision, .. }) => {
            let made = truth.at(*revision);
            let all = keys.iter().all(|key| made.iter().any(|event| is_put(event, key, value, *lease)));
            (!all || made.len() != keys.len()).then_some("an acknowledged put is not in the history")
        }
        (Action::Delete { key }, Reply::Written { revision, deleted: 0 }) => {
            truth.get(key, *revision).map(|_| "a delete that deleted nothing, of a key that is there")
        }
        (Action::Delete { key }, Reply::Written { revision, deleted }) => match truth.at(*revision) {
            [event] if *deleted == 1 && is_delete(event, key) => None,
            _ => Some("an acknowledged delete is not in the history"),
        },
        (Action::Swap { key, expected, value }, Reply::Swapped { revision, succeeded: true, .. }) => {
            let before = truth.get(key, revision - 1).map_or(0, |kv| kv.mod_revision);
            match truth.at(*revision) {
                [event] if is_put(event, key, value, 0) && before == *expected => None,
                _ => Some("an acknowledged compare-and-put is not in the history, or its compare was false"),
            }
        }
        (Action::Swap { key, expected, .. }, Reply::Swapped { revision, succeeded: false, seen }) => {
            let there = truth.get(key, *revision);
            if there.map_or(0, |kv| kv.mod_revision) == *expected {
                return Some("a compare failed that was true");
            }
            let same = seen.iter().eq(there);
            (!same).then_some("the else branch read something that was not there")
        }
        (Action::Read { key, range_end, .. }, Reply::Read { revision, kvs, count }) => {
            let there = truth.range(key, range_end, *revision);
            let same = kvs.iter().eq(there.iter().copied()) && *count == there.len() as i64;
            (!same).then_some("a read does not show the state at its revision")
        }
        (Action::Grant { .. } | Action::KeepAlive { .. }, Reply::Leased { .. })
        | (Action::Revoke { .. }, Reply::Written { .. }) => None,
        _ => Some("an answer of the wrong kind"),
    }
}

fn is_put(event: &Event, key: &Bytes, value: &Bytes, lease: i64) -> bool {
    let matches = |kv: &KeyValue| kv.key == *key && kv.value == *value && kv.lease == lease;
    event.r#type() == EventType::Put && event.kv.as_ref().is_some_and(matches)
}

fn is_delete(event: &Event, key: &Bytes) -> bool {
    event.r#type() == EventType::Delete && event.kv.as_ref().is_some_and(|kv| kv.key == *key)
}

/// Finds the revision of each write, also of those without an answer; index of operation to revision.
fn place_writes(operations: &[Operation], truth: &Truth, faults: &mut Faults) -> HashMap<usize, i64> {
    let mut by_value: HashMap<&Bytes, usize> = HashMap::new();
    let mut lost_deletes: HashSet<&Bytes> = HashSet::new();
    let mut acked_deletes: HashSet<(i64, &Bytes)> = HashSet::new();
    for (index, operation) in operations.iter().enumerate() {
        match (&operation.action, &operation.outcome) {
            (Action::Put { value, .. } | Action::Swap { value, .. }, _) => {
                by_value.insert(value, index);
            }
            (Action::Delete { key }, Outcome::Unknown(_)) => {
                lost_deletes.insert(key);
            }
            (Action::Delete { key }, Outcome::Done(Reply::Written { revision, deleted })) if *deleted > 0 => {
                acked_deletes.insert((*revision, key));
            }
            _ => {}
        }
    }
    let mut placed: HashMap<usize, i64> = HashMap::new();
    for (revision, events) in truth.events() {
        for event in events {
            let Some(kv) = &event.kv else { continue };
            let name = String::from_utf8_lossy(&kv.key);
            if event.r#type() == EventType::Delete {
                let had_lease = truth.get(&kv.key, revision - 1).is_some_and(|kv| kv.lease != 0);
                if !acked_deletes.contains(&(revision, &kv.key)) && !lost_deletes.contains(&kv.key) && !had_lease {
                    faults.push(format!("nobody asked for the delete of {name} at {revision}"));
                }
                continue;
            }
            let Some(&index) = by_value.get(&kv.value) else {
                faults.push(format!("nobody asked for the put of {name} at {revision}"));
                continue;
            };
            let operation = &operations[index];
            match &operation.outcome {
                Outcome::Refused(_) => faults.push(format!("a refused write happened at {revision}: {operation:?}")),
                Outcome::Done(Reply::Swapped { succeeded: false, .. }) => {
                    faults.push(format!("a failed compare wrote at {revision}: {operation:?}"));
                }
                Outcome::Done(_) | Outcome::Unknown(_) => {}
            }
            if placed.insert(index, revision).is_some_and(|before| before != revision) {
                faults.push(format!("a write happened twice, the second time at {revision}: {operation:?}"));
            }
        }
    }
    for (index, operation) in operations.iter().enumerate() {
        if operation.wrote() {
            placed.insert(index, operation.revision().unwrap_or_default());
        }
    }
    placed
}

/// If A returned before B was invoked, B's revision is not below A's, and above it if B wrote.
fn check_real_time(operations: &[Operation], placed: &HashMap<usize, i64>, faults: &mut Faults) {
    /// Of two at the same moment the invocation comes first: a tie only forgives.
    #[derive(PartialEq, Eq, PartialOrd, Ord)]
    enum Edge {
        Invoked(usize),
        Returned(usize),
    }
    let mut edges: Vec<(Duration, Edge)> = Vec::new();
    for (index, operation) in operations.iter().enumerate() {
        edges.push((operation.invoked, Edge::Invoked(index)));
        if operation.revision().is_some() {
            edges.push((operation.returned, Edge::Returned(index)));
        }
    }
    edges.sort_unstable();
    let mut highest_returned = (0, None);
    for (_, edge) in edges {
        match edge {
            Edge::Returned(index) => {
                let revision = operations[index].revision().unwrap_or_default();
                if revision > highest_returned.0 {
                    highest_returned = (revision, Some(index));
                }
            }
            Edge::Invoked(index) => {
                let operation = &operations[index];
                let fits = match (placed.get(&index), operation.revision()) {
                    (Some(&revision), _) => revision > highest_returned.0,
                    (None, Some(_)) if is_serializable(operation) => true,
                    (None, Some(revision)) => revision >= highest_returned.0,
                    (None, None) => true,
                };
                if !fits {
                    let before = highest_returned.1.map(|index| &operations[index]);
                    let revision = placed.get(&index).copied().or(operation.revision());
                    faults.push(format!("went back in time to {revision:?}: {operation:?} began after {before:?}"));
                }
            }
        }
    }
}

fn is_serializable(operation: &Operation) -> bool {
    matches!(operation.action, Action::Read { serializable: true, .. })
}

#[cfg(test)]
mod tests {
    use super::super::truth::tests::good;
    use super::*;

    /// An operation between two times in milliseconds.
    fn operation(from: u64, to: u64, action: Action, outcome: Outcome) -> Operation {
        let (invoked, returned) = (Duration::from_millis(from), Duration::from_millis(to));
        Operation { client: 0, member: 0, invoked, returned, action, outcome }
    }

    fn put(keys: &[&'static str], value: &'static str) -> Action {
        let keys = keys.iter().map(|key| Bytes::from_static(key.as_bytes())).collect();
        Action::Put { keys, value: Bytes::from_static(value.as_bytes()), lease: 0 }
    }

    fn read(serializable: bool) -> Action {
        Action::Read { key: "a".into(), range_end: Bytes::new(), serializable }
    }

    fn written(revision: i64, deleted: i64) -> Outcome {
        Outcome::Done(Reply::Written { revision, deleted })
    }

    fn saw(truth: &Truth, state: i64, revision: i64) -> Outcome {
        let kvs: Vec<KeyValue> = truth.get(b"a", state).into_iter().cloned().collect();
        Outcome::Done(Reply::Read { revision, count: kvs.len() as i64, kvs })
    }

    fn truth() -> Truth {
        Truth::replay(&good()).0
    }

    /// A history that fits the truth of `good()`; the put at 3 was never answered.
    fn fitting() -> Vec<Operation> {
        let truth = truth();
        vec![
            operation(0, 10, put(&["a"], "1"), written(2, 0)),
            operation(11, 20, put(&["b"], "2"), Outcome::Unknown("lost".to_owned())),
            operation(
                30,
                40,
                Action::Swap { key: "a".into(), expected: 2, value: "3".into() },
                Outcome::Done(Reply::Swapped { revision: 4, succeeded: true, seen: vec![] }),
            ),
            operation(41, 45, read(false), saw(&truth, 4, 4)),
            operation(50, 60, Action::Delete { key: "a".into() }, written(5, 1)),
            operation(61, 65, Action::Delete { key: "a".into() }, written(5, 0)),
            operation(66, 67, read(true), saw(&truth, 3, 3)),
            operation(70, 80, put(&["a", "b"], "4"), written(6, 0)),
            operation(
                81,
                85,
                Action::Swap { key: "a".into(), expected: 0, value: "9".into() },
                Outcome::Done(Reply::Swapped {
                    revision: 6,
                    succeeded: false,
                    seen: truth.get(b"a", 6).into_iter().cloned().collect(),
                }),
            ),
        ]
    }

    #[track_caller]
    fn must_find(operations: &[Operation], text: &str) {
        let faults = check(operations, &truth());
        assert!(faults.iter().any(|fault| fault.contains(text)), "wanted {text:?} among {faults:?}");
    }

    #[test]
    fn a_history_that_fits_passes() {
        assert_eq!(check(&fitting(), &truth()), Faults::new());
    }

    #[test]
    fn a_lost_put_is_found() {
        let mut history = fitting();
        history.push(operation(90, 95, put(&["a"], "7"), written(7, 0)));
        must_find(&history, "an acknowledged put is not in the history");
    }

    #[test]
    fn a_put_under_another_revision_is_found() {
        let mut history = fitting();
        history[0].outcome = written(3, 0);
        must_find(&history, "an acknowledged put is not in the history");
    }

    #[test]
    fn half_a_transaction_is_found() {
        let mut history = fitting();
        history[7].action = put(&["a"], "4");
        must_find(&history, "an acknowledged put is not in the history");
    }

    #[test]
    fn a_stale_linearizable_read_is_found() {
        let mut history = fitting();
        history[3].outcome = saw(&truth(), 2, 2);
        must_find(&history, "went back in time");
    }

    #[test]
    fn a_read_of_another_state_is_found() {
        let mut history = fitting();
        history[3].outcome = saw(&truth(), 2, 4);
        must_find(&history, "a read does not show the state");
        history[3].outcome = saw(&truth(), 4, 4);
        history[6].outcome = saw(&truth(), 5, 3);
        must_find(&history, "a read does not show the state");
    }

    #[test]
    fn a_read_from_the_future_is_found() {
        let mut history = fitting();
        history[6].outcome = saw(&truth(), 6, 6);
        must_find(&history, "went back in time");
    }

    #[test]
    fn a_delete_that_overlooked_the_key_is_found() {
        let mut history = fitting();
        history[5].outcome = written(6, 0);
        must_find(&history, "a delete that deleted nothing");
    }

    #[test]
    fn a_compare_that_was_false_is_found() {
        let mut history = fitting();
        history[2].action = Action::Swap { key: "a".into(), expected: 3, value: "3".into() };
        must_find(&history, "its compare was false");
        let mut history = fitting();
        history[8].action = Action::Swap { key: "a".into(), expected: 6, value: "9".into() };
        must_find(&history, "a compare failed that was true");
    }

    #[test]
    fn a_write_that_nobody_asked_for_is_found() {
        let mut history = fitting();
        history.remove(1);
        must_find(&history, "nobody asked for the put");
        let mut history = fitting();
        history.remove(4);
        must_find(&history, "nobody asked for the delete");
    }

    #[test]
    fn a_refused_write_that_happened_is_found() {
        let mut history = fitting();
        history[1].outcome = Outcome::Refused("no".to_owned());
        must_find(&history, "a refused write happened");
    }

    #[test]
    fn an_unanswered_write_from_before_its_invocation_is_found() {
        let mut history = fitting();
        (history[1].invoked, history[1].returned) = (Duration::from_millis(95), Duration::from_millis(99));
        must_find(&history, "went back in time");
    }

    #[test]
    fn a_write_that_happened_twice_is_found() {
        let mut events = good();
        events.push(super::super::truth::tests::put("a", "1", 6, 7, 2));
        let faults = check(&fitting(), &Truth::replay(&events).0);
        assert!(faults.iter().any(|fault| fault.contains("twice")), "{faults:?}");
    }
}

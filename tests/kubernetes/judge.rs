//! Compares what API servers did and were told with the chronicle.

use crate::record::{Records, Write};
use crate::storage::{COMPACT_KEY, Expected, Outcome, PAGE};
use bytes::Bytes;
use keelstone_harness::check::{Faults, Truth, watch};
use keelstone_harness::prefix_end;
use keelstone_harness::proto::mvccpb::event::EventType;
use keelstone_harness::proto::mvccpb::{Event, KeyValue};
use std::collections::HashMap;
use std::time::Duration;
use tokio::time::Instant;

/// What is wrong, in words. `arrivals` says when the chronicle first heard of each revision.
pub fn check(records: &Records, truth: &Truth, arrivals: &HashMap<i64, Instant>, compacted: i64) -> Faults {
    let mut faults = Faults::new();
    for write in &records.writes {
        faults.extend(judge_write(write, truth));
    }
    faults.extend(judge_history(records, truth, arrivals));
    for list in &records.lists {
        let there = truth.range(list.prefix.as_bytes(), &prefix_end(list.prefix.as_bytes()), list.pages.revision);
        if !list.pages.kvs.iter().eq(there.iter().copied()) {
            faults.push(format!("a list of {} at {} is not what was there", list.prefix, list.pages.revision));
        }
        let mut left = there.len() as i64;
        for (page, count) in list.pages.counts.iter().enumerate() {
            if *count != left {
                faults.push(format!("page {page} of {} says that {count} keys are left, not {left}", list.prefix));
            }
            left -= PAGE;
        }
    }
    for sight in &records.sights {
        let there = truth.range(sight.prefix.as_bytes(), &prefix_end(sight.prefix.as_bytes()), sight.revision);
        let there = there.into_iter().map(|kv| (&kv.key, &kv.mod_revision));
        if !sight.held.iter().eq(there) {
            faults.push(format!("a cache of {} at {} does not hold what was there", sight.prefix, sight.revision));
        }
    }
    for followed in &records.followed {
        faults.extend(watch::check(&followed.watched, truth, followed.until, compacted));
    }
    faults.extend(judge_order(records));
    faults
}

fn as_expected(before: Option<&KeyValue>, expected: Expected) -> bool {
    match expected {
        Expected::ModRevision(at) => before.map_or(0, |kv| kv.mod_revision) == at,
        Expected::Version(count) => before.map_or(0, |kv| kv.version) == count,
    }
}

fn is_its_event(event: &Event, write: &Write) -> bool {
    let Some(kv) = &event.kv else { return false };
    kv.key == write.key
        && match &write.value {
            Some(value) => event.r#type() == EventType::Put && kv.value == *value,
            None => event.r#type() == EventType::Delete,
        }
}

/// An acknowledged write stands where it was said to, behind what it had to find; a refused one met something else.
fn judge_write(write: &Write, truth: &Truth) -> Option<String> {
    match &write.outcome {
        Outcome::Unknown => None,
        Outcome::Written { revision } => {
            let [event] = truth.at(*revision) else {
                return Some(format!("an acknowledged write is lost: {write:?}"));
            };
            let before = truth.get(&write.key, revision - 1);
            let stands = is_its_event(event, write) && as_expected(before, write.expected);
            (!stands).then(|| format!("{write:?} stands as {event:?} behind {before:?}"))
        }
        Outcome::Differed { revision, seen } => {
            let there = truth.get(&write.key, *revision);
            let is_right = there == seen.as_ref() && !as_expected(there, write.expected);
            (!is_right).then(|| format!("{write:?} was refused where {there:?} was"))
        }
    }
}

/// Everything that happened was asked for, once, and where it was to happen; a key goes by itself only when its lease ends.
fn judge_history(records: &Records, truth: &Truth, arrivals: &HashMap<i64, Instant>) -> Faults {
    let mut faults = Faults::new();
    let of_value: HashMap<&Bytes, &Write> =
        records.writes.iter().filter_map(|write| Some((write.value.as_ref()?, write))).collect();
    let mut deletes: HashMap<(&Bytes, i64), Vec<&Write>> = HashMap::new();
    for write in records.writes.iter().filter(|write| write.value.is_none()) {
        let Expected::ModRevision(at) = write.expected else { continue };
        deletes.entry((&write.key, at)).or_default().push(write);
    }
    let mut happened: HashMap<&Bytes, i64> = HashMap::new();
    for (revision, events) in truth.events() {
        for event in events {
            let Some(kv) = event.kv.as_ref().filter(|kv| kv.key != COMPACT_KEY.as_bytes()) else { continue };
            let before = truth.get(&kv.key, revision - 1);
            if event.r#type() == EventType::Put {
                if let Some(first) = happened.insert(&kv.value, revision) {
                    faults.push(format!("a write happened at {first} and again at {revision}: {kv:?}"));
                }
                let asked = of_value.get(&kv.value).filter(|write| write.key == kv.key);
                if !asked.is_some_and(|write| as_expected(before, write.expected)) {
                    faults.push(format!("nobody asked for this at {revision}: {kv:?} behind {before:?}"));
                }
                continue;
            }
            let Some(before) = before else { continue };
            let asked = deletes.get(&(&kv.key, before.mod_revision)).is_some_and(|writes| {
                let possible = |write: &&Write| match write.outcome {
                    Outcome::Written { revision: at } => at == revision,
                    Outcome::Unknown => true,
                    Outcome::Differed { .. } => false,
                };
                writes.iter().any(possible)
            });
            let lease = records.leases.get(&before.lease);
            let ended = lease.is_some_and(|lease| {
                arrivals.get(&revision).is_some_and(|at| *at >= lease.invoked + Duration::from_secs(lease.ttl_secs))
            });
            if !asked && !ended {
                faults.push(format!(
                    "{before:?} went at {revision}, and neither was that asked for nor has its lease ended"
                ));
            }
        }
    }
    faults
}

/// Whoever asks after an answer has come is told of no earlier state.
fn judge_order(records: &Records) -> Faults {
    let writes = records.writes.iter().filter_map(|write| match write.outcome {
        Outcome::Written { revision } | Outcome::Differed { revision, .. } => {
            Some((write.invoked, write.returned, revision))
        }
        Outcome::Unknown => None,
    });
    let lists =
        records.lists.iter().filter(|list| list.is_new).map(|list| (list.invoked, list.returned, list.pages.revision));
    let sights = records.sights.iter().map(|sight| (sight.invoked, sight.returned, sight.revision));
    let told: Vec<(Instant, Instant, i64)> = writes.chain(lists).chain(sights).collect();
    let (mut by_start, mut by_end) = (told.clone(), told);
    by_start.sort_unstable_by_key(|(invoked, ..)| *invoked);
    by_end.sort_unstable_by_key(|(_, returned, _)| *returned);
    let (mut ended, mut newest, mut faults) = (by_end.iter().peekable(), 0, Faults::new());
    for (invoked, _, revision) in &by_start {
        while let Some((_, _, before)) = ended.next_if(|(_, returned, _)| returned < invoked) {
            newest = newest.max(*before);
        }
        if *revision < newest {
            faults.push(format!("revision {revision} was told after {newest} had been"));
        }
    }
    faults
}

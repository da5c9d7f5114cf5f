//! The full history of a store and the states it implies, replayed by etcd's rules without etcd's code.

use super::Faults;
use crate::proto::mvccpb::event::EventType;
use crate::proto::mvccpb::{Event, KeyValue};
use bytes::Bytes;
use std::collections::BTreeMap;

/// All events by revision, and each key's versions.
#[derive(Debug, Clone, Default)]
pub struct Truth {
    revisions: BTreeMap<i64, Vec<Event>>,
    /// Per key, by revision: the key's record from that revision on, `None` after a delete.
    versions: BTreeMap<Bytes, Vec<(i64, Option<KeyValue>)>>,
}

impl Truth {
    /// Replays events in the order in which they came. Faults: a revision missing or coming back, a key
    /// changed twice in one revision, a delete of an absent key, a record whose create revision or version
    /// does not follow from the one before.
    pub fn replay(events: &[Event]) -> (Self, Faults) {
        let mut truth = Self::default();
        let mut faults = Faults::new();
        let mut last = 1;
        for event in events {
            let Some(kv) = &event.kv else {
                faults.push("an event without a key".to_owned());
                continue;
            };
            let revision = kv.mod_revision;
            if revision != last && revision != last + 1 {
                faults.push(format!("after revision {last} comes {revision}"));
            }
            last = revision;
            truth.add(event, kv, &mut faults);
        }
        (truth, faults)
    }

    fn add(&mut self, event: &Event, kv: &KeyValue, faults: &mut Faults) {
        let revision = kv.mod_revision;
        let versions = self.versions.entry(kv.key.clone()).or_default();
        let (before_at, before) = versions.last().cloned().unwrap_or((0, None));
        let name = String::from_utf8_lossy(&kv.key);
        if before_at == revision {
            faults.push(format!("{name} changes twice in revision {revision}"));
        }
        match event.r#type() {
            EventType::Delete => {
                if before.is_none() {
                    faults.push(format!("revision {revision} deletes {name}, which is absent"));
                }
                versions.push((revision, None));
            }
            EventType::Put => {
                let expected = before.map_or((revision, 1), |before| (before.create_revision, before.version + 1));
                if (kv.create_revision, kv.version) != expected {
                    faults.push(format!("{name} at {revision}: (create, version) must be {expected:?}: {kv:?}"));
                }
                versions.push((revision, Some(kv.clone())));
            }
        }
        self.revisions.entry(revision).or_default().push(event.clone());
    }

    pub fn last_revision(&self) -> i64 {
        self.revisions.last_key_value().map_or(1, |(&revision, _)| revision)
    }

    /// Events of one revision, in their order.
    pub fn at(&self, revision: i64) -> &[Event] {
        self.revisions.get(&revision).map_or(&[], Vec::as_slice)
    }

    pub fn events(&self) -> impl Iterator<Item = (i64, &[Event])> {
        self.revisions.iter().map(|(&revision, events)| (revision, events.as_slice()))
    }

    /// Live keys of an interval (etcd's rules for `range_end`) at a revision, in key order.
    pub fn range(&self, key: &[u8], range_end: &[u8], revision: i64) -> Vec<&KeyValue> {
        let from = Bytes::copy_from_slice(key);
        let versions = self.versions.range(from..).take_while(|(name, _)| contains(key, range_end, name));
        versions.filter_map(|(_, versions)| at(versions, revision)).collect()
    }

    /// The key's record at a revision.
    pub fn get(&self, key: &[u8], revision: i64) -> Option<&KeyValue> {
        self.versions.get(key).and_then(|versions| at(versions, revision))
    }
}

fn at(versions: &[(i64, Option<KeyValue>)], revision: i64) -> Option<&KeyValue> {
    let after = versions.partition_point(|(at, _)| *at <= revision);
    versions[..after].last().and_then(|(_, kv)| kv.as_ref())
}

/// Whether `name` lies in the interval.
pub fn contains(key: &[u8], range_end: &[u8], name: &[u8]) -> bool {
    match range_end {
        [] => name == key,
        b"\0" => name >= key,
        end => name >= key && name < end,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub fn put(key: &str, value: &str, created: i64, revision: i64, version: i64) -> Event {
        let kv = KeyValue {
            key: Bytes::copy_from_slice(key.as_bytes()),
            value: Bytes::copy_from_slice(value.as_bytes()),
            create_revision: created,
            mod_revision: revision,
            version,
            lease: 0,
        };
        Event { r#type: EventType::Put.into(), kv: Some(kv), prev_kv: None }
    }

    pub fn delete(key: &str, revision: i64) -> Event {
        let key = Bytes::copy_from_slice(key.as_bytes());
        let kv = KeyValue { key, mod_revision: revision, ..Default::default() };
        Event { r#type: EventType::Delete.into(), kv: Some(kv), prev_kv: None }
    }

    pub fn good() -> Vec<Event> {
        vec![
            put("a", "1", 2, 2, 1),
            put("b", "2", 3, 3, 1),
            put("a", "3", 2, 4, 2),
            delete("a", 5),
            put("a", "4", 6, 6, 1),
            put("b", "4", 3, 6, 2),
        ]
    }

    fn faults(events: &[Event]) -> Faults {
        Truth::replay(events).1
    }

    #[test]
    fn a_possible_history_replays() {
        let (truth, faults) = Truth::replay(&good());
        assert_eq!(faults, Faults::new());
        assert_eq!(truth.last_revision(), 6);
        assert_eq!(truth.get(b"a", 4).map(|kv| kv.version), Some(2));
        assert_eq!(truth.get(b"a", 5), None);
        assert_eq!(truth.range(b"a", b"\0", 3).len(), 2);
        assert_eq!(truth.range(b"a", b"b", 6).len(), 1);
        assert_eq!(truth.at(6).len(), 2);
    }

    #[test]
    fn a_missing_revision_is_found() {
        let mut events = good();
        events.remove(1);
        assert!(!faults(&events).is_empty());
    }

    #[test]
    fn revisions_that_come_back_are_found() {
        let mut events = good();
        events.swap(2, 1);
        assert!(!faults(&events).is_empty());
    }

    #[test]
    fn a_version_that_does_not_count_is_found() {
        let mut events = good();
        events[2] = put("a", "3", 2, 4, 3);
        assert_eq!(faults(&events).len(), 1);
    }

    #[test]
    fn a_new_generation_must_begin_anew() {
        let mut events = good();
        events[4] = put("a", "4", 2, 6, 3);
        assert_eq!(faults(&events).len(), 1);
    }

    #[test]
    fn a_delete_of_nothing_is_found() {
        let mut events = good();
        events[3] = delete("c", 5);
        assert!(!faults(&events).is_empty());
    }

    #[test]
    fn two_changes_of_a_key_in_one_revision_are_found() {
        let mut events = good();
        events[5] = put("a", "5", 6, 6, 2);
        assert!(!faults(&events).is_empty());
    }
}

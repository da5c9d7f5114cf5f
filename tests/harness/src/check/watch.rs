//! Whether a watcher was told everything, once, in order and in whole revisions. A watcher that loses its
//! stream goes on from the revision after the last one it saw; its sessions are judged together.

use super::truth::contains;
use super::{Faults, Truth};
use crate::proto::etcdserverpb::WatchResponse;
use crate::proto::mvccpb::Event;
use bytes::Bytes;

/// All that one watcher received, over all its streams.
#[derive(Debug, Clone, Default)]
pub struct Watched {
    pub name: String,
    pub key: Bytes,
    pub range_end: Bytes,
    /// The first revision that it asked for.
    pub start_revision: i64,
    /// Asked for the record before each change.
    pub prev_kv: bool,
    /// One per stream: the revision it started from, and its responses in order.
    pub sessions: Vec<(i64, Vec<WatchResponse>)>,
}

impl Watched {
    /// All events in the order in which they came.
    pub fn events(&self) -> Vec<Event> {
        let responses = self.sessions.iter().flat_map(|(_, responses)| responses);
        responses.flat_map(|response| response.events.iter().cloned()).collect()
    }

    /// The revision from which a new stream must go on: after the last whole revision that was delivered.
    pub fn next_revision(&self) -> i64 {
        let responses = self.sessions.iter().flat_map(|(_, responses)| responses);
        let last = responses.filter(|response| !response.fragment).flat_map(|response| &response.events).next_back();
        last.and_then(|event| event.kv.as_ref()).map_or(self.start_revision, |kv| kv.mod_revision + 1)
    }
}

/// Judges a watcher that should have seen all revisions of the truth up to `seen_until`. Records before a change may be
/// left out once they are compacted, which is so before `kept_from`.
pub fn check(watched: &Watched, truth: &Truth, seen_until: i64, kept_from: i64) -> Faults {
    let mut judge = Judge { watched, truth, kept_from, next: watched.start_revision, faults: Faults::new() };
    for (start, responses) in &watched.sessions {
        judge.session(*start, responses);
    }
    judge.expect_nothing_missed(seen_until + 1);
    let name = &watched.name;
    judge.faults.into_iter().map(|fault| format!("{name}: {fault}")).collect()
}

struct Judge<'a> {
    watched: &'a Watched,
    truth: &'a Truth,
    kept_from: i64,
    /// All revisions below this one were delivered, as far as they concern the watcher.
    next: i64,
    faults: Faults,
}

impl Judge<'_> {
    fn session(&mut self, start: i64, responses: &[WatchResponse]) {
        if start > self.next {
            self.faults.push(format!("the test resumed at {start}, after {}", self.next));
        }
        self.next = start;
        let mut created = false;
        let mut fragments: Vec<Event> = Vec::new();
        for response in responses {
            if response.created {
                created = true;
            } else if !created {
                self.faults.push(format!("a response before the created one: {response:?}"));
            }
            if response.canceled {
                let reason = (&response.cancel_reason, response.compact_revision);
                self.faults.push(format!("cancelled: {reason:?}"));
            }
            fragments.extend(response.events.iter().cloned());
            if response.fragment {
                continue;
            }
            let events = std::mem::take(&mut fragments);
            let header_revision = response.header.as_ref().map_or(0, |header| header.revision);
            if events.is_empty() {
                if !response.created && !response.canceled {
                    self.progress(header_revision);
                }
            } else {
                self.batch(&events, header_revision);
            }
        }
    }

    /// A response with events holds whole revisions, the next ones that concern the watcher.
    fn batch(&mut self, events: &[Event], header_revision: i64) {
        let revision_of = |event: &Event| event.kv.as_ref().map_or(0, |kv| kv.mod_revision);
        for group in events.chunk_by(|one, other| revision_of(one) == revision_of(other)) {
            let revision = revision_of(&group[0]);
            if revision < self.next {
                self.faults.push(format!("revision {revision} came again or late, {} is next", self.next));
                continue;
            }
            self.expect_nothing_missed(revision);
            let expected = self.relevant(revision);
            let same = group.len() == expected.len()
                && group.iter().zip(&expected).all(|(event, expected)| self.same_event(event, expected, revision));
            if !same {
                self.faults.push(format!("revision {revision} must be {expected:?}, was {group:?}"));
            }
            if header_revision < revision {
                self.faults.push(format!("header revision {header_revision} below an event of {revision}"));
            }
            self.next = revision + 1;
        }
    }

    /// A progress notification at R promises that everything up to R was delivered.
    fn progress(&mut self, revision: i64) {
        if revision + 1 < self.next {
            self.faults.push(format!("progress to {revision} after {} was delivered", self.next - 1));
        }
        self.expect_nothing_missed(revision + 1);
    }

    /// Advances to `revision`; the revisions in between must not concern the watcher.
    fn expect_nothing_missed(&mut self, revision: i64) {
        for missed in self.next..revision {
            if !self.relevant(missed).is_empty() {
                self.faults.push(format!("revision {missed} was not delivered"));
            }
        }
        self.next = self.next.max(revision);
    }

    fn relevant(&self, revision: i64) -> Vec<&Event> {
        let (key, range_end) = (&self.watched.key, &self.watched.range_end);
        let concerns = |event: &&Event| event.kv.as_ref().is_some_and(|kv| contains(key, range_end, &kv.key));
        self.truth.at(revision).iter().filter(concerns).collect()
    }

    fn same_event(&self, event: &Event, expected: &Event, revision: i64) -> bool {
        if (event.r#type, &event.kv) != (expected.r#type, &expected.kv) {
            return false;
        }
        let before = event.kv.as_ref().and_then(|kv| self.truth.get(&kv.key, revision - 1));
        let left_out = event.prev_kv.is_none() && revision <= self.kept_from;
        if self.watched.prev_kv { left_out || event.prev_kv.as_ref() == before } else { event.prev_kv.is_none() }
    }
}

#[cfg(test)]
mod tests {
    use super::super::truth::tests::good;
    use super::*;
    use crate::proto::etcdserverpb::ResponseHeader;

    fn truth() -> Truth {
        Truth::replay(&good()).0
    }

    fn response(revision: i64, events: &[Event]) -> WatchResponse {
        let header = Some(ResponseHeader { revision, ..Default::default() });
        WatchResponse { header, events: events.to_vec(), ..Default::default() }
    }

    fn created() -> WatchResponse {
        WatchResponse { created: true, ..response(1, &[]) }
    }

    fn watched(sessions: Vec<(i64, Vec<WatchResponse>)>) -> Watched {
        let all = Bytes::from_static(b"\0");
        Watched { name: "w".to_owned(), key: all.clone(), range_end: all, start_revision: 1, prev_kv: false, sessions }
    }

    /// All events one by one, those of revision 6 together.
    fn complete() -> Vec<WatchResponse> {
        let events = good();
        let mut responses = vec![created()];
        responses.extend(
            events[..4]
                .iter()
                .map(|event| response(event.kv.as_ref().map_or(0, |kv| kv.mod_revision), std::slice::from_ref(event))),
        );
        responses.push(response(6, &events[4..]));
        responses
    }

    #[track_caller]
    fn must_find(responses: Vec<WatchResponse>, text: &str) {
        let faults = check(&watched(vec![(1, responses)]), &truth(), 6, 1);
        assert!(faults.iter().any(|fault| fault.contains(text)), "wanted {text:?} among {faults:?}");
    }

    #[test]
    fn a_complete_watch_passes() {
        assert_eq!(check(&watched(vec![(1, complete())]), &truth(), 6, 1), Faults::new());
    }

    #[test]
    fn a_resumed_watch_passes() {
        let first = complete()[..3].to_vec();
        let mut second = vec![created()];
        second.extend(complete()[3..].to_vec());
        let watched = watched(vec![(1, first), (4, second)]);
        assert_eq!(check(&watched, &truth(), 6, 1), Faults::new());
        assert_eq!(watched.next_revision(), 7);
    }

    #[test]
    fn only_the_watched_interval_counts() {
        let events = good();
        let responses = vec![created(), response(3, &events[1..2]), response(6, &events[5..])];
        let watched = Watched { key: "b".into(), range_end: Bytes::new(), ..watched(vec![(1, responses)]) };
        assert_eq!(check(&watched, &truth(), 6, 1), Faults::new());
    }

    #[test]
    fn fragments_are_put_together() {
        let events = good();
        let mut responses = complete();
        responses.pop();
        responses.push(WatchResponse { fragment: true, ..response(6, &events[4..5]) });
        responses.push(response(6, &events[5..]));
        assert_eq!(check(&watched(vec![(1, responses)]), &truth(), 6, 1), Faults::new());
    }

    #[test]
    fn a_gap_is_found() {
        let mut responses = complete();
        responses.remove(3);
        must_find(responses, "revision 4 was not delivered");
    }

    #[test]
    fn a_missing_end_is_found() {
        let mut responses = complete();
        responses.pop();
        must_find(responses, "revision 6 was not delivered");
    }

    #[test]
    fn a_repeated_event_is_found() {
        let mut responses = complete();
        responses.insert(3, responses[2].clone());
        must_find(responses, "came again or late");
    }

    #[test]
    fn events_out_of_order_are_found() {
        let mut responses = complete();
        responses.swap(2, 3);
        must_find(responses, "came again or late");
    }

    #[test]
    fn a_split_revision_is_found() {
        let events = good();
        let mut responses = complete();
        responses.pop();
        responses.push(response(6, &events[4..5]));
        responses.push(response(6, &events[5..]));
        must_find(responses, "revision 6 must be");
    }

    #[test]
    fn a_changed_event_is_found() {
        let mut responses = complete();
        responses[1].events[0].kv.as_mut().expect("a key").value = "x".into();
        must_find(responses, "revision 2 must be");
    }

    #[test]
    fn progress_before_the_events_is_found() {
        let mut responses = complete();
        responses.insert(2, response(4, &[]));
        must_find(responses, "revision 3 was not delivered");
    }

    #[test]
    fn true_progress_passes() {
        let mut responses = complete();
        responses.insert(4, response(4, &[]));
        responses.push(response(6, &[]));
        assert_eq!(check(&watched(vec![(1, responses)]), &truth(), 6, 1), Faults::new());
    }

    #[test]
    fn an_event_before_created_is_found() {
        let mut responses = complete();
        responses.swap(0, 1);
        must_find(responses, "before the created one");
    }

    #[test]
    fn a_wrong_previous_record_is_found() {
        let mut truthful = complete();
        let truth = truth();
        for event in truthful.iter_mut().flat_map(|response| &mut response.events) {
            let kv = event.kv.clone().expect("a key");
            event.prev_kv = truth.get(&kv.key, kv.mod_revision - 1).cloned();
        }
        let with_prev = |responses| Watched { prev_kv: true, ..watched(vec![(1, responses)]) };
        assert_eq!(check(&with_prev(truthful.clone()), &truth, 6, 1), Faults::new());
        truthful[3].events[0].prev_kv = None;
        assert_eq!(check(&with_prev(truthful), &truth, 6, 1).len(), 1);
    }
}

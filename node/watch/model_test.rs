//! The registry against a naive model: every watcher must see what a filter over the whole history says, once, in
//! order, whole revisions at a time, or be told that its history was compacted; and no progress report may come
//! before an event it speaks for.

use super::metrics::Metrics;
use super::queue::{Bounds, Delivery, Events, StreamQueue};
use super::registry::Registry;
use super::round::{Lane, Slice};
use super::watcher::{Filters, Start, StreamSlot, WatchId, WatchSpec};
use crate::mvcc::{Event, EventKind, RevisionEvents};
use crate::types::KeyInterval;
use bytes::Bytes;
use keelstone_proto::mvccpb::KeyValue;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

/// A registry with a history to catch up from, and its consumers.
struct Sim {
    registry: Registry,
    streams: Vec<(StreamSlot, Arc<StreamQueue>)>,
    /// All that was ever applied; what is below `compacted` may no longer be read.
    history: BTreeMap<i64, Arc<RevisionEvents>>,
    /// What is applied, published or not.
    latest: i64,
    compacted: i64,
    rows_read: usize,
    /// The setting of the near lane.
    near: i64,
    metrics: Metrics,
}

fn event(kind: EventKind, key: &str, revision: i64) -> Event {
    let kv = KeyValue { key: Bytes::from(key.to_owned()), mod_revision: revision, ..KeyValue::default() };
    Event { kind, kv }
}

fn spec(interval: KeyInterval, start: Start, filters: Filters) -> WatchSpec {
    WatchSpec { id: None, interval, start, filters, prev_kv: false, fragment: false, progress_notify: false }
}

impl Sim {
    fn new(streams: usize, bounds: Bounds) -> Self {
        let metrics = Metrics::register(&prometheus::Registry::new()).unwrap();
        let mut registry = Registry::new(1, metrics.clone());
        let streams = (0..streams)
            .map(|_| {
                let queue = Arc::new(StreamQueue::new(bounds, metrics.clone()));
                (registry.open(Arc::clone(&queue)), queue)
            })
            .collect();
        let history = BTreeMap::new();
        Self { registry, streams, history, latest: 1, compacted: -1, rows_read: 0, near: 4, metrics }
    }

    fn apply(&mut self, changes: &[(EventKind, String)]) -> Arc<RevisionEvents> {
        self.latest += 1;
        let events = changes.iter().map(|(kind, key)| event(*kind, key, self.latest)).collect();
        let revision = Arc::new(RevisionEvents { revision: self.latest, events });
        self.history.insert(self.latest, Arc::clone(&revision));
        revision
    }

    /// Steps of what `Hub::catch_up` does, one in each lane. False if there was nothing to do.
    fn catch_up(&mut self, rows: usize) -> bool {
        let near = self.step(Lane::Near, rows);
        self.step(Lane::Far, rows) || near
    }

    fn step(&mut self, lane: Lane, rows: usize) -> bool {
        if !self.registry.is_riding(lane) && !self.registry.begin(lane, self.near) {
            return false;
        }
        let Some(wanted) = self.registry.next_wanted(lane, self.compacted) else { return true };
        assert!(wanted.from >= self.compacted, "reads compacted history");
        let (mut revisions, mut read) = (Vec::new(), 0);
        for revision in self.history.range(wanted.from..=wanted.to).map(|(_, revision)| revision) {
            revisions.push(Arc::clone(revision));
            read += revision.events.len();
            if read >= rows {
                break;
            }
        }
        self.rows_read += read;
        let through = if read >= rows { revisions.last().unwrap().revision } else { wanted.to };
        self.registry.feed(lane, &Slice { revisions, through });
        true
    }

    fn pop(&mut self, stream: usize) -> Option<Delivery> {
        let (slot, queue) = &self.streams[stream];
        match queue.poll_pop(&mut Context::from_waker(Waker::noop())) {
            Poll::Pending => None,
            Poll::Ready(popped) => {
                if popped.has_room_again {
                    self.registry.has_room(*slot);
                }
                popped.delivery
            }
        }
    }
}

/// What a client knows of its watcher.
struct Seen {
    interval: KeyInterval,
    filters: Filters,
    from: i64,
    /// Every wanted event below this was received.
    next: i64,
    over: bool,
}

impl Seen {
    fn wants<'a>(&self, history: &'a BTreeMap<i64, Arc<RevisionEvents>>, below: i64) -> Vec<(i64, &'a Event)> {
        if self.next >= below {
            return Vec::new();
        }
        history
            .range(self.next..below)
            .flat_map(|(&revision, all)| all.events.iter().map(move |event| (revision, event)))
            .filter(|(_, event)| self.interval.contains(&event.kv.key) && self.filters.passes(event.kind))
            .collect()
    }
}

#[derive(Debug, Clone)]
enum Step {
    Change(Vec<(bool, u8)>),
    /// Changes that arrive in a snapshot.
    Restore(u8),
    Create {
        stream: usize,
        interval: (u8, u8, u8),
        start: i64,
        no_put: bool,
        no_delete: bool,
    },
    Cancel {
        stream: usize,
        id: i64,
    },
    Consume {
        stream: usize,
        count: usize,
    },
    CatchUp {
        rows: usize,
    },
    Compact(i64),
    Progress {
        stream: usize,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => prop::collection::vec((any::<bool>(), 0u8..6), 1..4).prop_map(Step::Change),
        1 => (1u8..4).prop_map(Step::Restore),
        3 => (0usize..3, (0u8..3, 0u8..6, 0u8..7), -2i64..12, prop::bool::weighted(0.2), prop::bool::weighted(0.2))
            .prop_map(|(stream, interval, start, no_put, no_delete)| Step::Create { stream, interval, start, no_put, no_delete }),
        1 => (0usize..3, 0i64..8).prop_map(|(stream, id)| Step::Cancel { stream, id }),
        4 => (0usize..3, 1usize..6).prop_map(|(stream, count)| Step::Consume { stream, count }),
        4 => (1usize..6).prop_map(|rows| Step::CatchUp { rows }),
        1 => (0i64..6).prop_map(Step::Compact),
        2 => (0usize..3).prop_map(|stream| Step::Progress { stream }),
    ]
}

struct Check {
    sim: Sim,
    /// Asked for, per stream, in order; not yet answered.
    asked: Vec<Vec<(KeyInterval, Filters, Start)>>,
    seen: Vec<BTreeMap<WatchId, Seen>>,
}

impl Check {
    fn new(bounds: Bounds) -> Self {
        let streams = 3;
        Self {
            sim: Sim::new(streams, bounds),
            asked: (0..streams).map(|_| Vec::new()).collect(),
            seen: (0..streams).map(|_| BTreeMap::new()).collect(),
        }
    }

    fn run(&mut self, step: Step) {
        let sim = &mut self.sim;
        match step {
            Step::Change(changes) => {
                let published = sim.apply(&named(&changes));
                sim.registry.publish(&published);
            }
            Step::Restore(count) => {
                let installed: Vec<_> = (0..count).map(|key| sim.apply(&named(&[(true, key)]))).collect();
                sim.registry.restored(sim.latest);
                // The same changes once more, as if they had also been applied here.
                installed.iter().for_each(|revision| sim.registry.publish(revision));
            }
            Step::Create { stream, interval: (shape, a, b), start, no_put, no_delete } => {
                let (a, b) = (Bytes::from(key(a)), Bytes::from(key(b)));
                let interval = match shape {
                    0 => KeyInterval::One(a),
                    1 => KeyInterval::Range { start: a, end: None },
                    _ => KeyInterval::Range { start: a, end: Some(b) },
                };
                let start = if start < 1 { Start::Now } else { Start::At(sim.latest + 3 - start.min(sim.latest + 2)) };
                let filters = Filters { no_put, no_delete };
                let slot = sim.streams[stream].0;
                let _ = sim.registry.create(slot, spec(interval.clone(), start, filters), sim.latest);
                self.asked[stream].push((interval, filters, start));
            }
            Step::Cancel { stream, id } => {
                sim.registry.cancel(sim.streams[stream].0, WatchId(id), sim.latest);
            }
            Step::Consume { stream, count } => {
                for _ in 0..count {
                    let Some(delivery) = self.sim.pop(stream) else { break };
                    self.check(stream, delivery);
                }
            }
            Step::CatchUp { rows } => {
                sim.catch_up(rows);
            }
            Step::Compact(back) => sim.compacted = sim.compacted.max(sim.latest - back),
            Step::Progress { stream } => sim.registry.report_all(sim.streams[stream].0),
        }
    }

    fn check(&mut self, stream: usize, delivery: Delivery) {
        let seen = &mut self.seen[stream];
        match delivery {
            Delivery::Created { id, revision } => {
                let (interval, filters, start) = self.asked[stream].remove(0);
                let from = match start {
                    Start::Now => revision + 1,
                    Start::At(revision) => revision,
                };
                seen.insert(id, Seen { interval, filters, from, next: from, over: false });
            }
            Delivery::Refused { .. } => {
                assert!(self.asked[stream].remove(0).0.is_empty());
            }
            Delivery::Canceled { id, .. } => {
                seen.remove(&id).expect("cancelled after it was created");
            }
            Delivery::Compacted { id, compacted } => {
                let seen = seen.get_mut(&id).expect("compacted after it was created");
                assert!(!seen.over && compacted <= self.sim.compacted);
                // Nothing it was owed from there on was left out by this.
                assert!(seen.next < compacted, "cancelled although nothing was lost");
                seen.over = true;
            }
            Delivery::Progress { id, revision } => {
                assert_eq!(id, None);
                for seen in seen.values().filter(|seen| !seen.over) {
                    assert!(revision + 1 >= seen.from, "progress below the start");
                    assert_eq!(seen.wants(&self.sim.history, revision + 1), [], "progress before its events");
                }
            }
            Delivery::Events(Events { id, events, revision, .. }) => {
                let seen = seen.get_mut(&id).expect("events after the creation");
                assert!(!seen.over, "events after the end");
                let last = events.last().expect("an empty delivery").revision();
                assert!(revision >= last);
                let got: Vec<_> = events.iter().map(|event| (event.revision(), event.event())).collect();
                assert_eq!(got, seen.wants(&self.sim.history, last + 1));
                seen.next = last + 1;
            }
        }
    }

    /// Lets everybody catch up, and checks that nobody lacks anything.
    fn finish(&mut self) {
        loop {
            let mut moved = false;
            for stream in 0..self.seen.len() {
                while let Some(delivery) = self.sim.pop(stream) {
                    self.check(stream, delivery);
                    moved = true;
                }
            }
            if !self.sim.catch_up(3) && !moved {
                break;
            }
        }
        for seen in self.seen.iter().flat_map(BTreeMap::values).filter(|seen| !seen.over) {
            assert_eq!(seen.wants(&self.sim.history, self.sim.latest + 1), [], "events lost");
        }
        assert_eq!(self.sim.metrics.pending_events.get(), 0);
        assert_eq!(self.sim.metrics.slow_watchers.get(), 0);
        let watchers: usize = self.seen.iter().map(BTreeMap::len).sum();
        assert_eq!(self.sim.metrics.watchers.get(), watchers as i64);
    }
}

fn key(number: u8) -> String {
    format!("k{number}")
}

/// Distinct keys only, as in a transaction.
fn named(changes: &[(bool, u8)]) -> Vec<(EventKind, String)> {
    let distinct: BTreeMap<u8, bool> = changes.iter().map(|&(put, key)| (key, put)).collect();
    let kind = |put| if put { EventKind::Put } else { EventKind::Delete };
    distinct.into_iter().map(|(number, put)| (kind(put), key(number))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

    #[test]
    fn every_watcher_sees_its_events_once_in_order_or_learns_that_they_are_gone(
        steps in prop::collection::vec(step(), 1..80),
        deliveries in 0usize..4,
        bytes in prop_oneof![Just(150usize), Just(400), Just(1 << 20)],
    ) {
        let mut check = Check::new(Bounds { deliveries, bytes });
        for step in steps {
            check.run(step);
        }
        check.finish();
    }
}

/// 10 000 watchers on as many streams, behind by up to the whole history.
fn far_behind(rows: i64, bounds: Bounds, interval: impl Fn(i64) -> KeyInterval) -> Sim {
    let mut sim = Sim::new(10_000, bounds);
    for number in 0..rows {
        let published = sim.apply(&[(EventKind::Put, format!("k{:05}", number % 10_000))]);
        sim.registry.publish(&published);
    }
    for (number, (slot, _)) in sim.streams.clone().into_iter().enumerate() {
        let number = number as i64;
        let start = Start::At(2 + number * 7919 % rows);
        let spec = spec(interval(number), start, Filters::default());
        sim.registry.create(slot, spec, sim.latest).unwrap();
    }
    sim
}

#[test]
fn ten_thousand_lagging_watchers_cost_one_scan() {
    let interval = |number| KeyInterval::One(Bytes::from(format!("k{number:05}")));
    let mut sim = far_behind(50_000, Bounds { deliveries: 128, bytes: 1 << 20 }, interval);
    assert_eq!(sim.metrics.slow_watchers.get(), 10_000);
    while sim.catch_up(1000) {}
    assert_eq!(sim.metrics.slow_watchers.get(), 0);
    assert!(sim.rows_read <= 51_000, "{} rows read", sim.rows_read);
}

#[test]
fn ten_thousand_watchers_of_everything_cost_little_more_than_their_own_deliveries() {
    let interval = |_| KeyInterval::Range { start: Bytes::from_static(b"k"), end: None };
    // Room for four slices.
    let mut sim = far_behind(2_000, Bounds { deliveries: 4, bytes: 1 << 20 }, interval);
    let mut delivered = 0;
    loop {
        while sim.catch_up(50) {}
        let mut moved = false;
        for stream in 0..sim.streams.len() {
            while let Some(delivery) = sim.pop(stream) {
                moved = true;
                if let Delivery::Events(events) = delivery {
                    delivered += events.events.len();
                }
            }
        }
        if !moved {
            break;
        }
    }
    assert!(delivered > 9_000_000, "{delivered} events");
    // Each round moves everybody by the room of a queue, so the rounds overlap where cursors differ.
    assert!(sim.rows_read < 20_000, "{} rows read", sim.rows_read);
}

#[test]
fn a_stream_with_more_watchers_than_its_queue_takes_a_revision_that_all_watch() {
    let mut sim = Sim::new(1, Bounds { deliveries: 2, bytes: 1 << 20 });
    let slot = sim.streams[0].0;
    for _ in 0..1000 {
        let all = KeyInterval::Range { start: Bytes::new(), end: None };
        sim.registry.create(slot, spec(all, Start::Now, Filters::default()), 1).unwrap();
    }
    let published = sim.apply(&[(EventKind::Put, "k".into())]);
    sim.registry.publish(&published);
    assert_eq!(sim.metrics.slow_watchers.get(), 0);
    assert_eq!(sim.metrics.pending_events.get(), 1000);
}

#[test]
fn one_batch_wakes_a_consumer_once() {
    let mut sim = Sim::new(1, Bounds { deliveries: 100, bytes: 1 << 20 });
    let slot = sim.streams[0].0;
    let all = KeyInterval::Range { start: Bytes::new(), end: None };
    for _ in 0..3 {
        sim.registry.create(slot, spec(all.clone(), Start::Now, Filters::default()), 1).unwrap();
    }
    while sim.pop(0).is_some() {}
    sim.registry.take_wakers();
    for _ in 0..5 {
        let published = sim.apply(&[(EventKind::Put, "k".into())]);
        sim.registry.publish(&published);
    }
    assert_eq!(sim.registry.take_wakers().len(), 1);
}

#[test]
fn quiet_watchers_report_and_busy_ones_wait_for_the_next_tick() {
    let mut sim = Sim::new(1, Bounds { deliveries: 100, bytes: 1 << 20 });
    let slot = sim.streams[0].0;
    for (key, wanted) in [("a", true), ("b", true), ("c", false)] {
        let interval = KeyInterval::One(Bytes::from_static(key.as_bytes()));
        let spec = WatchSpec { progress_notify: wanted, ..spec(interval, Start::Now, Filters::default()) };
        sim.registry.create(slot, spec, 1).unwrap();
    }
    let published = sim.apply(&[(EventKind::Put, "a".into())]);
    sim.registry.publish(&published);
    let mut reports = || {
        sim.registry.report_quiet(slot);
        let mut reports = Vec::new();
        while let Some(delivery) = sim.pop(0) {
            if let Delivery::Progress { id: Some(WatchId(id)), revision } = delivery {
                reports.push((id, revision));
            }
        }
        reports
    };
    assert_eq!(reports(), [(1, 2)]);
    assert_eq!(reports(), [(0, 2), (1, 2)]);
}

#[test]
fn ids_are_counted_from_zero_and_pass_over_those_in_use() {
    let mut sim = Sim::new(1, Bounds { deliveries: 1, bytes: 1 });
    let slot = sim.streams[0].0;
    let interval = KeyInterval::One(Bytes::from_static(b"k"));
    let mut create = |id: Option<i64>| {
        let spec = WatchSpec { id: id.map(WatchId), ..spec(interval.clone(), Start::Now, Filters::default()) };
        sim.registry.create(slot, spec, 1).map(|id| id.0).map_err(|error| error.to_string())
    };
    assert_eq!(create(None), Ok(0));
    assert_eq!(create(Some(1)), Ok(1));
    assert_eq!(create(None), Ok(2));
    assert_eq!(create(Some(2)), Err("mvcc: duplicate watch ID provided on the WatchStream".into()));
    assert_eq!(create(Some(-5)), Ok(-5));
}

//! The registry on plain data, driven step by step.

use super::model::{Model, STREAMS, Step, spec, step};
use crate::mvcc::{Event, EventKind, RevisionEvents};
use crate::types::KeyInterval;
use crate::watch::budget::Budget;
use crate::watch::metrics::Metrics;
use crate::watch::queue::{Bounds, Delivery, StreamQueue};
use crate::watch::registry::Registry;
use crate::watch::round::{Lane, Slice};
use crate::watch::watcher::{Filters, Start, StreamSlot, WatchId, WatchSpec};
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
    model: Model,
    rows_read: usize,
    /// The setting of the near lane.
    near: i64,
    budget: Arc<Budget>,
    metrics: Metrics,
}

impl Sim {
    fn new(streams: usize, bounds: Bounds) -> Self {
        Self::with_budget(streams, bounds, Budget::new(usize::MAX))
    }

    fn with_budget(streams: usize, bounds: Bounds, budget: Budget) -> Self {
        let budget = Arc::new(budget);
        let metrics = Metrics::register(&prometheus::Registry::new()).unwrap();
        let mut registry = Registry::new(1, Arc::clone(&budget), metrics.clone());
        let streams = (0..streams)
            .map(|_| {
                let queue = Arc::new(StreamQueue::new(bounds, Arc::clone(&budget), metrics.clone()));
                (registry.open(Arc::clone(&queue)), queue)
            })
            .collect();
        Self { registry, streams, model: Model::new(), rows_read: 0, near: 4, budget, metrics }
    }

    fn apply(&mut self, changes: &[(EventKind, String)]) -> Arc<RevisionEvents> {
        let revision = self.model.latest + 1;
        let event = |(kind, key): &(EventKind, String)| {
            let kv = KeyValue { key: Bytes::from(key.clone()), mod_revision: revision, ..KeyValue::default() };
            Event { kind: *kind, kv }
        };
        let revision = Arc::new(RevisionEvents { revision, events: changes.iter().map(event).collect() });
        self.model.applied(&revision);
        revision
    }

    /// Steps of what `Hub::catch_up` does, one in each lane. False if there was nothing to do.
    fn catch_up(&mut self, rows: usize) -> bool {
        let near = self.catch_up_in(Lane::Near, rows);
        self.catch_up_in(Lane::Far, rows) || near
    }

    fn catch_up_in(&mut self, lane: Lane, rows: usize) -> bool {
        if !self.registry.is_riding(lane) && !self.registry.begin(lane, self.near) {
            return false;
        }
        let Some(wanted) = self.registry.next_wanted(lane, self.model.compacted) else { return true };
        assert!(wanted.from >= self.model.compacted, "reads compacted history");
        let (mut revisions, mut read) = (Vec::new(), 0);
        for revision in self.model.history.range(wanted.from..=wanted.to).map(|(_, revision)| revision) {
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

    fn run(&mut self, step: Step) {
        match step {
            Step::Change(changes) => {
                let published = self.apply(&named(&changes));
                self.registry.publish(&published);
            }
            Step::Restore(count) => {
                let installed: Vec<_> = (0..count).map(|key| self.apply(&named(&[(true, key)]))).collect();
                self.registry.restored(self.model.latest);
                // The same changes once more, as if they had also been applied here.
                installed.iter().for_each(|revision| self.registry.publish(revision));
            }
            Step::Create(create) => {
                let (slot, spec) = (self.streams[create.stream].0, create.spec(self.model.latest));
                self.model.asked(create.stream, spec.clone());
                let created = self.registry.create(slot, spec.clone(), self.model.latest);
                assert_eq!(created.is_err(), spec.interval.is_empty());
            }
            Step::Cancel { stream, id } => {
                self.registry.cancel(self.streams[stream].0, WatchId(id), self.model.latest);
            }
            Step::Consume { stream, count } => {
                for _ in 0..count {
                    let Some(delivery) = self.pop(stream) else { break };
                    self.model.check(stream, delivery);
                }
            }
            Step::CatchUp { rows } => {
                self.catch_up(rows);
            }
            Step::Compact(back) => self.model.compacted = self.model.compacted.max(self.model.latest - back),
            Step::Progress { stream } => self.registry.report_all(self.streams[stream].0),
        }
    }

    /// Lets everybody catch up.
    fn finish(&mut self) {
        loop {
            let mut moved = false;
            for stream in 0..self.streams.len() {
                while let Some(delivery) = self.pop(stream) {
                    self.model.check(stream, delivery);
                    moved = true;
                }
            }
            if !self.catch_up(3) && !moved {
                break;
            }
        }
        self.model.check_complete();
        assert_eq!(self.metrics.pending_events.get(), 0);
        assert_eq!(self.budget.used_bytes(), 0);
        assert_eq!(self.metrics.slow_watchers.get(), 0);
        assert_eq!(self.metrics.watchers.get(), self.model.watchers() as i64);
    }
}

/// Distinct keys only, as in a transaction.
fn named(changes: &[(bool, u8)]) -> Vec<(EventKind, String)> {
    let distinct: BTreeMap<u8, bool> = changes.iter().map(|&(put, key)| (key, put)).collect();
    let kind = |put| if put { EventKind::Put } else { EventKind::Delete };
    distinct.into_iter().map(|(number, put)| (kind(put), super::model::key(number))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

    #[test]
    fn every_watcher_sees_its_events_once_in_order_or_learns_that_they_are_gone(
        steps in prop::collection::vec(step(), 1..80),
        deliveries in 0usize..4,
        bytes in prop_oneof![Just(150usize), Just(400), Just(1 << 20)],
        budget_bytes in prop_oneof![2 => Just(1usize << 20), 1 => 0usize..2000],
    ) {
        let mut sim = Sim::with_budget(STREAMS, Bounds { deliveries, bytes }, Budget::new(budget_bytes));
        for step in steps {
            sim.run(step);
        }
        sim.finish();
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
        sim.registry.create(slot, spec, sim.model.latest).unwrap();
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
fn clients_that_do_not_read_hold_little_together() {
    let bounds = Bounds { deliveries: 1000, bytes: 1 << 20 };
    let mut sim = Sim::with_budget(1000, bounds, Budget::new(1 << 20));
    for (slot, _) in sim.streams.clone() {
        let all = KeyInterval::Range { start: Bytes::new(), end: None };
        sim.registry.create(slot, spec(all, Start::Now, Filters::default()), 1).unwrap();
    }
    for _ in 0..500 {
        let published = sim.apply(&[(EventKind::Put, "k".into())]);
        sim.registry.publish(&published);
        sim.catch_up(100);
    }
    assert!(sim.budget.used_bytes() < 2 << 20, "{} bytes", sim.budget.used_bytes());
    assert_eq!(sim.metrics.slow_watchers.get(), 1000);
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

//! Streams, watchers and where each watcher stands. All decisions are here, on plain data; `hub` locks, reads
//! history and wakes.

use super::budget::Budget;
use super::event::SharedEvent;
use super::group::Group;
use super::metrics::Metrics;
use super::queue::{Delivery, Events, Full, StreamQueue};
use super::round::Rounds;
use super::watcher::{CreateError, Phase, Slot, Start, StreamSlot, WatchId, WatchSpec, Watcher};
use crate::defect::{self, Defect};
use crate::mvcc::RevisionEvents;
use crate::types::KeyInterval;
use slab::Slab;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::task::Waker;

#[derive(Debug)]
pub(super) struct Registry {
    /// The last revision that synced watchers were told of.
    pub(super) revision: i64,
    pub(super) streams: Slab<Stream>,
    pub(super) watchers: Slab<Watcher>,
    /// Exactly the watchers in phase `Synced`.
    synced: Group,
    /// Streams with lagging watchers, and room when they were added.
    pub(super) ready: BTreeSet<StreamSlot>,
    pub(super) rounds: Rounds,
    /// Consumers to wake once the lock is released: at most one entry per stream and batch.
    wakers: Vec<Waker>,
    pub(super) budget: Arc<Budget>,
    metrics: Metrics,
    pub(super) scratch: Scratch,
}

#[derive(Debug)]
pub(super) struct Stream {
    pub queue: Arc<StreamQueue>,
    watchers: BTreeMap<WatchId, Slot>,
    next_id: i64,
    /// Its watchers in phase `Lagging`.
    pub lagging: BTreeSet<Slot>,
}

/// Buffers kept between calls. Empty between them.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    found: Vec<Slot>,
    /// Watchers with staged events, in the order of their first.
    pub touched: Vec<Slot>,
}

impl Registry {
    pub fn new(revision: i64, budget: Arc<Budget>, metrics: Metrics) -> Self {
        Self {
            revision,
            streams: Slab::new(),
            watchers: Slab::new(),
            synced: Group::default(),
            ready: BTreeSet::new(),
            rounds: Rounds::default(),
            wakers: Vec::new(),
            budget,
            metrics,
            scratch: Scratch::default(),
        }
    }

    pub fn revision(&self) -> i64 {
        self.revision
    }

    pub fn take_wakers(&mut self) -> Vec<Waker> {
        std::mem::take(&mut self.wakers)
    }

    // Streams and watchers.

    pub fn open(&mut self, queue: Arc<StreamQueue>) -> StreamSlot {
        self.metrics.streams.inc();
        let stream = Stream { queue, watchers: BTreeMap::new(), next_id: 0, lagging: BTreeSet::new() };
        StreamSlot(self.streams.insert(stream))
    }

    pub fn close(&mut self, at: StreamSlot) {
        let slots: Vec<_> = self.streams[at.0].watchers.values().copied().collect();
        for slot in slots {
            self.retire(slot);
        }
        self.ready.remove(&at);
        self.streams.remove(at.0);
        self.metrics.streams.dec();
    }

    /// Ends all streams; their handles close them.
    pub fn end_all(&mut self) {
        for (_, stream) in &self.streams {
            self.wakers.extend(stream.queue.close());
        }
    }

    /// Creates a watcher and queues the answer, refused or not. `latest` is the newest revision that a client
    /// may know of; it can be ahead of what was published here.
    pub fn create(&mut self, at: StreamSlot, spec: WatchSpec, latest: i64) -> Result<WatchId, CreateError> {
        let latest = latest.max(self.revision);
        let created = self.admit(at, spec, latest);
        let answer = match &created {
            Ok(id) => Delivery::Created { id: *id, revision: latest },
            Err(error) => Delivery::Refused { revision: latest, reason: error.to_string() },
        };
        self.answer(at, answer);
        created
    }

    fn admit(&mut self, at: StreamSlot, spec: WatchSpec, latest: i64) -> Result<WatchId, CreateError> {
        if spec.interval.is_empty() {
            return Err(CreateError::EmptyRange);
        }
        let stream = &mut self.streams[at.0];
        let id = match spec.id {
            Some(id) if stream.watchers.contains_key(&id) => return Err(CreateError::DuplicateId),
            Some(id) => id,
            None => {
                while stream.watchers.contains_key(&WatchId(stream.next_id)) {
                    stream.next_id += 1;
                }
                stream.next_id += 1;
                WatchId(stream.next_id - 1)
            }
        };
        let (cursor, progress_from) = match spec.start {
            Start::Now => (latest + 1, latest),
            Start::At(revision) => (revision, revision),
        };
        let watcher = Watcher::new(at, id, spec, cursor, progress_from);
        let entry = self.watchers.vacant_entry();
        let slot = Slot(entry.key());
        stream.watchers.insert(id, slot);
        stream.queue.set_watchers(stream.watchers.len());
        self.synced.insert(&watcher.interval, slot);
        entry.insert(watcher);
        self.metrics.watchers.inc();
        if cursor <= self.revision {
            self.move_to(slot, Phase::Lagging);
        }
        Ok(id)
    }

    /// The watchers of a stream that are not over, and what they watch.
    pub fn watched(&self, at: StreamSlot) -> Vec<(WatchId, KeyInterval)> {
        let watchers = self.streams[at.0].watchers.values().map(|slot| &self.watchers[slot.0]);
        let alive = watchers.filter(|watcher| watcher.phase != Phase::Compacted);
        alive.map(|watcher| (watcher.id, watcher.interval.clone())).collect()
    }

    /// False if the stream has no such watcher.
    pub fn cancel(&mut self, at: StreamSlot, id: WatchId, latest: i64) -> bool {
        let Some(&slot) = self.streams[at.0].watchers.get(&id) else { return false };
        self.retire(slot);
        let revision = latest.max(self.revision);
        self.answer(at, Delivery::Canceled { id, revision });
        true
    }

    pub fn answer(&mut self, at: StreamSlot, answer: Delivery) {
        self.wakers.extend(self.streams[at.0].queue.push_answer(answer));
    }

    fn retire(&mut self, slot: Slot) {
        self.leave_phase(slot);
        let watcher = self.watchers.remove(slot.0);
        let stream = &mut self.streams[watcher.stream.0];
        stream.watchers.remove(&watcher.id);
        stream.queue.set_watchers(stream.watchers.len());
        self.metrics.watchers.dec();
    }

    pub(super) fn move_to(&mut self, slot: Slot, phase: Phase) {
        self.leave_phase(slot);
        let watcher = &mut self.watchers[slot.0];
        watcher.phase = phase;
        match phase {
            Phase::Synced => self.synced.insert(&watcher.interval, slot),
            Phase::Lagging => {
                let stream = &mut self.streams[watcher.stream.0];
                stream.lagging.insert(slot);
                if !stream.queue.is_starved() {
                    self.ready.insert(watcher.stream);
                }
                self.metrics.slow_watchers.inc();
            }
            Phase::Riding(lane) => {
                self.rounds.of(lane).insert(&watcher.interval, slot);
                self.metrics.slow_watchers.inc();
            }
            Phase::Compacted => {}
        }
    }

    fn leave_phase(&mut self, slot: Slot) {
        let watcher = &self.watchers[slot.0];
        match watcher.phase {
            Phase::Synced => self.synced.remove(&watcher.interval, slot),
            Phase::Lagging => {
                self.streams[watcher.stream.0].lagging.remove(&slot);
                self.metrics.slow_watchers.dec();
            }
            Phase::Riding(lane) => {
                self.rounds.of(lane).remove(&watcher.interval, slot);
                self.metrics.slow_watchers.dec();
            }
            Phase::Compacted => {}
        }
    }

    // What was applied.

    /// Tells synced watchers of the next revision. One that was told already, because a restored state held it,
    /// is passed over.
    pub fn publish(&mut self, revision: &Arc<RevisionEvents>) {
        if revision.revision <= self.revision {
            return;
        }
        stage(&self.synced, &mut self.watchers, &mut self.scratch, &self.budget, revision);
        self.revision = revision.revision;
        let touched = std::mem::take(&mut self.scratch.touched);
        for &slot in &touched {
            if self.deliver(slot).is_err() {
                self.watchers[slot.0].cursor = self.revision + i64::from(defect::on(Defect::EventDropped));
                self.move_to(slot, Phase::Lagging);
            }
        }
        self.reuse(touched);
    }

    /// The state was replaced by a snapshot at `revision`: whoever may have missed something falls back to history.
    pub fn restored(&mut self, revision: i64) {
        let told = self.revision;
        self.revision = revision.max(told);
        if defect::on(Defect::SnapshotNotTold) {
            return;
        }
        let slots: Vec<_> = self.watchers.iter().map(|(at, _)| Slot(at)).collect();
        for slot in slots {
            let watcher = &mut self.watchers[slot.0];
            match watcher.phase {
                Phase::Synced => {
                    watcher.cursor = watcher.cursor.max(told + 1);
                    if watcher.cursor <= self.revision {
                        self.move_to(slot, Phase::Lagging);
                    }
                }
                Phase::Riding(_) => self.move_to(slot, Phase::Lagging),
                Phase::Lagging | Phase::Compacted => {}
            }
        }
    }

    /// Queues what is staged for a watcher.
    pub(super) fn deliver(&mut self, slot: Slot) -> Result<(), Full> {
        let watcher = &mut self.watchers[slot.0];
        let events = std::mem::take(&mut watcher.staged);
        let delivery = Events {
            id: watcher.id,
            revision: self.revision,
            weight: events.iter().map(|event| event.weight()).sum(),
            events,
            prev_kv: watcher.prev_kv,
            fragment: watcher.fragment,
        };
        let waker = self.streams[watcher.stream.0].queue.push_events(delivery)?;
        watcher.quiet = false;
        self.wakers.extend(waker);
        Ok(())
    }

    pub(super) fn reuse(&mut self, mut touched: Vec<Slot>) {
        touched.clear();
        self.scratch.touched = touched;
    }

    // Progress; see `progress`.

    /// Reports the revision for all watchers of a stream, if each may report it. Else nothing: the client asks again.
    pub fn report_all(&mut self, at: StreamSlot) {
        let revision = self.revision;
        let watchers = &self.watchers;
        let mut watching = self.streams[at.0]
            .watchers
            .values()
            .map(|slot| &watchers[slot.0])
            .filter(|watcher| watcher.phase != Phase::Compacted)
            .peekable();
        if watching.peek().is_some() && watching.all(|watcher| watcher.may_report(revision)) {
            self.answer(at, Delivery::Progress { id: None, revision });
        }
    }

    /// A progress period of the stream has passed: reports the revision for each watcher that wants it and was quiet.
    pub fn report_quiet(&mut self, at: StreamSlot) {
        let revision = self.revision;
        let stream = &self.streams[at.0];
        for (&id, slot) in &stream.watchers {
            let watcher = &mut self.watchers[slot.0];
            if watcher.progress_notify {
                if watcher.quiet && watcher.may_report(revision) {
                    self.wakers.extend(stream.queue.push_answer(Delivery::Progress { id: Some(id), revision }));
                }
                watcher.quiet = true;
            }
        }
    }
}

/// Stages the events of a revision with those watchers of a group that want them.
pub(super) fn stage(
    group: &Group,
    watchers: &mut Slab<Watcher>,
    scratch: &mut Scratch,
    budget: &Arc<Budget>,
    revision: &Arc<RevisionEvents>,
) {
    if group.len() == 0 {
        return;
    }
    for (at, event) in revision.events.iter().enumerate() {
        group.find(&event.kv.key, &mut scratch.found);
        let mut shared = None;
        for slot in scratch.found.drain(..) {
            let watcher = &mut watchers[slot.0];
            if watcher.cursor <= revision.revision && watcher.filters.passes(event.kind) {
                if watcher.staged.is_empty() {
                    scratch.touched.push(slot);
                }
                let event = shared.get_or_insert_with(|| Arc::new(SharedEvent::new(revision, at, budget)));
                watcher.staged.push(Arc::clone(event));
            }
        }
    }
}

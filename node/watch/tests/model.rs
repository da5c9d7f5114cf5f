//! The naive model: every watcher must see what a filter over the whole history says, once, in order, whole
//! revisions at a time, or be told that its history was compacted; and no progress report may come before an event
//! it speaks for.

use crate::mvcc::{Event, EventKind, RevisionEvents};
use crate::types::KeyInterval;
use crate::watch::{Delivery, Events, Filters, Start, WatchId, WatchSpec};
use bytes::Bytes;
use keelstone_proto::mvccpb::{self, KeyValue};
use proptest::prelude::*;
use prost::Message;
use std::collections::BTreeMap;
use std::sync::Arc;

pub const STREAMS: usize = 3;

pub fn spec(interval: KeyInterval, start: Start, filters: Filters) -> WatchSpec {
    WatchSpec { id: None, interval, start, filters, prev_kv: false, fragment: false, progress_notify: false }
}

pub fn key(number: u8) -> String {
    format!("k{number}")
}

/// A step of a run.
#[derive(Debug, Clone)]
pub enum Step {
    /// Puts and deletes of one revision.
    Change(Vec<(bool, u8)>),
    /// Changes that arrive in a snapshot.
    Restore(u8),
    Create(Create),
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
    /// So far below the newest revision.
    Compact(i64),
    Progress {
        stream: usize,
    },
}

#[derive(Debug, Clone)]
pub struct Create {
    pub stream: usize,
    interval: (u8, u8, u8),
    /// So far below two more than the newest revision; negative is now.
    start: i64,
    filters: (bool, bool),
}

impl Create {
    pub fn spec(&self, latest: i64) -> WatchSpec {
        let (shape, a, b) = self.interval;
        let (a, b) = (Bytes::from(key(a)), Bytes::from(key(b)));
        let interval = match shape {
            0 => KeyInterval::One(a),
            1 => KeyInterval::Range { start: a, end: None },
            _ => KeyInterval::Range { start: a, end: Some(b) },
        };
        let start = if self.start < 0 { Start::Now } else { Start::At((latest + 2 - self.start).max(1)) };
        spec(interval, start, Filters { no_put: self.filters.0, no_delete: self.filters.1 })
    }
}

pub fn step() -> impl Strategy<Value = Step> {
    let stream = 0..STREAMS;
    let filters = (prop::bool::weighted(0.2), prop::bool::weighted(0.2));
    let create = (stream.clone(), (0u8..3, 0u8..6, 0u8..7), -3i64..12, filters);
    prop_oneof![
        6 => prop::collection::vec((any::<bool>(), 0u8..6), 1..4).prop_map(Step::Change),
        1 => (1u8..4).prop_map(Step::Restore),
        3 => create.prop_map(|(stream, interval, start, filters)| Step::Create(Create { stream, interval, start, filters })),
        1 => (stream.clone(), 0i64..8).prop_map(|(stream, id)| Step::Cancel { stream, id }),
        4 => (stream.clone(), 1usize..6).prop_map(|(stream, count)| Step::Consume { stream, count }),
        4 => (1usize..6).prop_map(|rows| Step::CatchUp { rows }),
        1 => (0i64..6).prop_map(Step::Compact),
        2 => stream.prop_map(|stream| Step::Progress { stream }),
    ]
}

/// All that happened, and what the clients were told of it.
pub struct Model {
    /// Also what was compacted.
    pub history: BTreeMap<i64, Arc<RevisionEvents>>,
    /// What is applied, published or not.
    pub latest: i64,
    pub compacted: i64,
    /// Asked for and not yet answered, in order, by stream.
    asked: Vec<Vec<WatchSpec>>,
    seen: Vec<BTreeMap<WatchId, Seen>>,
}

/// What a client knows of its watcher.
struct Seen {
    spec: WatchSpec,
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
            .filter(|(_, event)| self.spec.interval.contains(&event.kv.key) && self.spec.filters.passes(event.kind))
            .collect()
    }
}

impl Model {
    pub fn new() -> Self {
        Self {
            history: BTreeMap::new(),
            latest: 1,
            compacted: -1,
            asked: (0..STREAMS).map(|_| Vec::new()).collect(),
            seen: (0..STREAMS).map(|_| BTreeMap::new()).collect(),
        }
    }

    pub fn applied(&mut self, revision: &Arc<RevisionEvents>) {
        self.latest = revision.revision;
        self.history.insert(self.latest, Arc::clone(revision));
    }

    pub fn asked(&mut self, stream: usize, spec: WatchSpec) {
        self.asked[stream].push(spec);
    }

    /// Watchers that the clients hold.
    pub fn watchers(&self) -> usize {
        self.seen.iter().map(BTreeMap::len).sum()
    }

    /// Checks what a client is told against all it was told before.
    pub fn check(&mut self, stream: usize, delivery: Delivery) {
        let seen = &mut self.seen[stream];
        match delivery {
            Delivery::Created { id, revision } => {
                let spec = self.asked[stream].remove(0);
                let from = match spec.start {
                    Start::Now => revision + 1,
                    Start::At(revision) => revision,
                };
                seen.insert(id, Seen { spec, from, next: from, over: false });
            }
            Delivery::Refused { .. } => assert!(self.asked[stream].remove(0).interval.is_empty()),
            Delivery::Canceled { id, .. } => drop(seen.remove(&id).expect("cancelled after it was created")),
            Delivery::Compacted { id, compacted } => {
                let seen = seen.get_mut(&id).expect("compacted after it was created");
                assert!(!seen.over && compacted <= self.compacted);
                assert!(seen.next < compacted, "cancelled although nothing was lost");
                seen.over = true;
            }
            Delivery::Progress { id, revision } => {
                assert_eq!(id, None);
                for seen in seen.values().filter(|seen| !seen.over) {
                    assert!(revision + 1 >= seen.from, "progress below the start");
                    assert_eq!(seen.wants(&self.history, revision + 1), [], "progress before its events");
                }
            }
            Delivery::Events(Events { id, events, revision, prev_kv, .. }) => {
                let seen = seen.get_mut(&id).expect("events after the creation");
                assert!(!seen.over, "events after the end");
                let last = events.last().expect("an empty delivery").revision();
                assert!(revision >= last);
                let got: Vec<_> = events.iter().map(|event| (event.revision(), event.event())).collect();
                assert_eq!(got, seen.wants(&self.history, last + 1));
                seen.next = last + 1;
                for event in events.iter().filter(|_| prev_kv) {
                    let encoded = mvccpb::Event::decode(event.encoded(true).clone()).expect("an event");
                    self.check_previous(event.revision(), event.event(), encoded.prev_kv);
                }
            }
        }
    }

    fn check_previous(&self, revision: i64, event: &Event, got: Option<KeyValue>) {
        let before = self.history.range(..revision).rev().flat_map(|(_, all)| all.events.iter().rev());
        let before = before.into_iter().find(|before| before.kv.key == event.kv.key);
        let before = before.filter(|before| before.kind == EventKind::Put).map(|before| before.kv.clone());
        if got.is_some() || revision > self.compacted {
            assert_eq!(got, before);
        }
    }

    /// Checks that nobody lacks anything.
    pub fn check_complete(&self) {
        for seen in self.seen.iter().flat_map(BTreeMap::values).filter(|seen| !seen.over) {
            assert_eq!(seen.wants(&self.history, self.latest + 1), [], "events lost");
        }
    }
}

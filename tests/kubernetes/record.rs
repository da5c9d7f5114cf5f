//! What API servers did and were told, and the chronicle that it is compared with: every event from the first revision on.

use crate::storage::{Expected, Outcome, Pages, Storage};
use bytes::Bytes;
use keelstone_harness::check::watch::Watched;
use keelstone_harness::check::{Faults, Truth};
use keelstone_harness::proto::mvccpb::Event;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::sync::watch;
use tokio::time::Instant;

/// A compare-and-write.
#[derive(Clone, Debug)]
pub struct Write {
    pub invoked: Instant,
    pub returned: Instant,
    pub key: Bytes,
    pub expected: Expected,
    /// None: a delete. Values of pods and events are unique.
    pub value: Option<Bytes>,
    pub outcome: Outcome,
}

#[derive(Clone, Debug)]
pub struct List {
    pub invoked: Instant,
    pub returned: Instant,
    pub prefix: &'static str,
    /// At whatever revision there was, not at an earlier one.
    pub is_new: bool,
    pub pages: Pages,
}

/// What a cache held once it had come to the revision that the cluster was at.
#[derive(Clone, Debug)]
pub struct Sight {
    /// When the cluster was asked.
    pub invoked: Instant,
    pub returned: Instant,
    pub prefix: &'static str,
    /// Of the cache.
    pub revision: i64,
    /// Keys with their mod revisions.
    pub held: BTreeMap<Bytes, i64>,
}

/// A watcher from a list on, over as many streams as it took, until the end or until it has to list again.
#[derive(Clone, Debug)]
pub struct Followed {
    pub watched: Watched,
    /// It was told of everything up to here.
    pub until: i64,
}

/// A lease, by when it was asked for.
#[derive(Clone, Copy, Debug)]
pub struct Granted {
    pub invoked: Instant,
    pub ttl_secs: u64,
}

#[derive(Debug, Default)]
pub struct Records {
    pub writes: Vec<Write>,
    pub lists: Vec<List>,
    pub sights: Vec<Sight>,
    pub followed: Vec<Followed>,
    pub leases: HashMap<i64, Granted>,
}

/// Filled by all. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Journal {
    records: Arc<Mutex<Records>>,
    written: Arc<AtomicUsize>,
}

impl Journal {
    pub fn note(&self, note: impl FnOnce(&mut Records)) {
        note(&mut self.records.lock().expect("no panic while noting"));
    }

    pub fn note_write(&self, write: Write) {
        if matches!(write.outcome, Outcome::Written { .. }) {
            self.written.fetch_add(1, Ordering::Relaxed);
        }
        self.note(|records| records.writes.push(write));
    }

    /// Writes that were acknowledged.
    pub fn written(&self) -> usize {
        self.written.load(Ordering::Relaxed)
    }

    pub fn take(&self) -> Records {
        std::mem::take(&mut self.records.lock().expect("no panic while noting"))
    }

    pub fn summary(&self, last: i64, compacted: i64) -> String {
        let records = self.records.lock().expect("no panic while noting");
        let unknown = records.writes.iter().filter(|write| write.outcome == Outcome::Unknown).count();
        let streams: usize = records.followed.iter().map(|followed| followed.watched.sessions.len()).sum();
        format!(
            "{} writes, {} done, {unknown} unknown, {} lists, {} consistent reads of caches, {} watches over {streams} \
             streams, revision {last}, compacted up to {compacted}",
            records.writes.len(),
            self.written(),
            records.lists.len(),
            records.sights.len(),
            records.followed.len(),
        )
    }
}

/// Every event, and when each revision was first heard of.
#[derive(Debug, Default)]
pub struct Chronicle {
    events: Vec<Event>,
    pub arrivals: HashMap<i64, Instant>,
}

impl Chronicle {
    pub fn truth(&self) -> (Truth, Faults) {
        Truth::replay(&self.events)
    }
}

/// Writes down every event from the first revision on, from one member after the other.
///
/// # Panics
/// If it is left behind a compaction, which comes only seconds after what it compacts.
pub async fn chronicle(storage: Storage, mut until: watch::Receiver<Option<i64>>) -> Chronicle {
    let everything = Bytes::from_static(b"\0");
    let (mut chronicle, mut next) = (Chronicle::default(), 1);
    loop {
        let mut stream = storage.watch(everything.clone(), everything.clone(), next);
        loop {
            if until.borrow().is_some_and(|last| next > last) {
                return chronicle;
            }
            let response = tokio::select! {
                response = stream.next_timed() => response,
                _ = until.changed() => continue,
            };
            let Some((at, Ok(response))) = response else { break };
            assert_eq!(response.compact_revision, 0, "the chronicle was left behind at {next}: {response:?}");
            for event in response.events {
                // The streams share an end: a revision comes whole, and once.
                let revision = event.kv.as_ref().map_or(0, |kv| kv.mod_revision);
                chronicle.arrivals.entry(revision).or_insert(at);
                next = revision + 1;
                chronicle.events.push(event);
            }
        }
        storage.turn_away();
    }
}

//! The watch cache of an API server: a list, and from its revision on every event. Before it answers a consistent read it
//! asks the cluster for its revision, and has itself told by progress requests that it is there.

use crate::record::{Followed, Journal, List, Sight};
use crate::storage::{EVENTS, PODS, Pages, Storage, is_compacted};
use bytes::Bytes;
use keelstone_harness::check::watch::Watched;
use keelstone_harness::proto::etcdserverpb::WatchResponse;
use keelstone_harness::proto::mvccpb::event::EventType;
use keelstone_harness::{WatchStream, prefix_end};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};

/// Between two progress requests, and between two consistent reads.
const PROGRESS_PACE: Duration = Duration::from_millis(50);
/// Lists that are given up, each within a deadline of its own, before the cache is.
const MAX_LISTS: usize = 100;

/// Lists that clients ask for in pages, past the cache: what is so now, and again what was so for as long as it is kept.
pub async fn list_now_and_then(storage: Arc<Storage>, journal: Journal, stop: watch::Receiver<bool>) {
    let mut earlier = 0;
    while !*stop.borrow() {
        tokio::time::sleep(PROGRESS_PACE).await;
        for (prefix, revision) in [(PODS, 0), (EVENTS, 0), (PODS, earlier), (EVENTS, earlier)] {
            let invoked = Instant::now();
            match storage.list(prefix, revision).await {
                Ok(pages) => {
                    if earlier == 0 {
                        earlier = pages.revision;
                    }
                    let (returned, is_new) = (Instant::now(), revision == 0);
                    journal.note(|records| records.lists.push(List { invoked, returned, prefix, is_new, pages }));
                }
                Err(status) if is_compacted(&status) => earlier = 0,
                // What fails a client asks for again.
                Err(_) => {}
            }
        }
    }
}

pub struct Cache {
    name: String,
    prefix: &'static str,
    storage: Arc<Storage>,
    journal: Journal,
    held: BTreeMap<Bytes, i64>,
    /// It holds what was so at this revision.
    revision: i64,
    followed: Option<Followed>,
    /// A consistent read that waits: when it began, and the revision that it needs.
    reading: Option<(Instant, i64)>,
}

/// Why a stream ended.
enum Ended {
    /// Another can go on from the next revision.
    Lost,
    /// What comes next is compacted.
    Compacted,
    /// All was seen.
    Finished,
}

impl Cache {
    pub fn new(name: String, prefix: &'static str, storage: &Arc<Storage>, journal: &Journal) -> Self {
        let (storage, journal) = (Arc::clone(storage), journal.clone());
        Self { name, prefix, storage, journal, held: BTreeMap::new(), revision: 0, followed: None, reading: None }
    }

    /// Lists and watches until it has come to the revision that `until` says.
    pub async fn run(mut self, mut until: watch::Receiver<Option<i64>>) {
        loop {
            self.list().await;
            loop {
                let stream = self.storage.watch(self.key(), prefix_end(self.prefix.as_bytes()), self.revision + 1);
                if let Some(followed) = &mut self.followed {
                    followed.watched.sessions.push((self.revision + 1, Vec::new()));
                }
                match self.follow(stream, &mut until).await {
                    Ended::Lost => self.storage.turn_away(),
                    Ended::Compacted => break,
                    Ended::Finished => {
                        self.end_watch();
                        return;
                    }
                }
            }
            self.end_watch();
        }
    }

    fn key(&self) -> Bytes {
        Bytes::from_static(self.prefix.as_bytes())
    }

    /// Holds a list, and forgets all else.
    async fn list(&mut self) {
        for _ in 0..MAX_LISTS {
            let invoked = Instant::now();
            match self.storage.list(self.prefix, 0).await {
                Ok(pages) => {
                    self.begin(&pages);
                    let (returned, prefix, is_new) = (Instant::now(), self.prefix, true);
                    let list = List { invoked, returned, prefix, is_new, pages };
                    return self.journal.note(|records| records.lists.push(list));
                }
                // It took so long that the revision of its first page is gone.
                Err(status) if is_compacted(&status) => {}
                Err(_) => tokio::time::sleep(PROGRESS_PACE).await,
            }
        }
        panic!("{}: no list in {MAX_LISTS} attempts", self.name);
    }

    fn begin(&mut self, pages: &Pages) {
        self.held = pages.kvs.iter().map(|kv| (kv.key.clone(), kv.mod_revision)).collect();
        self.revision = pages.revision;
        let watched = Watched {
            name: self.name.clone(),
            key: self.key(),
            range_end: prefix_end(self.prefix.as_bytes()),
            start_revision: pages.revision + 1,
            prev_kv: true,
            sessions: Vec::new(),
        };
        self.followed = Some(Followed { watched, until: pages.revision });
    }

    fn end_watch(&mut self) {
        if let Some(followed) = self.followed.take() {
            let followed = Followed { until: self.revision, ..followed };
            self.journal.note(|records| records.followed.push(followed));
        }
    }

    async fn follow(&mut self, mut stream: WatchStream, until: &mut watch::Receiver<Option<i64>>) -> Ended {
        let mut pace = tokio::time::interval(PROGRESS_PACE);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            if until.borrow().is_some_and(|last| self.revision >= last) {
                return Ended::Finished;
            }
            tokio::select! {
                response = stream.next_timed() => {
                    let Some((_, Ok(response))) = response else { return Ended::Lost };
                    if response.canceled {
                        let compacted = response.compact_revision;
                        assert!(compacted > self.revision, "{} at {}: {response:?}", self.name, self.revision);
                        return Ended::Compacted;
                    }
                    self.take(response);
                }
                _ = pace.tick() => {
                    if self.reading.is_none() {
                        let invoked = Instant::now();
                        let asked = self.storage.current_revision(self.prefix).await;
                        self.reading = asked.ok().map(|needed| (invoked, needed));
                    }
                    stream.ask_progress();
                }
                changed = until.changed() => if changed.is_err() {
                    // The test has failed; nobody reads this.
                    return Ended::Finished;
                },
            }
        }
    }

    /// Takes over what is told, and answers the read that waits for it.
    fn take(&mut self, response: WatchResponse) {
        for event in &response.events {
            let Some(kv) = &event.kv else { continue };
            match event.r#type() {
                EventType::Put => self.held.insert(kv.key.clone(), kv.mod_revision),
                EventType::Delete => self.held.remove(&kv.key),
            };
            self.revision = kv.mod_revision;
        }
        if response.events.is_empty() && !response.created {
            // A progress notification: there is nothing else up to there.
            self.revision = self.revision.max(response.header.as_ref().map_or(0, |header| header.revision));
        }
        if let Some((_, responses)) = self.followed.as_mut().and_then(|followed| followed.watched.sessions.last_mut()) {
            responses.push(response);
        }
        if let Some((invoked, _)) = self.reading.take_if(|(_, needed)| *needed <= self.revision) {
            let (returned, prefix, revision, held) = (Instant::now(), self.prefix, self.revision, self.held.clone());
            let sight = Sight { invoked, returned, prefix, revision, held };
            self.journal.note(|records| records.sights.push(sight));
        }
    }
}

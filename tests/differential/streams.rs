//! A watch stream on each side, fed with the same requests. What comes back is sorted by what it is about and
//! compared at [`StreamPair::settle`]: answers to requests in their order, and for each watcher its responses.
//!
//! How history is cut into responses is a matter of time, since etcd looks after watchers with a past every 100 ms, and of
//! taste (README, "How it differs from etcd"). Until a stream has settled with such a watcher, its events count, and
//! that no revision is torn.

use crate::difference::{Difference, Identity, same};
use crate::half::{Half, events, is_progress};
use keelstone_harness::WatchStream;
use keelstone_harness::proto::etcdserverpb::{WatchCreateRequest, WatchResponse};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::time::Duration;
use tokio::time::Instant;

const PATIENCE: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(10);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watcher {
    start: i64,
    /// It starts below the compacted revision, and will be told so.
    is_doomed: bool,
    is_settled: bool,
}

#[derive(Debug)]
pub struct StreamPair {
    halves: [Half; 2],
    pub watchers: BTreeMap<i64, Watcher>,
}

impl StreamPair {
    pub fn open(streams: [(WatchStream, Identity); 2]) -> Self {
        let halves = streams.map(|(stream, identity)| Half::new(stream, identity));
        Self { halves, watchers: BTreeMap::new() }
    }

    /// Creates watchers, and waits until both sides have answered; nothing may be written meanwhile.
    pub async fn create(
        &mut self,
        requests: &[WatchCreateRequest],
        revision: i64,
        compacted: i64,
    ) -> Result<(), Difference> {
        for half in &mut self.halves {
            requests.iter().for_each(|request| half.stream.create(request.clone()));
            half.expect_answers(requests.len());
        }
        self.await_answers(&requests).await?;
        let answers = self.halves.each_ref().map(|half| {
            let (answers, _) = half.sorted();
            answers[answers.len() - requests.len()..].iter().map(|told| (*told).clone()).collect::<Vec<_>>()
        });
        let created = same(&requests, answers)?;
        for (request, told) in requests.iter().zip(created).filter(|(_, told)| !told.canceled) {
            let start = request.start_revision;
            let is_settled = start == 0 || start > revision;
            let is_doomed = start > 0 && start < compacted;
            self.watchers.insert(told.watch_id, Watcher { start, is_doomed, is_settled });
        }
        Ok(())
    }

    /// Cancels a watcher, if it is there, after all was told that it might have been told.
    pub async fn cancel(&mut self, id: i64, revision: i64) -> Result<(), Difference> {
        self.settle(revision).await?;
        self.cancel_settled(id).await
    }

    async fn cancel_settled(&mut self, id: i64) -> Result<(), Difference> {
        let is_there = self.watchers.remove(&id).is_some();
        for half in &mut self.halves {
            half.stream.cancel(id);
            half.expect_answers(usize::from(is_there));
        }
        self.await_answers(&format!("cancel watcher {id}")).await
    }

    pub fn send_empty(&self) {
        self.halves.iter().for_each(|half| half.stream.send_empty());
    }

    /// Compares all that both sides have told up to now, when nothing is under way any more.
    pub async fn settle(&mut self, revision: i64) -> Result<(), Difference> {
        let deadline = Instant::now() + PATIENCE;
        let [etcd, ours] = &mut self.halves;
        let fenced: [bool; 2] = tokio::join!(etcd.fence(deadline), ours.fence(deadline)).into();
        self.same_ends()?;
        same(&"a refused watcher is answered", fenced)?;
        self.bury_the_doomed().await?;
        if self.watchers.is_empty() {
            return self.compare(revision);
        }
        if self.watchers.values().any(|watcher| watcher.start > revision) {
            return self.compare_in_time(revision).await;
        }
        let [etcd, ours] = &mut self.halves;
        let progress: [_; 2] = tokio::join!(etcd.progress(deadline), ours.progress(deadline)).into();
        self.same_ends()?;
        let subject = ("progress when all is told", &self.watchers);
        same(&subject, progress)?;
        same(&subject, [Some(revision), progress[0]])?;
        self.compare(revision)?;
        self.watchers.values_mut().for_each(|watcher| watcher.is_settled = true);
        Ok(())
    }

    async fn await_answers(&mut self, subject: &impl Debug) -> Result<(), Difference> {
        let deadline = Instant::now() + PATIENCE;
        let [etcd, ours] = &mut self.halves;
        let heard: [bool; 2] = tokio::join!(etcd.catch_up(deadline), ours.catch_up(deadline)).into();
        self.same_ends()?;
        let told = self.halves.each_ref().map(|half| half.told.clone());
        if heard != [true; 2] {
            same(subject, told)?;
        }
        same(&("an answer to", subject), heard.map(|heard| heard.then_some("comes")))?;
        same(&("an answer to", subject), [Some("comes"), heard[0].then_some("comes")]).map(|_| ())
    }

    fn same_ends(&self) -> Result<(), Difference> {
        same(&"end of a watch stream", self.halves.each_ref().map(|half| half.ended.clone())).map(|_| ())
    }

    /// Waits until watchers that start below the compacted revision are told so, and cancels them: until a client
    /// does, etcd answers no progress request on their stream (README, "How it differs from etcd").
    async fn bury_the_doomed(&mut self) -> Result<(), Difference> {
        let doomed: BTreeSet<i64> =
            self.watchers.iter().filter(|(_, watcher)| watcher.is_doomed).map(|(id, _)| *id).collect();
        if doomed.is_empty() {
            return Ok(());
        }
        let deadline = Instant::now() + PATIENCE;
        let enough = |half: &Half| {
            let told = half.told.iter().filter(|told| told.compact_revision != 0).map(|told| told.watch_id);
            told.collect::<BTreeSet<_>>().is_superset(&doomed)
        };
        let [etcd, ours] = &mut self.halves;
        let told: [bool; 2] = tokio::join!(etcd.listen(deadline, enough), ours.listen(deadline, enough)).into();
        self.same_ends()?;
        same(&("told of compaction", &doomed), told)?;
        for id in doomed {
            self.cancel_settled(id).await?;
        }
        Ok(())
    }

    /// As [`Self::compare`], where there is no telling when all is told: what is missing may still come.
    async fn compare_in_time(&mut self, revision: i64) -> Result<(), Difference> {
        let deadline = Instant::now() + PATIENCE;
        while let Err(difference) = self.compare(revision) {
            if Instant::now() >= deadline {
                return Err(difference);
            }
            let soon = Instant::now() + PAUSE;
            let [etcd, ours] = &mut self.halves;
            tokio::join!(etcd.listen(soon, |_| false), ours.listen(soon, |_| false));
            self.same_ends()?;
        }
        Ok(())
    }

    fn compare(&mut self, revision: i64) -> Result<(), Difference> {
        let [(etcd_answers, mut etcd), (our_answers, mut ours)] = self.halves.each_ref().map(Half::sorted);
        same(&"answers on a watch stream", [etcd_answers, our_answers])?;
        for id in etcd.keys().chain(ours.keys()).copied().collect::<BTreeSet<_>>() {
            let told = [&mut etcd, &mut ours].map(|told| told.remove(&id).unwrap_or_default());
            self.compare_watcher(id, told, revision)?;
        }
        self.check_progress(revision)?;
        self.halves.iter_mut().for_each(|half| half.told.clear());
        Ok(())
    }

    fn compare_watcher(&self, id: i64, told: [Vec<&WatchResponse>; 2], revision: i64) -> Result<(), Difference> {
        let watcher = self.watchers.get(&id);
        let subject = format!("responses of watcher {id}, {watcher:?}, at revision {revision}");
        if watcher.is_none_or(|watcher| watcher.is_settled) {
            return same(&subject, told).map(|_| ());
        }
        match same(&subject, told.each_ref().map(|told| events(told)))? {
            Ok(_) => Ok(()),
            Err(problem) => Err(Difference { subject, etcd: problem.clone(), ours: problem }),
        }
    }

    /// Progress says no more than was told, and nothing of what is yet to come.
    fn check_progress(&self, revision: i64) -> Result<(), Difference> {
        for half in &self.halves {
            let mut told_up_to = 0;
            for told in &half.told {
                let at = told.header.as_ref().map_or(0, |header| header.revision);
                if is_progress(told) && (at < told_up_to || at > revision) {
                    let subject = format!("progress after {told_up_to}, at {revision}");
                    let all = self.halves.each_ref().map(|half| format!("{:?}", half.told));
                    let [etcd, ours] = all;
                    return Err(Difference { subject, etcd, ours });
                }
                let events = told.events.iter().filter_map(|event| event.kv.as_ref());
                told_up_to = events.map(|kv| kv.mod_revision).fold(told_up_to, i64::max);
            }
        }
        Ok(())
    }
}

//! One side of a pair of watch streams: what was asked on it, and what was told.

use crate::difference::{Identity, Reply};
use keelstone_harness::WatchStream;
use keelstone_harness::proto::etcdserverpb::{WatchCreateRequest, WatchResponse};
use keelstone_harness::proto::mvccpb::Event;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// How long to let a server be that has not answered a progress request: etcd is silent while a watcher lags.
const PROGRESS_PAUSE: Duration = Duration::from_millis(10);

#[derive(Debug)]
pub struct Half {
    pub stream: WatchStream,
    identity: Identity,
    /// Since the last comparison, without answers to fences.
    pub told: Vec<WatchResponse>,
    /// Requests that will be answered, and answers, of all time.
    asked: usize,
    answered: usize,
    /// Which of the requests are fences.
    fences: BTreeSet<usize>,
    pub ended: Option<String>,
}

/// Comes in the order of requests, but in none that events keep.
fn is_answer(response: &WatchResponse) -> bool {
    response.created || (response.canceled && response.compact_revision == 0)
}

pub fn is_progress(response: &WatchResponse) -> bool {
    response.watch_id == -1 && !is_answer(response) && response.compact_revision == 0 && response.events.is_empty()
}

impl Half {
    pub fn new(stream: WatchStream, identity: Identity) -> Self {
        let told = Vec::new();
        Self { stream, identity, told, asked: 0, answered: 0, fences: BTreeSet::new(), ended: None }
    }

    /// A request was sent that will have an answer.
    pub fn expect_answers(&mut self, count: usize) {
        self.asked += count;
    }

    /// Takes what is told until `enough` says so, at most until the deadline; false if that passes.
    pub async fn listen(&mut self, deadline: Instant, mut enough: impl FnMut(&Half) -> bool) -> bool {
        while !enough(self) {
            if self.ended.is_some() {
                return false;
            }
            match timeout_at(deadline, self.stream.next_timed()).await {
                Ok(Some((_, Ok(response)))) => self.hear(response),
                Ok(Some((_, Err(status)))) => self.ended = Some(format!("{:?} {}", status.code(), status.message())),
                Ok(None) => self.ended = Some("end of stream".to_owned()),
                Err(_) => return false,
            }
        }
        true
    }

    fn hear(&mut self, mut response: WatchResponse) {
        response.hide(&self.identity);
        if is_answer(&response) {
            self.answered += 1;
            if self.fences.remove(&self.answered) && response.created && response.canceled {
                return;
            }
        }
        self.told.push(response);
    }

    /// Waits until all requests have their answers; false if they do not come.
    pub async fn catch_up(&mut self, deadline: Instant) -> bool {
        self.listen(deadline, |half| half.answered >= half.asked).await
    }

    /// As [`Self::catch_up`], and even requests that may have no answer are dealt with: one follows that is refused.
    pub async fn fence(&mut self, deadline: Instant) -> bool {
        self.stream.create(WatchCreateRequest { key: "k".into(), start_revision: -1, ..Default::default() });
        self.asked += 1;
        self.fences.insert(self.asked);
        self.catch_up(deadline).await
    }

    /// Asks until all is told up to a revision, and says which.
    pub async fn progress(&mut self, deadline: Instant) -> Option<i64> {
        let from = self.told.len();
        while Instant::now() < deadline && self.ended.is_none() {
            self.stream.ask_progress();
            // etcd sends answers and progress through two channels, and picks either when both are ready. By the
            // second fence it had nothing else to pick.
            for _ in 0..2 {
                self.fence(deadline).await;
                if let Some(told) = self.told[from..].iter_mut().find(|told| is_progress(told)) {
                    return Some(told.revision());
                }
            }
            self.listen(Instant::now() + PROGRESS_PAUSE, |_| false).await;
        }
        None
    }

    /// Answers in their order, and events by watcher.
    pub fn sorted(&self) -> (Vec<&WatchResponse>, BTreeMap<i64, Vec<&WatchResponse>>) {
        let (mut answers, mut events) = (Vec::new(), BTreeMap::<_, Vec<_>>::new());
        for told in &self.told {
            if is_answer(told) {
                answers.push(told);
            } else if !is_progress(told) {
                events.entry(told.watch_id).or_default().push(told);
            }
        }
        (answers, events)
    }
}

/// The events of responses that time has cut.
///
/// # Errors
/// What must hold of them all the same does not: a revision is torn, or newer than the header it came with.
pub fn events(responses: &[&WatchResponse]) -> Result<Vec<Event>, String> {
    let mut events: Vec<Event> = Vec::new();
    let mut is_in_parts = false;
    for response in responses {
        let revision = |event: &Event| event.kv.as_ref().map_or(0, |kv| kv.mod_revision);
        let (first, last) = (response.events.first().map(revision), response.events.last().map(revision));
        if !is_in_parts && first.is_some() && events.last().map(revision) == first {
            return Err(format!("the events of a revision in two responses: {response:?}"));
        }
        if last > response.header.as_ref().map(|header| header.revision) {
            return Err(format!("an event newer than the header: {response:?}"));
        }
        is_in_parts = response.fragment;
        events.extend(response.events.iter().cloned());
    }
    Ok(events)
}

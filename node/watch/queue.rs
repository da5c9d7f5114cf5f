//! What waits to be sent on one stream: deliveries of all its watchers and answers to its requests, in the one
//! order the client sees. Bounded; what does not fit is refused, never dropped.

use super::budget::Budget;
use super::event::SharedEvent;
use super::metrics::Metrics;
use super::watcher::WatchId;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

/// One response in the making.
#[derive(Debug, Clone)]
pub enum Delivery {
    Created {
        id: WatchId,
        revision: i64,
    },
    /// A creation that failed, with the reason as etcd words it.
    Refused {
        revision: i64,
        reason: String,
    },
    /// As the client asked.
    Canceled {
        id: WatchId,
        revision: i64,
    },
    /// Ended, because history below this revision is gone.
    Compacted {
        id: WatchId,
        compacted: i64,
    },
    /// Every event up to `revision` went before: of one watcher, or of all on the stream.
    Progress {
        id: Option<WatchId>,
        revision: i64,
    },
    Events(Events),
}

/// Events of one watcher: all it wants of one revision, or of several consecutive ones. Not empty.
#[derive(Debug, Clone)]
pub struct Events {
    pub id: WatchId,
    /// For the header: the revision of the events, or the published one when they are history.
    pub revision: i64,
    pub events: Vec<Arc<SharedEvent>>,
    pub prev_kv: bool,
    pub fragment: bool,
    /// About the bytes that `events` hold.
    pub(super) weight: usize,
}

impl Events {
    /// What it takes of the budget, beside its events.
    fn footprint(&self) -> usize {
        DELIVERY_BYTES + self.events.len() * size_of::<Arc<SharedEvent>>()
    }
}

/// About the size of a delivery of events and its place in the queue.
const DELIVERY_BYTES: usize = 128;
/// Deliveries of events that a stream may hold while the budget of all is short.
const SHORT_DELIVERIES: usize = 4;

/// The queue has no room for more events.
#[derive(Debug)]
pub(super) struct Full;

#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Deliveries of events; one more per watcher of the stream, so that each can be told of a common revision.
    pub deliveries: usize,
    pub bytes: usize,
}

#[derive(Debug)]
pub(super) struct StreamQueue {
    inner: Mutex<Inner>,
    bounds: Bounds,
    budget: Arc<Budget>,
    metrics: Metrics,
}

#[derive(Debug, Default)]
struct Inner {
    waiting: VecDeque<Delivery>,
    /// Of the deliveries of events: their number and weight.
    deliveries: usize,
    bytes: usize,
    watchers: usize,
    /// Something was refused, and there has not been room since.
    starved: bool,
    closed: bool,
    waker: Option<Waker>,
}

/// What the consumer gets.
#[derive(Debug)]
pub(super) struct Popped {
    /// `None`: the stream has ended.
    pub delivery: Option<Delivery>,
    /// There is room again for watchers that were refused.
    pub has_room_again: bool,
}

impl StreamQueue {
    pub fn new(bounds: Bounds, budget: Arc<Budget>, metrics: Metrics) -> Self {
        Self { inner: Mutex::default(), bounds, budget, metrics }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("a panic ends the process")
    }

    /// Queues events. Answers whom to wake, which is nobody if that was answered since the last poll.
    pub fn push_events(&self, events: Events) -> Result<Option<Waker>, Full> {
        let mut inner = self.lock();
        // An empty queue takes anything, else a large revision would never leave.
        let fits = inner.deliveries < self.most_deliveries(&inner) && inner.bytes + events.weight <= self.bounds.bytes;
        if inner.starved || (inner.deliveries > 0 && !fits) {
            inner.starved = true;
            return Err(Full);
        }
        self.budget.take(events.footprint());
        inner.deliveries += 1;
        inner.bytes += events.weight;
        self.metrics.pending_events.add(count(&events));
        inner.waiting.push_back(Delivery::Events(events));
        Ok(inner.waker.take())
    }

    fn most_deliveries(&self, inner: &Inner) -> usize {
        if self.budget.is_short() { SHORT_DELIVERIES } else { self.bounds.deliveries + inner.watchers }
    }

    /// Queues an answer. Its number is bounded by who asks: see [`super::WatchStream::answers_waiting`].
    pub fn push_answer(&self, answer: Delivery) -> Option<Waker> {
        let mut inner = self.lock();
        inner.waiting.push_back(answer);
        inner.waker.take()
    }

    pub fn answers_waiting(&self) -> usize {
        let inner = self.lock();
        inner.waiting.len() - inner.deliveries
    }

    pub fn is_starved(&self) -> bool {
        self.lock().starved
    }

    pub fn set_watchers(&self, watchers: usize) {
        self.lock().watchers = watchers;
    }

    /// Ends the stream at once; what waits is not sent.
    pub fn close(&self) -> Option<Waker> {
        let mut inner = self.lock();
        inner.closed = true;
        inner.waker.take()
    }

    pub fn poll_pop(&self, cx: &mut Context<'_>) -> Poll<Popped> {
        let mut inner = self.lock();
        if inner.closed {
            return Poll::Ready(Popped { delivery: None, has_room_again: false });
        }
        let Some(delivery) = inner.waiting.pop_front() else {
            match &mut inner.waker {
                Some(waker) => waker.clone_from(cx.waker()),
                None => inner.waker = Some(cx.waker().clone()),
            }
            return Poll::Pending;
        };
        let mut has_room_again = false;
        if let Delivery::Events(events) = &delivery {
            self.budget.give(events.footprint());
            inner.deliveries -= 1;
            inner.bytes -= events.weight;
            self.metrics.pending_events.sub(count(events));
            self.metrics.events.inc_by(events.events.len() as u64);
            let roomy = inner.deliveries <= self.most_deliveries(&inner) / 2 && inner.bytes <= self.bounds.bytes / 2;
            has_room_again = inner.starved && roomy;
            inner.starved &= !roomy;
        }
        Poll::Ready(Popped { delivery: Some(delivery), has_room_again })
    }
}

impl Drop for StreamQueue {
    fn drop(&mut self) {
        for delivery in &self.lock().waiting {
            if let Delivery::Events(events) = delivery {
                self.budget.give(events.footprint());
                self.metrics.pending_events.sub(count(events));
            }
        }
    }
}

fn count(events: &Events) -> i64 {
    events.events.len() as i64
}

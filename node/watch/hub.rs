//! The meeting point of what is applied and who watches. Lives on the runtime thread; its lock is held briefly and
//! never while somebody is woken or history is read.

use super::budget::Budget;
use super::metrics::Metrics;
use super::queue::{Bounds, StreamQueue};
use super::registry::Registry;
use super::stream::WatchStream;
use crate::mvcc::{ReadError, RevisionEvents, Views};
use crate::threads::Threads;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Waker;
use std::time::Duration;
use tokio::sync::Notify;

#[derive(Clone, Debug)]
pub struct Settings {
    /// Deliveries of events that wait on one stream; one more for each of its watchers.
    pub queue_deliveries: usize,
    /// Keys and values that wait on one stream. A single delivery may exceed it.
    pub queue_bytes: usize,
    /// What waits on all streams together; events that several wait for count once. Beyond it a stream holds only a
    /// few deliveries.
    pub budget_bytes: usize,
    /// Rows of history read at once.
    pub slice_rows: usize,
    /// Pause after a round that left watchers behind, so that the next serves many of them.
    pub gather: Duration,
    /// Where history is read for lagging watchers.
    pub threads: Threads,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            // More than one apply batch has revisions, so that a reader who keeps up never falls behind.
            queue_deliveries: 2048,
            queue_bytes: 1 << 20,
            budget_bytes: 64 << 20,
            slice_rows: 1000,
            gather: Duration::from_millis(5),
            threads: Threads::Own,
        }
    }
}

#[derive(Debug)]
pub struct Hub {
    registry: Mutex<Registry>,
    pub(super) views: Views,
    pub(super) settings: Settings,
    budget: Arc<Budget>,
    metrics: Metrics,
    closed: AtomicBool,
    /// Why history could not be read, until [`Hub::catch_up`] says so.
    failure: Mutex<Option<ReadError>>,
    /// There may be work for [`Hub::catch_up`], or it shall end.
    pub(super) lagging: Notify,
}

impl Hub {
    /// A hub that has published everything up to the revision of the view of now.
    pub fn new(views: Views, settings: Settings, metrics: Metrics) -> Arc<Self> {
        let budget = Arc::new(Budget::new(settings.budget_bytes));
        let registry = Registry::new(views.load().revision(), Arc::clone(&budget), metrics.clone());
        Arc::new(Self {
            registry: Mutex::new(registry),
            views,
            settings,
            budget,
            metrics,
            closed: AtomicBool::new(false),
            failure: Mutex::default(),
            lagging: Notify::new(),
        })
    }

    /// Hands out applied revisions: in order, each once, after the view that shows them was published. Returns
    /// at once whatever the watchers do.
    pub fn publish(&self, revisions: &[Arc<RevisionEvents>]) {
        self.with(|registry| {
            for revision in revisions {
                registry.publish(revision);
            }
        });
    }

    /// Says that the state was replaced by a snapshot, after its view was published. Watchers go on from where they
    /// are, through history.
    pub fn restored(&self) {
        let revision = self.views.load().revision();
        self.with(|registry| registry.restored(revision));
    }

    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    pub fn open(self: &Arc<Self>) -> WatchStream {
        let bounds = Bounds { deliveries: self.settings.queue_deliveries, bytes: self.settings.queue_bytes };
        let queue = Arc::new(StreamQueue::new(bounds, Arc::clone(&self.budget), self.metrics.clone()));
        let slot = self.with(|registry| registry.open(Arc::clone(&queue)));
        // After that, or a hub that closes in between would miss it.
        if self.is_closed() {
            queue.close();
        }
        WatchStream::new(Arc::clone(self), slot, queue)
    }

    /// Ends all streams, also those opened later, and [`Hub::catch_up`].
    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.lagging.notify_one();
        self.with(|registry| registry.end_all());
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// History cannot be read: nobody can be served any more.
    pub(super) fn fail(&self, error: ReadError) {
        self.failure.lock().expect("a panic ends the process").get_or_insert(error);
        self.close();
    }

    pub(super) fn take_failure(&self) -> Option<ReadError> {
        self.failure.lock().expect("a panic ends the process").take()
    }

    /// Runs under the lock, then wakes whom the call gave work.
    pub(super) fn with<T>(&self, call: impl FnOnce(&mut Registry) -> T) -> T {
        let (result, wakers, ready) = {
            let mut registry = self.registry.lock().expect("a panic ends the process");
            let result = call(&mut registry);
            (result, registry.take_wakers(), registry.is_ready())
        };
        wakers.into_iter().for_each(Waker::wake);
        if ready {
            self.lagging.notify_one();
        }
        result
    }
}

//! A client's stream: requests go in, deliveries come out in one order. Dropping it ends its watchers.

use super::hub::Hub;
use super::queue::{Delivery, StreamQueue};
use super::watcher::{CreateError, StreamSlot, WatchId, WatchSpec};
use crate::mvcc::{ReadError, View};
use crate::types::KeyInterval;
use keelstone_proto::mvccpb::KeyValue;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

#[derive(Debug)]
pub struct WatchStream {
    hub: Arc<Hub>,
    slot: StreamSlot,
    queue: Arc<StreamQueue>,
}

impl WatchStream {
    pub(super) fn new(hub: Arc<Hub>, slot: StreamSlot, queue: Arc<StreamQueue>) -> Self {
        Self { hub, slot, queue }
    }

    /// Creates a watcher. What came of it is also delivered, before any event of the watcher.
    pub fn create(&self, spec: WatchSpec) -> Result<WatchId, CreateError> {
        let latest = self.hub.views.load().revision();
        self.hub.with(|registry| registry.create(self.slot, spec, latest))
    }

    /// Delivers that a creation was refused, for a reason this module does not know.
    pub fn refuse(&self, reason: String) {
        let latest = self.hub.views.load().revision();
        self.hub.with(|registry| {
            let revision = latest.max(registry.revision());
            registry.answer(self.slot, Delivery::Refused { revision, reason });
        });
    }

    /// Ends a watcher and delivers that. False, and nothing delivered, if there is none of that name.
    pub fn cancel(&self, id: WatchId) -> bool {
        let latest = self.hub.views.load().revision();
        self.hub.with(|registry| registry.cancel(self.slot, id, latest))
    }

    /// The watchers that are not over, and what they watch.
    pub fn watched(&self) -> Vec<(WatchId, KeyInterval)> {
        self.hub.with(|registry| registry.watched(self.slot))
    }

    /// Delivers the revision that all watchers of the stream have reached, if none is behind or begins later.
    pub fn request_progress(&self) {
        self.hub.with(|registry| registry.report_all(self.slot));
    }

    /// To be called once in a progress period: delivers the revision for each watcher that wants that, is not
    /// behind, and had no event since the last call.
    pub fn progress_tick(&self) {
        self.hub.with(|registry| registry.report_quiet(self.slot));
    }

    /// Deliveries waiting that are no events. Who passes on a client's requests stops while there are many,
    /// which bounds them.
    pub fn answers_waiting(&self) -> usize {
        self.queue.answers_waiting()
    }

    /// The next delivery. `None`: the hub was closed, or cannot read history.
    pub fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Option<Delivery>> {
        let popped = ready!(self.queue.poll_pop(cx));
        if popped.has_room_again {
            self.hub.with(|registry| registry.has_room(self.slot));
        }
        Poll::Ready(popped.delivery.and_then(|delivery| self.complete(delivery)))
    }

    /// As [`Self::poll_next`].
    pub async fn next(&self) -> Option<Delivery> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// Looks up the pairs before, as late as possible: most events of a slow stream never get here.
    fn complete(&self, delivery: Delivery) -> Option<Delivery> {
        if let Delivery::Events(events) = &delivery
            && events.prev_kv
        {
            let view = self.hub.views.load();
            for event in &events.events {
                if let Err(error) = event.resolve_previous(|key, revision| previous(&view, key, revision)) {
                    self.hub.fail(error);
                    return None;
                }
            }
        }
        Some(delivery)
    }
}

impl Drop for WatchStream {
    fn drop(&mut self) {
        self.hub.with(|registry| registry.close(self.slot));
    }
}

/// The pair at a revision; none if that is compacted.
fn previous(view: &View, key: &[u8], revision: i64) -> Result<Option<KeyValue>, ReadError> {
    match view.get_at(key, revision) {
        Err(ReadError::Compacted { .. }) => Ok(None),
        found => found,
    }
}

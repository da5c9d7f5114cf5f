//! Watchers: catch up from history, then follow what is applied.
//!
//! Every watcher has a cursor, the lowest revision it still wants. A *synced* watcher is told of each
//! revision as it is published; a *lagging* one is behind, because it asked for the past or because the
//! queue of its stream was full, and is served from history by rounds that share one scan. Invariants:
//! - a watcher gets each event it asked for once, in revision order, all of a revision in one delivery;
//! - publishing never waits for a consumer and never drops: a full queue turns a watcher into a lagging one;
//! - a progress report travels through the queue of its stream, behind every event it speaks for.
//!
//! Knows nothing of gRPC, permissions and leaders; see `api::watch`.

mod budget;
mod catch_up;
mod event;
mod group;
mod hub;
mod metrics;
mod progress;
mod queue;
mod registry;
mod round;
mod stream;
mod watcher;

pub use event::SharedEvent;
pub use hub::{Hub, Settings};
pub use metrics::Metrics;
pub use progress::ProgressPeriod;
pub use queue::{Delivery, Events};
pub use stream::WatchStream;
pub use watcher::{CreateError, Filters, Start, WatchId, WatchSpec};

#[cfg(test)]
mod tests;

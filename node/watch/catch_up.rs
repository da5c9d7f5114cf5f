//! Serves lagging watchers from history. A round is one scan for all its watchers: it begins at the lowest cursor and
//! moves up, taking along whoever it reaches, until all are synced, cancelled, or without room.

use super::hub::Hub;
use super::round::{Lane, Slice, Wanted};
use crate::mvcc::{ReadError, View};
use crate::threads::Work;
use std::sync::Arc;
use tokio::time::Instant;

/// Events handed out at once are kept near this, by reading shorter slices: 10 000 watchers of one key would
/// otherwise hold the thread for seconds.
const EVENTS_AT_ONCE: usize = 32 * 1024;
/// The same for what a slice holds in memory.
const SLICE_BYTES: usize = 2 << 20;
/// Rows of the first slice, while nothing is known of their size.
const FIRST_ROWS: usize = 64;

/// How it went so far.
#[derive(Debug)]
struct Pace {
    rows: usize,
    /// No round begins before this, so that one serves many of those who were left behind together.
    next_round: Instant,
}

impl Hub {
    /// Serves lagging watchers until the hub is closed. One task of the server. An error says that history cannot be
    /// read, here or for a pair before; then the hub is closed too.
    pub async fn catch_up(&self) -> Result<(), ReadError> {
        let mut pace = Pace { rows: FIRST_ROWS.min(self.settings.slice_rows), next_round: Instant::now() };
        while !self.is_closed() {
            let served_near = self.step(Lane::Near, &mut pace).await;
            let served_far = self.step(Lane::Far, &mut pace).await;
            if served_near || served_far {
                tokio::task::yield_now().await;
            } else if self.with(|registry| registry.is_ready()) {
                tokio::time::sleep_until(pace.next_round).await;
            } else {
                self.lagging.notified().await;
            }
        }
        self.take_failure().map_or(Ok(()), Err)
    }

    /// One slice of the round of a lane. False if there is no round and none to begin.
    async fn step(&self, lane: Lane, pace: &mut Pace) -> bool {
        // The view is taken under the lock: it shows all that was published.
        let next = self.with(|registry| {
            let near = i64::try_from(self.settings.slice_rows).unwrap_or(i64::MAX);
            if !registry.is_riding(lane) && (Instant::now() < pace.next_round || !registry.begin(lane, near)) {
                return None;
            }
            let view = self.views.load();
            let wanted = registry.next_wanted(lane, view.compacted());
            if wanted.is_none() && registry.left_behind(lane) {
                pace.next_round = Instant::now() + self.settings.gather;
            }
            Some((view, wanted))
        });
        let Some((view, wanted)) = next else { return false };
        let Some(wanted) = wanted else { return true };
        match self.read(view, wanted, pace.rows).await {
            Ok(slice) => {
                let handed_out = self.with(|registry| registry.feed(lane, &slice));
                pace.adjust(handed_out, slice.weight(), self.settings.slice_rows);
            }
            Err(error) => self.fail(error),
        }
        true
    }

    async fn read(&self, view: Arc<View>, wanted: Wanted, rows: usize) -> Result<Slice, ReadError> {
        let read = self.settings.threads.run(Work::Read, move || read(&view, wanted, rows)).await;
        read.expect("a panic ends the process and the task is not aborted")
    }
}

impl Pace {
    fn adjust(&mut self, handed_out: usize, bytes: usize, most_rows: usize) {
        if handed_out > EVENTS_AT_ONCE || bytes > SLICE_BYTES {
            self.rows = (self.rows / 2).max(1);
        } else if handed_out < EVENTS_AT_ONCE / 4 && bytes < SLICE_BYTES / 4 {
            self.rows = (self.rows * 2).min(most_rows);
        }
    }
}

/// Whole revisions, until `rows` rows are read.
fn read(view: &View, wanted: Wanted, rows: usize) -> Result<Slice, ReadError> {
    let revisions = view.history(wanted.from, wanted.to, rows)?;
    let read: usize = revisions.iter().map(|revision| revision.events.len()).sum();
    // Fewer rows than asked for: there are no more.
    let through = match revisions.last() {
        Some(last) if read >= rows => last.revision,
        _ => wanted.to,
    };
    Ok(Slice { revisions, through })
}

impl Slice {
    fn weight(&self) -> usize {
        let events = self.revisions.iter().flat_map(|revision| &revision.events);
        events.map(|event| event.kv.key.len() + event.kv.value.len()).sum()
    }
}

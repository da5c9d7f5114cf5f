//! Compactions that the leader asks for by itself (etcd `server/etcdserver/api/v3compactor`).

use crate::apply::ApplyError;
use crate::config::AutoCompaction;
use crate::config::value::GoDuration;
use crate::mvcc::Views;
use crate::raft::{Consensus, RequestError};
use keelstone_proto::etcdserverpb::{CompactionRequest, InternalRaftRequest};
use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::Instant;

/// How often a retention in revisions is looked at.
const REVISION_INTERVAL: Duration = Duration::from_secs(5 * 60);
/// However long a period is, it is compacted at least this often.
const MAX_INTERVAL: Duration = Duration::from_secs(3600);
/// The revision is noted, and a compaction that failed tried again, so many times in an interval.
const LOOKS_PER_INTERVAL: u32 = 10;

/// Runs until it is dropped.
pub async fn run(automatic: AutoCompaction, consensus: Consensus, views: Views) {
    match automatic {
        AutoCompaction::Period(period) => by_period(period, &consensus, &views).await,
        AutoCompaction::Revisions(kept) => by_revisions(kept, &consensus, &views).await,
    }
}

async fn by_revisions(kept: i64, consensus: &Consensus, views: &Views) {
    let mut last = 0;
    loop {
        tokio::time::sleep(REVISION_INTERVAL).await;
        let revision = views.load().revision().saturating_sub(kept);
        if !consensus.leads() || revision <= 0 || revision == last {
            continue;
        }
        tracing::info!(revision, "revision-compaction-retention" = kept, "starting auto revision compaction");
        let start = Instant::now();
        match compact(consensus, revision).await {
            Ok(()) => {
                last = revision;
                tracing::info!(
                    revision,
                    "revision-compaction-retention" = kept,
                    took = ?start.elapsed(),
                    "completed auto revision compaction"
                );
            }
            Err(error) => tracing::warn!(
                revision,
                "revision-compaction-retention" = kept,
                "retry-interval" = %GoDuration::from(REVISION_INTERVAL),
                %error,
                "failed auto revision compaction"
            ),
        }
    }
}

async fn by_period(period: Duration, consensus: &Consensus, views: &Views) {
    let (printed, mut window) = (GoDuration::from(period), Window::new(period, Instant::now()));
    loop {
        // On every member, so that one that becomes leader knows the past.
        window.note(views.load().revision());
        tokio::time::sleep(window.look_interval()).await;
        if !consensus.leads() {
            continue;
        }
        let Some(revision) = window.due(Instant::now()) else { continue };
        tracing::info!(revision, "compact-period" = %printed, "starting auto periodic compaction");
        let start = Instant::now();
        match compact(consensus, revision).await {
            Ok(()) => {
                window.done(revision, Instant::now());
                let took = start.elapsed();
                tracing::info!(revision, "compact-period" = %printed, ?took, "completed auto periodic compaction");
            }
            Err(error) => tracing::warn!(
                revision,
                "compact-period" = %printed,
                "retry-interval" = %GoDuration::from(window.look_interval()),
                %error,
                "failed auto periodic compaction"
            ),
        }
    }
}

/// One that was compacted already is done too.
async fn compact(consensus: &Consensus, revision: i64) -> Result<(), RequestError> {
    let request = CompactionRequest { revision, physical: false };
    let request = InternalRaftRequest { compaction: Some(request), ..Default::default() };
    match consensus.propose(request).await {
        Ok(_) | Err(RequestError::Refused(ApplyError::Compacted)) => Ok(()),
        Err(error) => Err(error),
    }
}

/// The revisions of the last period, and when what is older may go.
#[derive(Debug)]
struct Window {
    period: Duration,
    /// Oldest first; the first is that of a period ago once the window is full.
    revisions: VecDeque<i64>,
    compacted: i64,
    /// Of the last compaction, or the start.
    at: Instant,
    /// What must pass from there to the next: the whole period at first.
    pause: Duration,
}

impl Window {
    fn new(period: Duration, now: Instant) -> Self {
        Self { period, revisions: VecDeque::new(), compacted: 0, at: now, pause: period }
    }

    fn look_interval(&self) -> Duration {
        self.period.min(MAX_INTERVAL) / LOOKS_PER_INTERVAL
    }

    fn note(&mut self, revision: i64) {
        self.revisions.push_back(revision);
        let full = self.period.as_nanos() / self.look_interval().as_nanos().max(1) + 1;
        if self.revisions.len() as u128 > full {
            self.revisions.pop_front();
        }
    }

    /// What to compact now.
    fn due(&mut self, now: Instant) -> Option<i64> {
        let oldest = *self.revisions.front()?;
        if now - self.at < self.pause || oldest == self.compacted {
            return None;
        }
        self.pause = self.period.min(MAX_INTERVAL);
        Some(oldest)
    }

    fn done(&mut self, revision: i64, now: Instant) {
        self.compacted = revision;
        self.at = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Compactions of the first hours, as (minute, revision); the revision is one and the minutes.
    fn compactions(period: Duration, hours: u32) -> Vec<(u64, i64)> {
        let start = Instant::now();
        let mut window = Window::new(period, start);
        let (mut now, mut done) = (start, Vec::new());
        while now - start < Duration::from_secs(3600) * hours {
            window.note(1 + ((now - start).as_secs() / 60).cast_signed());
            now += window.look_interval();
            if let Some(revision) = window.due(now) {
                window.done(revision, now);
                done.push(((now - start).as_secs() / 60, revision));
            }
        }
        done
    }

    #[test]
    fn a_short_period_is_compacted_as_often_as_it_passes() {
        let ten_minutes = Duration::from_secs(600);
        assert_eq!(compactions(ten_minutes, 1), [(10, 1), (20, 10), (30, 20), (40, 30), (50, 40), (60, 50)]);
    }

    #[test]
    fn a_long_period_is_waited_for_once_and_then_compacted_every_hour() {
        let day = Duration::from_secs(24 * 3600);
        assert_eq!(compactions(day, 28), [(1440, 1), (1500, 55), (1560, 115), (1620, 175), (1680, 235)]);
    }
}

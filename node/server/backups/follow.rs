//! Segments of the log. The leader copies entries to the destination soon after they are applied, before the log is purged
//! behind them, and seals what has come together once in an interval. Where it cannot go on behind the last segment (the
//! entries are purged, or the log is another) it begins anew and has a full backup made behind that place.

use super::{Retry, Shared};
use crate::apply::StateSnapshot;
use crate::backup::archive::{ArchiveError, Catalogue, Kind, Link, Manifest, Pinned, Place, SegmentWriter, Stopped};
use crate::backup::destination::Failure;
use crate::clock::Ticks;
use crate::storage::StorageError;
use crate::wal::WalError;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::MissedTickBehavior;

/// The log keeps some thousand entries behind what is applied (`--snapshot-catchup-entries`): read before they are gone.
const POLL: Duration = Duration::from_millis(50);
/// A segment is sealed early when it is as large.
const MAX_SEGMENT_BYTES: u64 = 64 << 20;
/// Entries read at once, in bytes.
const READ_BYTES: u64 = 4 << 20;
/// A segment records a hash if that takes no more than this part of the time.
const HASH_SHARE: u32 = 20;

/// Why a segment does not go on.
#[derive(Debug, thiserror::Error)]
enum FollowError {
    #[error("{0}")]
    Archive(#[from] ArchiveError),
    /// Reported to the member, which ends.
    #[error("state: {0}")]
    State(#[from] StorageError),
    #[error("log: {0}")]
    Log(#[from] WalError),
}

impl From<Failure> for FollowError {
    fn from(failure: Failure) -> Self {
        Self::Archive(failure.into())
    }
}

/// Where the next segment begins.
#[derive(Clone, Debug)]
struct Head {
    place: Place,
    follows: Option<Link>,
}

#[derive(Default)]
struct Follower {
    head: Option<Head>,
    open: Option<(SegmentWriter, Ticks)>,
    /// What the last hash took, and when.
    hashed: Option<(Duration, Ticks)>,
    retry: Retry,
}

/// Runs until it is dropped. Without an interval there is nothing to do.
pub async fn run(shared: Shared) {
    let Some(interval) = shared.settings.delta_interval else { return };
    let mut tick = tokio::time::interval(POLL);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut follower = Follower::default();
    loop {
        tick.tick().await;
        let now = shared.clock.now();
        let leads = shared.consensus.leads();
        let has_work = if leads { follower.has_work(&shared, interval, now) } else { follower.head.is_some() };
        if !has_work {
            continue;
        }
        let pinned = if leads && follower.needs_state(interval, now) {
            let Ok(state) = shared.worker.pin().await else { return };
            Some(state)
        } else {
            None
        };
        let at_work = shared.clone();
        let step = move || {
            if !leads {
                follower.abandon();
                return Follower::default();
            }
            follower.step(&at_work, pinned);
            follower
        };
        let Ok(back) = shared.aside(step).await else { return };
        follower = back;
    }
}

impl Follower {
    fn has_work(&self, shared: &Shared, interval: Duration, now: Ticks) -> bool {
        if !self.retry.is_due(now) {
            return false;
        }
        let Some(head) = &self.head else { return true };
        let last = self.open.as_ref().map_or(head.place.index, |(writer, _)| writer.last().index);
        self.is_due(interval, now) || shared.worker.applied_index() > last
    }

    /// Whether it is to be known which state the log leads to: where a segment begins or ends.
    fn needs_state(&self, interval: Duration, now: Ticks) -> bool {
        self.head.is_none() || self.is_due(interval, now)
    }

    fn is_due(&self, interval: Duration, now: Ticks) -> bool {
        self.open.as_ref().is_some_and(|(writer, began)| {
            writer.count() > 0 && (now.since(*began) >= interval || writer.bytes() >= MAX_SEGMENT_BYTES)
        })
    }

    /// Drops the open segment. The next one begins where it began.
    fn abandon(&mut self) {
        if let Some((writer, _)) = self.open.take() {
            writer.abort();
        }
    }

    /// Blocks while it copies. With a pinned state it ends the open segment there.
    fn step(&mut self, shared: &Shared, pinned: Option<StateSnapshot>) {
        match self.go_on(shared, pinned) {
            Ok(()) => {}
            Err(FollowError::State(error)) => shared.unreadable(&error),
            Err(FollowError::Archive(ArchiveError::Stopped(Stopped))) => self.abandon(),
            Err(error) => {
                self.abandon();
                let reason = match &error {
                    FollowError::Archive(error) => error.reason(),
                    FollowError::State(_) | FollowError::Log(_) => "io",
                };
                shared.metrics.failed(Kind::Delta, reason);
                let retry_in = self.retry.failed(shared.clock.now());
                shared.rhythm.send_modify(|rhythm| rhythm.last_failure = Some(error.to_string()));
                tracing::warn!(%error, ?retry_in, "failed to store a segment of the log");
            }
        }
    }

    fn go_on(&mut self, shared: &Shared, pinned: Option<StateSnapshot>) -> Result<(), FollowError> {
        let state = pinned.map(Pinned::of).transpose()?;
        if let Some(state) = state.as_ref().filter(|_| self.head.is_none()) {
            self.head = find_head(shared, state.at)?;
        }
        let Some(head) = self.head.clone() else { return Ok(()) };
        let upto = state.as_ref().map_or_else(|| shared.worker.applied_index(), |state| state.at.index);
        if upto <= head.place.index {
            return Ok(());
        }
        let now = shared.clock.now();
        if self.open.is_none() {
            let ids = (shared.consensus.cluster_id(), shared.consensus.member_id());
            let writer = SegmentWriter::begin(&shared.destination, ids, shared.clock.wall(), head.place)?;
            self.open = Some((writer, now));
        }
        let Some((mut writer, began)) = self.open.take() else { return Ok(()) };
        let copied = copy(shared, &mut writer, upto);
        self.open = Some((writer, began));
        match (copied, state) {
            (Err(FollowError::Log(WalError::Purged { .. })), _) => {
                // The next step finds that it cannot go on, and begins anew.
                self.abandon();
                self.head = None;
            }
            (Err(error), _) => return Err(error),
            (Ok(()), Some(state)) => self.seal(shared, &state, head.follows)?,
            (Ok(()), None) => {}
        }
        Ok(())
    }

    fn seal(&mut self, shared: &Shared, state: &Pinned, follows: Option<Link>) -> Result<(), FollowError> {
        let now = shared.clock.now();
        let Some((writer, _)) = self.open.take() else { return Ok(()) };
        let hash = if self.is_hash_due(now) { self.hash(shared, state) } else { None };
        let sealed = writer.seal(&shared.taken(state, shared.clock.wall(), hash), follows, &shared.stop)?;
        self.sealed(shared, &sealed, shared.clock.now().since(now));
        Ok(())
    }

    fn sealed(&mut self, shared: &Shared, segment: &Manifest, took: Duration) {
        shared.succeeded(segment, took);
        let had_failed = std::mem::take(&mut self.retry).failures > 0;
        self.head = Some(Head { place: segment.to, follows: Some(segment.link()) });
        shared.rhythm.send_modify(|rhythm| {
            rhythm.last_delta = Some(segment.created());
            rhythm.last_failure.take_if(|_| had_failed);
        });
    }

    fn is_hash_due(&self, now: Ticks) -> bool {
        self.hashed.is_none_or(|(took, at)| now.since(at) >= took * HASH_SHARE)
    }

    fn hash(&mut self, shared: &Shared, state: &Pinned) -> Option<u32> {
        let began = shared.clock.now();
        let hash = shared.hash_kv(state);
        let ended = shared.clock.now();
        self.hashed = Some((ended.since(began), ended));
        hash
    }
}

/// Copies the entries up to `index`, which are applied and so never change.
fn copy(shared: &Shared, writer: &mut SegmentWriter, index: u64) -> Result<(), FollowError> {
    while writer.last().index < index {
        shared.stop.check().map_err(ArchiveError::from)?;
        let entries = shared.wal.read_limited(writer.last().index + 1, index + 1, READ_BYTES)?;
        if entries.is_empty() {
            // A snapshot has brought the state further than the log goes.
            let first = shared.wal.first_index();
            return Err(WalError::Purged { wanted: writer.last().index + 1, first }.into());
        }
        for entry in entries {
            writer.push(&entry)?;
        }
    }
    Ok(())
}

/// Where to go on: behind the newest segment if this member's log has what follows it. None: this member is not there yet.
fn find_head(shared: &Shared, at: Place) -> Result<Option<Head>, FollowError> {
    let catalogue = Catalogue::read(shared.destination.as_ref(), &shared.prefix())?;
    let Some(last) = catalogue.head().or(catalogue.newest_full()) else {
        shared.full_due_at.store(at.index, Ordering::Release);
        return Ok(Some(Head { place: at, follows: None }));
    };
    if last.to.index > at.index {
        return Ok(None);
    }
    let reason = match shared.wal.term_at(last.to.index) {
        Some(term) if term == last.to.term => {
            return Ok(Some(Head { place: last.to, follows: Some(last.link()) }));
        }
        Some(_) => "history",
        None => "purged",
    };
    Ok(Some(begin_anew(shared, last.to, at, reason)))
}

/// Segments have a gap behind `last`: the next begins at `at`, and is of use with a full backup from there on.
fn begin_anew(shared: &Shared, last: Place, at: Place, reason: &'static str) -> Head {
    shared.metrics.gap(reason);
    shared.full_due_at.store(at.index, Ordering::Release);
    tracing::warn!(
        reason,
        "last-index" = last.index,
        "last-revision" = last.revision,
        "next-index" = at.index,
        "next-revision" = at.revision,
        "segments of the log have a gap; a new full backup is due"
    );
    Head { place: at, follows: None }
}

//! Rounds of catching up: lagging watchers that are served by one scan of history.
//!
//! There are two lanes. Most watchers that lag do so by little, having just been created or been slow for a moment;
//! their rounds are short, and they must not wait for the scan of somebody who begins a million revisions ago.

use super::group::Group;
use super::queue::Delivery;
use super::registry::{Registry, stage};
use super::watcher::{Phase, Slot, StreamSlot, Watcher};
use crate::mvcc::RevisionEvents;
use crate::types::KeyInterval;
use std::collections::BTreeSet;
use std::sync::Arc;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    Near,
    Far,
}

/// The rounds under way, at most one in a lane.
#[derive(Debug, Default)]
pub(super) struct Rounds {
    near: Round,
    far: Round,
}

/// Nobody joins a round under way, so that its lowest cursor only rises and it ends.
#[derive(Debug, Default)]
pub(super) struct Round {
    /// Exactly the watchers that ride in its lane, as is `riders`.
    group: Group,
    riders: BTreeSet<Slot>,
    /// Somebody was left behind for want of room.
    left_behind: bool,
}

/// Revisions to read for a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub from: i64,
    /// Included.
    pub to: i64,
}

/// Revisions read: all with events in `from..=through`.
#[derive(Debug)]
pub(super) struct Slice {
    pub revisions: Vec<Arc<RevisionEvents>>,
    pub through: i64,
}

impl Rounds {
    pub fn of(&mut self, lane: Lane) -> &mut Round {
        match lane {
            Lane::Near => &mut self.near,
            Lane::Far => &mut self.far,
        }
    }

    fn get(&self, lane: Lane) -> &Round {
        match lane {
            Lane::Near => &self.near,
            Lane::Far => &self.far,
        }
    }
}

impl Round {
    pub fn insert(&mut self, interval: &KeyInterval, slot: Slot) {
        self.group.insert(interval, slot);
        self.riders.insert(slot);
    }

    pub fn remove(&mut self, interval: &KeyInterval, slot: Slot) {
        self.group.remove(interval, slot);
        self.riders.remove(&slot);
    }
}

impl Registry {
    /// The consumer of a stream whose watchers were refused has made room.
    pub fn has_room(&mut self, at: StreamSlot) {
        if !self.streams[at.0].lagging.is_empty() {
            self.ready.insert(at);
        }
    }

    /// True if somebody lags and could be served.
    pub fn is_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    pub fn is_riding(&self, lane: Lane) -> bool {
        !self.rounds.get(lane).riders.is_empty()
    }

    /// Begins a round with the lagging watchers whose stream has room: in the near lane those that lag by up to
    /// `near` revisions, in the far lane all. False if there are none. The round before has ended.
    pub fn begin(&mut self, lane: Lane, near: i64) -> bool {
        debug_assert!(!self.is_riding(lane));
        self.rounds.of(lane).left_behind = false;
        let lowest = match lane {
            Lane::Near => self.revision.saturating_sub(near),
            Lane::Far => i64::MIN,
        };
        for at in self.ready.clone() {
            let stream = &self.streams[at.0];
            // Room can be gone again; then the consumer will say when it is back.
            let is_starved = stream.queue.is_starved();
            let mut joining = Vec::new();
            if !is_starved {
                joining.extend(stream.lagging.iter().filter(|slot| self.watchers[slot.0].cursor > lowest));
            }
            for slot in joining {
                self.move_to(slot, Phase::Riding(lane));
            }
            if is_starved || self.streams[at.0].lagging.is_empty() {
                self.ready.remove(&at);
            }
        }
        self.is_riding(lane)
    }

    /// What the round wants to read next. `None`: it has ended. Riders whose history is below `compacted` are
    /// cancelled here, those who have all that was published leave.
    pub fn next_wanted(&mut self, lane: Lane, compacted: i64) -> Option<Wanted> {
        let (mut from, mut leaving) = (i64::MAX, Vec::new());
        for &slot in &self.rounds.get(lane).riders {
            let cursor = self.watchers[slot.0].cursor;
            if (compacted..=self.revision).contains(&cursor) {
                from = from.min(cursor);
            } else {
                leaving.push(slot);
            }
        }
        for slot in leaving {
            let Watcher { cursor, id, stream, .. } = self.watchers[slot.0];
            if cursor < compacted {
                self.move_to(slot, Phase::Compacted);
                self.answer(stream, Delivery::Compacted { id, compacted });
            } else {
                self.move_to(slot, Phase::Synced);
            }
        }
        (from <= self.revision).then_some(Wanted { from, to: self.revision })
    }

    /// Serves the riders of a round from what it wanted. Answers how many events were handed out.
    pub fn feed(&mut self, lane: Lane, slice: &Slice) -> usize {
        for revision in &slice.revisions {
            let group = &self.rounds.get(lane).group;
            stage(group, &mut self.watchers, &mut self.scratch, &self.budget, revision);
        }
        let mut handed_out = 0;
        let touched = std::mem::take(&mut self.scratch.touched);
        for &slot in &touched {
            handed_out += self.watchers[slot.0].staged.len();
            if self.deliver(slot).is_err() {
                self.rounds.of(lane).left_behind = true;
                self.move_to(slot, Phase::Lagging);
            }
        }
        self.reuse(touched);
        for slot in &self.rounds.get(lane).riders {
            let cursor = &mut self.watchers[slot.0].cursor;
            *cursor = (*cursor).max(slice.through + 1);
        }
        handed_out
    }

    /// True if the round, or the last one of its lane, left somebody behind for want of room.
    pub fn left_behind(&self, lane: Lane) -> bool {
        self.rounds.get(lane).left_behind
    }
}

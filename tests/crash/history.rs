//! What the cluster has committed, and what the state is after each entry; and what a member's log may be after a crash.

use crate::model::Model;
use bytes::Bytes;
use keelstone::apply::Payload;
use keelstone::types::LogPosition;
use keelstone::wal::{Entry, EntryKind, HardState};
use keelstone_proto::raftpb;
use prost::Message;
use std::collections::VecDeque;
use std::sync::Arc;

/// The committed entries. Cheap to clone.
#[derive(Clone, Debug)]
pub struct History {
    entries: Arc<Vec<Entry>>,
    /// The state after as many entries as the place says.
    states: Arc<Vec<Arc<Model>>>,
}

impl History {
    pub fn new() -> Self {
        Self { entries: Arc::default(), states: Arc::new(vec![Arc::default()]) }
    }

    pub fn last_index(&self) -> u64 {
        self.entries.len() as u64
    }

    pub fn push(&mut self, entry: Entry) {
        assert_eq!(entry.index, self.last_index() + 1);
        let mut state = Model::clone(self.state(self.last_index()));
        // A refusal is a result like any other.
        state.apply(&payload(&entry)).ok();
        Arc::make_mut(&mut self.entries).push(entry);
        Arc::make_mut(&mut self.states).push(Arc::new(state));
    }

    /// Forgets what nobody has heard of.
    pub fn truncate_after(&mut self, index: u64) {
        let len = usize::try_from(index).expect("an index of the test");
        Arc::make_mut(&mut self.entries).truncate(len);
        Arc::make_mut(&mut self.states).truncate(len + 1);
    }

    /// The state after entry `index`.
    pub fn state(&self, index: u64) -> &Model {
        &self.states[usize::try_from(index).expect("an index of the test")]
    }

    pub fn entry(&self, index: u64) -> Option<&Entry> {
        self.entries.get(usize::try_from(index.checked_sub(1)?).expect("an index of the test"))
    }

    /// The first index at which the answer is not refused is what counts; this tells whether that of `index` was.
    pub fn is_refused(&self, index: u64) -> bool {
        let mut before = Model::clone(self.state(index - 1));
        before.apply(&payload(self.entry(index).expect("a committed entry"))).is_err()
    }

    pub fn position(&self, index: u64) -> LogPosition {
        LogPosition { term: self.entry(index).map_or(0, |entry| entry.term), index }
    }
}

/// What apply makes of an entry.
pub fn payload(entry: &Entry) -> Payload {
    match entry.kind {
        EntryKind::Normal if entry.data.is_empty() => Payload::Blank,
        EntryKind::Normal => Payload::Normal(entry.data.clone()),
        EntryKind::ConfChange => {
            let change = raftpb::ConfChange::decode(entry.data.clone()).expect("an entry of the test");
            Payload::ConfChange {
                change: entry.data.clone(),
                membership: change.keelstone_membership.unwrap_or_default(),
            }
        }
    }
}

pub fn normal(term: u64, index: u64, data: Bytes) -> Entry {
    Entry { term, index, kind: EntryKind::Normal, data }
}

/// What a request does to the log as a reader of the files finds it.
#[derive(Clone, Debug)]
pub enum Change {
    Entry(Entry),
    /// Term, vote and whether a quorum granted it.
    Vote(HardState),
    Snapshot(LogPosition),
}

/// A log as read from files. The commit index is left out: it is not synced.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Log {
    pub purged: LogPosition,
    pub entries: Vec<Entry>,
    pub vote: HardState,
}

impl Log {
    pub fn last(&self) -> LogPosition {
        self.entries.last().map_or(self.purged, |entry| LogPosition { term: entry.term, index: entry.index })
    }

    pub fn term_at(&self, index: u64) -> Option<u64> {
        if index == self.purged.index {
            return Some(self.purged.term);
        }
        self.entries.iter().find(|entry| entry.index == index).map(|entry| entry.term)
    }

    pub fn truncate_after(&mut self, index: u64) {
        self.entries.retain(|entry| entry.index <= index);
    }

    pub fn apply(&mut self, change: &Change) {
        match change {
            Change::Entry(entry) => {
                self.truncate_after(entry.index - 1);
                // One that was purged since counts for nothing.
                if entry.index > self.purged.index {
                    assert_eq!(entry.index, self.last().index + 1);
                    self.entries.push(entry.clone());
                }
            }
            Change::Vote(vote) => self.vote = HardState { commit: 0, ..*vote },
            Change::Snapshot(position) => {
                // A record that the log does not lead to voids what stands before it.
                if self.term_at(position.index) != Some(position.term) {
                    self.entries.clear();
                }
                self.entries.retain(|entry| entry.index > position.index);
                self.purged = *position;
            }
        }
    }
}

/// What the files of a log are at least, and what they may be beyond.
#[derive(Clone, Debug, Default)]
pub struct Files {
    /// With all requests up to the last whose callback fired.
    sure: Log,
    /// The requests after it, each a number of changes.
    asked: VecDeque<(u64, Vec<Change>)>,
    next: u64,
}

impl Files {
    pub fn of(log: Log) -> Self {
        Self { sure: log, ..Self::default() }
    }

    /// Notes a request; its number is for [`Self::done`].
    pub fn ask(&mut self, changes: Vec<Change>) -> u64 {
        let number = self.next;
        self.next += 1;
        self.asked.push_back((number, changes));
        number
    }

    /// The callback of a request fired, so that it and all before are on the disk.
    pub fn done(&mut self, number: u64) {
        while let Some((_, changes)) = self.asked.pop_front_if(|(asked, _)| *asked <= number) {
            changes.iter().for_each(|change| self.sure.apply(change));
        }
    }

    /// Every log that a crash may leave: some first changes of those that were asked for.
    pub fn possible(&self) -> Vec<Log> {
        let mut possible = vec![self.sure.clone()];
        for change in self.asked.iter().flat_map(|(_, changes)| changes) {
            let mut next = possible[possible.len() - 1].clone();
            next.apply(change);
            possible.push(next);
        }
        possible
    }
}

//! openraft's log over the WAL. Appends are handed to the WAL's thread and reported by callback; nothing here
//! waits for the disk but a vote.

use super::types::{self, Entry, LogId, TypeConfig, Vote};
use crate::types::LogPosition;
use crate::wal::{self, Wal, WalError};
use arc_swap::ArcSwap;
use futures_util::stream::{self, Stream};
use keelstone_proto::raftpb::ConfState;
use openraft::storage::{IOFlushed, LogState, RaftLogStorage};
use openraft::{OptionalSend, RaftLogReader};
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, Range, RangeBounds};
use std::sync::Arc;
use tokio::sync::oneshot;

/// The most that one message to a follower carries, in bytes of payload.
const APPEND_BYTES: u64 = 2 * 1024 * 1024;
/// The most that is read ahead of apply, in bytes of payload.
const APPLY_BYTES: u64 = 8 * 1024 * 1024;

/// The voters and learners that a snapshot record names; written by whoever applies a membership.
pub type SharedConfState = Arc<ArcSwap<ConfState>>;

/// The log, for openraft's core and for its readers. Cheap to clone.
#[derive(Clone, Debug)]
pub struct LogStore {
    wal: Wal,
    conf_state: SharedConfState,
}

impl LogStore {
    pub fn new(wal: Wal, conf_state: SharedConfState) -> Self {
        Self { wal, conf_state }
    }

    fn position_at(&self, index: u64) -> Option<LogPosition> {
        self.wal.term_at(index).map(|term| LogPosition { term, index })
    }
}

/// openraft's range of indexes from 0 as ours from 1.
fn wal_range(range: impl RangeBounds<u64>) -> Range<u64> {
    let start = match range.start_bound() {
        Bound::Included(index) => index.saturating_add(1),
        Bound::Excluded(index) => index.saturating_add(2),
        Bound::Unbounded => 1,
    };
    let end = match range.end_bound() {
        Bound::Included(index) => index.saturating_add(2),
        Bound::Excluded(index) => index.saturating_add(1),
        Bound::Unbounded => u64::MAX,
    };
    start..end
}

fn decode(entries: Vec<wal::Entry>) -> io::Result<Vec<Entry>> {
    entries.into_iter().map(|entry| types::from_wal(entry).map_err(io::Error::other)).collect()
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: R,
    ) -> Result<Vec<Entry>, io::Error> {
        let range = wal_range(range);
        let kept = range.start.max(self.wal.first_index())..range.end.min(self.wal.last().index.saturating_add(1));
        if kept.is_empty() {
            return Ok(Vec::new());
        }
        decode(self.wal.read(kept).map_err(io::Error::other)?)
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry>, io::Error> {
        let range = wal_range(start..end);
        match self.wal.read_limited(range.start, range.end, APPEND_BYTES) {
            // A leader that was deposed and got a snapshot purges under those that still replicate for it. openraft sees
            // that after the read, drops what it brought, and ends them; an error would end the process.
            Err(WalError::Purged { .. }) => Ok(Vec::new()),
            read => decode(read.map_err(io::Error::other)?),
        }
    }

    async fn entries_stream<R>(&mut self, range: R) -> impl Stream<Item = Result<Entry, io::Error>> + OptionalSend
    where
        R: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        // A replay after a long absence may span gigabytes: read on as apply takes.
        let range = wal_range(range);
        let state = (self.wal.clone(), range, Vec::new().into_iter());
        stream::unfold(state, |(wal, mut range, mut buffered): (Wal, Range<u64>, std::vec::IntoIter<Entry>)| async {
            loop {
                if let Some(entry) = buffered.next() {
                    return Some((Ok(entry), (wal, range, buffered)));
                }
                if range.is_empty() {
                    return None;
                }
                let read = wal.read_limited(range.start, range.end, APPLY_BYTES).map_err(io::Error::other);
                match read.and_then(decode) {
                    Ok(entries) if entries.is_empty() => return None,
                    Ok(entries) => {
                        range.start = range.start.saturating_add(entries.len() as u64);
                        buffered = entries.into_iter();
                    }
                    Err(error) => {
                        range.start = range.end;
                        return Some((Err(error), (wal, range, buffered)));
                    }
                }
            }
        })
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        let state = self.wal.hard_state();
        Ok((state.term > 0).then(|| types::vote(state.term, state.vote, state.vote_committed)))
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = LogStore;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, io::Error> {
        Ok(LogState {
            last_purged_log_id: types::log_id(self.wal.purged()),
            last_log_id: types::log_id(self.wal.last()),
        })
    }

    async fn get_log_reader(&mut self) -> LogStore {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        let (done, synced) = oneshot::channel();
        let state = wal::HardState {
            term: vote.leader_id().term,
            vote: types::candidate(vote).0,
            vote_committed: vote.committed,
            commit: self.wal.hard_state().commit,
        };
        self.wal.save_hard_state(
            state,
            Box::new(move |result| {
                // Nobody waits only when the node is ending.
                done.send(result).ok();
            }),
        );
        synced.await.map_err(|_| io::Error::other("log closed"))?
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        if let Some(committed) = committed {
            self.wal.save_commit(types::position(&committed).index);
        }
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        let commit = self.wal.hard_state().commit.min(self.wal.last().index);
        Ok(self.position_at(commit).and_then(types::log_id))
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries = entries.into_iter().map(|entry| types::to_wal(&entry)).collect();
        self.wal.append(entries, Box::new(move |result| callback.io_completed(result)));
        Ok(())
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> Result<(), io::Error> {
        let index = types::position_or_zero(last_log_id.as_ref()).index;
        self.wal.truncate_after(index);
        Ok(())
    }

    async fn purge(&mut self, log_id: LogId) -> Result<(), io::Error> {
        let upto = types::position(&log_id);
        let conf_state = ConfState::clone(&self.conf_state.load());
        let (done, synced) = oneshot::channel();
        let done = Box::new(move |result| {
            done.send(result).ok();
        });
        // Where a snapshot was installed that reaches beyond the log, it goes on behind the snapshot.
        self.wal.purge(upto, conf_state, done);
        synced.await.map_err(|_| io::Error::other("log closed"))?
    }
}

//! What openraft takes for granted of a message, and a peer must therefore have right. A message that breaks it is refused
//! before openraft sees it: there it would be a panic, which ends the process, or would undo what is committed.
//!
//! This is no defence against a member that lies on purpose within the protocol: whoever may speak as leader is obeyed.
//! Nor can all of the protocol be checked here, such as that a leader changes the members one step at a time: what the
//! sender knew to be committed then is not in the message.

use crate::raft::types::{self, Entry, LogId, Payload, TypeConfig, Vote};
use crate::types::{LogPosition, MemberId};
use crate::wal;
use bytes::Bytes;
use openraft::raft::{
    AppendEntriesRequest, StreamAppendError, StreamAppendResult, TransferLeaderRequest, VoteRequest, VoteResponse,
};
use tonic::Status;

/// How far a term may be ahead of ours. Terms grow by one with each election; a jump beyond is nonsense, and were it
/// followed, a few more would use up all numbers.
const MAX_TERM_JUMP: u64 = 1 << 32;

/// Far below where the log ends, so that what is counted on from here has room.
const MAX_INDEX: u64 = wal::MAX_NUMBER / 2;

/// What this member knows when a message arrives.
#[derive(Clone, Copy)]
pub struct Known<'k> {
    pub member: MemberId,
    pub term: u64,
    /// The last entry known to be committed; zero before the first.
    pub committed: LogPosition,
    /// Up to where the messages before on this stream commit, which openraft may not have seen yet.
    pub promised: LogPosition,
    /// The term of an entry of the log, from its index; none if it is not there or not there any more.
    pub term_at: &'k dyn Fn(u64) -> Option<u64>,
}

type Checked = Result<(), Status>;

fn refuse(why: &'static str) -> Checked {
    Err(Status::invalid_argument(why))
}

/// True if the message comes from a term that is over: openraft answers with ours, whatever else it says.
fn is_outdated(vote: &Vote, known: &Known<'_>) -> bool {
    vote.leader_id().term < known.term
}

fn vote(vote: &Vote, caller: MemberId, known: &Known<'_>) -> Checked {
    if caller == known.member || caller == MemberId::default() {
        return refuse("caller is no other member");
    }
    if types::candidate(vote) != caller || vote.leader_id().term == 0 {
        return refuse("vote is not the caller's");
    }
    term(vote, known.term)
}

/// The vote that an answer brings, seen from the one under which this member asked.
///
/// # Errors
/// `InvalidArgument`.
pub fn answered(vote: &Vote, asked: &Vote) -> Checked {
    term(vote, asked.leader_id().term)?;
    // Nobody else stands in this member's name, and it does not ask in a term that it has left.
    if types::candidate(vote) == types::candidate(asked) && vote.leader_id().term > asked.leader_id().term {
        return refuse("vote for the one who asks, in a later term");
    }
    Ok(())
}

/// A member that has just joined answers with zero.
fn term(vote: &Vote, ours: u64) -> Checked {
    let is_near = vote.leader_id().term <= ours.saturating_add(MAX_TERM_JUMP);
    if is_near { Ok(()) } else { refuse("term is no term of this cluster") }
}

/// A place in the log of whoever leads or stands in `term`.
fn place(id: Option<&LogId>, term: u64) -> Checked {
    let Some(id) = id else { return Ok(()) };
    let at = types::position(id);
    if at.term == 0 || at.term > term || at.index > MAX_INDEX {
        return refuse("position is in no log");
    }
    Ok(())
}

/// # Errors
/// `InvalidArgument`.
pub fn vote_request(request: &VoteRequest<TypeConfig>, caller: MemberId, known: &Known<'_>) -> Checked {
    if request.vote.committed {
        return refuse("candidate who leads already");
    }
    vote(&request.vote, caller, known)?;
    place(request.last_log_id.as_ref(), request.vote.leader_id().term)
}

/// # Errors
/// `InvalidArgument`.
pub fn transfer(request: &TransferLeaderRequest<TypeConfig>, caller: MemberId, known: &Known<'_>) -> Checked {
    leader(request.from_leader(), caller, known)?;
    place(request.last_log_id(), request.from_leader().leader_id().term)
}

fn leader(sender: &Vote, caller: MemberId, known: &Known<'_>) -> Checked {
    if !sender.committed {
        return refuse("leader without a quorum");
    }
    vote(sender, caller, known)
}

/// # Errors
/// `InvalidArgument`.
pub fn append(request: &AppendEntriesRequest<TypeConfig>, caller: MemberId, known: &Known<'_>) -> Checked {
    leader(&request.vote, caller, known)?;
    let term = request.vote.leader_id().term;
    place(request.prev_log_id.as_ref(), term)?;
    place(request.leader_commit.as_ref(), term)?;
    if is_outdated(&request.vote, known) {
        return Ok(());
    }
    let prev = types::position_or_zero(request.prev_log_id.as_ref());
    let commit = types::position_or_zero(request.leader_commit.as_ref());
    let mut last = prev;
    for entry in &request.entries {
        let at = types::position(&entry.log_id);
        if at.term < last.term.max(1) || at.term > term || at.index > MAX_INDEX {
            return refuse("terms of entries go back");
        }
        last = at;
    }
    agrees_with_committed(prev, &request.entries, known)?;
    commit_fits(commit, prev, last, &request.entries, known)
}

/// Up to where the log is committed once this request is taken.
pub fn promise(request: &AppendEntriesRequest<TypeConfig>) -> LogPosition {
    let last = request.entries.last().map(|entry| &entry.log_id).or(request.prev_log_id.as_ref());
    let (commit, last) = (types::position_or_zero(request.leader_commit.as_ref()), types::position_or_zero(last));
    if commit.index <= last.index { commit } else { last }
}

/// What is committed here is the same everywhere.
fn agrees_with_committed(prev: LogPosition, entries: &[Entry], known: &Known<'_>) -> Checked {
    let places = entries.iter().map(|entry| types::position(&entry.log_id));
    let Known { committed, promised, term_at, .. } = known;
    let differs = |at: LogPosition| match term_at(at.index).filter(|_| at.index <= committed.index) {
        Some(term) => term != at.term,
        // Purged, or still on its way into the log: only that terms never go back is known of it.
        None if at.index <= committed.index => at.term > committed.term,
        None => at.index <= promised.index && at.term > promised.term,
    };
    let mut named = std::iter::once(prev).chain(places).filter(|at| at.index > 0);
    if named.any(differs) { refuse("entry differs from a committed one") } else { Ok(()) }
}

/// The commit index names an entry of the log that this message describes, or one behind it.
fn commit_fits(
    commit: LogPosition,
    prev: LogPosition,
    last: LogPosition,
    entries: &[Entry],
    known: &Known<'_>,
) -> Checked {
    let fits = if commit.index > last.index {
        commit.term >= last.term
    } else if commit.index > prev.index {
        let mut places = entries.iter().map(|entry| types::position(&entry.log_id));
        places.any(|at| at == commit)
    } else if commit.index == prev.index {
        commit.term == prev.term
    } else {
        let follows = (known.term_at)(prev.index) == Some(prev.term);
        commit.term <= prev.term && (!follows || (known.term_at)(commit.index).is_none_or(|term| term == commit.term))
    };
    if fits { Ok(()) } else { refuse("commit index of another log") }
}

/// What an append asked for, by which its answer is judged.
#[derive(Debug)]
pub struct Asked {
    vote: Vote,
    prev: Option<LogId>,
    last: Option<LogId>,
}

impl Asked {
    pub fn by(request: &AppendEntriesRequest<TypeConfig>) -> Self {
        let prev = request.prev_log_id;
        let last = request.entries.last().map(|entry| entry.log_id).or(prev);
        Self { vote: request.vote, prev, last }
    }
}

/// # Errors
/// `Internal`: the follower answers something that was not asked. What it claims to have would count for the quorum.
pub fn append_answer(answer: &StreamAppendResult<TypeConfig>, asked: &Asked) -> Checked {
    let fits = match answer {
        Ok(matched) => *matched == asked.last,
        Err(StreamAppendError::Conflict(conflict)) => Some(*conflict) == asked.prev,
        Err(StreamAppendError::HigherVote(vote)) => return answered(vote, &asked.vote),
    };
    if fits { Ok(()) } else { Err(Status::internal("answer to another append")) }
}

/// # Errors
/// `InvalidArgument`: the answer comes from no log or no term of this cluster.
pub fn vote_answer(answer: &VoteResponse<TypeConfig>, asked: &Vote) -> Checked {
    answered(&answer.vote, asked)?;
    place(answer.last_log_id.as_ref(), u64::MAX)
}

/// The head of a snapshot.
///
/// # Errors
/// `InvalidArgument`.
pub fn snapshot(
    sender: &Vote,
    last: Option<&LogId>,
    membership: &types::StoredMembership,
    caller: MemberId,
    known: &Known<'_>,
) -> Checked {
    leader(sender, caller, known)?;
    let term = sender.leader_id().term;
    let Some(last) = last else { return refuse("snapshot of nothing") };
    place(Some(last), term)?;
    place(membership.log_id().as_ref(), term)?;
    let (last, set_by) = (types::position(last), types::position_or_zero(membership.log_id().as_ref()));
    if set_by.index > last.index || set_by.term > last.term || membership.voter_ids().next().is_none() {
        return refuse("snapshot with a membership that is not its own");
    }
    if last.term > known.committed.term && last.index <= known.committed.index && !is_outdated(sender, known) {
        return refuse("snapshot contradicts what is committed");
    }
    Ok(())
}

/// A request that another member hands over for a client.
///
/// # Errors
/// `InvalidArgument` with the reason.
pub fn proposal(data: &Bytes) -> Checked {
    crate::apply::check_request(data).map_err(|error| Status::invalid_argument(error.to_string()))
}

/// An entry from a peer holds what apply can read, else every member would stop at it.
///
/// # Errors
/// `InvalidArgument` with the reason.
pub fn payload(entry: &Entry) -> Checked {
    let checked = match &entry.payload {
        Payload::Blank => Ok(()),
        Payload::Normal(proposal) => crate::apply::check_request(&proposal.0),
        Payload::ConfChange { change, .. } => crate::apply::conf_change::decode(change).map(drop),
    };
    checked.map_err(|error| Status::invalid_argument(error.to_string()))
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;

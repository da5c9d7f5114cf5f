//! Between openraft's messages and ours.

use super::check;
use crate::raft::types::{self, Entry, LogId, TypeConfig, Vote};
use crate::types::LogPosition;
use crate::wal;
use keelstone_proto::{internal, raftpb};
use openraft::raft::{
    AppendEntriesRequest, StreamAppendError, StreamAppendResult, TransferLeaderRequest, VoteRequest, VoteResponse,
};
use tonic::Status;

pub fn log_id_to_proto(id: Option<&LogId>) -> Option<internal::LogId> {
    let at = types::position(id?);
    Some(internal::LogId { term: at.term, index: at.index })
}

pub fn log_id_from_proto(id: Option<&internal::LogId>) -> Option<LogId> {
    let id = id?;
    types::log_id(LogPosition { term: id.term, index: id.index })
}

pub fn vote_to_proto(vote: &Vote) -> internal::Vote {
    internal::Vote { term: vote.leader_id().term, candidate: types::candidate(vote).0, committed: vote.committed }
}

pub fn vote_from_proto(vote: Option<&internal::Vote>) -> Result<Vote, Status> {
    let vote = vote.ok_or_else(|| Status::invalid_argument("message without a vote"))?;
    Ok(types::vote(vote.term, vote.candidate, vote.committed))
}

fn entry_to_proto(entry: &Entry) -> internal::Entry {
    let entry = types::to_wal(entry);
    let kind = match entry.kind {
        wal::EntryKind::Normal => raftpb::EntryType::EntryNormal,
        wal::EntryKind::ConfChange => raftpb::EntryType::EntryConfChange,
    };
    internal::Entry { term: entry.term, index: entry.index, kind: kind as u32, data: entry.data }
}

fn entry_from_proto(entry: internal::Entry) -> Result<Entry, Status> {
    let kind = match i32::try_from(entry.kind).map(raftpb::EntryType::try_from) {
        Ok(Ok(raftpb::EntryType::EntryNormal)) => wal::EntryKind::Normal,
        Ok(Ok(raftpb::EntryType::EntryConfChange)) => wal::EntryKind::ConfChange,
        Ok(Ok(raftpb::EntryType::EntryConfChangeV2) | Err(_)) | Err(_) => {
            return Err(Status::invalid_argument("entry of an unknown kind"));
        }
    };
    // The bytes share the whole received message: an exact copy keeps the log from pinning it.
    let data = bytes::Bytes::copy_from_slice(&entry.data);
    let entry = types::from_wal(wal::Entry { term: entry.term, index: entry.index, kind, data });
    let entry = entry.map_err(|error| Status::invalid_argument(error.to_string()))?;
    check::payload(&entry)?;
    Ok(entry)
}

pub fn append_to_proto(request: &AppendEntriesRequest<TypeConfig>) -> internal::AppendRequest {
    internal::AppendRequest {
        vote: Some(vote_to_proto(&request.vote)),
        prev: log_id_to_proto(request.prev_log_id.as_ref()),
        entries: request.entries.iter().map(entry_to_proto).collect(),
        committed: log_id_to_proto(request.leader_commit.as_ref()),
    }
}

/// # Errors
/// `InvalidArgument` for entries that cannot be decoded or do not follow each other from `prev`.
pub fn append_from_proto(request: internal::AppendRequest) -> Result<AppendEntriesRequest<TypeConfig>, Status> {
    let mut next = request.prev.as_ref().map_or(0, |prev| prev.index).checked_add(1);
    let mut entries = Vec::with_capacity(request.entries.len());
    for entry in request.entries {
        if Some(entry.index) != next {
            return Err(Status::invalid_argument("entries do not follow each other"));
        }
        next = entry.index.checked_add(1);
        entries.push(entry_from_proto(entry)?);
    }
    Ok(AppendEntriesRequest {
        vote: vote_from_proto(request.vote.as_ref())?,
        prev_log_id: log_id_from_proto(request.prev.as_ref()),
        entries,
        leader_commit: log_id_from_proto(request.committed.as_ref()),
    })
}

pub fn append_result_to_proto(result: &StreamAppendResult<TypeConfig>) -> internal::AppendResponse {
    use internal::append_response::Result as Answer;
    let answer = match result {
        Ok(Some(id)) => Answer::Matched(to_proto(id)),
        Ok(None) => Answer::MatchedNone(true),
        Err(StreamAppendError::Conflict(id)) => Answer::Conflict(to_proto(id)),
        Err(StreamAppendError::HigherVote(vote)) => Answer::HigherVote(vote_to_proto(vote)),
    };
    internal::AppendResponse { result: Some(answer), ..Default::default() }
}

pub fn append_result_from_proto(response: internal::AppendResponse) -> Result<StreamAppendResult<TypeConfig>, Status> {
    use internal::append_response::Result as Answer;
    match response.result {
        Some(Answer::Matched(id)) => Ok(Ok(log_id_from_proto(Some(&id)))),
        Some(Answer::MatchedNone(_)) => Ok(Ok(None)),
        Some(Answer::Conflict(id)) => {
            let id = log_id_from_proto(Some(&id)).ok_or_else(|| Status::internal("conflict before the first entry"))?;
            Ok(Err(StreamAppendError::Conflict(id)))
        }
        Some(Answer::HigherVote(vote)) => Ok(Err(StreamAppendError::HigherVote(vote_from_proto(Some(&vote))?))),
        None => Err(Status::internal("append response without a result")),
    }
}

fn to_proto(id: &LogId) -> internal::LogId {
    let at = types::position(id);
    internal::LogId { term: at.term, index: at.index }
}

pub fn vote_request_to_proto(request: &VoteRequest<TypeConfig>, pre_vote: bool) -> internal::VoteRequest {
    internal::VoteRequest {
        vote: Some(vote_to_proto(&request.vote)),
        last_log: log_id_to_proto(request.last_log_id.as_ref()),
        pre_vote,
        leadership_transfer: request.leadership_transfer,
    }
}

pub fn vote_request_from_proto(request: &internal::VoteRequest) -> Result<VoteRequest<TypeConfig>, Status> {
    let vote = vote_from_proto(request.vote.as_ref())?;
    let mut asked = VoteRequest::new(vote, log_id_from_proto(request.last_log.as_ref()));
    asked.leadership_transfer = request.leadership_transfer;
    Ok(asked)
}

pub fn vote_response_to_proto(response: &VoteResponse<TypeConfig>) -> internal::VoteResponse {
    internal::VoteResponse {
        vote: Some(vote_to_proto(&response.vote)),
        granted: response.vote_granted,
        last_log: log_id_to_proto(response.last_log_id.as_ref()),
    }
}

pub fn vote_response_from_proto(response: &internal::VoteResponse) -> Result<VoteResponse<TypeConfig>, Status> {
    let vote = vote_from_proto(response.vote.as_ref())?;
    Ok(VoteResponse::new(vote, log_id_from_proto(response.last_log.as_ref()), response.granted))
}

pub fn transfer_to_proto(request: &TransferLeaderRequest<TypeConfig>) -> internal::TransferLeaderRequest {
    internal::TransferLeaderRequest {
        from: Some(vote_to_proto(request.from_leader())),
        to: *request.to_node_id(),
        last_log: log_id_to_proto(request.last_log_id()),
    }
}

pub fn transfer_from_proto(
    request: &internal::TransferLeaderRequest,
) -> Result<TransferLeaderRequest<TypeConfig>, Status> {
    let from = vote_from_proto(request.from.as_ref())?;
    Ok(TransferLeaderRequest::new(from, request.to, log_id_from_proto(request.last_log.as_ref())))
}

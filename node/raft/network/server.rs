//! The called side: what peers ask of this member.

use super::check::{self, Known};
use super::convert;
use super::snapshot::receive_snapshot;
use super::traffic::Meter;
use super::{
    CLUSTER_HEADER, FROM_HEADER, Identity, MAX_MESSAGE_BYTES, PROTOCOL_HEADER, TO_HEADER, UNDERSTOOD, WAS_REMOVED,
};
use crate::defect::{self, Point};
use crate::net::Connection;
use crate::raft::Consensus;
use crate::types::{ClusterId, LeaseId, LogPosition, MemberId};
use futures_util::{Stream, StreamExt};
use keelstone_proto::internal;
use keelstone_proto::internal::peer_server::{Peer, PeerServer};
use openraft::raft::StreamAppendError;
use std::ops::RangeInclusive;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status, Streaming};

/// Serves peers. Holds nothing of its own: all state is behind [`Consensus`].
#[derive(Clone, Debug)]
pub struct PeerService {
    consensus: Consensus,
    /// Of the connection that it serves.
    meter: Option<Arc<Meter>>,
}

impl PeerService {
    /// The service, ready to be served.
    pub fn server(consensus: Consensus) -> PeerServer<PeerService> {
        Self { consensus, meter: None }.ready()
    }

    /// The service for one connection, and the connection with its traffic counted for whoever calls by it.
    pub fn on(consensus: &Consensus, connection: Connection) -> (Connection, PeerServer<PeerService>) {
        let (connection, meter) = consensus.peers().traffic().meter(connection);
        (connection, Self { consensus: consensus.clone(), meter: Some(meter) }.ready())
    }

    fn ready(self) -> PeerServer<PeerService> {
        PeerServer::new(self).max_decoding_message_size(MAX_MESSAGE_BYTES).max_encoding_message_size(MAX_MESSAGE_BYTES)
    }

    /// Who calls.
    ///
    /// # Errors
    /// `FailedPrecondition` if the call means another cluster or member, or speaks a version unknown here.
    fn caller(&self, metadata: &MetadataMap) -> Result<MemberId, Status> {
        let from = self.caller_or_removed(metadata)?;
        if let Some(meter) = &self.meter {
            meter.belongs_to(from);
        }
        if self.consensus.was_removed(from) {
            // It may not have learned of it.
            return Err(Status::permission_denied(WAS_REMOVED));
        }
        Ok(from)
    }

    /// As [`Self::caller`], be it a member that was removed.
    fn caller_or_removed(&self, metadata: &MetadataMap) -> Result<MemberId, Status> {
        self.identify(metadata).inspect_err(|_| {
            let named = number(metadata, FROM_HEADER).map(MemberId);
            // Of what anybody may write there, only names that are known make series.
            let known = named.filter(|&id| self.consensus.cluster().members.get(id).is_some());
            self.consensus.peers().traffic().receiving_failed(known);
        })
    }

    fn identify(&self, metadata: &MetadataMap) -> Result<MemberId, Status> {
        let Identity { cluster, member } = self.consensus.identity();
        check_protocol(metadata, &UNDERSTOOD)?;
        let number = |header: &str| number(metadata, header);
        let theirs = number(CLUSTER_HEADER);
        if theirs != Some(cluster.0) {
            // As a member does that was left out when its cluster was restored.
            tracing::warn!(
                "local-member-id" = %member,
                "local-member-cluster-id" = %cluster,
                "remote-peer-server-name" = %MemberId(number(FROM_HEADER).unwrap_or_default()),
                "remote-peer-cluster-id" = %ClusterId(theirs.unwrap_or_default()),
                "request cluster ID mismatch"
            );
            return Err(Status::failed_precondition("etcdserver: cluster ID mismatch"));
        }
        if number(TO_HEADER) != Some(member.0) {
            return Err(Status::failed_precondition(format!("this is member {member}")));
        }
        number(FROM_HEADER).map(MemberId).ok_or_else(|| Status::failed_precondition("caller without a member id"))
    }
}

fn number(metadata: &MetadataMap, header: &str) -> Option<u64> {
    metadata.get(header)?.to_str().ok()?.parse().ok()
}

/// # Errors
/// `FailedPrecondition`: the caller's version is not among those understood, or it does not say which it is.
fn check_protocol(metadata: &MetadataMap, understood: &RangeInclusive<u32>) -> Result<(), Status> {
    let spoken = number(metadata, PROTOCOL_HEADER);
    if spoken.is_some_and(|spoken| understood.contains(&u32::try_from(spoken).unwrap_or(u32::MAX))) {
        return Ok(());
    }
    let spoken = spoken.map_or("none that can be read".to_owned(), |spoken| spoken.to_string());
    let (least, most) = (understood.start(), understood.end());
    Err(Status::failed_precondition(format!(
        "this member ({}) understands versions {least} to {most} of the peer protocol, the caller speaks {spoken}",
        crate::ETCD_VERSION
    )))
}

/// What is known here now, for a check.
pub fn with_known<R>(consensus: &Consensus, check: impl FnOnce(&Known<'_>) -> R) -> R {
    let (term, committed) = consensus.term_and_committed();
    let term_at = |index| consensus.term_at(index);
    let (member, promised) = (consensus.member_id(), LogPosition::default());
    check(&Known { member, term, committed, promised, term_at: &term_at })
}

type AnswerStream = Pin<Box<dyn Stream<Item = Result<internal::AppendResponse, Status>> + Send>>;

#[tonic::async_trait]
impl Peer for PeerService {
    type AppendStream = AnswerStream;

    async fn append(
        &self,
        request: Request<Streaming<internal::AppendRequest>>,
    ) -> Result<Response<AnswerStream>, Status> {
        let caller = self.caller(request.metadata())?;
        // Who sent the request that is answered next: the leader of its vote, if the vote stands.
        let sender = Arc::new(AtomicU64::new(0));
        let seen = Arc::clone(&sender);
        let known = self.consensus.clone();
        // Up to where the messages so far commit; openraft may not have seen them yet.
        let mut promised = LogPosition::default();
        let input = tokio_stream::StreamExt::map_while(request.into_inner(), move |message| {
            let checked = message.and_then(convert::append_from_proto).and_then(|request| {
                with_known(&known, |known| check::append(&request, caller, &Known { promised, ..*known }))?;
                Ok(request)
            });
            let request = match checked {
                Ok(request) => request,
                Err(status) => {
                    // A caller that goes away ends its stream with an error; only nonsense deserves a line.
                    if status.code() == tonic::Code::InvalidArgument {
                        known.peers().traffic().receiving_failed(Some(caller));
                        tracing::warn!("remote-peer-id" = %caller, error = status.message(), "refused append stream");
                    }
                    return None;
                }
            };
            seen.store(request.vote.leader_id().voted_for, Ordering::Relaxed);
            promised = promised.max(check::promise(&request));
            Some(request)
        });
        let consensus = self.consensus.clone();
        let answers = self.consensus.raft().stream_append(Box::pin(input)).map(move |answer| {
            let answer = answer.map_err(|error| Status::unavailable(error.to_string()))?;
            defect::reach(Point::RaftBeforeFollowerSend);
            if !matches!(answer, Err(StreamAppendError::HigherVote(_))) {
                consensus.heard_from_leader(MemberId(sender.load(Ordering::Relaxed)));
            }
            let cannot_call_leader = consensus.peers().calling_back().fails(caller);
            Ok(internal::AppendResponse { cannot_call_leader, ..convert::append_result_to_proto(&answer) })
        });
        Ok(Response::new(Box::pin(answers)))
    }

    async fn vote(&self, request: Request<internal::VoteRequest>) -> Result<Response<internal::VoteResponse>, Status> {
        let caller = self.caller(request.metadata())?;
        let message = request.into_inner();
        let asked = convert::vote_request_from_proto(&message)?;
        with_known(&self.consensus, |known| check::vote_request(&asked, caller, known))?;
        let raft = self.consensus.raft();
        let answer = if message.pre_vote { raft.pre_vote(asked).await } else { raft.vote(asked).await };
        let answer = answer.map_err(|error| Status::unavailable(error.to_string()))?;
        Ok(Response::new(convert::vote_response_to_proto(&answer)))
    }

    async fn install_snapshot(
        &self,
        request: Request<Streaming<internal::SnapshotChunk>>,
    ) -> Result<Response<internal::SnapshotResponse>, Status> {
        let from = self.caller(request.metadata())?;
        let transfer = self.consensus.peers().traffic().metrics().snapshots_received.begin(from);
        let vote = receive_snapshot(&self.consensus, from, request.into_inner()).await?;
        transfer.succeeded();
        Ok(Response::new(internal::SnapshotResponse { vote: Some(convert::vote_to_proto(&vote)) }))
    }

    async fn transfer_leader(
        &self,
        request: Request<internal::TransferLeaderRequest>,
    ) -> Result<Response<internal::TransferLeaderResponse>, Status> {
        // A leader that has removed itself asks for a successor.
        let caller = self.caller_or_removed(request.metadata())?;
        let asked = convert::transfer_from_proto(request.get_ref())?;
        with_known(&self.consensus, |known| check::transfer(&asked, caller, known))?;
        let answer = self.consensus.raft().handle_transfer_leader(asked).await;
        match answer.map_err(|error| Status::unavailable(error.to_string()))? {
            Ok(()) => Ok(Response::new(internal::TransferLeaderResponse {})),
            Err(refused) => Err(Status::failed_precondition(refused.to_string())),
        }
    }

    async fn read_index(
        &self,
        request: Request<internal::ReadIndexRequest>,
    ) -> Result<Response<internal::ReadIndexResponse>, Status> {
        self.caller(request.metadata())?;
        match self.consensus.leader_read_index().await {
            Some(index) => Ok(Response::new(internal::ReadIndexResponse { index })),
            None => Err(Status::unavailable("etcdserver: not leader")),
        }
    }

    async fn propose(
        &self,
        request: Request<internal::ProposeRequest>,
    ) -> Result<Response<internal::ProposeResponse>, Status> {
        self.caller(request.metadata())?;
        let request = request.into_inner();
        request.requests.iter().try_for_each(check::proposal)?;
        Ok(Response::new(self.consensus.leader_propose(request).await))
    }

    async fn change_members(
        &self,
        request: Request<internal::ChangeMembersRequest>,
    ) -> Result<Response<internal::ChangeMembersResponse>, Status> {
        self.caller(request.metadata())?;
        Ok(Response::new(self.consensus.leader_change_members(request.into_inner()).await))
    }

    async fn members(
        &self,
        request: Request<internal::MembersRequest>,
    ) -> Result<Response<internal::MembersResponse>, Status> {
        check_protocol(request.metadata(), &UNDERSTOOD)?;
        Ok(Response::new(self.consensus.listed_members()))
    }

    async fn lease_renew(
        &self,
        request: Request<internal::LeaseRenewRequest>,
    ) -> Result<Response<internal::LeaseRenewResponse>, Status> {
        self.caller(request.metadata())?;
        let id = LeaseId(request.get_ref().id);
        Ok(Response::new(self.consensus.leader_lease_renew(id).await))
    }

    async fn lease_time_to_live(
        &self,
        request: Request<internal::LeaseTimeToLiveRequest>,
    ) -> Result<Response<internal::LeaseTimeToLiveResponse>, Status> {
        self.caller(request.metadata())?;
        let asked = request.get_ref();
        Ok(Response::new(self.consensus.leader_lease_time_to_live(LeaseId(asked.id), asked.keys).await))
    }

    async fn info(
        &self,
        request: Request<internal::PeerInfoRequest>,
    ) -> Result<Response<internal::PeerInfoResponse>, Status> {
        self.caller(request.metadata())?;
        if request.get_ref().removed {
            // Not believed from whoever reaches this port.
            self.consensus.ask_whether_removed();
        }
        Ok(Response::new(self.consensus.info()))
    }

    async fn hash_kv(
        &self,
        request: Request<internal::HashKvRequest>,
    ) -> Result<Response<internal::HashKvResponse>, Status> {
        self.caller(request.metadata())?;
        let answer = self.consensus.answer_hash(*request.get_ref()).await;
        Ok(Response::new(answer.map_err(|error| Status::unavailable(error.to_string()))?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft::network::PROTOCOL;

    fn checked(spoken: &str, understood: RangeInclusive<u32>) -> Result<(), String> {
        let mut metadata = MetadataMap::new();
        metadata.insert(PROTOCOL_HEADER, spoken.parse().expect("ASCII"));
        check_protocol(&metadata, &understood).map_err(|status| status.message().to_owned())
    }

    #[test]
    fn callers_of_this_version_and_the_one_before_are_served_and_later_ones_are_told_why_not() {
        assert_eq!(checked(&PROTOCOL.to_string(), UNDERSTOOD), Ok(()));
        assert_eq!((checked("1", 1..=2), checked("2", 1..=2)), (Ok(()), Ok(())));
        for spoken in ["0", "3", "4294967298", "x", "-1"] {
            let said = checked(spoken, 1..=2).expect_err(spoken);
            assert!(said.contains("understands versions 1 to 2 of the peer protocol"), "{said}");
        }
        assert!(checked("3", 1..=2).expect_err("too new").ends_with("the caller speaks 3"));
        assert!(check_protocol(&MetadataMap::new(), &UNDERSTOOD).is_err(), "no version at all");
    }
}

//! The called side: what peers ask of this member.

use super::convert;
use super::snapshot::receive_snapshot;
use super::{CLUSTER_HEADER, FROM_HEADER, Identity, PROTOCOL, PROTOCOL_HEADER, TO_HEADER};
use crate::raft::Consensus;
use crate::types::{LeaseId, MemberId};
use futures_util::{Stream, StreamExt};
use keelstone_proto::internal;
use keelstone_proto::internal::peer_server::Peer;
use openraft::raft::StreamAppendError;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status, Streaming};

/// Serves peers. Holds nothing of its own: all state is behind [`Consensus`].
#[derive(Clone, Debug)]
pub struct PeerService {
    consensus: Consensus,
}

impl PeerService {
    pub fn new(consensus: Consensus) -> Self {
        Self { consensus }
    }

    /// Who calls.
    ///
    /// # Errors
    /// `FailedPrecondition` if the call means another cluster or member, or speaks a version unknown here.
    fn caller(&self, metadata: &MetadataMap) -> Result<MemberId, Status> {
        let Identity { cluster, member } = self.consensus.identity();
        let number = |header: &str| -> Option<u64> { metadata.get(header)?.to_str().ok()?.parse().ok() };
        if number(PROTOCOL_HEADER) != Some(u64::from(PROTOCOL)) {
            return Err(Status::failed_precondition(format!("peer protocol must be {PROTOCOL}")));
        }
        if number(CLUSTER_HEADER) != Some(cluster.0) {
            return Err(Status::failed_precondition("etcdserver: cluster ID mismatch"));
        }
        if number(TO_HEADER) != Some(member.0) {
            return Err(Status::failed_precondition(format!("this is member {member}")));
        }
        number(FROM_HEADER).map(MemberId).ok_or_else(|| Status::failed_precondition("caller without a member id"))
    }
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
        let input = tokio_stream::StreamExt::map_while(request.into_inner(), move |message| {
            let request = match message.and_then(convert::append_from_proto) {
                Ok(request) => request,
                Err(status) => {
                    // A caller that goes away ends its stream with an error; only nonsense deserves a line.
                    if status.code() == tonic::Code::InvalidArgument {
                        tracing::warn!("remote-peer-id" = %caller, error = status.message(), "refused append stream");
                    }
                    return None;
                }
            };
            if request.vote.committed {
                seen.store(request.vote.leader_id().voted_for, Ordering::Relaxed);
            }
            Some(request)
        });
        let consensus = self.consensus.clone();
        let answers = self.consensus.raft().stream_append(Box::pin(input)).map(move |answer| {
            let answer = answer.map_err(|error| Status::unavailable(error.to_string()))?;
            if !matches!(answer, Err(StreamAppendError::HigherVote(_))) {
                consensus.heard_from_leader(MemberId(sender.load(Ordering::Relaxed)));
            }
            Ok(convert::append_result_to_proto(&answer))
        });
        Ok(Response::new(Box::pin(answers)))
    }

    async fn vote(&self, request: Request<internal::VoteRequest>) -> Result<Response<internal::VoteResponse>, Status> {
        self.caller(request.metadata())?;
        let message = request.into_inner();
        let asked = convert::vote_request_from_proto(&message)?;
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
        let vote = receive_snapshot(&self.consensus, from, request.into_inner()).await?;
        Ok(Response::new(internal::SnapshotResponse { vote: Some(convert::vote_to_proto(&vote)) }))
    }

    async fn transfer_leader(
        &self,
        request: Request<internal::TransferLeaderRequest>,
    ) -> Result<Response<internal::TransferLeaderResponse>, Status> {
        self.caller(request.metadata())?;
        let asked = convert::transfer_from_proto(request.get_ref())?;
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
        Ok(Response::new(self.consensus.leader_propose(request.into_inner()).await))
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
        Ok(Response::new(self.consensus.info()))
    }
}

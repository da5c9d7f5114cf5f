//! Leases as clients see them. Grants and revokes are log entries; keep-alives and remaining times are answered by
//! the leader's memory, wherever they arrive.

use super::node::Node;
use super::status::ApiError;
use crate::apply::Reply;
use crate::raft::LeaseAnswer;
use crate::types::LeaseId;
use futures_util::StreamExt;
use futures_util::stream::{BoxStream, try_unfold};
use keelstone_proto::etcdserverpb as pb;
use keelstone_proto::etcdserverpb::lease_server::Lease;
use std::sync::Arc;
use tonic::{Code, Request, Response, Status, Streaming};

#[derive(Clone, Debug)]
pub struct LeaseService {
    node: Arc<Node>,
}

impl LeaseService {
    pub fn new(node: Arc<Node>) -> Self {
        Self { node }
    }
}

#[tonic::async_trait]
impl Lease for LeaseService {
    async fn lease_grant(
        &self,
        request: Request<pb::LeaseGrantRequest>,
    ) -> Result<Response<pb::LeaseGrantResponse>, Status> {
        let mut request = request.into_inner();
        if request.id == LeaseId::NONE.0 {
            request.id = self.node.consensus.new_lease_id().0;
        }
        self.node.check_quota_for_lease().await?;
        let durations = &self.node.metrics.requests.lease_grant;
        let entry = pb::InternalRaftRequest { lease_grant: Some(request), ..Default::default() };
        let Reply::LeaseGrant(mut response) = self.node.propose(entry, durations).await? else {
            unreachable!("a grant is answered with a grant");
        };
        self.node.fill(&mut response.header);
        Ok(Response::new(response))
    }

    async fn lease_revoke(
        &self,
        request: Request<pb::LeaseRevokeRequest>,
    ) -> Result<Response<pb::LeaseRevokeResponse>, Status> {
        let durations = &self.node.metrics.requests.lease_revoke;
        let entry = pb::InternalRaftRequest { lease_revoke: Some(request.into_inner()), ..Default::default() };
        let Reply::LeaseRevoke(mut response) = self.node.propose(entry, durations).await? else {
            unreachable!("a revoke is answered with a revoke");
        };
        self.node.fill(&mut response.header);
        Ok(Response::new(response))
    }

    type LeaseKeepAliveStream = BoxStream<'static, Result<pb::LeaseKeepAliveResponse, Status>>;

    /// One answer for each request, in order.
    async fn lease_keep_alive(
        &self,
        request: Request<Streaming<pb::LeaseKeepAliveRequest>>,
    ) -> Result<Response<Self::LeaseKeepAliveStream>, Status> {
        let state = (request.into_inner(), Arc::clone(&self.node));
        let answers = try_unfold(state, |(mut requests, node)| async move {
            let Some(request) = receive(&mut requests, &node).await? else {
                return Ok(None);
            };
            let answer = keep_alive(&node, LeaseId(request.id)).await?;
            Ok(Some((answer, (requests, node))))
        });
        Ok(Response::new(answers.boxed()))
    }

    async fn lease_time_to_live(
        &self,
        request: Request<pb::LeaseTimeToLiveRequest>,
    ) -> Result<Response<pb::LeaseTimeToLiveResponse>, Status> {
        let request = request.into_inner();
        let answer = self.node.consensus.lease_time_to_live(LeaseId(request.id), request.keys).await;
        let (ttl, granted_ttl, keys) = match answer.map_err(ApiError::from)? {
            LeaseAnswer::Found { ttl_secs, granted_ttl_secs, keys } => (ttl_secs, granted_ttl_secs, keys),
            LeaseAnswer::NotFound => {
                // Apply takes a lease away a moment before readers see its keys gone, and nobody may learn of the
                // one without the other.
                self.node.read_index().await?;
                (-1, 0, Vec::new())
            }
        };
        let header = self.node.answerer().header_at(self.node.revision());
        let id = request.id;
        Ok(Response::new(pb::LeaseTimeToLiveResponse { header: Some(header), id, ttl, granted_ttl, keys }))
    }

    async fn lease_leases(
        &self,
        _request: Request<pb::LeaseLeasesRequest>,
    ) -> Result<Response<pb::LeaseLeasesResponse>, Status> {
        let leases = self.node.lessor.ids().into_iter().map(|id| pb::LeaseStatus { id: id.0 }).collect();
        let header = self.node.answerer().header_at(self.node.revision());
        Ok(Response::new(pb::LeaseLeasesResponse { header: Some(header), leases }))
    }
}

async fn receive(
    requests: &mut Streaming<pb::LeaseKeepAliveRequest>,
    node: &Node,
) -> Result<Option<pb::LeaseKeepAliveRequest>, Status> {
    let received = requests.message().await;
    if let Err(status) = &received
        && !matches!(status.code(), Code::Cancelled | Code::DeadlineExceeded)
    {
        tracing::warn!(error = status.message(), "failed to receive lease keepalive request from gRPC stream");
        node.metrics.stream_failures.with_label_values(&["receive", "lease-keepalive"]).inc();
    }
    received
}

/// The header is taken before the renewal: a client that sees a keep-alive at revision 4 must be able to trust that
/// the lease was not revoked at 3.
async fn keep_alive(node: &Node, id: LeaseId) -> Result<pb::LeaseKeepAliveResponse, ApiError> {
    let header = Some(node.answerer().header_at(node.revision()));
    let ttl = match node.consensus.lease_renew(id).await? {
        LeaseAnswer::Found { ttl_secs, .. } => ttl_secs,
        LeaseAnswer::NotFound => 0,
    };
    Ok(pb::LeaseKeepAliveResponse { header, id: id.0, ttl })
}

//! Leases as clients see them. Grants and revokes are log entries; keep-alives and remaining times are answered by
//! the leader's memory, wherever they arrive.

use super::asker::Asker;
use super::node::Node;
use super::status::ApiError;
use crate::apply::{Asked, Reply};
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

    /// Somebody may grant a lease, who was made sure of at the gate.
    pub async fn grant(
        &self,
        asker: &Asker,
        mut request: pb::LeaseGrantRequest,
    ) -> Result<pb::LeaseGrantResponse, ApiError> {
        if request.id == LeaseId::NONE.0 {
            request.id = self.node.consensus.new_lease_id().0;
        }
        self.node.check_quota_for_lease().await?;
        let header = self.node.gate.to_write(asker, Asked::Somebody).await?;
        let durations = &self.node.metrics.requests.lease_grant;
        let entry = pb::InternalRaftRequest { header, lease_grant: Some(request), ..Default::default() };
        let Reply::LeaseGrant(mut response) = self.node.propose(entry, durations).await? else {
            unreachable!("a grant is answered with a grant");
        };
        self.node.fill(&mut response.header);
        Ok(response)
    }

    async fn time_to_live(
        &self,
        asker: &Asker,
        request: pb::LeaseTimeToLiveRequest,
    ) -> Result<pb::LeaseTimeToLiveResponse, ApiError> {
        let (gate, id) = (&self.node.gate, LeaseId(request.id));
        // CVE-2023-32082: keys are told to those who may read them.
        let asked = if request.keys { Asked::LeaseKeys(id) } else { Asked::Somebody };
        let leave = gate.to_read(asker, asked).await?;
        let answer = self.node.consensus.lease_time_to_live(id, request.keys).await;
        let (ttl, granted_ttl, keys) = match answer? {
            LeaseAnswer::Found { ttl_secs, granted_ttl_secs, keys } => (ttl_secs, granted_ttl_secs, keys),
            LeaseAnswer::NotFound => {
                // Apply takes a lease away a moment before readers see its keys gone, and nobody may learn of the
                // one without the other.
                self.node.read_index().await?;
                (-1, 0, Vec::new())
            }
        };
        if request.keys {
            // The leader may know of keys that this member did not.
            let leave_to_all = gate.to_read(asker, Asked::Keys(&keys)).await?;
            gate.still_holds(leave)?;
            gate.still_holds(leave_to_all)?;
        }
        let header = self.node.answerer().header_at(self.node.revision());
        Ok(pb::LeaseTimeToLiveResponse { header: Some(header), id: request.id, ttl, granted_ttl, keys })
    }
}

#[tonic::async_trait]
impl Lease for LeaseService {
    async fn lease_grant(
        &self,
        request: Request<pb::LeaseGrantRequest>,
    ) -> Result<Response<pb::LeaseGrantResponse>, Status> {
        let (asker, request) = Asker::of(request);
        Ok(Response::new(self.grant(&asker, request).await?))
    }

    async fn lease_revoke(
        &self,
        request: Request<pb::LeaseRevokeRequest>,
    ) -> Result<Response<pb::LeaseRevokeResponse>, Status> {
        let (asker, request) = Asker::of(request);
        let header = self.node.gate.to_write(&asker, Asked::LeaseWrite(LeaseId(request.id))).await?;
        let durations = &self.node.metrics.requests.lease_revoke;
        let entry = pb::InternalRaftRequest { header, lease_revoke: Some(request), ..Default::default() };
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
        let (asker, requests) = Asker::of(request);
        let state = (asker, requests, Arc::clone(&self.node));
        let answers = try_unfold(state, |(asker, mut requests, node)| async move {
            let Some(request) = receive(&mut requests, &node).await? else {
                return Ok(None);
            };
            let answer = keep_alive(&node, &asker, LeaseId(request.id)).await?;
            Ok(Some((answer, (asker, requests, node))))
        });
        Ok(Response::new(answers.boxed()))
    }

    async fn lease_time_to_live(
        &self,
        request: Request<pb::LeaseTimeToLiveRequest>,
    ) -> Result<Response<pb::LeaseTimeToLiveResponse>, Status> {
        let (asker, request) = Asker::of(request);
        Ok(Response::new(self.time_to_live(&asker, request).await?))
    }

    async fn lease_leases(
        &self,
        request: Request<pb::LeaseLeasesRequest>,
    ) -> Result<Response<pb::LeaseLeasesResponse>, Status> {
        let leave = self.node.gate.to_read(&Asker::of(request).0, Asked::LeaseList).await?;
        let leases = self.node.lessor.ids().into_iter().map(|id| pb::LeaseStatus { id: id.0 }).collect();
        self.node.gate.still_holds(leave)?;
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
async fn keep_alive(node: &Node, asker: &Asker, id: LeaseId) -> Result<pb::LeaseKeepAliveResponse, ApiError> {
    node.gate.to_write(asker, Asked::LeaseWrite(id)).await?;
    let header = Some(node.answerer().header_at(node.revision()));
    let ttl = match node.consensus.lease_renew(id).await? {
        LeaseAnswer::Found { ttl_secs, .. } => ttl_secs,
        LeaseAnswer::NotFound => 0,
    };
    Ok(pb::LeaseKeepAliveResponse { header, id: id.0, ttl })
}

//! Members as clients see them. Answers carry no revision.

use super::node::Node;
use super::status::ApiError;
use crate::cluster::{Member, MemberChange, PeerUrls, member_id};
use crate::types::MemberId;
use keelstone_proto::etcdserverpb as pb;
use keelstone_proto::etcdserverpb::cluster_server::Cluster;
use std::sync::Arc;
use tonic::{Request, Response, Status};

#[derive(Clone, Debug)]
pub struct ClusterService {
    node: Arc<Node>,
}

impl ClusterService {
    pub fn new(node: Arc<Node>) -> Self {
        Self { node }
    }

    async fn change(&self, change: MemberChange) -> Result<Vec<pb::Member>, ApiError> {
        Ok(self.node.consensus.change_members(change).await?.iter().map(to_proto).collect())
    }
}

fn to_proto(member: &Member) -> pb::Member {
    pb::Member {
        id: member.id.0,
        name: member.name.clone(),
        peer_urls: member.peer_urls.clone(),
        client_urls: member.client_urls.clone(),
        is_learner: member.is_learner,
    }
}

#[tonic::async_trait]
impl Cluster for ClusterService {
    async fn member_list(
        &self,
        request: Request<pb::MemberListRequest>,
    ) -> Result<Response<pb::MemberListResponse>, Status> {
        if request.get_ref().linearizable {
            self.node.read_index().await?;
        }
        let members = self.node.cluster().members.iter().map(to_proto).collect();
        Ok(Response::new(pb::MemberListResponse { header: Some(self.node.answerer().header()), members }))
    }

    async fn member_add(
        &self,
        request: Request<pb::MemberAddRequest>,
    ) -> Result<Response<pb::MemberAddResponse>, Status> {
        let pb::MemberAddRequest { peer_urls, is_learner } = request.into_inner();
        let peer_urls = PeerUrls::parse(&peer_urls).map_err(|_| ApiError::MemberBadUrls)?;
        let id = member_id(&peer_urls, "", Some(self.node.consensus.unix_secs()));
        let added = Member { is_learner, ..Member::new(id, peer_urls) };
        let members = self.change(MemberChange::Add(added.clone())).await?;
        let (header, member) = (Some(self.node.answerer().header()), Some(to_proto(&added)));
        Ok(Response::new(pb::MemberAddResponse { header, member, members }))
    }

    async fn member_remove(
        &self,
        request: Request<pb::MemberRemoveRequest>,
    ) -> Result<Response<pb::MemberRemoveResponse>, Status> {
        let members = self.change(MemberChange::Remove(MemberId(request.get_ref().id))).await?;
        Ok(Response::new(pb::MemberRemoveResponse { header: Some(self.node.answerer().header()), members }))
    }

    /// etcd takes the URLs as they are.
    async fn member_update(
        &self,
        request: Request<pb::MemberUpdateRequest>,
    ) -> Result<Response<pb::MemberUpdateResponse>, Status> {
        let pb::MemberUpdateRequest { id, peer_urls } = request.into_inner();
        let members = self.change(MemberChange::Update { id: MemberId(id), peer_urls }).await?;
        Ok(Response::new(pb::MemberUpdateResponse { header: Some(self.node.answerer().header()), members }))
    }

    async fn member_promote(
        &self,
        request: Request<pb::MemberPromoteRequest>,
    ) -> Result<Response<pb::MemberPromoteResponse>, Status> {
        let members = self.change(MemberChange::Promote(MemberId(request.get_ref().id))).await?;
        Ok(Response::new(pb::MemberPromoteResponse { header: Some(self.node.answerer().header()), members }))
    }
}

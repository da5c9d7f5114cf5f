//! The election recipe, run by the server. Not built yet.

use super::status::ApiError;
use futures_util::stream::BoxStream;
use keelstone_proto::v3electionpb as pb;
use keelstone_proto::v3electionpb::election_server::Election;
use tonic::{Request, Response, Status};

#[derive(Clone, Copy, Debug)]
pub struct ElectionService;

fn not_built<T>() -> Result<Response<T>, Status> {
    Err(ApiError::NotBuilt("the election service").into())
}

#[tonic::async_trait]
impl Election for ElectionService {
    async fn campaign(&self, _request: Request<pb::CampaignRequest>) -> Result<Response<pb::CampaignResponse>, Status> {
        not_built()
    }

    async fn proclaim(&self, _request: Request<pb::ProclaimRequest>) -> Result<Response<pb::ProclaimResponse>, Status> {
        not_built()
    }

    async fn leader(&self, _request: Request<pb::LeaderRequest>) -> Result<Response<pb::LeaderResponse>, Status> {
        not_built()
    }

    type ObserveStream = BoxStream<'static, Result<pb::LeaderResponse, Status>>;

    async fn observe(&self, _request: Request<pb::LeaderRequest>) -> Result<Response<Self::ObserveStream>, Status> {
        not_built()
    }

    async fn resign(&self, _request: Request<pb::ResignRequest>) -> Result<Response<pb::ResignResponse>, Status> {
        not_built()
    }
}

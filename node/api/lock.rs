//! The lock recipe, run by the server. Not built yet.

use super::status::ApiError;
use keelstone_proto::v3lockpb::lock_server::Lock;
use keelstone_proto::v3lockpb::{LockRequest, LockResponse, UnlockRequest, UnlockResponse};
use tonic::{Request, Response, Status};

#[derive(Clone, Copy, Debug)]
pub struct LockService;

fn not_built<T>() -> Result<Response<T>, Status> {
    Err(ApiError::NotBuilt("the lock service").into())
}

#[tonic::async_trait]
impl Lock for LockService {
    async fn lock(&self, _request: Request<LockRequest>) -> Result<Response<LockResponse>, Status> {
        not_built()
    }

    async fn unlock(&self, _request: Request<UnlockRequest>) -> Result<Response<UnlockResponse>, Status> {
        not_built()
    }
}

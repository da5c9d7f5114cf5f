//! The lock recipe, run by the server (etcd `server/etcdserver/api/v3lock`): whose key below the name was created first has
//! the lock, for as long as the key's lease lives.

use super::asker::Asker;
use super::recipe::{
    LeavesQueue, Place, Recipes, delete, found, get, if_created_at, oldest, own_key, prefix, put, revision_of,
};
use bytes::Bytes;
use keelstone_proto::etcdserverpb as pb;
use keelstone_proto::v3lockpb::lock_server::Lock;
use keelstone_proto::v3lockpb::{LockRequest, LockResponse, UnlockRequest, UnlockResponse};
use tonic::{Request, Response, Status};

#[derive(Clone, Debug)]
pub struct LockService(pub Recipes);

#[tonic::async_trait]
impl Lock for LockService {
    async fn lock(&self, request: Request<LockRequest>) -> Result<Response<LockResponse>, Status> {
        let (asker, LockRequest { name, lease }) = Asker::of(request);
        let (recipes, prefix) = (&self.0, prefix(&name));
        let lease = recipes.lease(&asker, lease).await?;
        let mut place = Place { key: own_key(&prefix, lease), revision: 0 };
        // A session that asks again keeps its place.
        let (queue, again) = (put(&place.key, &Bytes::new(), lease), get(&place.key));
        let first = if_created_at(&place, vec![queue, oldest(&prefix)], vec![again, oldest(&prefix)]);
        let response = recipes.txn(&asker, first).await?;
        place.revision = match found(&response, 0) {
            Some(own) if !response.succeeded => own.create_revision,
            _ => revision_of(response.header.as_ref()),
        };
        if found(&response, 1).is_none_or(|owner| owner.create_revision == place.revision) {
            return Ok(Response::new(LockResponse { header: response.header, key: place.key }));
        }
        let waits = LeavesQueue::new(recipes, &asker, always(delete(&place.key)));
        recipes.wait_for_turn(&asker, &prefix, &place).await?;
        let response = recipes.read(&asker, get(&place.key)).await?;
        waits.stays();
        if found(&response, 0).is_none() {
            return Err(Status::unknown("mutex: session is expired"));
        }
        Ok(Response::new(LockResponse { header: response.header, key: place.key }))
    }

    async fn unlock(&self, request: Request<UnlockRequest>) -> Result<Response<UnlockResponse>, Status> {
        let (asker, UnlockRequest { key }) = Asker::of(request);
        let response = self.0.delete(&asker, key).await?;
        Ok(Response::new(UnlockResponse { header: response.header }))
    }
}

fn always(op: pb::request_op::Request) -> pb::TxnRequest {
    pb::TxnRequest { success: vec![pb::RequestOp { request: Some(op) }], ..Default::default() }
}

//! The election recipe, run by the server (etcd `server/etcdserver/api/v3election`): whose key below the name was created
//! first leads, with the key's value as proclamation, for as long as the key's lease lives.

use super::recipe::{
    LeavesQueue, Place, Recipes, delete, found, get, if_created_at, next_events, oldest, own_key, prefix, put,
    revision_of,
};
use crate::mvcc::EventKind;
use crate::types::{KeyInterval, LeaseId};
use crate::watch::WatchStream;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{BoxStream, try_unfold};
use keelstone_proto::etcdserverpb::ResponseHeader;
use keelstone_proto::v3electionpb as pb;
use keelstone_proto::v3electionpb::election_server::Election;
use std::collections::VecDeque;
use tonic::{Request, Response, Status};

#[derive(Clone, Debug)]
pub struct ElectionService(pub Recipes);

/// What a leader says of itself, as its request has it.
fn place_of(leader: Option<pb::LeaderKey>) -> Result<(Place, LeaseId), Status> {
    let leader = leader.ok_or_else(|| Status::unknown("\"leader\" field must be provided"))?;
    Ok((Place { key: leader.key, revision: leader.rev }, LeaseId(leader.lease)))
}

impl ElectionService {
    async fn set_value(&self, place: &Place, value: &Bytes, lease: LeaseId) -> Result<Option<ResponseHeader>, Status> {
        let response = self.0.txn(if_created_at(place, vec![put(&place.key, value, lease)], vec![])).await?;
        if response.succeeded { Ok(response.header) } else { Err(Status::unknown("election: not leader")) }
    }
}

#[tonic::async_trait]
impl Election for ElectionService {
    async fn campaign(&self, request: Request<pb::CampaignRequest>) -> Result<Response<pb::CampaignResponse>, Status> {
        let pb::CampaignRequest { name, lease, value } = request.into_inner();
        let (recipes, prefix) = (&self.0, prefix(&name));
        let lease = recipes.lease(lease).await?;
        let mut place = Place { key: own_key(&prefix, lease), revision: 0 };
        let (queue, again) = (put(&place.key, &value, lease), get(&place.key));
        let response = recipes.txn(if_created_at(&place, vec![queue], vec![again])).await?;
        let own = found(&response, 0).filter(|_| !response.succeeded);
        place.revision = own.map_or_else(|| revision_of(response.header.as_ref()), |own| own.create_revision);
        let waits = LeavesQueue::new(recipes, if_created_at(&place, vec![delete(&place.key)], vec![]));
        if own.is_some_and(|own| own.value != value) {
            self.set_value(&place, &value, lease).await?;
        }
        let turn = recipes.wait_for_turn(&prefix, &place).await;
        // Only who goes away gives up the place, not who is told of an error.
        waits.stays();
        turn?;
        let leader = pb::LeaderKey { name, key: place.key, rev: place.revision, lease: lease.0 };
        Ok(Response::new(pb::CampaignResponse { header: response.header, leader: Some(leader) }))
    }

    async fn proclaim(&self, request: Request<pb::ProclaimRequest>) -> Result<Response<pb::ProclaimResponse>, Status> {
        let pb::ProclaimRequest { leader, value } = request.into_inner();
        let (place, lease) = place_of(leader)?;
        let lease = self.0.lease(lease.0).await?;
        let header = self.set_value(&place, &value, lease).await?;
        Ok(Response::new(pb::ProclaimResponse { header }))
    }

    async fn leader(&self, request: Request<pb::LeaderRequest>) -> Result<Response<pb::LeaderResponse>, Status> {
        let response = self.0.read(oldest(&prefix(&request.into_inner().name))).await?;
        let kv = found(&response, 0).cloned().ok_or_else(|| Status::unknown("election: no leader"))?;
        Ok(Response::new(pb::LeaderResponse { header: response.header, kv: Some(kv) }))
    }

    type ObserveStream = BoxStream<'static, Result<pb::LeaderResponse, Status>>;

    async fn observe(&self, request: Request<pb::LeaderRequest>) -> Result<Response<Self::ObserveStream>, Status> {
        let prefix = prefix(&request.into_inner().name);
        let observer = Observer { recipes: self.0.clone(), prefix, leader: None };
        Ok(Response::new(try_unfold(observer, Observer::next).boxed()))
    }

    async fn resign(&self, request: Request<pb::ResignRequest>) -> Result<Response<pb::ResignResponse>, Status> {
        let (place, _) = place_of(request.into_inner().leader)?;
        let response = self.0.txn(if_created_at(&place, vec![delete(&place.key)], vec![])).await?;
        Ok(Response::new(pb::ResignResponse { header: response.header }))
    }
}

/// Tells of each leader, and of all that it proclaims.
struct Observer {
    recipes: Recipes,
    prefix: Bytes,
    /// Who was told of last.
    leader: Option<Followed>,
}

struct Followed {
    /// Of the leader's key.
    changes: WatchStream,
    /// Proclamations that wait to be told.
    waiting: VecDeque<pb::LeaderResponse>,
    /// Its key was deleted behind those.
    is_gone: bool,
}

impl Observer {
    async fn next(mut self) -> Result<Option<(pb::LeaderResponse, Self)>, Status> {
        loop {
            let Some(leader) = &mut self.leader else {
                let Some(response) = self.find().await? else { return Ok(None) };
                let kv = response.kv.clone().unwrap_or_default();
                let from = revision_of(response.header.as_ref()) + 1;
                let changes = self.recipes.watch(KeyInterval::One(kv.key), from)?;
                self.leader = Some(Followed { changes, waiting: VecDeque::new(), is_gone: false });
                return Ok(Some((response, self)));
            };
            if let Some(response) = leader.waiting.pop_front() {
                return Ok(Some((response, self)));
            }
            if leader.is_gone {
                self.leader = None;
                continue;
            }
            // As in etcd a stream whose history was compacted ends without an error.
            let Ok(Some(events)) = next_events(&leader.changes).await else { return Ok(None) };
            for event in events.events.iter().map(|event| event.event()) {
                if event.kind == EventKind::Delete {
                    leader.is_gone = true;
                    break;
                }
                let header = Some(self.recipes.node.answerer().header_at(events.revision));
                leader.waiting.push_back(pb::LeaderResponse { header, kv: Some(event.kv.clone()) });
            }
        }
    }

    /// The leader, or the first who becomes it.
    async fn find(&self) -> Result<Option<pb::LeaderResponse>, Status> {
        let response = self.recipes.read(oldest(&self.prefix)).await?;
        if let Some(kv) = found(&response, 0) {
            return Ok(Some(pb::LeaderResponse { header: response.header, kv: Some(kv.clone()) }));
        }
        let changes = self.recipes.watch_below(&self.prefix, revision_of(response.header.as_ref()))?;
        while let Ok(Some(events)) = next_events(&changes).await {
            if let Some(put) =
                events.events.iter().map(|event| event.event()).find(|event| event.kind == EventKind::Put)
            {
                let header = Some(self.recipes.node.answerer().header_at(put.kv.mod_revision));
                return Ok(Some(pb::LeaderResponse { header, kv: Some(put.kv.clone()) }));
            }
        }
        Ok(None)
    }
}

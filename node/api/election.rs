//! The election recipe, run by the server (etcd `server/etcdserver/api/v3election`): whose key below the name was created
//! first leads, with the key's value as proclamation, for as long as the key's lease lives.

use super::asker::Asker;
use super::recipe::{
    LeavesQueue, Place, Recipes, Watched, delete, found, get, if_created_at, oldest, own_key, prefix, put, revision_of,
};
use crate::mvcc::EventKind;
use crate::types::{KeyInterval, LeaseId};
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
    async fn set_value(
        &self,
        asker: &Asker,
        place: &Place,
        value: &Bytes,
        lease: LeaseId,
    ) -> Result<Option<ResponseHeader>, Status> {
        let response = self.0.txn(asker, if_created_at(place, vec![put(&place.key, value, lease)], vec![])).await?;
        if response.succeeded { Ok(response.header) } else { Err(Status::unknown("election: not leader")) }
    }
}

#[tonic::async_trait]
impl Election for ElectionService {
    async fn campaign(&self, request: Request<pb::CampaignRequest>) -> Result<Response<pb::CampaignResponse>, Status> {
        let (asker, pb::CampaignRequest { name, lease, value }) = Asker::of(request);
        let (recipes, prefix) = (&self.0, prefix(&name));
        let lease = recipes.lease(&asker, lease).await?;
        let mut place = Place { key: own_key(&prefix, lease), revision: 0 };
        let (queue, again) = (put(&place.key, &value, lease), get(&place.key));
        let response = recipes.txn(&asker, if_created_at(&place, vec![queue], vec![again])).await?;
        let own = found(&response, 0).filter(|_| !response.succeeded);
        place.revision = own.map_or_else(|| revision_of(response.header.as_ref()), |own| own.create_revision);
        let waits = LeavesQueue::new(recipes, &asker, if_created_at(&place, vec![delete(&place.key)], vec![]));
        if own.is_some_and(|own| own.value != value) {
            self.set_value(&asker, &place, &value, lease).await?;
        }
        let turn = recipes.wait_for_turn(&asker, &prefix, &place).await;
        // Only who goes away gives up the place, not who is told of an error.
        waits.stays();
        turn?;
        let leader = pb::LeaderKey { name, key: place.key, rev: place.revision, lease: lease.0 };
        Ok(Response::new(pb::CampaignResponse { header: response.header, leader: Some(leader) }))
    }

    async fn proclaim(&self, request: Request<pb::ProclaimRequest>) -> Result<Response<pb::ProclaimResponse>, Status> {
        let (asker, pb::ProclaimRequest { leader, value }) = Asker::of(request);
        let (place, lease) = place_of(leader)?;
        let lease = self.0.lease(&asker, lease.0).await?;
        let header = self.set_value(&asker, &place, &value, lease).await?;
        Ok(Response::new(pb::ProclaimResponse { header }))
    }

    async fn leader(&self, request: Request<pb::LeaderRequest>) -> Result<Response<pb::LeaderResponse>, Status> {
        let (asker, pb::LeaderRequest { name }) = Asker::of(request);
        let response = self.0.read(&asker, oldest(&prefix(&name))).await?;
        let kv = found(&response, 0).cloned().ok_or_else(|| Status::unknown("election: no leader"))?;
        Ok(Response::new(pb::LeaderResponse { header: response.header, kv: Some(kv) }))
    }

    type ObserveStream = BoxStream<'static, Result<pb::LeaderResponse, Status>>;

    async fn observe(&self, request: Request<pb::LeaderRequest>) -> Result<Response<Self::ObserveStream>, Status> {
        let (asker, pb::LeaderRequest { name }) = Asker::of(request);
        let observer = Observer { recipes: self.0.clone(), asker, prefix: prefix(&name), leader: None };
        Ok(Response::new(try_unfold(observer, Observer::next).boxed()))
    }

    async fn resign(&self, request: Request<pb::ResignRequest>) -> Result<Response<pb::ResignResponse>, Status> {
        let (asker, pb::ResignRequest { leader }) = Asker::of(request);
        let (place, _) = place_of(leader)?;
        let response = self.0.txn(&asker, if_created_at(&place, vec![delete(&place.key)], vec![])).await?;
        Ok(Response::new(pb::ResignResponse { header: response.header }))
    }
}

/// Tells of each leader, and of all that it proclaims.
struct Observer {
    recipes: Recipes,
    asker: Asker,
    prefix: Bytes,
    /// Who was told of last.
    leader: Option<Followed>,
}

struct Followed {
    /// Of the leader's key.
    changes: Watched,
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
                let changes = self.recipes.watch(&self.asker, KeyInterval::One(kv.key), from).await?;
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
            let Ok(Some(events)) = leader.changes.next().await else { return Ok(None) };
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
        let response = self.recipes.read(&self.asker, oldest(&self.prefix)).await?;
        if let Some(kv) = found(&response, 0) {
            return Ok(Some(pb::LeaderResponse { header: response.header, kv: Some(kv.clone()) }));
        }
        let from = revision_of(response.header.as_ref());
        let mut changes = self.recipes.watch_below(&self.asker, &self.prefix, from).await?;
        while let Ok(Some(events)) = changes.next().await {
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

//! What operators ask of one member: its state, its alarms, hashes of its data.

use super::asker::Asker;
use super::downgrade;
use super::node::Node;
use super::snapshot_stream;
use super::status::ApiError;
use crate::apply::{Asked, Reply};
use crate::types::MemberId;
use futures_util::stream::BoxStream;
use keelstone_proto::etcdserverpb as pb;
use keelstone_proto::etcdserverpb::alarm_request::AlarmAction;
use keelstone_proto::etcdserverpb::maintenance_server::Maintenance;
use std::sync::Arc;
use tonic::{Request, Response, Status};

#[derive(Clone, Debug)]
pub struct MaintenanceService {
    node: Arc<Node>,
}

impl MaintenanceService {
    pub fn new(node: Arc<Node>) -> Self {
        Self { node }
    }

    /// Those of one type, or all. Read as of now, which needs no log entry.
    async fn raised_alarms(&self, kind: pb::AlarmType) -> Result<pb::AlarmResponse, ApiError> {
        self.node.read_index().await?;
        let mut alarms = self.node.alarms();
        alarms.retain(|alarm| kind == pb::AlarmType::None || alarm.alarm() == kind);
        Ok(pb::AlarmResponse { header: None, alarms })
    }

    async fn change_alarms(&self, asker: &Asker, request: pb::AlarmRequest) -> Result<pb::AlarmResponse, ApiError> {
        let header = self.node.gate.to_write(asker, Asked::Root).await?;
        let entry = pb::InternalRaftRequest { header, alarm: Some(request), ..Default::default() };
        match self.node.propose(entry, &self.node.metrics.requests.alarm).await? {
            Reply::Alarm(response) => Ok(response),
            _ => unreachable!("a change of alarms is answered with alarms"),
        }
    }
}

#[tonic::async_trait]
impl Maintenance for MaintenanceService {
    async fn status(&self, _request: Request<pb::StatusRequest>) -> Result<Response<pb::StatusResponse>, Status> {
        let raft = self.node.consensus.status();
        let stats = self.node.storage_stats();
        let cluster = self.node.cluster();
        let mut errors = Vec::new();
        if raft.leader.is_none() {
            errors.push(ApiError::NoLeader.text());
        }
        errors.extend(self.node.alarms().iter().map(alarm_text));
        Ok(Response::new(pb::StatusResponse {
            header: Some(self.node.answerer().header_at(self.node.revision())),
            version: crate::ETCD_VERSION.to_owned(),
            db_size: stats.total_bytes,
            leader: raft.leader.unwrap_or_default().0,
            raft_index: raft.committed,
            raft_term: raft.term,
            raft_applied_index: raft.applied,
            errors,
            db_size_in_use: stats.in_use_bytes,
            is_learner: self.node.is_learner(),
            storage_version: self.node.versions().storage,
            db_size_quota: self.node.settings.quota_bytes,
            downgrade_info: Some(pb::DowngradeInfo {
                enabled: cluster.downgrade.enabled,
                target_version: cluster.downgrade.target_version.clone(),
            }),
        }))
    }

    async fn alarm(&self, request: Request<pb::AlarmRequest>) -> Result<Response<pb::AlarmResponse>, Status> {
        let (asker, request) = Asker::of(request);
        let mut response = match AlarmAction::try_from(request.action) {
            Ok(AlarmAction::Get) => self.raised_alarms(request.alarm()).await?,
            Ok(AlarmAction::Activate | AlarmAction::Deactivate) => self.change_alarms(&asker, request).await?,
            // etcd's apply does nothing with an action it does not know.
            Err(_unknown) => {
                self.node.gate.to_write(&asker, Asked::Root).await?;
                pb::AlarmResponse::default()
            }
        };
        self.node.fill(&mut response.header);
        Ok(Response::new(response))
    }

    async fn defragment(
        &self,
        _request: Request<pb::DefragmentRequest>,
    ) -> Result<Response<pb::DefragmentResponse>, Status> {
        tracing::info!("starting defragment");
        self.node.consensus.defragment().await.map_err(|error| {
            tracing::warn!(%error, "failed to defragment");
            ApiError::from(error)
        })?;
        tracing::info!("finished defragment");
        Ok(Response::new(pb::DefragmentResponse { header: None }))
    }

    async fn hash(&self, _request: Request<pb::HashRequest>) -> Result<Response<pb::HashResponse>, Status> {
        let view = self.node.views.load();
        let revision = view.revision();
        let hash = self.node.read_aside(move || Ok(view.hash()?)).await?;
        let header = Some(self.node.answerer().header_at(revision));
        Ok(Response::new(pb::HashResponse { header, hash }))
    }

    async fn hash_kv(&self, request: Request<pb::HashKvRequest>) -> Result<Response<pb::HashKvResponse>, Status> {
        let view = self.node.views.load();
        let revision = view.revision();
        let asked = request.get_ref().revision;
        let hash = self.node.read_aside(move || view.hash_kv(asked)).await?;
        Ok(Response::new(pb::HashKvResponse {
            header: Some(self.node.answerer().header_at(revision)),
            hash: hash.hash,
            compact_revision: hash.compact_revision,
            hash_revision: hash.hash_revision,
        }))
    }

    type SnapshotStream = BoxStream<'static, Result<pb::SnapshotResponse, Status>>;

    async fn snapshot(&self, _request: Request<pb::SnapshotRequest>) -> Result<Response<Self::SnapshotStream>, Status> {
        Ok(Response::new(snapshot_stream::open(&self.node).await?))
    }

    async fn move_leader(
        &self,
        request: Request<pb::MoveLeaderRequest>,
    ) -> Result<Response<pb::MoveLeaderResponse>, Status> {
        let target = MemberId(request.get_ref().target_id);
        self.node.consensus.move_leader(target).await.map_err(ApiError::from)?;
        // etcd's answer has no header.
        Ok(Response::new(pb::MoveLeaderResponse { header: None }))
    }

    async fn downgrade(
        &self,
        request: Request<pb::DowngradeRequest>,
    ) -> Result<Response<pb::DowngradeResponse>, Status> {
        Ok(Response::new(downgrade::downgrade(&self.node, request.get_ref()).await?))
    }
}

/// As Go prints the message: a field of zero is not there.
fn alarm_text(alarm: &pb::AlarmMember) -> String {
    let kind = alarm.alarm().as_str_name();
    match alarm.member_id {
        0 => format!("alarm:{kind}"),
        member_id => format!("memberID:{member_id} alarm:{kind}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alarm_is_printed_as_go_prints_it() {
        let alarm = pb::AlarmMember { member_id: 7, alarm: pb::AlarmType::Nospace.into() };
        assert_eq!(alarm_text(&alarm), "memberID:7 alarm:NOSPACE");
    }
}

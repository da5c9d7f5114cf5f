//! What consensus knows of the members beyond Raft's own membership.

use super::Consensus;
use super::requests::Waiting;
use crate::cluster::ClusterState;
use crate::raft::may_change::ChangeRules;
use crate::raft::membership::Leaving;
use crate::raft::network::{PROTOCOL, PeerClients, Purpose};
use crate::types::MemberId;
use arc_swap::Guard;
use keelstone_proto::internal::{ListedMember, MembersResponse, PeerInfoRequest, PeerInfoResponse};
use std::sync::Arc;
use tokio::sync::mpsc;
use tonic::Request;

impl Consensus {
    pub(in crate::raft) fn cluster(&self) -> Guard<Arc<ClusterState>> {
        self.inner.cluster.load()
    }

    pub(in crate::raft) fn change_rules(&self) -> ChangeRules {
        self.inner.changes
    }

    pub(in crate::raft) fn peers(&self) -> &PeerClients {
        &self.inner.peers
    }

    /// A new request for whose answer somebody waits.
    pub(in crate::raft) fn wait_for_request(&self) -> Waiting<'_> {
        Waiting::begin(&self.inner, self.inner.request_ids.next())
    }

    /// What a member that is added now has in its id.
    pub fn unix_secs(&self) -> i64 {
        crate::clock::unix_secs(self.inner.clock.wall())
    }

    /// All members but this one, with their peer URLs, as apply knows them.
    pub fn other_members(&self) -> Vec<(MemberId, Vec<String>)> {
        let cluster = self.cluster();
        let others = cluster.members.iter().filter(|member| member.id != self.member_id());
        others.map(|member| (member.id, member.peer_urls.clone())).collect()
    }

    /// For a member that is about to join.
    pub(in crate::raft) fn listed_members(&self) -> MembersResponse {
        let cluster = self.cluster();
        let listed = cluster.members.iter().map(|member| ListedMember {
            id: member.id.0,
            name: member.name.clone(),
            peer_urls: member.peer_urls.clone(),
            client_urls: member.client_urls.clone(),
            learner: member.is_learner,
        });
        MembersResponse {
            cluster_id: self.cluster_id().0,
            cluster_version: cluster.version.map(|version| version.to_string()).unwrap_or_default(),
            members: listed.collect(),
            downgrading: cluster.downgrade.enabled,
        }
    }

    pub(in crate::raft) fn was_removed(&self, member: MemberId) -> bool {
        self.cluster().members.is_removed(member)
    }

    pub(in crate::raft) fn info(&self) -> PeerInfoResponse {
        let status = self.status();
        PeerInfoResponse {
            member_id: self.member_id().0,
            cluster_id: self.cluster_id().0,
            protocol: PROTOCOL,
            version: crate::ETCD_VERSION.to_owned(),
            leader: status.leader.unwrap_or_default().0,
            term: status.term,
            applied: status.applied,
            last_log: status.last_log,
        }
    }

    /// Asks the others, who may have removed this member: when one of them says so, and now and then while no leader is known. One that
    /// votes would learn of it by standing for election, but a learner calls nobody by itself.
    pub(super) async fn ask_when_lost(self) {
        let mut leader = self.leader_watch();
        loop {
            let lost = async {
                // It ends only with the node.
                leader.wait_for(Option::is_none).await.ok()?;
                let found = tokio::time::timeout(self.inner.timing.election * 2, leader.wait_for(Option::is_some));
                Some(found.await.is_err())
            };
            let asks = tokio::select! {
                lost = lost => lost,
                () = self.inner.maybe_removed.notified() => Some(true),
            };
            match asks {
                Some(true) => drop(self.member_versions().await),
                Some(false) => {}
                None => return,
            }
        }
    }

    pub(in crate::raft) fn leaving(&self) -> &mpsc::Sender<Leaving> {
        &self.inner.leaving
    }

    pub(in crate::raft) fn ask_whether_removed(&self) {
        self.inner.maybe_removed.notify_one();
    }

    /// Asks every other member for its version. None for those that do not answer.
    pub async fn member_versions(&self) -> Vec<(MemberId, Option<String>)> {
        let metrics = self.metrics();
        let others = metrics.membership_config.membership().nodes().map(|(id, _)| MemberId(*id));
        let ask = async |id| {
            let mut client = self.peer_client(id, Purpose::Forward).ok()?;
            let mut request = Request::new(PeerInfoRequest::default());
            request.set_timeout(self.inner.timing.election);
            let answer = client.info(request).await.inspect_err(|status| self.peers().heed(status));
            Some(answer.ok()?.into_inner().version)
        };
        let asked = others.filter(|id| *id != self.member_id()).map(async |id| (id, ask(id).await));
        futures_util::future::join_all(asked).await
    }
}

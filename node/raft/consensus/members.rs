//! What consensus knows of the members beyond Raft's own membership.

use super::{Consensus, Waiting};
use crate::cluster::ClusterState;
use crate::raft::membership::ChangeRules;
use crate::raft::network::PeerClients;
use crate::types::MemberId;
use arc_swap::Guard;
use keelstone_proto::internal::{ListedMember, MembersResponse};
use std::sync::Arc;

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
        }
    }

    pub(in crate::raft) fn was_removed(&self, member: MemberId) -> bool {
        self.cluster().members.is_removed(member)
    }
}

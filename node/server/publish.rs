//! What a member tells the cluster once it takes part: its name and client URLs, and as leader the cluster's version.

use crate::cluster::{ClusterState, ClusterVersion};
use crate::config::Settings;
use crate::raft::{Consensus, RequestError};
use arc_swap::ArcSwap;
use keelstone_proto::etcdserverpb::InternalRaftRequest;
use keelstone_proto::membershippb;
use std::sync::Arc;
use std::time::Duration;

/// Between two looks at the members' versions (etcd's monitorVersionInterval).
const VERSION_INTERVAL: Duration = Duration::from_secs(4);

/// Writes this member's attributes to the cluster; tries until it succeeds.
pub async fn attributes(consensus: &Consensus, settings: &Settings) {
    let client_urls: Vec<String> = settings.urls.advertise_client.iter().map(ToString::to_string).collect();
    loop {
        let attributes =
            membershippb::Attributes { name: settings.member.name.clone(), client_urls: client_urls.clone() };
        let set = membershippb::ClusterMemberAttrSetRequest {
            member_id: consensus.member_id().0,
            member_attributes: Some(attributes),
        };
        let request = InternalRaftRequest { cluster_member_attr_set: Some(set), ..Default::default() };
        match consensus.propose(request).await {
            Ok(_) => {
                tracing::info!(
                    "local-member-id" = %consensus.member_id(),
                    "local-member-attributes" = format_args!("{{Name:{} ClientURLs:{client_urls:?}}}", settings.member.name),
                    "cluster-id" = %consensus.cluster_id(),
                    "published local member to cluster through raft"
                );
                return;
            }
            Err(RequestError::Stopped) => return,
            Err(error) => {
                tracing::warn!(
                    "local-member-id" = %consensus.member_id(),
                    error = %error,
                    "failed to publish local member to cluster through raft"
                );
            }
        }
    }
}

/// On the leader, sets the cluster's version to the lowest that its members serve, and raises it with them.
/// Runs until consensus ends.
pub async fn cluster_version(consensus: Consensus, cluster: Arc<ArcSwap<ClusterState>>) {
    let mut leader = consensus.leader_watch();
    loop {
        // A new leader looks at once.
        if let Ok(Err(_ended)) = tokio::time::timeout(VERSION_INTERVAL, leader.changed()).await {
            return;
        }
        if !consensus.leads() {
            continue;
        }
        let mut versions = consensus.member_versions().await;
        versions.push(Some(crate::ETCD_VERSION.to_owned()));
        let Some(version) = lowest(&versions) else {
            continue;
        };
        if cluster.load().version >= Some(version) {
            continue;
        }
        let set = membershippb::ClusterVersionSetRequest { ver: version.to_string() };
        let request = InternalRaftRequest { cluster_version_set: Some(set), ..Default::default() };
        if let Err(error) = consensus.propose(request).await {
            tracing::warn!(error = %error, "failed to update cluster version");
        }
    }
}

/// Major and minor of the lowest. None while a member's version is unknown: it may be an older one.
fn lowest(versions: &[Option<String>]) -> Option<ClusterVersion> {
    let mut lowest = None;
    for version in versions {
        let version = ClusterVersion { patch: 0, ..ClusterVersion::parse(version.as_deref()?).ok()? };
        lowest = Some(lowest.map_or(version, |least: ClusterVersion| least.min(version)));
    }
    lowest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cluster_version_is_the_lowest_and_unknown_while_one_member_is_silent() {
        let known = |text: &str| Some(text.to_owned());
        assert_eq!(lowest(&[known("3.7.3"), known("3.6.12")]).map(|version| version.to_string()), known("3.6.0"));
        assert_eq!(lowest(&[known("3.7.3"), None]), None);
    }
}

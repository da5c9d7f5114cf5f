//! What a member tells the cluster once it takes part: its name and client URLs.

use crate::config::Settings;
use crate::raft::{Consensus, RequestError};
use keelstone_proto::etcdserverpb::InternalRaftRequest;
use keelstone_proto::membershippb;

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

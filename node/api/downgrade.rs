//! Going down to the version before: asking whether it may be, beginning it, calling it off (etcd
//! `server/etcdserver/v3_server.go`). What follows from it is done by the leader, see `server/versions.rs`.

use super::node::Node;
use super::status::ApiError;
use crate::cluster::ClusterVersion;
use crate::cluster::negotiate::{DowngradeRefused, check_downgrade};
use crate::raft::Consensus;
use keelstone_proto::etcdserverpb as pb;
use keelstone_proto::etcdserverpb::downgrade_request::DowngradeAction;
use keelstone_proto::membershippb::DowngradeInfoSetRequest;

/// The answer names the cluster's version as it is afterwards, as `3.7`: it does not change at once.
///
/// # Errors
/// The version is none, or not the one before; a downgrade goes on; no leader, or no answer in time.
pub async fn downgrade(node: &Node, request: &pb::DowngradeRequest) -> Result<pb::DowngradeResponse, ApiError> {
    match DowngradeAction::try_from(request.action) {
        Ok(DowngradeAction::Validate) => {
            let target = target(&request.version)?;
            // As it was when asked, not when the check was made.
            let version = cluster_version(node)?;
            validate(node, target).await?;
            answer(node, version)
        }
        Ok(DowngradeAction::Enable) => {
            let enabled = match target(&request.version) {
                Ok(target) => enable(node, target).await,
                Err(error) => Err(error),
            };
            enabled.inspect_err(|error| tracing::warn!(%error, "reject downgrade request"))?;
            answer(node, cluster_version(node)?)
        }
        Ok(DowngradeAction::Cancel) => {
            // etcd answers well in any case.
            if let Err(error) = cancel(node).await {
                tracing::warn!(%error, "failed to cancel downgrade");
            }
            answer(node, cluster_version(node)?)
        }
        Err(_unknown) => Err(ApiError::Raw("etcdserver: unknown method".to_owned())),
    }
}

fn target(version: &str) -> Result<ClusterVersion, ApiError> {
    ClusterVersion::parse_target(version).map_err(|_| ApiError::WrongDowngradeVersionFormat)
}

fn cluster_version(node: &Node) -> Result<ClusterVersion, ApiError> {
    node.cluster().version.ok_or(ApiError::ClusterVersionUnavailable)
}

fn answer(node: &Node, version: ClusterVersion) -> Result<pb::DowngradeResponse, ApiError> {
    let mut answer = pb::DowngradeResponse { header: None, version: version.major_minor() };
    node.fill(&mut answer.header);
    Ok(answer)
}

/// By what is true of the whole cluster now.
async fn validate(node: &Node, target: ClusterVersion) -> Result<(), ApiError> {
    node.read_index().await?;
    let cluster = node.cluster();
    let version = cluster.version.ok_or(ApiError::ClusterVersionUnavailable)?;
    Ok(check_downgrade(version, &cluster.downgrade, target)?)
}

async fn enable(node: &Node, target: ClusterVersion) -> Result<(), ApiError> {
    validate(node, target).await?;
    set(&node.consensus, DowngradeInfoSetRequest { enabled: true, ver: target.to_string() }).await
}

async fn cancel(node: &Node) -> Result<(), ApiError> {
    node.read_index().await?;
    if !node.cluster().downgrade.enabled {
        return Err(DowngradeRefused::NotInProcess.into());
    }
    set(&node.consensus, DowngradeInfoSetRequest::default()).await
}

async fn set(consensus: &Consensus, set: DowngradeInfoSetRequest) -> Result<(), ApiError> {
    let entry = pb::InternalRaftRequest { downgrade_info_set: Some(set), ..Default::default() };
    Ok(consensus.propose(entry).await.map(drop)?)
}

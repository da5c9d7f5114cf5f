//! The cluster's version (etcd `server/etcdserver/version/monitor.go`): on the leader it is agreed on by what the members
//! run, and lowered for a downgrade that was asked for; on every member it is told in the log, and a member that is too old
//! for it ends.
//!
//! A downgrade changes what is told and what a backup says of itself, so that the version before opens it. The log on
//! disk needs nothing: no other version reads it.

use super::EndProcess;
use crate::cluster::negotiate::{self, CannotDowngrade};
use crate::cluster::{ClusterState, ClusterVersion};
use crate::raft::{Consensus, Identity, RequestError};
use crate::types::MemberId;
use arc_swap::ArcSwap;
use keelstone_proto::etcdserverpb::InternalRaftRequest;
use keelstone_proto::membershippb;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Between two looks at the members' versions (etcd's monitorVersionInterval).
const VERSION_INTERVAL: Duration = Duration::from_secs(4);

/// Agrees on the cluster's version, and lowers it for a downgrade. Runs until consensus ends.
pub async fn negotiate(consensus: Consensus, cluster: Arc<ArcSwap<ClusterState>>) {
    let mut leader = consensus.leader_watch();
    loop {
        // A new leader looks at once.
        if let Ok(Err(_ended)) = tokio::time::timeout(VERSION_INTERVAL, leader.changed()).await {
            return;
        }
        if !consensus.leads() {
            continue;
        }
        let members = members_versions(&consensus).await;
        warn_of_newer(&members);
        match negotiate::next_version(&cluster.load(), negotiate::lowest(&members)) {
            Ok(Some(version)) => set_version(&consensus, cluster.load().version, version).await,
            Ok(None) => {}
            Err(cannot) => log_bad_target(cannot, &cluster.load()),
        }
    }
}

/// Ends a downgrade once every member runs the target. Runs until consensus ends; not at all if `interval` is zero.
pub async fn end_downgrade(consensus: Consensus, cluster: Arc<ArcSwap<ClusterState>>, interval: Duration) {
    if interval.is_zero() {
        return;
    }
    loop {
        tokio::time::sleep(interval).await;
        let Some(target) = cluster.load().downgrade.target().filter(|_| consensus.leads()) else { continue };
        let members = members_versions(&consensus).await;
        if let Some((member, version)) = negotiate::first_other_than(&members, target) {
            if let Some(version) = version {
                tracing::warn!(
                    "remote-member-id" = %member,
                    "current-server-version" = %version.without_patch(),
                    "target-version" = %target,
                    "remotes server has mismatching etcd version"
                );
            }
            continue;
        }
        tracing::info!("cluster-version" = %target, "the cluster has been downgraded");
        let set = membershippb::DowngradeInfoSetRequest::default();
        let request = InternalRaftRequest { downgrade_info_set: Some(set), ..Default::default() };
        match consensus.propose(request).await {
            Ok(_) => {}
            Err(RequestError::Stopped) => return,
            Err(error) => tracing::warn!(%error, "failed to cancel downgrade"),
        }
    }
}

/// What every member runs, this one too. None of those that do not answer.
async fn members_versions(consensus: &Consensus) -> Vec<(MemberId, Option<ClusterVersion>)> {
    let parse = |(id, text): (MemberId, Option<String>)| {
        let version = text.and_then(|text| match ClusterVersion::parse_release(&text) {
            Ok(version) => Some(version),
            Err(error) => {
                tracing::warn!(
                    "remote-member-id" = %id,
                    "remote-member-version" = text,
                    %error,
                    "failed to parse server version of remote member"
                );
                None
            }
        });
        (id, version)
    };
    let mut members: Vec<_> = consensus.member_versions().await.into_iter().map(parse).collect();
    members.push((consensus.member_id(), Some(ClusterVersion::own())));
    members
}

fn warn_of_newer(members: &[(MemberId, Option<ClusterVersion>)]) {
    let own = ClusterVersion::own();
    for (member, version) in members {
        if let Some(version) = version.filter(|version| *version > own) {
            tracing::warn!(
                "local-member-version" = %own,
                "remote-member-id" = %member,
                "remote-member-version" = %version,
                "leader found higher-versioned member"
            );
        }
    }
}

async fn set_version(consensus: &Consensus, from: Option<ClusterVersion>, to: ClusterVersion) {
    match from {
        Some(from) => {
            tracing::info!(from = from.major_minor(), to = to.major_minor(), "updating cluster version using v3 API")
        }
        None => tracing::info!("cluster-version" = to.major_minor(), "setting up initial cluster version using v3 API"),
    }
    let set = membershippb::ClusterVersionSetRequest { ver: to.to_string() };
    let request = InternalRaftRequest { cluster_version_set: Some(set), ..Default::default() };
    match consensus.propose(request).await {
        Ok(_) => tracing::info!("cluster-version" = to.major_minor(), "cluster version is updated"),
        Err(error @ RequestError::Stopped) => {
            tracing::warn!(%error, "aborting cluster version update; server is stopped");
        }
        Err(error) => tracing::warn!(%error, "failed to update cluster version"),
    }
}

fn log_bad_target(cannot: CannotDowngrade, cluster: &ClusterState) {
    let target = &cluster.downgrade.target_version;
    match cannot {
        CannotDowngrade::FromCluster(version) => tracing::error!(
            "downgrade-target" = target,
            "cluster-version" = %version,
            "Cannot downgrade from cluster-version to downgrade-target"
        ),
        CannotDowngrade::FromMembers(version) => tracing::error!(
            "downgrade-target" = target,
            "minimal-server-version" = %version,
            "Cannot downgrade from minimal-server-version to downgrade-target"
        ),
    }
    tracing::error!(error = "invalid downgrade target", "Failed to monitor cluster version");
}

/// The cluster wants a version that this member does not have (etcd `MustDetectDowngrade`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "invalid downgrade; server version is lower than determined cluster version \
     (this member runs {own}, the cluster is at {cluster})"
)]
pub struct TooOld {
    own: ClusterVersion,
    cluster: ClusterVersion,
}

/// # Errors
/// This member is too old for a cluster at `version`.
pub fn check_not_too_old(version: Option<ClusterVersion>) -> Result<(), TooOld> {
    let own = ClusterVersion::own().without_patch();
    match version {
        Some(cluster) if cluster > own => Err(TooOld { own, cluster }),
        _ => Ok(()),
    }
}

/// Follows what the cluster agreed on, after each batch that changed something about the cluster.
pub struct Follower {
    identity: Identity,
    cluster: Arc<ArcSwap<ClusterState>>,
    seen: Mutex<Option<ClusterVersion>>,
    end_process: EndProcess,
}

impl fmt::Debug for Follower {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Follower").field("seen", &self.seen).finish_non_exhaustive()
    }
}

impl Follower {
    /// # Errors
    /// The state that was found is of a cluster for which this member is too old.
    pub fn start(
        identity: Identity,
        cluster: Arc<ArcSwap<ClusterState>>,
        end_process: EndProcess,
    ) -> Result<Self, TooOld> {
        let found = cluster.load();
        check_not_too_old(found.version)?;
        if found.downgrade.enabled {
            tracing::info!(
                "target-cluster-version" = found.downgrade.target_version,
                "current-server-version" = crate::ETCD_VERSION,
                "cluster is downgrading to target version"
            );
        }
        let seen = Mutex::new(found.version);
        drop(found);
        Ok(Self { identity, cluster, seen, end_process })
    }

    /// Tells of a version that is new, and ends the process if it is too high.
    pub fn look(&self) {
        let cluster = self.cluster.load();
        let Some(version) = cluster.version else { return };
        // What it guards is one value: it cannot be left half changed.
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let before = seen.replace(version);
        drop(seen);
        if before == Some(version) {
            return;
        }
        if let Err(too_old) = check_not_too_old(Some(version)) {
            (self.end_process)(&too_old);
            return;
        }
        let Identity { cluster: cluster_id, member } = self.identity;
        match before {
            None => tracing::info!(
                "cluster-id" = %cluster_id,
                "local-member-id" = %member,
                "cluster-version" = version.major_minor(),
                "set initial cluster version"
            ),
            Some(before) => tracing::info!(
                "cluster-id" = %cluster_id,
                "local-member-id" = %member,
                from = before.major_minor(),
                to = version.major_minor(),
                "updated cluster version"
            ),
        }
        // The row that says so was written with it.
        if let Some(storage) = version.storage_row() {
            tracing::info!("new-storage-version" = storage, "updated storage version");
        }
        if before.is_some_and(|before| version < before) && cluster.downgrade.enabled {
            tracing::info!(
                "target-version" = cluster.downgrade.target_version,
                "server-version" = crate::ETCD_VERSION,
                "The server is ready to downgrade"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_serves_a_cluster_of_its_own_version_or_an_earlier_one() {
        let own = ClusterVersion::own();
        assert_eq!(check_not_too_old(None), Ok(()));
        assert_eq!(check_not_too_old(Some(own.without_patch())), Ok(()));
        assert_eq!(check_not_too_old(own.one_below()), Ok(()));
        let later = ClusterVersion { minor: own.minor + 1, patch: 0, ..own };
        assert!(check_not_too_old(Some(later)).is_err());
    }
}

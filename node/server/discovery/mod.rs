//! The first start of a member that is not told who the others are (etcd `embed.Config.PeerURLsMapAndToken`, and
//! `bootstrapNewClusterNoWAL` in `etcdserver/bootstrap.go`): DNS says it, or a registry that another cluster keeps. What is found
//! takes the place of `--initial-cluster`. A member that has a log asks nobody.

mod registered;
mod registry;
mod srv;

use super::{bootstrap, import};
use crate::config::bootstrap::{parse_members, print_members};
use crate::config::discovery::{Discovery, Service};
use crate::config::{Bootstrap, ClusterState, Settings};
use crate::disk::Disk;
use crate::logging::Strings;
use crate::wal;
use anyhow::{Context, bail};
use std::collections::BTreeSet;
use tracing::Instrument;

pub use registry::JoinError;

/// Why a member is not in the cluster that the registry describes.
#[derive(Debug, thiserror::Error)]
#[error("failed to join discovery cluster ({0})")]
pub struct DiscoveryError(#[from] JoinError);

/// What a member starts with once discovery is over.
#[derive(Debug)]
pub struct Settled {
    pub settings: Settings,
    /// The name that certificates of other members are for, if not that of their hosts.
    pub peer_server_name: Option<String>,
}

/// Finds the other members if that was asked for and this is the first start. Waits for them as long as it takes.
///
/// # Errors
/// They cannot be found, or this member is none of them.
pub async fn settle(settings: &Settings, disk: &dyn Disk) -> anyhow::Result<Settled> {
    let mut settled = Settled { settings: settings.clone(), peer_server_name: None };
    let Some(discovery) = &settings.bootstrap.discovery else { return Ok(settled) };
    let wal_dir = settings.member.wal_dir();
    if wal::exists(disk, &wal_dir)? || import::is_unfinished(disk, &bootstrap::places(settings))? {
        if let Discovery::Service(_) = discovery {
            tracing::warn!(
                "wal-dir" = %wal_dir.display(),
                "discovery token is ignored since cluster already initialized; valid logs are found"
            );
        }
        return Ok(settled);
    }
    let found = &mut settled.settings.bootstrap.initial_cluster;
    match discovery {
        Discovery::Srv(srv) => {
            let (name, advertised) = (&settings.member.name, &settings.urls.advertise_peer);
            *found = srv::cluster(srv, name, advertised).await.context("error setting up initial cluster")?;
            // As in etcd: whoever brings authorities for the peers says whom to believe.
            if found.contains("https://") && settings.security.peer.trusted_ca.is_none() {
                settled.peer_server_name = Some(srv.domain.clone());
            }
        }
        Discovery::Service(service) => *found = join(settings, service).await?,
    }
    Ok(settled)
}

/// The members by the registry, in which this one is written now.
async fn join(settings: &Settings, service: &Service) -> anyhow::Result<String> {
    let Bootstrap { initial_cluster: own, state, .. } = &settings.bootstrap;
    let local = bootstrap::members_of(settings)?;
    if *state == ClusterState::Existing {
        bail!("discovery URL should not be set when joining existing initial cluster");
    }
    let local = local.first().context("there is a member")?;
    tracing::info!("Bootstrapping cluster using v3 discovery.");
    let span = tracing::info_span!(
        "discovery",
        "discovery-token" = service.token,
        "discovery-endpoints" = service.endpoints.join(",")
    );
    let joined = registry::join(service, local.id, own).instrument(span).await;
    let cluster = joined.map_err(DiscoveryError)?;
    let members = parse_members(&cluster)?;
    let mut seen = BTreeSet::new();
    if !members.values().flatten().all(|url| seen.insert(url)) {
        bail!("discovery cluster {} has duplicate url", print_members(&members));
    }
    Ok(cluster)
}

/// Of a member that could not join, why, and what to do (etcd `etcdmain/etcd.go`).
pub fn log_failure(error: &DiscoveryError, settings: &Settings) {
    let Some(Discovery::Service(service)) = &settings.bootstrap.discovery else { return };
    tracing::warn!(
        "discovery-token" = service.token,
        "discovery-endpoints" = Strings::new(&service.endpoints).field(),
        %error,
        "failed to bootstrap; discovery token was already used"
    );
    tracing::warn!("do not reuse discovery token; generate a new one to bootstrap a cluster");
}

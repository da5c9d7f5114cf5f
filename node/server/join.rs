//! What a member without a log learns from the others before it makes one (etcd `server/etcdserver/bootstrap.go`): who it
//! is in a cluster that runs already, or that it was in this one before and lost its data.

use super::World;
use super::bootstrap::{self, resolve};
use super::import;
use crate::cluster::ClusterVersion;
use crate::cluster::negotiate::check_join;
use crate::config::{ClusterState, Settings, same_urls};
use crate::raft::ask_members;
use crate::types::{ClusterId, MemberId};
use crate::wal;
use anyhow::{Context, bail};
use keelstone_proto::internal::{ListedMember, MembersResponse};
use std::time::Duration;

/// For the members' answers when joining, as etcd's.
const JOIN_TIMEOUT: Duration = Duration::from_secs(10);
/// When they need not be there (etcd's bootstrap timeout).
const LOOK_TIMEOUT: Duration = Duration::from_secs(1);

/// The identity that the running cluster has given to this member. None if it has a log, or begins a new cluster.
///
/// # Errors
/// No member answers; they do not list this one as the flags say; a new cluster is to be begun by a member that the running
/// one knows as started: it must not vote again without what it has acknowledged.
pub async fn identity(settings: &Settings, world: &World) -> anyhow::Result<Option<wal::Identity>> {
    let disk = world.disk.as_ref();
    // The log may be on its way to its place.
    if wal::exists(disk, &settings.member.wal_dir())? || import::is_unfinished(disk, &bootstrap::places(settings))? {
        return Ok(None);
    }
    match settings.bootstrap.state {
        ClusterState::Existing => join(settings, world).await.map(Some),
        ClusterState::New => check_not_started_before(settings, world).await.map(|()| None),
    }
}

async fn join(settings: &Settings, world: &World) -> anyhow::Result<wal::Identity> {
    let named = settings.bootstrap.members(&settings.member.name, &settings.urls.advertise_peer, &resolve)?;
    let existing = ask_others(settings, world, JOIN_TIMEOUT, true).await;
    let existing = existing
        .context("could not retrieve cluster information from the given URLs")
        .context("cannot fetch cluster info from peer urls")?;
    let invalid = |why: String| anyhow::anyhow!("error validating peerURLs {}: {why}", printed(&existing));
    if existing.members.len() != named.len() {
        return Err(invalid("member count is unequal".to_owned()));
    }
    let mut local = None;
    for member in &existing.members {
        let urls = bootstrap::parse_urls(&member.peer_urls)?;
        let mut last_error = String::new();
        let found = named.iter().find(|(_, named)| match same_urls(&urls, named, &resolve) {
            Ok(()) => true,
            Err(why) => {
                last_error = why;
                false
            }
        });
        let Some((name, _)) = found else {
            return Err(invalid(format!(
                "PeerURLs: no match found for existing member ({:x}, {:?}), last resolver error ({last_error})",
                member.id, member.peer_urls
            )));
        };
        if *name == settings.member.name {
            local = Some(member.id);
        }
    }
    let local = local.with_context(|| format!("couldn't find local name {:?} in the cluster", settings.member.name))?;
    check_version(&existing)?;
    let identity = wal::Identity { node_id: local, cluster_id: existing.cluster_id };
    tracing::info!(
        "local-member-id" = %MemberId(local),
        "cluster-id" = %ClusterId(identity.cluster_id),
        "joining a running cluster"
    );
    Ok(identity)
}

async fn check_not_started_before(settings: &Settings, world: &World) -> anyhow::Result<()> {
    // What is wrong with the flags is said by who makes the log.
    let Ok(initial) = bootstrap::members_of(settings) else { return Ok(()) };
    let Some(local) = initial.iter().find(|member| member.name == settings.member.name) else { return Ok(()) };
    let Some(existing) = ask_others(settings, world, LOOK_TIMEOUT, false).await else { return Ok(()) };
    if existing.members.iter().any(|member| member.id == local.id.0 && !member.client_urls.is_empty()) {
        bail!("member {} has already been bootstrapped", local.id);
    }
    Ok(())
}

/// The answer of the first of the other members that gives one.
async fn ask_others(settings: &Settings, world: &World, within: Duration, says_why: bool) -> Option<MembersResponse> {
    let named = settings.bootstrap.members(&settings.member.name, &settings.urls.advertise_peer, &resolve).ok()?;
    let others = named.iter().filter(|(name, _)| **name != settings.member.name);
    let mut urls: Vec<String> = others.flat_map(|(_, urls)| urls).map(ToString::to_string).collect();
    urls.sort();
    for url in urls {
        match ask_members(&url, &world.reach, within).await {
            Ok(answer) if !answer.members.is_empty() => return Some(answer),
            Ok(_) => {}
            Err(error) if says_why => {
                tracing::warn!(address = url, error = error.message(), "failed to get cluster response");
            }
            Err(_) => {}
        }
    }
    None
}

fn check_version(existing: &MembersResponse) -> anyhow::Result<()> {
    let incompatible = "incompatible with current running cluster";
    // One that has agreed on none yet is compatible with nobody (etcd cannot parse it either).
    let version = ClusterVersion::parse(&existing.cluster_version).context(incompatible)?;
    check_join(ClusterVersion::own(), version, existing.downgrading)
        .inspect_err(|why| tracing::warn!("remote-member-cluster-version" = %version, "{why}"))
        .context(incompatible)
}

/// As etcd prints a cluster.
fn printed(cluster: &MembersResponse) -> String {
    let member = |member: &ListedMember| {
        format!(
            "&{{ID:{:x} RaftAttributes:{{PeerURLs:[{}] IsLearner:{}}} Attributes:{{Name:{} ClientURLs:[{}]}}}}",
            member.id,
            member.peer_urls.join(" "),
            member.learner,
            member.name,
            member.client_urls.join(" ")
        )
    };
    let members: Vec<String> = cluster.members.iter().map(member).collect();
    format!("{{ClusterID:{:x} Members:[{}] RemovedMemberIDs:[]}}", cluster.cluster_id, members.join(" "))
}

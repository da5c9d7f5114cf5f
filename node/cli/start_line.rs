//! The line that tells, for the record, what a member was started with.

use super::version;
use crate::config::discovery::{Discovery, Service};
use crate::config::value::GoDuration;
use crate::config::{ETCD_VERSION, ListenUrl, Settings, Url};
use crate::logging::Strings;
use std::path::Path;
use tracing::info;

/// etcd's "starting an etcd server" with its keys, as far as they mean something here. (`tracing` has room for 32.)
pub fn log(settings: &Settings) {
    let Settings { member, urls, bootstrap, raft, storage, limits, gates, .. } = settings;
    info!(
        "etcd-version" = ETCD_VERSION,
        "git-sha" = version::GIT_SHA,
        "go-version" = version::runtime(),
        "go-os" = version::go_os(),
        "go-arch" = version::go_arch(),
        "max-cpu-available" = std::thread::available_parallelism().map_or(1, usize::from),
        "member-initialized" = member.wal_dir().exists(),
        name = member.name,
        "data-dir" = %member.data_dir.display(),
        "wal-dir" = %member.dedicated_wal_dir.as_deref().unwrap_or(Path::new("")).display(),
        "member-dir" = %member.member_dir().display(),
        "heartbeat-interval" = %GoDuration::from(raft.heartbeat_interval),
        "election-timeout" = %GoDuration::from(raft.election_timeout()),
        "initial-election-tick-advance" = raft.initial_election_tick_advance,
        "snapshot-count" = raft.snapshot_count,
        "max-wals" = storage.max_wals,
        "snapshot-catchup-entries" = raft.snapshot_catchup_entries,
        "initial-advertise-peer-urls" = texts(&urls.advertise_peer).field(),
        "listen-peer-urls" = addresses(&urls.listen_peer).field(),
        "advertise-client-urls" = texts(&urls.advertise_client).field(),
        "listen-client-urls" = addresses(&urls.listen_client).field(),
        "listen-metrics-urls" = addresses(&urls.listen_metrics).field(),
        "initial-cluster" = bootstrap.initial_cluster,
        "initial-cluster-state" = bootstrap.state.as_str(),
        "initial-cluster-token" = bootstrap.token,
        "quota-backend-bytes" = storage.quota_bytes.map_or(-1, |bytes| i64::try_from(bytes).unwrap_or(i64::MAX)),
        "max-request-bytes" = limits.max_request_bytes,
        "max-concurrent-streams" = limits.max_concurrent_streams,
        "pre-vote" = raft.pre_vote,
        "feature-gates" = %gates,
        "max-learners" = raft.max_learners,
        "starting an etcd server"
    );
    if let Some(Discovery::Service(service)) = &bootstrap.discovery {
        log_discovery(service);
    }
}

/// What etcd puts into the same line.
fn log_discovery(service: &Service) {
    let user = service.user.as_ref().map_or("", |(name, _)| name);
    info!(
        "discovery-token" = service.token,
        "discovery-endpoints" = service.endpoints.join(","),
        "discovery-dial-timeout" = %GoDuration::from(service.dial_timeout),
        "discovery-request-timeout" = %GoDuration::from(service.request_timeout),
        "discovery-keepalive-time" = %GoDuration::from(service.keepalive_time),
        "discovery-keepalive-timeout" = %GoDuration::from(service.keepalive_timeout),
        "discovery-insecure-transport" = service.secure.insecure_transport,
        "discovery-insecure-skip-tls-verify" = service.secure.insecure_skip_verify,
        "discovery-cert" = service.secure.cert,
        "discovery-key" = service.secure.key,
        "discovery-cacert" = service.secure.cacert,
        "discovery-user" = user,
        "discovering its peers"
    );
}

fn texts(urls: &[Url]) -> Strings {
    Strings::new(urls)
}

fn addresses(urls: &[ListenUrl]) -> Strings {
    Strings::new(urls)
}

//! Writes a member into the registry and waits until the others are there (etcd `server/etcdserver/api/v3discovery`).

use super::registered::{Keys, Registered};
use crate::client::{self, CallError, Client, FailedAttempt, Report, methods};
use crate::config::discovery::Service;
use crate::config::value::GoDuration;
use crate::net::tls::TlsError;
use crate::types::MemberId;
use keelstone_proto::etcdserverpb::{PutRequest, RangeRequest, RangeResponse, WatchCreateRequest};
use keelstone_proto::mvccpb::KeyValue;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep};
use tracing::{error, info, warn};

/// After so many failures the pause does not double any more: 256 s.
const MAX_DOUBLINGS: u32 = 8;

/// Why a member has no cluster. All else is tried again until it works.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("{0}")]
    Limits(String),
    #[error("Username/Password and Token configurations are mutually exclusive")]
    UserAndToken,
    #[error("{0}")]
    User(CallError),
    #[error("discovery: size key not found")]
    SizeNotFound,
    #[error("discovery: size key is bad")]
    BadSize,
    #[error("discovery: cluster is full")]
    Full,
    #[error("discovery: invalid peer URL")]
    InvalidUrl { cluster: String },
}

/// Gives the members of the new cluster as `--initial-cluster` would name them; `own` is what it would say of this one.
///
/// # Errors
/// There is no such cluster, or no place in it.
pub async fn join(service: &Service, id: MemberId, own: &str) -> Result<String, JoinError> {
    let client = connect(service).await?;
    let keys = Keys::new(&service.token);
    let mut registry = Registry { own_key: keys.of_member(id), client, keys, service, failures: 0 };
    let joined = registry.join(own).await;
    match &joined {
        Ok(cluster) => info!(cluster, "discovery joined cluster successfully"),
        Err(failed) => {
            let cluster = if let JoinError::InvalidUrl { cluster } = failed { cluster } else { "" };
            error!(cluster, error = %failed, "discovery failed to join cluster");
        }
    }
    joined
}

/// Lines of the client in this member's log.
#[derive(Debug)]
struct InLog;

impl Report for InLog {
    fn attempt_failed(&self, failed: FailedAttempt<'_>) {
        warn!(
            "target" = failed.target,
            method = failed.method,
            attempt = failed.attempt,
            error = failed.error,
            "retrying of unary invoker failed"
        );
    }
}

async fn connect(service: &Service) -> Result<Client, JoinError> {
    if service.user.is_some() && !service.auth_token.is_empty() {
        return Err(JoinError::UserAndToken);
    }
    let mut settings = client::Settings::new(&service.endpoints, service.secure.settings()?)?;
    settings.limit(service.max_request_bytes, service.max_receive_bytes).map_err(JoinError::Limits)?;
    settings.dial_timeout = service.dial_timeout;
    settings.keepalive_time = service.keepalive_time;
    settings.keepalive_timeout = service.keepalive_timeout;
    settings.user.clone_from(&service.user);
    settings.token = Some(service.auth_token.clone()).filter(|token| !token.is_empty());
    Client::new(settings, Arc::new(InLog)).await.map_err(JoinError::User)
}

/// What the registry said at one revision.
struct Seen {
    size: usize,
    registered: Registered,
    revision: i64,
}

struct Registry<'s> {
    client: Client,
    keys: Keys,
    own_key: String,
    service: &'s Service,
    /// In a row.
    failures: u32,
}

impl Registry<'_> {
    async fn join(&mut self, own: &str) -> Result<String, JoinError> {
        self.look().await?;
        self.register(own).await;
        let mut seen = self.look().await?;
        while seen.registered.len() < seen.size {
            if let Err(error) = self.wait_for_peers(&mut seen).await {
                self.rest("watch for peers", &error).await;
                // What came meanwhile may be compacted.
                seen = self.look().await?;
            }
        }
        seen.registered.initial_cluster(seen.size)
    }

    /// Reads the registry, and checks that there is a place for this member.
    async fn look(&mut self) -> Result<Seen, JoinError> {
        loop {
            let error = match self.size().await {
                Err(error) => error,
                Ok(size) => {
                    let size = size?;
                    match self.members().await {
                        Err(error) => error,
                        Ok((registered, _)) if registered.is_full_without(&self.own_key, size) => {
                            return Err(JoinError::Full);
                        }
                        Ok((registered, revision)) => {
                            self.failures = 0;
                            return Ok(Seen { size, registered, revision });
                        }
                    }
                }
            };
            self.rest("cluster status check", &error).await;
        }
    }

    async fn size(&self) -> Result<Result<usize, JoinError>, CallError> {
        let found = self.range(&self.keys.size, "").await.inspect_err(|error| {
            warn!(clusterSizeKey = self.keys.size, %error, "failed to get cluster size from discovery service");
        })?;
        let Some(pair) = found.kvs.first() else { return Ok(Err(JoinError::SizeNotFound)) };
        let size = std::str::from_utf8(&pair.value).ok().and_then(|text| text.parse::<usize>().ok());
        Ok(size.filter(|&size| size > 0).ok_or(JoinError::BadSize))
    }

    async fn members(&self) -> Result<(Registered, i64), CallError> {
        let found = self.range(&self.keys.members, &self.keys.members_end()).await.inspect_err(|error| {
            warn!(membersKeyPrefix = self.keys.members, %error, "failed to get cluster members from discovery service");
        })?;
        let mut registered = Registered::default();
        found.kvs.iter().for_each(|pair| take(&mut registered, pair));
        Ok((registered, found.header.map_or(0, |header| header.revision)))
    }

    async fn range(&self, key: &str, range_end: &str) -> Result<RangeResponse, CallError> {
        let request =
            RangeRequest { key: client::text(key), range_end: client::text(range_end), ..RangeRequest::default() };
        self.client.call(methods::RANGE, request, self.deadline()).await
    }

    fn deadline(&self) -> client::Deadline {
        Some(Instant::now() + self.service.request_timeout)
    }

    /// Writes this member into the registry.
    async fn register(&mut self, own: &str) {
        loop {
            let (key, value) = (client::text(&self.own_key), client::text(own));
            let request = PutRequest { key, value, ..PutRequest::default() };
            match self.client.call(methods::PUT, request, self.deadline()).await {
                Ok(_) => break,
                Err(error) => {
                    warn!(
                        memberKey = self.own_key,
                        %error,
                        "failed to register members itself to the discovery service"
                    );
                    self.rest("register member itself", &error).await;
                }
            }
        }
        self.failures = 0;
        info!(memberKey = self.own_key, memberInfo = own, "register member itself successfully");
    }

    /// Returns once enough are there.
    ///
    /// # Errors
    /// The service ended the watch.
    async fn wait_for_peers(&self, seen: &mut Seen) -> Result<(), String> {
        let request = WatchCreateRequest {
            key: client::text(&self.keys.members),
            range_end: client::text(&self.keys.members_end()),
            start_revision: seen.revision + 1,
            ..WatchCreateRequest::default()
        };
        let mut watches = client::one(&self.client, request).await;
        let size = seen.size;
        info!(clusterSize = size, "found-peers" = seen.registered.len(), "waiting for peers from discovery service");
        while seen.registered.len() < size {
            let news = watches.next().await.ok_or_else(|| "the watch ended".to_owned())?;
            for pair in news.watched.events.iter().filter_map(|event| event.kv.as_ref()) {
                take(&mut seen.registered, pair);
            }
            if let Some(error) = news.error {
                return Err(error);
            }
        }
        info!(
            clusterSize = size,
            "found-peers" = seen.registered.len(),
            "found all needed peers from discovery service"
        );
        Ok(())
    }

    /// Pauses before a step is tried again, twice as long as the time before.
    async fn rest(&mut self, step: &str, error: &dyn std::fmt::Display) {
        self.failures += 1;
        let pause = Duration::from_secs(1 << self.failures.min(MAX_DOUBLINGS));
        let backoff = GoDuration::from(pause);
        warn!(reason = step, %backoff, %error, "retry connecting to discovery service");
        sleep(pause).await;
    }
}

fn take(registered: &mut Registered, pair: &KeyValue) {
    let (key, value) = (String::from_utf8_lossy(&pair.key), String::from_utf8_lossy(&pair.value));
    let (key, value) = (key.trim(), value.trim());
    match registered.add(key, value, pair.create_revision) {
        Ok(()) => info!(memberKey = key, memberInfo = value, "found peer from discovery service"),
        Err(refused) => warn!(memberKey = key, memberInfo = value, "{refused}"),
    }
}

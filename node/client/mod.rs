//! A client of a cluster, as etcd's `client/v3` behaves: it waits for a connection as long as the call may take, sends
//! the token of its user, renews it when it is refused, and repeats what is safe to repeat. It knows nothing of who uses it:
//! etcdctl, and a member that asks another cluster for its peers.

mod endpoint;
mod error;
pub mod methods;
mod settings;
mod watches;

pub use error::CallError;
pub use methods::Method;
pub use settings::{Settings, User};
pub use watches::{News, Watched, Watches, one};

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use http::uri::PathAndQuery;
use keelstone_proto::etcdserverpb::AuthenticateRequest;
use prost::Message;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_stream::Stream;
use tonic::client::Grpc;
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;
use tonic::{Request, Status, Streaming};
use tonic_prost::ProstCodec;

/// When a call is given up; `None`: never.
pub type Deadline = Option<Instant>;

/// What the server is told that we understand (`client-api-version`).
const API_VERSION: &str = "3.7";

/// Attempts of one call.
const ATTEMPTS: u32 = 100;
const PAUSE: Duration = Duration::from_millis(25);

/// Between rounds of attempts to connect.
const CONNECT_PAUSE: Duration = Duration::from_millis(100);

/// An attempt at a call that failed. There may be another.
#[derive(Clone, Copy, Debug)]
pub struct FailedAttempt<'a> {
    /// The cluster, as etcd's client names it.
    pub target: &'a str,
    /// Path of the call.
    pub method: &'a str,
    /// Counted from zero.
    pub attempt: u32,
    pub error: &'a str,
}

/// Where whoever uses the client reads what it does.
pub trait Report: Debug + Send + Sync {
    fn attempt_failed(&self, attempt: FailedAttempt<'_>);
}

/// Cheap to clone; clones share the connection and the token.
#[derive(Clone, Debug)]
pub struct Client(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    settings: Settings,
    report: Arc<dyn Report>,
    channel: tokio::sync::Mutex<Option<Channel>>,
    token: Mutex<Option<String>>,
    /// Why the last attempt to connect failed.
    last_error: Mutex<String>,
}

impl Client {
    /// Authenticates if there is a user; connects for that, or else at the first call.
    ///
    /// # Errors
    /// If the user is refused, or nobody answers within the time for connecting.
    pub async fn new(settings: Settings, report: Arc<dyn Report>) -> Result<Self, CallError> {
        let token = Mutex::new(settings.token.clone());
        let client = Self(Arc::new(Shared {
            settings,
            report,
            channel: tokio::sync::Mutex::default(),
            token,
            last_error: Mutex::default(),
        }));
        client.authenticate().await?;
        Ok(client)
    }

    pub fn settings(&self) -> &Settings {
        &self.0.settings
    }

    /// Fetches a token for the user, if there is one.
    async fn authenticate(&self) -> Result<(), CallError> {
        let Some((name, password)) = self.0.settings.user.clone() else { return Ok(()) };
        let timeout = self.0.settings.dial_timeout;
        let deadline = (!timeout.is_zero()).then(|| Instant::now() + timeout);
        let token =
            match Box::pin(self.call(methods::AUTHENTICATE, AuthenticateRequest { name, password }, deadline)).await {
                Ok(response) => Some(response.token),
                // Then nobody asks for a token.
                Err(error) if error.is("etcdserver: authentication is not enabled") => None,
                Err(error) => return Err(error),
            };
        *self.0.token.lock().unwrap_or_else(PoisonError::into_inner) = token;
        Ok(())
    }

    /// One request, one answer.
    pub async fn call<Q, A>(&self, method: Method<Q, A>, message: Q, deadline: Deadline) -> Result<A, CallError>
    where
        Q: Message + Clone + 'static,
        A: Message + Default + 'static,
    {
        let quorum = u32::try_from(self.0.settings.endpoints.len() / 2 + 1).unwrap_or(1);
        let mut attempt = 0;
        loop {
            let status = match self.attempt(&method, &message, deadline).await {
                Ok(answer) => return Ok(answer),
                Err(status) => status,
            };
            let error = CallError::from_status(status, deadline);
            let (target, text) = (self.0.settings.target(), error.as_rpc());
            let failed = FailedAttempt { target: &target, method: method.path, attempt, error: &text };
            self.0.report.attempt_failed(failed);
            attempt += 1;
            if error.is_deadline() || attempt == ATTEMPTS {
                return Err(error);
            }
            if error.asks_for_token() && self.0.settings.user.is_some() && method.path != methods::AUTHENTICATE.path {
                self.authenticate().await?;
                continue;
            }
            if !error.is_transient() || !method.repeatable {
                return Err(error);
            }
            // The next attempt may find another endpoint.
            *self.0.channel.lock().await = None;
            if attempt % quorum == 0 {
                sleep(PAUSE).await;
            }
        }
    }

    async fn attempt<Q, A>(&self, method: &Method<Q, A>, message: &Q, deadline: Deadline) -> Result<A, Status>
    where
        Q: Message + Clone + 'static,
        A: Message + Default + 'static,
    {
        let limit = self.0.settings.max_request_bytes;
        let size = message.encoded_len();
        if size > limit {
            let text = format!("trying to send message larger than max ({size} vs. {limit})");
            return Err(Status::resource_exhausted(text));
        }
        let mut grpc = self.grpc(deadline).await?;
        let mut request = self.request(message.clone(), false);
        if let Some(deadline) = deadline {
            request.set_timeout(deadline.saturating_duration_since(Instant::now()));
        }
        let path = PathAndQuery::from_static(method.path);
        let answer = grpc.unary(request, path, ProstCodec::<Q, A>::default());
        within(deadline, answer).await?.map(tonic::Response::into_inner)
    }

    /// One request, many answers. What was sent before a failure is lost; the caller knows what that means.
    pub async fn server_stream<Q, A>(
        &self,
        method: Method<Q, A>,
        message: Q,
        deadline: Deadline,
    ) -> Result<Streaming<A>, CallError>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        self.authenticate().await?;
        let open = async {
            let mut grpc = self.grpc(deadline).await?;
            let path = PathAndQuery::from_static(method.path);
            within(deadline, grpc.server_streaming(self.request(message, false), path, ProstCodec::<Q, A>::default()))
                .await?
        };
        let response = open.await.map_err(|status| CallError::from_status(status, deadline))?;
        Ok(response.into_inner())
    }

    /// Many requests, many answers; the server is asked to end it when it has no leader.
    pub async fn stream<Q, A>(
        &self,
        method: Method<Q, A>,
        messages: impl Stream<Item = Q> + Send + 'static,
    ) -> Result<Streaming<A>, CallError>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        self.authenticate().await?;
        let open = async {
            let mut grpc = self.grpc(None).await?;
            let path = PathAndQuery::from_static(method.path);
            grpc.streaming(self.request(messages, true), path, ProstCodec::<Q, A>::default()).await
        };
        Ok(open.await.map_err(|status| CallError::from_status(status, None))?.into_inner())
    }

    fn request<T>(&self, message: T, require_leader: bool) -> Request<T> {
        let mut request = Request::new(message);
        let metadata = request.metadata_mut();
        metadata.insert("client-api-version", MetadataValue::from_static(API_VERSION));
        if require_leader {
            metadata.insert("hasleader", MetadataValue::from_static("true"));
        }
        let token = self.0.token.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(token) = token.and_then(|token| MetadataValue::try_from(token).ok()) {
            metadata.insert("token", token);
        }
        request
    }

    async fn grpc(&self, deadline: Deadline) -> Result<Grpc<Channel>, Status> {
        let channel = within(deadline, self.channel()).await.map_err(|status| {
            let last = self.0.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone();
            if last.is_empty() { status } else { Status::deadline_exceeded(format!("latest balancer error: {last}")) }
        })?;
        let mut grpc = Grpc::new(channel).max_decoding_message_size(self.0.settings.max_receive_bytes);
        grpc.ready().await.map_err(|error| Status::unavailable(endpoint::chain(&error)))?;
        Ok(grpc)
    }

    /// The connection, made if there is none, by whichever endpoint is first to take it.
    async fn channel(&self) -> Channel {
        let mut kept = self.0.channel.lock().await;
        if let Some(channel) = &*kept {
            return channel.clone();
        }
        loop {
            let mut attempts: FuturesUnordered<_> =
                self.0.settings.endpoints.iter().map(|endpoint| endpoint.connect(&self.0.settings)).collect();
            while let Some(attempt) = attempts.next().await {
                match attempt {
                    Ok(channel) => {
                        *kept = Some(channel.clone());
                        return channel;
                    }
                    Err(text) => *self.0.last_error.lock().unwrap_or_else(PoisonError::into_inner) = text,
                }
            }
            sleep(CONNECT_PAUSE).await;
        }
    }
}

/// Gives up at the deadline, with Go's words.
async fn within<T>(deadline: Deadline, work: impl Future<Output = T>) -> Result<T, Status> {
    match deadline {
        Some(deadline) => {
            timeout_at(deadline, work).await.map_err(|_| Status::deadline_exceeded("context deadline exceeded"))
        }
        None => Ok(work.await),
    }
}

/// A text as the bytes of a message.
pub fn text(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

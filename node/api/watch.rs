//! The Watch service: many watchers on one bidirectional stream, in etcd's words
//! (etcd `server/etcdserver/api/v3rpc/watch.go`). Decides nothing about events; see `crate::watch`.
//!
//! Whether a learner may serve it, and what a missing leader means for open streams, is decided at the `edge`.

mod codec;
mod session;
#[cfg(test)]
mod tests;

use self::codec::WatchCodec;
use self::session::Session;
use super::asker::Asker;
use super::header::Answerer;
use super::metrics::WatchLoop;
use super::node::Node;
use super::status::ApiError;
use crate::auth::Identity;
use crate::defect::{self, BeforeEach, Point};
use crate::types::KeyInterval;
use crate::watch::{Hub, ProgressPeriod};
use futures_util::future::BoxFuture;
use keelstone_proto::etcdserverpb::WatchRequest;
use std::convert::Infallible;
use std::fmt;
use std::future::{Ready, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::sync::watch;
use tonic::codegen::{Body, StdError};
use tonic::server::{Grpc, NamedService, StreamingService};
use tonic::{Request, Response, Status, Streaming};

/// The path of its one call.
const WATCH_PATH: &str = "/etcdserverpb.Watch/Watch";

/// Who asks for a watcher, if that one may read what it would watch.
pub type Permitting = BoxFuture<'static, Result<Identity, ApiError>>;

/// Whether one who was let may watch on.
pub type MayStill = dyn Fn(&Identity, &KeyInterval) -> Result<(), ApiError> + Send + Sync;

/// What the service asks of access control.
pub struct Permits {
    /// False: everybody may watch everything.
    pub is_closed: Box<dyn Fn() -> bool + Send + Sync>,
    /// Asked for each watcher.
    pub permit: Box<dyn Fn(Arc<Asker>, KeyInterval) -> Permitting + Send + Sync>,
    /// Asked again whenever access control has changed.
    pub may_still: Box<MayStill>,
    /// Is woken when it changes.
    pub changes: watch::Receiver<()>,
}

impl fmt::Debug for Permits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Permits")
    }
}

impl Permits {
    pub fn of(node: &Arc<Node>) -> Self {
        let (closed, permit, still) = (Arc::clone(node), Arc::clone(node), Arc::clone(node));
        Self {
            is_closed: Box::new(move || closed.gate.is_closed()),
            permit: Box::new(move |asker, interval| {
                let node = Arc::clone(&permit);
                Box::pin(async move { node.gate.to_watch(&asker, &interval).await })
            }),
            may_still: Box::new(move |identity, interval| still.gate.may_still_watch(identity, interval)),
            changes: node.gate.access().changes(),
        }
    }
}

/// What the service needs of the node.
pub struct Parts {
    pub hub: Arc<Hub>,
    /// Who answers, now.
    pub answerer: Box<dyn Fn() -> Answerer + Send + Sync>,
    pub permits: Permits,
    pub send_loop: WatchLoop,
    pub progress: ProgressPeriod,
    /// Of a response, where the client lets it be split. In bytes.
    pub max_message_bytes: usize,
}

/// Cheap to clone; one for all connections.
#[derive(Clone)]
pub struct WatchService {
    parts: Arc<Parts>,
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parts").field("progress", &self.progress).finish_non_exhaustive()
    }
}

impl fmt::Debug for WatchService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatchService").finish_non_exhaustive()
    }
}

impl WatchService {
    pub fn new(parts: Parts) -> Self {
        Self { parts: Arc::new(parts) }
    }
}

impl NamedService for WatchService {
    const NAME: &'static str = "etcdserverpb.Watch";
}

impl<B> tower_service::Service<http::Request<B>> for WatchService
where
    B: Body + Send + 'static,
    B::Error: Into<StdError> + Send + 'static,
{
    type Response = http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        if request.uri().path() != WATCH_PATH {
            let status = Status::unimplemented(super::rpc::unknown_path_text(request.uri().path()));
            return Box::pin(ready(Ok(status.into_http())));
        }
        let opening = Opening(Arc::clone(&self.parts));
        // The edge bounds requests by their announced length, before they are read.
        let mut grpc = Grpc::new(WatchCodec).apply_max_message_size_config(Some(usize::MAX), Some(i32::MAX as usize));
        Box::pin(async move { Ok(grpc.streaming(opening, request).await) })
    }
}

struct Opening(Arc<Parts>);

impl StreamingService<WatchRequest> for Opening {
    type Response = codec::Frame;
    type ResponseStream = BeforeEach<Session>;
    type Future = Ready<Result<Response<BeforeEach<Session>>, Status>>;

    fn call(&mut self, request: Request<Streaming<WatchRequest>>) -> Self::Future {
        let session = Session::new(Arc::clone(&self.0), request);
        ready(Ok(Response::new(defect::before_each(Point::BeforeSendWatchResponse, session))))
    }
}

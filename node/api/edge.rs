//! The one door for all requests of a listener: gRPC calls go to their service, everything else to the HTTP pages.
//! A call is counted and its metadata checked here (etcd `v3rpc/interceptor.go`), before its message is read.

use super::answer::not_found;
use super::call::{Call, RequestBody, ResponseBody};
use super::metrics::Metrics;
use super::rpc::{Rpc, unknown_path_text};
use super::status::ApiError;
use super::stream_end::StreamEnds;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Request, Response, Version};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tonic::{Code, Status};

/// A unary call fails, and a stream ends, when no leader is known.
const HAS_LEADER_KEY: &str = "hasleader";
const CLIENT_API_VERSION_KEY: &str = "client-api-version";

/// The response of a generated service.
pub type Served = Pin<Box<dyn Future<Output = Result<Response<tonic::body::Body>, Infallible>> + Send>>;
/// The response of an HTTP page.
pub type Page = Pin<Box<dyn Future<Output = Response<Full<Bytes>>> + Send>>;

/// What the edge asks of the node. `B` is the body of requests.
pub struct Doors<B> {
    pub serve: Box<dyn Fn(Rpc, Request<RequestBody<B>>) -> Served + Send + Sync>,
    /// None on a listener that serves gRPC only.
    pub page: Option<Box<dyn Fn(http::request::Parts) -> Page + Send + Sync>>,
    pub is_learner: Box<dyn Fn() -> bool + Send + Sync>,
    pub has_leader: Box<dyn Fn() -> bool + Send + Sync>,
    /// Of one gRPC message from a client.
    pub max_message_bytes: usize,
}

impl<B> fmt::Debug for Doors<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Doors").field("max_message_bytes", &self.max_message_bytes).finish_non_exhaustive()
    }
}

/// Cheap to clone; one for all connections.
pub struct Edge<B> {
    shared: Arc<Shared<B>>,
}

struct Shared<B> {
    doors: Doors<B>,
    metrics: Metrics,
    stream_ends: StreamEnds,
}

impl<B> Clone for Edge<B> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<B> fmt::Debug for Edge<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Edge").finish_non_exhaustive()
    }
}

impl<B> Edge<B> {
    pub fn new(doors: Doors<B>, metrics: Metrics, stream_ends: StreamEnds) -> Self {
        Self { shared: Arc::new(Shared { doors, metrics, stream_ends }) }
    }

    fn respond(&self, request: Request<B>) -> Responding {
        if is_grpc(&request) {
            return self.call(request);
        }
        match &self.shared.doors.page {
            Some(page) => Responding::Page(page(request.into_parts().0)),
            None => Responding::done(not_found()),
        }
    }

    fn call(&self, request: Request<B>) -> Responding {
        let Some(rpc) = Rpc::from_path(request.uri().path()) else {
            let status = Status::new(Code::Unimplemented, unknown_path_text(request.uri().path()));
            return Responding::done(status.into_http::<Full<Bytes>>());
        };
        let metrics = &self.shared.metrics;
        let call = Call::start(Arc::clone(&metrics.grpc), rpc);
        let needs_leader = match self.check(rpc, request.headers()) {
            Ok(needs_leader) => needs_leader,
            Err(error) => {
                let response = Status::from(error).into_http();
                return Responding::Done(Some(ResponseBody::wrap(response, call, None).map(EdgeBody::Call)));
            }
        };
        let max_bytes = self.shared.doors.max_message_bytes;
        let request = request.map(|body| RequestBody::new(body, Arc::clone(&metrics.grpc), rpc, max_bytes));
        let ended = rpc.is_stream().then(|| self.shared.stream_ends.ended(needs_leader));
        Responding::Call { served: (self.shared.doors.serve)(rpc, request), call: Some((call, ended)) }
    }

    /// The checks that need the metadata only, in etcd's order. Answers whether the client wants a leader.
    fn check(&self, rpc: Rpc, headers: &HeaderMap) -> Result<bool, ApiError> {
        let Shared { doors, metrics, .. } = &*self.shared;
        if !rpc.is_for_learners() && (doors.is_learner)() {
            return Err(ApiError::NotSupportedForLearner);
        }
        let version = headers.get(CLIENT_API_VERSION_KEY).map_or(Ok("unknown"), |value| {
            std::str::from_utf8(value.as_bytes()).map_err(|_| ApiError::InvalidClientApiVersion)
        })?;
        metrics.client_requests.count(rpc, version);
        let needs_leader = headers.get(HAS_LEADER_KEY).is_some_and(|value| value == "true");
        if needs_leader && !(doors.has_leader)() {
            return Err(ApiError::NoLeader);
        }
        Ok(needs_leader)
    }
}

fn is_grpc<B>(request: &Request<B>) -> bool {
    let content_type = request.headers().get(CONTENT_TYPE);
    request.version() == Version::HTTP_2
        && content_type.is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

impl<B> hyper::service::Service<Request<B>> for Edge<B> {
    type Response = Response<EdgeBody>;
    type Error = Infallible;
    type Future = Responding;

    fn call(&self, request: Request<B>) -> Responding {
        self.respond(request)
    }
}

/// A response on its way.
pub enum Responding {
    Call { served: Served, call: Option<(Call, Option<super::stream_end::Ended>)> },
    Page(Page),
    Done(Option<Response<EdgeBody>>),
}

impl Responding {
    fn done(response: Response<Full<Bytes>>) -> Self {
        Responding::Done(Some(response.map(EdgeBody::Page)))
    }
}

impl fmt::Debug for Responding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Responding").finish_non_exhaustive()
    }
}

impl Future for Responding {
    type Output = Result<Response<EdgeBody>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let response = match self.get_mut() {
            Responding::Call { served, call } => {
                let Ok(response) = ready!(served.as_mut().poll(cx));
                let (call, ended) = call.take().expect("a future is not polled after its end");
                ResponseBody::wrap(response, call, ended).map(EdgeBody::Call)
            }
            Responding::Page(page) => ready!(page.as_mut().poll(cx)).map(EdgeBody::Page),
            Responding::Done(response) => response.take().expect("a future is not polled after its end"),
        };
        Poll::Ready(Ok(response))
    }
}

/// Body of any response.
#[derive(Debug)]
pub enum EdgeBody {
    Call(ResponseBody),
    Page(Full<Bytes>),
}

impl Body for EdgeBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        match self.get_mut() {
            EdgeBody::Call(body) => Pin::new(body).poll_frame(cx),
            EdgeBody::Page(body) => Pin::new(body).poll_frame(cx).map_err(|never: Infallible| match never {}),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            EdgeBody::Call(body) => body.is_end_stream(),
            EdgeBody::Page(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            EdgeBody::Call(body) => body.size_hint(),
            EdgeBody::Page(body) => body.size_hint(),
        }
    }
}

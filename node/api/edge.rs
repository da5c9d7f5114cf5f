//! The one door for all requests of a listener: gRPC calls go to their service, everything else to the HTTP pages.
//! A call is counted and its metadata checked here (etcd `v3rpc/interceptor.go`), before its message is read.

use super::answer::{error, not_found};
use super::audit::AuditDoor;
use super::browsers::{BrowserRules, allow};
use super::call::{Call, Kept, RequestBody, ResponseBody};
use super::call_timer::{CallTimer, Caller};
use super::gateway::{AnswerBody, Gateway, rest_of};
use super::metrics::Metrics;
use super::rpc::{Rpc, unknown_path_text};
use super::status::ApiError;
use super::stream_end::{Ended, StreamEnds};
use crate::admission::Budget;
use crate::net::OpenCalls;
use crate::net::tls::Names;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, Method, Request, Response, StatusCode, Version};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tonic::{Code, Status};

/// A unary call fails, and a stream ends, when no leader is known.
const HAS_LEADER_KEY: &str = "hasleader";
/// etcd's words, since the gateway's calls would be nobody's.
const NAME_IGNORED: &str =
    "CommonName of client sending a request against gateway will be ignored and not used as expected";
const CLIENT_API_VERSION_KEY: &str = "client-api-version";

/// The response of a generated service.
pub type Served = Pin<Box<dyn Future<Output = Result<Response<tonic::body::Body>, Infallible>> + Send>>;
/// The response of an HTTP page.
pub type Page = Pin<Box<dyn Future<Output = Response<Full<Bytes>>> + Send>>;

/// Where requests of a listener go. `B` is the body of requests.
#[derive(Debug)]
pub struct Doors<B> {
    /// None on a listener for pages only.
    pub calls: Option<CallDoor<B>>,
    /// None on a listener for gRPC only.
    pub pages: Option<PageDoor>,
    /// None on a listener without pages, or if it is turned off.
    pub gateway: Option<Gateway>,
    /// For pages and gateway. None: who reaches the listener may see all.
    pub browsers: Option<BrowserRules>,
    /// None: nobody keeps a record of calls.
    pub audit: Option<AuditDoor>,
}

/// Hands a call to its service.
pub(super) type Serve<B> = Box<dyn Fn(Rpc, Caller, Request<RequestBody<B>>) -> Served + Send + Sync>;

/// What calls need of the node.
pub struct CallDoor<B> {
    pub(super) serve: Serve<B>,
    pub(super) is_learner: Box<dyn Fn() -> bool + Send + Sync>,
    pub(super) has_leader: Box<dyn Fn() -> bool + Send + Sync>,
    /// Of one gRPC message from a client.
    pub(super) max_message_bytes: usize,
    pub(super) budget: Budget,
    /// Unary calls that take longer are logged.
    pub(super) warn_unary_after: Duration,
    pub(super) stream_ends: StreamEnds,
}

impl<B> CallDoor<B> {
    /// Of one gRPC message from a client.
    pub fn max_message_bytes(&self) -> usize {
        self.max_message_bytes
    }
}

impl<B> fmt::Debug for CallDoor<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallDoor").field("max_message_bytes", &self.max_message_bytes).finish_non_exhaustive()
    }
}

/// Answers what is no call.
pub struct PageDoor(pub(super) Box<dyn Fn(http::request::Parts) -> Page + Send + Sync>);

impl fmt::Debug for PageDoor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PageDoor")
    }
}

/// Cheap to clone; each connection has its own.
pub struct Edge<B> {
    shared: Arc<Shared<B>>,
    caller: Caller,
    /// Of the certificate that the caller has shown.
    names: Option<Arc<Names>>,
    is_secure: bool,
    /// Of this connection, if anybody wants to know.
    open_calls: Option<OpenCalls>,
}

struct Shared<B> {
    doors: Doors<B>,
    metrics: Metrics,
}

impl<B> Clone for Edge<B> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            caller: self.caller,
            names: self.names.clone(),
            is_secure: self.is_secure,
            open_calls: self.open_calls.clone(),
        }
    }
}

impl<B> fmt::Debug for Edge<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Edge").finish_non_exhaustive()
    }
}

impl<B> Edge<B> {
    pub fn new(doors: Doors<B>, metrics: Metrics) -> Self {
        let (caller, shared) = (Caller::default(), Arc::new(Shared { doors, metrics }));
        Self { shared, caller, names: None, is_secure: false, open_calls: None }
    }

    /// For the connection of one caller, who has shown a certificate with `names`, if any. Each of its requests carries them.
    pub fn of(&self, caller: Caller, names: Option<Arc<Names>>) -> Self {
        Self { shared: Arc::clone(&self.shared), caller, names, is_secure: false, open_calls: None }
    }

    /// The same behind TLS.
    pub fn secured(self, is_secure: bool) -> Self {
        Self { is_secure, ..self }
    }

    /// The same, with its open calls counted.
    pub fn counting(self, open_calls: Option<OpenCalls>) -> Self {
        Self { open_calls, ..self }
    }

    /// Whether this connection's client may not ping as it likes. As in etcd not behind TLS on a port for HTTP too,
    /// where Go's own HTTP server speaks HTTP/2 and knows no such rules.
    pub fn limits_pings(&self) -> bool {
        let Doors { calls, pages, .. } = &self.shared.doors;
        calls.is_some() && !(self.is_secure && pages.is_some())
    }

    fn respond(&self, mut request: Request<B>) -> Responding
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: std::error::Error + Send + Sync + 'static,
    {
        if let Some(names) = &self.names {
            request.extensions_mut().insert(Arc::clone(names));
        }
        match &self.shared.doors.calls {
            Some(calls) if is_grpc(&request) => self.call(calls, request),
            _ => self.page(request),
        }
    }

    fn is_known_by_name(&self) -> bool {
        self.names.as_ref().is_some_and(|names| !names.common_name.is_empty())
    }

    fn page(&self, request: Request<B>) -> Responding
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: std::error::Error + Send + Sync + 'static,
    {
        let Doors { pages, gateway, browsers, .. } = &self.shared.doors;
        let Some(pages) = pages else { return Responding::done(not_found()) };
        let mut origin = None;
        if let Some(rules) = browsers {
            if let Some(refusal) = rules.refuse(&request, self.is_secure) {
                return Responding::done(refusal);
            }
            origin = rules.origin(&request);
        }
        let answer: Pin<Box<dyn Future<Output = Response<EdgeBody>> + Send>> =
            match (gateway, rest_of(request.uri().path())) {
                (_, _) if browsers.is_some() && request.method() == Method::OPTIONS => {
                    Box::pin(async { Response::new(EdgeBody::Page(Full::default())) })
                }
                (Some(gateway), Some(_)) if self.is_known_by_name() && gateway.ignores_names() => {
                    let ignored = error(StatusCode::BAD_REQUEST, NAME_IGNORED);
                    Box::pin(async { ignored.map(EdgeBody::Page) })
                }
                (Some(gateway), Some(rest)) => {
                    let answer = gateway.clone().answer(rest.to_owned(), self.caller, request);
                    Box::pin(async { answer.await.map(EdgeBody::Json) })
                }
                _ => {
                    let page = pages.0(request.into_parts().0);
                    Box::pin(async { page.await.map(EdgeBody::Page) })
                }
            };
        Responding::Page { answer, origin }
    }

    fn call(&self, door: &CallDoor<B>, mut request: Request<B>) -> Responding {
        let Some(rpc) = Rpc::from_path(request.uri().path()) else {
            let status = Status::new(Code::Unimplemented, unknown_path_text(request.uri().path()));
            return Responding::done(status.into_http::<Full<Bytes>>());
        };
        let metrics = &self.shared.metrics;
        let open = self.open_calls.as_ref().map(OpenCalls::begin);
        let audited = self.shared.doors.audit.as_ref().map(|door| door.begin(rpc, self.caller, self.names.clone()));
        if let Some(audited) = &audited {
            request.extensions_mut().insert(Arc::clone(audited));
        }
        let mut call = Call::start(
            Arc::clone(&metrics.grpc),
            rpc,
            Kept { open, audited: audited.clone(), budget: Some(door.budget.clone()) },
        );
        let timer = || CallTimer::start(rpc, self.caller, door.warn_unary_after);
        let needs_leader = match check(door, metrics, rpc, request.headers()) {
            Ok(needs_leader) => needs_leader,
            Err(error) => {
                call.time(timer());
                let response = Status::from(error).into_http();
                return Responding::Done(Some(ResponseBody::wrap(response, call, None).map(EdgeBody::Call)));
            }
        };
        let (max_bytes, budget) = (door.max_message_bytes, door.budget.clone());
        let request = request.map(|body| {
            RequestBody::new(
                body,
                Arc::clone(&metrics.grpc),
                rpc,
                max_bytes,
                Kept { open: None, audited, budget: Some(budget) },
            )
        });
        if !rpc.times_itself() {
            call.time(timer());
        }
        let ended = rpc.is_stream().then(|| door.stream_ends.ended(needs_leader));
        Responding::Call { served: (door.serve)(rpc, self.caller, request), call: Some((call, ended)) }
    }
}

/// The checks that need the metadata only, in etcd's order. Answers whether the client wants a leader.
fn check<B>(door: &CallDoor<B>, metrics: &Metrics, rpc: Rpc, headers: &HeaderMap) -> Result<bool, ApiError> {
    if !rpc.is_for_learners() && (door.is_learner)() {
        return Err(ApiError::NotSupportedForLearner);
    }
    let version = headers.get(CLIENT_API_VERSION_KEY).map_or(Ok("unknown"), |value| {
        std::str::from_utf8(value.as_bytes()).map_err(|_| ApiError::InvalidClientApiVersion)
    })?;
    metrics.client_requests.count(rpc, version);
    let needs_leader = headers.get(HAS_LEADER_KEY).is_some_and(|value| value == "true");
    if needs_leader && !(door.has_leader)() {
        return Err(ApiError::NoLeader);
    }
    Ok(needs_leader)
}

fn is_grpc<B>(request: &Request<B>) -> bool {
    let content_type = request.headers().get(CONTENT_TYPE);
    request.version() == Version::HTTP_2
        && content_type.is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

impl<B> hyper::service::Service<Request<B>> for Edge<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: std::error::Error + Send + Sync + 'static,
{
    type Response = Response<EdgeBody>;
    type Error = Infallible;
    type Future = Responding;

    fn call(&self, request: Request<B>) -> Responding {
        self.respond(request)
    }
}

/// A response on its way.
pub enum Responding {
    Call {
        served: Served,
        call: Option<(Call, Option<Ended>)>,
    },
    Page {
        answer: Pin<Box<dyn Future<Output = Response<EdgeBody>> + Send>>,
        /// Whom a browser may show it to.
        origin: Option<HeaderValue>,
    },
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
            Responding::Page { answer, origin } => {
                let mut answer = ready!(answer.as_mut().poll(cx));
                if let Some(origin) = origin.take() {
                    allow(origin, answer.headers_mut());
                }
                answer
            }
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
    Json(AnswerBody),
}

impl Body for EdgeBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        match self.get_mut() {
            EdgeBody::Call(body) => Pin::new(body).poll_frame(cx),
            EdgeBody::Page(body) => Pin::new(body).poll_frame(cx).map_err(|never: Infallible| match never {}),
            EdgeBody::Json(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            EdgeBody::Call(body) => body.is_end_stream(),
            EdgeBody::Page(body) => body.is_end_stream(),
            EdgeBody::Json(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            EdgeBody::Call(body) => body.size_hint(),
            EdgeBody::Page(body) => body.size_hint(),
            EdgeBody::Json(body) => body.size_hint(),
        }
    }
}

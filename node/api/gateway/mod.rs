//! The JSON gateway: every call by `POST /v3/…` with a message as proto3 JSON. It is a client of the member's own gRPC
//! edge, as etcd's is, so that checks, limits, permissions and counts are those of gRPC.

mod paths;
mod stream;
mod transcode;
mod websocket;

use super::answer::JSON;
use super::call_timer::Caller;
use super::edge::{Edge, EdgeBody};
use super::rpc::Rpc;
use crate::metrics::grpc::CallKind;
use bytes::{Bytes, BytesMut};
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue, TE, WWW_AUTHENTICATE};
use http::request::Parts;
use http::{HeaderMap, Method, Request, Response, StatusCode, Version};
use http_body::Body;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::service::Service;
use std::error::Error;
use std::sync::Arc;
use stream::{Event, Events, JsonLines, Requests};
use tonic::{Code, Status};
use transcode::{Shapes, status_to_json};

pub use paths::rest_of;

/// The body of a call that the gateway makes.
pub type GatewayBody = UnsyncBoxBody<Bytes, Status>;
/// The body of what it answers.
pub type AnswerBody = UnsyncBoxBody<Bytes, Status>;

/// Header names with this before them are metadata of the call.
const METADATA_PREFIX: &str = "grpc-metadata-";

/// Cheap to clone.
#[derive(Clone)]
pub struct Gateway {
    calls: Edge<GatewayBody>,
    /// Of one message from a client, encoded.
    max_message_bytes: usize,
    /// Whether users are known by their certificates now.
    knows_names: Arc<dyn Fn() -> bool + Send + Sync>,
}

impl std::fmt::Debug for Gateway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gateway").field("max_message_bytes", &self.max_message_bytes).finish_non_exhaustive()
    }
}

impl Gateway {
    /// In front of `calls`, to which users may be known by their certificates.
    pub fn new(
        calls: Edge<GatewayBody>,
        max_message_bytes: usize,
        knows_names: impl Fn() -> bool + Send + Sync + 'static,
    ) -> Self {
        Self { calls, max_message_bytes, knows_names: Arc::new(knows_names) }
    }

    /// True if a name in a certificate would be that of a user, but for the gateway.
    pub fn ignores_names(&self) -> bool {
        (self.knows_names)()
    }

    /// Answers a request for `rest` of a path. It never fails: what goes wrong is an answer too.
    pub async fn answer<B>(self, rest: String, caller: Caller, mut request: Request<B>) -> Response<AnswerBody>
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Error + Send + Sync + 'static,
    {
        let found = paths::find(&rest);
        if websocket::is_asked_for(request.headers()) {
            return match found {
                Some(rpc) => websocket::answer(self, rpc, caller, &mut request),
                None => refusal(&Status::new(Code::NotFound, "Not Found")),
            };
        }
        let (parts, body) = request.into_parts();
        match found {
            Some(rpc) if parts.method == Method::POST => self.call(rpc, caller, &parts, body).await,
            Some(_) => refusal(&Status::new(Code::Unimplemented, "Method Not Allowed")),
            None => refusal(&Status::new(Code::NotFound, "Not Found")),
        }
    }

    async fn call<B>(&self, rpc: Rpc, caller: Caller, parts: &Parts, body: B) -> Response<AnswerBody>
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Error + Send + Sync + 'static,
    {
        let shapes = Shapes::of(rpc);
        let outcome = match rpc.labels().kind {
            CallKind::Unary => self.unary(rpc, caller, &shapes, &parts.headers, body).await,
            CallKind::ServerStream => match self.whole(&shapes, body).await {
                Ok(message) => self.stream(rpc, caller, shapes, &parts.headers, full(message)).await,
                Err(status) => Err(status),
            },
            CallKind::BidiStream => {
                let requests = Requests::new(body, shapes.clone(), self.max_json_bytes()).boxed_unsync();
                self.stream(rpc, caller, shapes, &parts.headers, requests).await
            }
        };
        outcome.unwrap_or_else(|status| refusal(&status))
    }

    async fn unary<B>(
        &self,
        rpc: Rpc,
        caller: Caller,
        shapes: &Shapes,
        headers: &HeaderMap,
        body: B,
    ) -> Result<Response<AnswerBody>, Status>
    where
        B: Body<Data = Bytes> + Send + Unpin,
        B::Error: Error + Send + Sync + 'static,
    {
        let message = self.whole(shapes, body).await?;
        let mut events = Events::of(self.begin(rpc, caller, headers, full(message)).await);
        let mut answer = None;
        loop {
            match events.next().await {
                Event::Message(message) => answer = Some(message),
                Event::End(status) if status.code() == Code::Ok => break,
                Event::End(status) => return Err(status),
            }
        }
        let answer = answer.ok_or_else(|| Status::internal("call without an answer"))?;
        Ok(with_type(StatusCode::OK, full(shapes.to_json(answer)?.into())))
    }

    /// The first message decides on the status of the answer, as in etcd.
    async fn stream(
        &self,
        rpc: Rpc,
        caller: Caller,
        shapes: Shapes,
        headers: &HeaderMap,
        requests: GatewayBody,
    ) -> Result<Response<AnswerBody>, Status> {
        let mut events = Events::of(self.begin(rpc, caller, headers, requests).await);
        let first = events.next().await;
        let code = match &first {
            Event::End(status) => http_status(status.code()),
            Event::Message(_) => StatusCode::OK,
        };
        Ok(with_type(code, JsonLines::new(first, events, shapes).boxed_unsync()))
    }

    async fn begin(&self, rpc: Rpc, caller: Caller, headers: &HeaderMap, body: GatewayBody) -> Response<EdgeBody> {
        let labels = rpc.labels();
        let mut request = Request::new(body);
        *request.method_mut() = Method::POST;
        *request.version_mut() = Version::HTTP_2;
        let path = format!("/{}/{}", labels.service, labels.method);
        *request.uri_mut() = path.parse().expect("names of calls make a path");
        *request.headers_mut() = metadata(headers);
        // A certificate names nobody here, as in etcd.
        let Ok(response) = self.calls.of(caller, None).call(request).await;
        response
    }

    /// All of a body as one message.
    async fn whole<B>(&self, shapes: &Shapes, body: B) -> Result<Bytes, Status>
    where
        B: Body<Data = Bytes> + Send + Unpin,
        B::Error: Error + Send + Sync + 'static,
    {
        let limit = self.max_json_bytes();
        let read = Limited::new(body, limit).collect().await.map_err(|error| too_long(error.as_ref(), limit))?;
        let mut json = BytesMut::from(read.to_bytes());
        match shapes.encode_next(&mut json)? {
            Some(message) => Ok(message),
            None if json.iter().all(u8::is_ascii_whitespace) => Ok(shapes.encode_empty()),
            None => Err(Status::new(Code::InvalidArgument, "unexpected EOF")),
        }
    }

    /// Base64 takes a third more, and there may be names and spaces around it.
    fn max_json_bytes(&self) -> usize {
        self.max_message_bytes.saturating_mul(2)
    }
}

fn too_long(error: &(dyn Error + Send + Sync + 'static), limit: usize) -> Status {
    if error.is::<LengthLimitError>() {
        return Status::resource_exhausted(format!("request of more than {limit} bytes"));
    }
    Status::new(Code::InvalidArgument, error.to_string())
}

/// What of the headers goes along with the call.
fn metadata(headers: &HeaderMap) -> HeaderMap {
    let mut metadata = HeaderMap::new();
    metadata.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    metadata.insert(TE, HeaderValue::from_static("trailers"));
    if let Some(token) = headers.get(AUTHORIZATION) {
        metadata.insert(AUTHORIZATION, token.clone());
    }
    if let Some(timeout) = headers.get("grpc-timeout") {
        metadata.insert("grpc-timeout", timeout.clone());
    }
    for (name, value) in headers {
        let name = name.as_str().strip_prefix(METADATA_PREFIX);
        if let Some(name) = name.and_then(|name| HeaderName::try_from(name).ok()) {
            metadata.append(name, value.clone());
        }
    }
    metadata
}

fn full(bytes: Bytes) -> UnsyncBoxBody<Bytes, Status> {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}

fn with_type(code: StatusCode, body: AnswerBody) -> Response<AnswerBody> {
    let mut answer = Response::new(body);
    *answer.status_mut() = code;
    answer.headers_mut().insert(CONTENT_TYPE, JSON);
    answer
}

fn refusal(status: &Status) -> Response<AnswerBody> {
    let mut answer = with_type(http_status(status.code()), full(status_to_json(status).into()));
    if status.code() == Code::Unauthenticated
        && let Ok(text) = HeaderValue::from_str(status.message())
    {
        answer.headers_mut().insert(WWW_AUTHENTICATE, text);
    }
    answer
}

/// grpc-gateway's `HTTPStatusFromCode`.
fn http_status(code: Code) -> StatusCode {
    match code {
        Code::Ok => StatusCode::OK,
        Code::Cancelled => StatusCode::from_u16(499).expect("a status of three digits"),
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => StatusCode::BAD_REQUEST,
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::AlreadyExists | Code::Aborted => StatusCode::CONFLICT,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::Unknown | Code::Internal | Code::DataLoss => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

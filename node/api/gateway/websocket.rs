//! The gateway's streams over a websocket: each message from the client is a value of JSON, each line of the answer a
//! message (etcd serves `/v3/` through grpc-websocket-proxy).

use super::stream::Lines;
use super::{AnswerBody, Gateway, full, with_type};
use crate::api::call_timer::Caller;
use crate::api::rpc::Rpc;
use crate::net::{Connection, PingLimit};
use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use http::header::{
    AUTHORIZATION, CONNECTION, COOKIE, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    UPGRADE,
};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::{Body, Frame};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto::upgrade::downcast;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{self, Message, Utf8Bytes};

type Socket = WebSocketStream<Connection>;

pub fn is_asked_for(headers: &HeaderMap) -> bool {
    let has = |name, token: &str| {
        headers
            .get_all(name)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .any(|value| value.split(',').any(|word| word.trim().eq_ignore_ascii_case(token)))
    };
    has(CONNECTION, "upgrade") && has(UPGRADE, "websocket")
}

/// Goes over to the websocket protocol, and serves the call on it.
pub fn answer<B>(gateway: Gateway, rpc: Rpc, caller: Caller, request: &mut Request<B>) -> Response<AnswerBody> {
    let Some(key) = request.headers().get(SEC_WEBSOCKET_KEY).map(|key| derive_accept_key(key.as_bytes())) else {
        return with_type(StatusCode::BAD_REQUEST, full(Bytes::from_static(b"Bad Request\n")));
    };
    let has_bearer = subprotocol(request.headers()).is_some_and(|protocol| protocol.starts_with("Bearer"));
    let parts = request_of(request.headers());
    let upgrading = hyper::upgrade::on(request);
    // Ends with its call, as all streams do when the member stops, or when the client goes away.
    tokio::spawn(async move {
        match upgrading.await {
            Ok(upgraded) => {
                if let Err(error) = serve(gateway, rpc, caller, parts, upgraded).await {
                    tracing::debug!(%error, "websocket ended");
                }
            }
            Err(error) => tracing::debug!(%error, "websocket was not taken up"),
        }
    });
    let mut answer = Response::new(full(Bytes::new()));
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = answer.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, HeaderValue::try_from(key).expect("base64 is a header's value"));
    if has_bearer {
        headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static("Bearer"));
    }
    answer
}

fn subprotocol(headers: &HeaderMap) -> Option<&str> {
    headers.get(SEC_WEBSOCKET_PROTOCOL)?.to_str().ok()
}

/// A browser cannot set headers of a websocket: its token comes as a subprotocol, or in a cookie.
fn request_of(headers: &HeaderMap) -> http::request::Parts {
    let by_protocol = subprotocol(headers).and_then(|protocol| protocol.split_once("Bearer,")).map(|(_, token)| token);
    let cookies = headers.get_all(COOKIE).iter().filter_map(|cookie| cookie.to_str().ok());
    let mut cookies = cookies.flat_map(|cookie| cookie.split(';')).map(str::trim);
    let by_cookie = cookies.find_map(|cookie| cookie.strip_prefix("token="));
    let (mut parts, ()) = Request::post("/").body(()).expect("a request").into_parts();
    if let Some(token) = by_cookie.or(by_protocol)
        && let Ok(value) = HeaderValue::try_from(format!("Bearer {}", token.trim()))
    {
        parts.headers.insert(AUTHORIZATION, value);
    }
    parts
}

async fn serve(
    gateway: Gateway,
    rpc: Rpc,
    caller: Caller,
    parts: http::request::Parts,
    upgraded: Upgraded,
) -> Result<(), tungstenite::Error> {
    let limit = gateway.max_json_bytes();
    let config = WebSocketConfig::default().max_message_size(Some(limit)).max_frame_size(Some(limit));
    let carried = downcast::<TokioIo<PingLimit>>(upgraded).map_err(|_| io::Error::other("not a connection of ours"))?;
    let connection = carried.io.into_inner().into_inner().into_inner().await?;
    let read = carried.read_buf.to_vec();
    let socket = WebSocketStream::from_partially_read(connection, read, Role::Server, Some(config)).await;
    let (sink, source) = socket.split();
    let answer = gateway.call(rpc, caller, &parts, Received(source)).await;
    send_all(Lines::of(answer.into_body()), sink).await
}

async fn send_all(
    mut lines: Lines<AnswerBody>,
    mut sink: SplitSink<Socket, Message>,
) -> Result<(), tungstenite::Error> {
    while let Some(line) = lines.next().await {
        let Ok(text) = Utf8Bytes::try_from(line) else { break };
        sink.send(Message::Text(text)).await?;
    }
    sink.close().await
}

/// What a client sends, as a body.
struct Received(SplitStream<Socket>);

impl Body for Received {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        loop {
            return Poll::Ready(match std::task::ready!(self.0.poll_next_unpin(cx)) {
                Some(Ok(Message::Text(text))) => Some(Ok(Frame::data(text.into()))),
                Some(Ok(Message::Binary(bytes))) => Some(Ok(Frame::data(bytes))),
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => continue,
                Some(Ok(Message::Close(_))) | None => None,
                Some(Err(error)) => Some(Err(io::Error::other(error))),
            });
        }
    }
}

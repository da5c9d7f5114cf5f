//! gRPC over one HTTP/2 connection with as little as possible in between. A request is a frame that was encoded
//! beforehand; there is no channel, no layer and no task for each call, as the load must cost less than the server.
//!
//! Whatever fails ends the run: nothing that fails is measured.

use bytes::{Bytes, BytesMut};
use h2::client::{ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue, TE};
use http::{Method, Request, Uri, Version};
use prost::Message;
use std::fmt;
use std::future::poll_fn;
use std::net::Ipv4Addr;
use tokio::net::TcpStream;

/// Flag and length before each message.
const PREFIX_BYTES: usize = 5;
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;
/// Larger than any answer of a row.
const FRAME_BYTES: u32 = 1 << 20;

/// A message as it goes over the wire.
pub fn frame(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut frame = Vec::with_capacity(PREFIX_BYTES + length);
    frame.push(0);
    frame.extend_from_slice(&u32::try_from(length).expect("a message below 4 GiB").to_be_bytes());
    message.encode(&mut frame).expect("a vector takes all");
    frame.into()
}

/// One connection. Clones share it.
#[derive(Debug, Clone)]
pub struct Connection {
    requests: SendRequest<Bytes>,
    port: u16,
}

impl Connection {
    /// The task that serves the connection ends with the last of its clones and calls.
    pub async fn open(port: u16) -> Self {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.expect("connect to a server that serves");
        stream.set_nodelay(true).expect("set TCP_NODELAY");
        let handshake = h2::client::Builder::new()
            .initial_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_frame_size(FRAME_BYTES)
            .handshake(stream);
        let (requests, connection) = handshake.await.expect("an HTTP/2 handshake");
        tokio::spawn(async {
            // A call that it cuts off says so; after the last call the server may just be killed.
            drop(connection.await);
        });
        Self { requests, port }
    }

    /// `method` is as in `etcdserverpb.KV/Put`.
    pub fn caller(&self, method: &str) -> Caller {
        let uri = format!("http://127.0.0.1:{}/{method}", self.port);
        Caller { requests: self.requests.clone(), uri: uri.parse().expect("an address that we made") }
    }
}

/// Calls one method.
#[derive(Debug, Clone)]
pub struct Caller {
    requests: SendRequest<Bytes>,
    uri: Uri,
}

impl Caller {
    /// Sends one frame and returns the answer's message, once the server has said that all went well.
    ///
    /// # Panics
    /// If it says otherwise.
    pub async fn call(&mut self, frame: Bytes) -> Bytes {
        self.attempt(frame).await.unwrap_or_else(|refused| panic!("{refused}"))
    }

    /// As [`Self::call`], for what is not measured and may be tried again.
    pub async fn attempt(&mut self, frame: Bytes) -> Result<Bytes, Refused> {
        let (response, mut body) = self.begin().await;
        body.send_data(frame, true).expect("send a request");
        let mut answers = Answers::new(response);
        let answer = answers.receive().await?;
        let rest = answers.chunk().await;
        assert!(rest.is_none(), "one message is the whole answer");
        check(answers.trailers().await)?;
        Ok(answer)
    }

    /// Opens a stream of requests and answers. A server may send nothing before it has read a request.
    pub async fn open(&mut self) -> (Requests, Answers) {
        let (response, body) = self.begin().await;
        (Requests(body), Answers::new(response))
    }

    async fn begin(&mut self) -> (ResponseFuture, SendStream<Bytes>) {
        poll_fn(|context| self.requests.poll_ready(context)).await.expect("a connection that is open");
        let mut request = Request::new(());
        *request.method_mut() = Method::POST;
        *request.version_mut() = Version::HTTP_2;
        *request.uri_mut() = self.uri.clone();
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(TE, HeaderValue::from_static("trailers"));
        self.requests.send_request(request, false).expect("begin a request")
    }
}

/// What the server said instead of an answer.
#[derive(Debug)]
pub struct Refused(HeaderMap);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the server refused: {:?}", self.0)
    }
}

/// The client's half of a stream; dropped, it ends the stream at once.
#[derive(Debug)]
pub struct Requests(SendStream<Bytes>);

impl Requests {
    /// Queues a frame. Whoever does not wait for answers bounds what is queued.
    pub fn send(&mut self, frame: Bytes) {
        self.0.send_data(frame, false).expect("send on an open stream");
    }
}

/// The server's half of a call.
#[derive(Debug)]
pub struct Answers {
    response: Option<ResponseFuture>,
    body: Option<RecvStream>,
    /// Received and not yet taken.
    pending: BytesMut,
}

impl Answers {
    fn new(response: ResponseFuture) -> Self {
        Self { response: Some(response), body: None, pending: BytesMut::new() }
    }

    /// The next message.
    ///
    /// # Panics
    /// If the server ends the stream.
    pub async fn next(&mut self) -> Bytes {
        self.receive().await.unwrap_or_else(|refused| panic!("{refused}"))
    }

    async fn receive(&mut self) -> Result<Bytes, Refused> {
        if let Some(response) = self.response.take() {
            let (head, body) = response.await.expect("an answer").into_parts();
            assert_eq!(head.status, 200, "HTTP status");
            check(head.headers)?;
            self.body = Some(body);
        }
        loop {
            if let Some(message) = take_message(&mut self.pending) {
                return Ok(message);
            }
            let Some(chunk) = self.chunk().await else { return Err(Refused(self.trailers().await)) };
            self.pending.extend_from_slice(&chunk);
        }
    }

    async fn chunk(&mut self) -> Option<Bytes> {
        let body = self.body.as_mut().expect("the head is read first");
        let chunk = body.data().await?.expect("the rest of an answer");
        body.flow_control().release_capacity(chunk.len()).expect("give back what was taken");
        Some(chunk)
    }

    async fn trailers(&mut self) -> HeaderMap {
        let body = self.body.as_mut().expect("the head is read first");
        body.trailers().await.expect("the end of an answer").unwrap_or_default()
    }
}

fn check(headers: HeaderMap) -> Result<(), Refused> {
    if headers.get("grpc-status").is_none_or(|status| status == "0") { Ok(()) } else { Err(Refused(headers)) }
}

fn take_message(pending: &mut BytesMut) -> Option<Bytes> {
    let length = pending.get(1..PREFIX_BYTES)?.try_into().map(u32::from_be_bytes).expect("four bytes");
    let end = PREFIX_BYTES + length as usize;
    if pending.len() < end {
        return None;
    }
    Some(pending.split_to(end).freeze().slice(PREFIX_BYTES..))
}

#[cfg(test)]
mod tests {
    use super::{frame, take_message};
    use bytes::{Bytes, BytesMut};
    use keelstone_harness::proto::etcdserverpb::PutRequest;
    use prost::Message;

    #[test]
    fn messages_are_taken_from_frames_once_they_are_whole() {
        let request = PutRequest { key: Bytes::from_static(b"key"), ..Default::default() };
        let one = frame(&request);
        let mut pending = BytesMut::new();
        pending.extend_from_slice(&one);
        pending.extend_from_slice(&one[..one.len() - 1]);
        assert_eq!(take_message(&mut pending).map(PutRequest::decode), Some(Ok(request.clone())));
        assert_eq!(take_message(&mut pending), None);
        pending.extend_from_slice(&one[one.len() - 1..]);
        assert_eq!(take_message(&mut pending).map(PutRequest::decode), Some(Ok(request)));
        assert!(pending.is_empty());
    }
}

//! A peer that answers what a script says, byte by byte, and sensibly once the script has nothing more to say.

use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use keelstone_harness::proto::internal::{self, append_response};
use prost::Message;
use prost::bytes::{Buf, Bytes, BytesMut};
use std::collections::{HashMap, HashSet, VecDeque};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;

/// What it says to a call, or to a message of a stream: a message, or a status.
#[derive(Clone, Debug)]
pub enum Say {
    Message(Bytes),
    Status(u32),
}

#[derive(Debug, Default)]
struct Inner {
    /// By method.
    script: HashMap<String, VecDeque<Say>>,
    /// Requests that may be in the log, as far as the member was told.
    taken: HashSet<Bytes>,
    /// One of them was handed over again.
    repeated: bool,
    /// The highest index of an entry that it was sent.
    received: u64,
}

#[derive(Clone, Debug, Default)]
pub struct FakePeer(Arc<Mutex<Inner>>);

type Answer = http::Response<StreamBody<UnboundedReceiverStream<Result<Frame<Bytes>, Infallible>>>>;

impl FakePeer {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn add(&self, method: &str, say: Say) {
        self.lock().script.entry(method.to_owned()).or_default().push_back(say);
    }

    /// From now on it is sensible.
    pub fn forget_script(&self) {
        self.lock().script.clear();
    }

    /// A request was handed over twice though the first one may be in the log: it would be applied twice.
    pub fn saw_a_request_twice(&self) -> bool {
        self.lock().repeated
    }

    /// Nothing beyond can be on both.
    pub fn received(&self) -> u64 {
        self.lock().received
    }

    /// Serves until the runtime ends.
    pub async fn serve(self, listener: TcpListener) {
        while let Ok((stream, _)) = listener.accept().await {
            // Its answers are small and its elections quick.
            stream.set_nodelay(true).expect("loopback without delay");
            let peer = self.clone();
            let service = hyper::service::service_fn(move |request| {
                let peer = peer.clone();
                async move { Ok::<_, Infallible>(peer.answer(request)) }
            });
            let serving = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            // The member goes when the script is over.
            tokio::spawn(async move { serving.serve_connection(TokioIo::new(stream), service).await.ok() });
        }
    }

    fn answer(&self, request: http::Request<Incoming>) -> Answer {
        let method = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
        let (frames, receiver) = mpsc::unbounded_channel();
        let peer = self.clone();
        tokio::spawn(async move {
            let status = peer.talk(&method, request.into_body(), &frames).await;
            let mut trailers = http::HeaderMap::new();
            trailers.insert("grpc-status", status.into());
            // A member that went away asks nobody.
            frames.send(Ok(Frame::trailers(trailers))).ok();
        });
        let body = StreamBody::new(UnboundedReceiverStream::new(receiver));
        http::Response::builder().header("content-type", "application/grpc").body(body).expect("a response")
    }

    /// Answers each message of a request, and returns the status at the end.
    async fn talk(
        &self,
        method: &str,
        mut body: Incoming,
        frames: &mpsc::UnboundedSender<Result<Frame<Bytes>, Infallible>>,
    ) -> u32 {
        let mut buffer = BytesMut::new();
        while let Some(Ok(frame)) = body.frame().await {
            buffer.extend_from_slice(&frame.into_data().unwrap_or_default());
            while let Some(message) = take_message(&mut buffer) {
                match self.say(method, message) {
                    Some(Say::Message(message)) => {
                        let framed = [&[0][..], &(message.len() as u32).to_be_bytes(), &message].concat();
                        if frames.send(Ok(Frame::data(framed.into()))).is_err() {
                            return 0;
                        }
                    }
                    Some(Say::Status(status)) => return status,
                    None => {}
                }
            }
        }
        0
    }

    fn say(&self, method: &str, message: Bytes) -> Option<Say> {
        let mut inner = self.lock();
        // A snapshot is answered at its end.
        let chunk =
            (method == "InstallSnapshot").then(|| internal::SnapshotChunk::decode(message.clone()).ok()).flatten();
        if chunk.is_some_and(|chunk| !matches!(chunk.part, Some(internal::snapshot_chunk::Part::Tail(_)))) {
            return None;
        }
        let say = inner.script.get_mut(method).and_then(VecDeque::pop_front);
        let say = say.unwrap_or_else(|| sensible(method, &message));
        match method {
            "Propose" => inner.note_proposal(message, &say),
            "Append" => {
                let entries = internal::AppendRequest::decode(message).unwrap_or_default().entries;
                inner.received = entries.iter().map(|entry| entry.index).fold(inner.received, u64::max);
            }
            _ => {}
        }
        Some(say)
    }
}

impl Inner {
    fn note_proposal(&mut self, message: Bytes, say: &Say) {
        let requests = internal::ProposeRequest::decode(message).map(|request| request.requests).unwrap_or_default();
        let results = match say {
            Say::Message(answer) => internal::ProposeResponse::decode(answer.clone()).unwrap_or_default().results,
            Say::Status(_) => Vec::new(),
        };
        let is_complete = results.len() == requests.len();
        for (at, request) in requests.into_iter().enumerate() {
            self.repeated |= self.taken.contains(&request);
            let was_refused = results.get(at).is_some_and(|result| result.not_leader && !result.accepted);
            if !(is_complete && was_refused) {
                self.taken.insert(request);
            }
        }
    }
}

fn take_message(buffer: &mut BytesMut) -> Option<Bytes> {
    let head = buffer.first_chunk::<5>()?;
    let len = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
    if buffer.len() < 5 + len {
        return None;
    }
    buffer.advance(5);
    Some(buffer.split_to(len).freeze())
}

/// What a follower says that agrees to everything.
fn sensible(method: &str, message: &Bytes) -> Say {
    let message = message.clone();
    match method {
        "Append" => {
            let request = internal::AppendRequest::decode(message).unwrap_or_default();
            let last = request.entries.last().map(|entry| internal::LogId { term: entry.term, index: entry.index });
            let result = match last.or(request.prev) {
                Some(matched) => append_response::Result::Matched(matched),
                None => append_response::Result::MatchedNone(true),
            };
            Say::Message(internal::AppendResponse { result: Some(result), ..Default::default() }.encode_to_vec().into())
        }
        "Vote" => {
            let request = internal::VoteRequest::decode(message).unwrap_or_default();
            let answer = internal::VoteResponse { vote: request.vote, granted: true, last_log: None };
            Say::Message(answer.encode_to_vec().into())
        }
        _ => Say::Status(14),
    }
}

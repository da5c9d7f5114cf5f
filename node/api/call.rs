//! One call from its first header to its last trailer: counted on the way in and out, and ended from here if the
//! node or the leader goes away. The bodies are passed through untouched.

use super::audit::Audited;
use super::call_timer::{CallTimer, Counted};
use super::frames::{FrameCounter, Passed};
use super::rpc::Rpc;
use super::status::ApiError;
use super::stream_end::Ended;
use crate::admission::{Budget, Taken, WORTH_BYTES};
use crate::metrics::grpc::GrpcMetrics;
use crate::net::OpenCall;
use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;
use tonic::{Code, Status};

/// A call that has begun. Counted as handled exactly once; as canceled if it is dropped before its end, which is
/// what happens when the client goes away.
#[derive(Debug)]
pub struct Call {
    metrics: Arc<GrpcMetrics>,
    rpc: Rpc,
    started: Instant,
    sent: u64,
    is_handled: bool,
    /// Of a unary call that has no answer yet; none if the service takes the time itself.
    timer: Option<CallTimer>,
    kept: Kept,
}

/// What is let go with a call, or told of its end.
#[derive(Debug, Default)]
pub struct Kept {
    pub open: Option<OpenCall>,
    pub audited: Option<Arc<Audited>>,
    pub budget: Option<Budget>,
}

impl Call {
    pub fn start(metrics: Arc<GrpcMetrics>, rpc: Rpc, kept: Kept) -> Self {
        metrics.started(rpc.index());
        Self { metrics, rpc, started: Instant::now(), sent: 0, is_handled: false, timer: None, kept }
    }

    /// Lets the call be logged if it takes long.
    pub fn time(&mut self, timer: CallTimer) {
        self.timer = (!self.rpc.is_stream()).then_some(timer);
    }

    /// The service has done its part; what is left is up to the connection.
    fn answered(&mut self) {
        if let Some(timer) = self.timer.take() {
            timer.end(|| Counted::UNKNOWN);
        }
    }

    fn count_sent(&mut self, passed: Passed) {
        self.sent += passed.messages;
        self.metrics.sent(self.rpc.index(), passed.messages, passed.payload_bytes);
    }

    fn handled(&mut self, code: Code) {
        if self.is_handled {
            return;
        }
        self.is_handled = true;
        if let Some(audited) = self.kept.audited.take() {
            audited.ended(code);
        }
        if !self.rpc.is_stream() && self.sent == 0 {
            // go-grpc-prometheus counts the answer of a unary call also when it is an error.
            self.metrics.sent(self.rpc.index(), 1, 0);
        }
        // The numbers of gRPC codes are 0 to 16.
        self.metrics.handled(self.rpc.index(), code as i32 as usize, self.started.elapsed());
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.answered();
        self.handled(Code::Cancelled);
    }
}

/// What comes from the client. A message that announces more than the limit is refused before it is read.
#[derive(Debug)]
pub struct RequestBody<B> {
    inner: B,
    frames: FrameCounter,
    metrics: Arc<GrpcMetrics>,
    rpc: Rpc,
    max_message_bytes: usize,
    kept: Kept,
    /// For the message that comes now, if it is large.
    taken: Option<Taken>,
}

impl<B> RequestBody<B> {
    pub fn new(inner: B, metrics: Arc<GrpcMetrics>, rpc: Rpc, max_message_bytes: usize, kept: Kept) -> Self {
        Self { inner, frames: FrameCounter::default(), metrics, rpc, max_message_bytes, kept, taken: None }
    }
}

impl<B> Body for RequestBody<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::error::Error + Send + Sync + 'static,
{
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Some(frame) = ready!(Pin::new(&mut self.inner).poll_frame(cx)) else {
            return Poll::Ready(None);
        };
        if let Some(data) = frame.as_ref().ok().and_then(Frame::data_ref) {
            let passed = self.frames.pass(data);
            self.metrics.received(self.rpc.index(), passed.messages, passed.payload_bytes);
            if passed.longest_announced as usize > self.max_message_bytes {
                let error = ApiError::MessageTooLarge {
                    bytes: passed.longest_announced as usize,
                    max_bytes: self.max_message_bytes,
                };
                return Poll::Ready(Some(Err(error.into())));
            }
            if passed.longest_announced as usize >= WORTH_BYTES
                && let Some(budget) = &self.kept.budget
            {
                match budget.take(passed.longest_announced as usize) {
                    Ok(taken) => self.taken = Some(taken),
                    Err(error) => return Poll::Ready(Some(Err(ApiError::from(error).into()))),
                }
            }
            if let Some(audited) = &self.kept.audited {
                audited.heard(data);
            }
        }
        Poll::Ready(Some(frame.map_err(|error| Status::from_error(Box::new(error)))))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// Bytes on their way, and the memory that they take.
struct Charged {
    data: Bytes,
    _taken: Taken,
}

impl AsRef<[u8]> for Charged {
    fn as_ref(&self) -> &[u8] {
        &self.data
    }
}

/// What goes to the client.
pub struct ResponseBody {
    inner: tonic::body::Body,
    frames: FrameCounter,
    call: Call,
    /// For streams: see [`super::stream_end`].
    ended: Option<Ended>,
}

impl std::fmt::Debug for ResponseBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ResponseBody").field("call", &self.call).finish_non_exhaustive()
    }
}

impl ResponseBody {
    /// Takes over a response whose headers are complete. An answer without messages has its code in them.
    pub fn wrap(
        response: http::Response<tonic::body::Body>,
        mut call: Call,
        ended: Option<Ended>,
    ) -> http::Response<Self> {
        call.answered();
        if let Some(code) = code_of(response.headers()) {
            call.handled(code);
        }
        response.map(|inner| Self { inner, frames: FrameCounter::default(), call, ended })
    }

    /// A large part of an answer counts until it is sent.
    fn charged(&self, frame: Frame<Bytes>) -> Frame<Bytes> {
        let Some(budget) = &self.call.kept.budget else { return frame };
        frame.map_data(|data| {
            if data.len() < WORTH_BYTES {
                return data;
            }
            Bytes::from_owner(Charged { _taken: budget.charge(data.len()), data })
        })
    }

    /// Drops what produced the stream and closes with `status`.
    fn end(&mut self, status: &Status) -> Frame<Bytes> {
        self.inner = tonic::body::Body::empty();
        self.ended = None;
        self.call.handled(status.code());
        let mut trailers = HeaderMap::new();
        if let Err(error) = status.add_header(&mut trailers) {
            // Cannot happen with our texts; the client then sees a stream without a status, which is an error too.
            tracing::warn!(error = %error, "stream ended without trailers");
        }
        Frame::trailers(trailers)
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if let Some(ended) = &mut self.ended
            && let Poll::Ready(error) = ended.as_mut().poll(cx)
        {
            return Poll::Ready(Some(Ok(self.end(&error.into()))));
        }
        let frame =
            ready!(Pin::new(&mut self.inner).poll_frame(cx)).map(|frame| frame.map(|frame| self.charged(frame)));
        match &frame {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    let passed = self.frames.pass(data);
                    self.call.count_sent(passed);
                } else if let Some(code) = frame.trailers_ref().and_then(code_of) {
                    self.call.handled(code);
                    self.ended = None;
                }
            }
            Some(Err(status)) => self.call.handled(status.code()),
            None => {}
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

fn code_of(headers: &HeaderMap) -> Option<Code> {
    headers.get(Status::GRPC_STATUS).map(|value| Code::from_bytes(value.as_bytes()))
}

//! Streams of the gateway: values of JSON that become messages, and messages that become lines of JSON.

use super::transcode::{Shapes, status_to_json, take_message};
use crate::api::edge::EdgeBody;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Response};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use std::error::Error;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tonic::{Code, Status};

/// The requests of a stream, one for each value in a body of JSON.
pub struct Requests<B> {
    json: B,
    shapes: Shapes,
    /// Of one value.
    max_bytes: usize,
    waiting: BytesMut,
    has_ended: bool,
}

impl<B> Requests<B> {
    pub fn new(json: B, shapes: Shapes, max_bytes: usize) -> Self {
        Self { json, shapes, max_bytes, waiting: BytesMut::new(), has_ended: false }
    }
}

impl<B> Body for Requests<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Error + Send + Sync + 'static,
{
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        loop {
            if self.has_ended {
                return Poll::Ready(None);
            }
            let this = &mut *self;
            match this.shapes.encode_next(&mut this.waiting) {
                Ok(Some(message)) => return Poll::Ready(Some(Ok(Frame::data(message)))),
                Ok(None) if this.waiting.len() > this.max_bytes => this.has_ended = true,
                Ok(None) => match ready!(Pin::new(&mut this.json).poll_frame(cx)) {
                    Some(Ok(frame)) => this.waiting.extend_from_slice(frame.data_ref().unwrap_or(&Bytes::new())),
                    Some(Err(_)) | None => this.has_ended = true,
                },
                // As in etcd the client is told no more than that the stream has no more requests.
                Err(status) => {
                    tracing::debug!(error = status.message(), "Failed to decode request");
                    this.has_ended = true;
                }
            }
        }
    }
}

/// What comes of a call.
#[derive(Debug)]
pub enum Event {
    Message(Bytes),
    End(Status),
}

/// What comes of a call, one after the other. [`Event::End`] is the last.
#[derive(Debug)]
pub struct Events {
    body: EdgeBody,
    /// The status, if it came before any message.
    headers: Option<Status>,
    received: BytesMut,
}

impl Events {
    pub fn of(response: Response<EdgeBody>) -> Self {
        let (parts, body) = response.into_parts();
        Self { body, headers: Status::from_header_map(&parts.headers), received: BytesMut::new() }
    }

    pub async fn next(&mut self) -> Event {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        if let Some(status) = self.headers.take() {
            return Poll::Ready(Event::End(status));
        }
        loop {
            if let Some(message) = take_message(&mut self.received) {
                return Poll::Ready(Event::Message(message));
            }
            let frame = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => frame,
                Some(Err(status)) => return Poll::Ready(Event::End(status)),
                None => return Poll::Ready(Event::End(Status::internal("call without a status"))),
            };
            match frame.into_data() {
                Ok(data) => self.received.extend_from_slice(&data),
                Err(frame) => return Poll::Ready(Event::End(status_of(frame.trailers_ref()))),
            }
        }
    }
}

fn status_of(trailers: Option<&HeaderMap>) -> Status {
    let status = trailers.and_then(Status::from_header_map);
    status.unwrap_or_else(|| Status::internal("call without a status"))
}

/// Each message as `{"result":…}` and an error as `{"error":…}`, a line each.
pub struct JsonLines {
    first: Option<Event>,
    events: Events,
    shapes: Shapes,
    has_ended: bool,
}

impl JsonLines {
    pub fn new(first: Event, events: Events, shapes: Shapes) -> Self {
        Self { first: Some(first), events, shapes, has_ended: false }
    }

    /// The next line, with its newline. None behind the last.
    pub fn poll_line(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if self.has_ended {
            return Poll::Ready(None);
        }
        let event = match self.first.take() {
            Some(event) => event,
            None => ready!(self.events.poll_next(cx)),
        };
        let made = match event {
            Event::Message(message) => self.shapes.to_json(message),
            Event::End(status) => Err(status),
        };
        let (name, json) = match made {
            Ok(json) => ("result", json),
            Err(status) => {
                self.has_ended = true;
                if status.code() == Code::Ok {
                    return Poll::Ready(None);
                }
                ("error", status_to_json(&status))
            }
        };
        let line = [b"{\"", name.as_bytes(), b"\":", &json, b"}\n"].concat();
        Poll::Ready(Some(line.into()))
    }
}

impl Body for JsonLines {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.poll_line(cx).map(|line| line.map(|line| Ok(Frame::data(line))))
    }
}

/// The lines of an answer's body, without their newlines.
pub struct Lines<B> {
    body: B,
    waiting: BytesMut,
}

impl<B: Body<Data = Bytes> + Unpin> Lines<B> {
    pub fn of(body: B) -> Self {
        Self { body, waiting: BytesMut::new() }
    }

    /// None at the end, or when the call has failed beyond words.
    pub async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(end) = self.waiting.iter().position(|byte| *byte == b'\n') {
                let line = self.waiting.split_to(end + 1).freeze();
                return Some(line.slice(..end));
            }
            match self.body.frame().await {
                Some(Ok(frame)) => self.waiting.extend_from_slice(frame.data_ref().unwrap_or(&Bytes::new())),
                Some(Err(_)) | None if self.waiting.is_empty() => return None,
                Some(Err(_)) | None => return Some(self.waiting.split().freeze()),
            }
        }
    }
}

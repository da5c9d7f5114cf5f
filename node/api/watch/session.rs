//! One open Watch stream: passes the client's requests on, and turns deliveries into responses. All of it happens
//! when the connection asks for the next response, so that a client which does not read is not served either; when
//! the connection drops it, its watchers end.

use super::Parts;
use super::codec::Frame;
use crate::api::status::ApiError;
use crate::types::KeyInterval;
use crate::watch::{Delivery, Filters, Start, WatchId, WatchSpec, WatchStream};
use bytes::Bytes;
use keelstone_proto::etcdserverpb::watch_create_request::FilterType;
use keelstone_proto::etcdserverpb::watch_request::RequestUnion;
use keelstone_proto::etcdserverpb::{WatchCreateRequest, WatchRequest, WatchResponse};
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};
use tokio_stream::Stream;
use tonic::metadata::MetadataMap;
use tonic::{Code, Request, Status, Streaming};

/// Answers that may wait before further requests are left with the client (etcd's ctrlStreamBufLen).
const MAX_ANSWERS_WAITING: usize = 16;
/// Requests taken at once.
const MAX_REQUESTS_AT_ONCE: usize = 64;
/// Responses sent before requests are looked at again.
const RESPONSES_PER_LOOK: usize = 32;
/// The id in answers that concern no watcher, or all.
const NO_WATCHER: i64 = -1;

pub struct Session {
    parts: Arc<Parts>,
    stream: WatchStream,
    /// Who the client is.
    metadata: MetadataMap,
    /// None once the client has closed its side; its watchers go on, as in etcd.
    requests: Option<Streaming<WatchRequest>>,
    progress: Interval,
    /// Further parts of a split response.
    fragments: VecDeque<Frame>,
    responses_since_look: usize,
    is_over: bool,
}

impl Session {
    pub(super) fn new(parts: Arc<Parts>, request: Request<Streaming<WatchRequest>>) -> Self {
        let (metadata, _, requests) = request.into_parts();
        let period = parts.progress.of_stream();
        let mut progress = interval_at(Instant::now() + period, period);
        progress.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            stream: parts.hub.open(),
            parts,
            metadata,
            requests: Some(requests),
            progress,
            fragments: VecDeque::new(),
            responses_since_look: 0,
            is_over: false,
        }
    }

    /// Takes requests until there are none, or the client should first read some answers.
    fn take_requests(&mut self, cx: &mut Context<'_>) -> Result<(), Status> {
        for _ in 0..MAX_REQUESTS_AT_ONCE {
            let Some(requests) = &mut self.requests else { return Ok(()) };
            if self.stream.answers_waiting() >= MAX_ANSWERS_WAITING {
                return Ok(());
            }
            match Pin::new(requests).poll_next(cx) {
                Poll::Pending => return Ok(()),
                Poll::Ready(None) => self.requests = None,
                Poll::Ready(Some(Ok(request))) => self.serve(request),
                Poll::Ready(Some(Err(status))) if status.code() == Code::Cancelled => {
                    return Err(ApiError::WatchCanceled.into());
                }
                Poll::Ready(Some(Err(status))) => return Err(status),
            }
        }
        cx.waker().wake_by_ref();
        Ok(())
    }

    fn serve(&mut self, request: WatchRequest) {
        match request.request_union {
            Some(RequestUnion::CreateRequest(create)) => self.create(create),
            Some(RequestUnion::CancelRequest(cancel)) => {
                self.stream.cancel(WatchId(cancel.watch_id));
            }
            Some(RequestUnion::ProgressRequest(_)) => self.stream.request_progress(),
            None => tracing::debug!("watch request without content"),
        }
    }

    fn create(&mut self, request: WatchCreateRequest) {
        if request.start_revision < 0 {
            return self.stream.refuse(ApiError::Compacted.text());
        }
        let spec = spec(request);
        match (self.parts.permit)(&self.metadata, &spec.interval) {
            // A refusal is delivered as well.
            Ok(()) => drop(self.stream.create(spec)),
            Err(status) => self.stream.refuse(go_text(&status)),
        }
    }

    fn frame(&self, delivery: Delivery) -> Frame {
        let head = |revision, watch_id| WatchResponse {
            header: Some((self.parts.answerer)().header_at(revision)),
            watch_id,
            ..WatchResponse::default()
        };
        let head = match delivery {
            Delivery::Created { id, revision } => WatchResponse { created: true, ..head(revision, id.0) },
            Delivery::Refused { revision, reason } => {
                WatchResponse { created: true, canceled: true, cancel_reason: reason, ..head(revision, NO_WATCHER) }
            }
            Delivery::Canceled { id, revision } => WatchResponse { canceled: true, ..head(revision, id.0) },
            // Without reason and revision: so does etcd.
            Delivery::Compacted { id, compacted } => {
                WatchResponse { canceled: true, compact_revision: compacted, ..head(0, id.0) }
            }
            Delivery::Progress { id, revision } => head(revision, id.map_or(NO_WATCHER, |id| id.0)),
            Delivery::Events(events) => {
                let head = head(events.revision, events.id.0);
                return Frame { head, events: events.events, prev_kv: events.prev_kv };
            }
        };
        Frame { head, events: Vec::new(), prev_kv: false }
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, Status>>> {
        if let Some(fragment) = self.fragments.pop_front() {
            return Poll::Ready(Some(Ok(fragment)));
        }
        loop {
            let looked = self.responses_since_look == 0;
            if looked {
                self.take_requests(cx)?;
                while self.progress.poll_tick(cx).is_ready() {
                    self.stream.progress_tick();
                }
            }
            match self.stream.poll_next(cx) {
                Poll::Pending if looked => return Poll::Pending,
                Poll::Pending => self.responses_since_look = 0,
                Poll::Ready(None) => return Poll::Ready(Some(Err(ApiError::Stopped.into()))),
                Poll::Ready(Some(delivery)) => {
                    self.responses_since_look = (self.responses_since_look + 1) % RESPONSES_PER_LOOK;
                    let may_split = matches!(&delivery, Delivery::Events(events) if events.fragment);
                    let frame = self.frame(delivery);
                    if !may_split {
                        return Poll::Ready(Some(Ok(frame)));
                    }
                    self.fragments = frame.fragments(self.parts.max_message_bytes).into();
                    return Poll::Ready(self.fragments.pop_front().map(Ok));
                }
            }
        }
    }
}

impl Stream for Session {
    type Item = Result<Frame, Status>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let session = self.get_mut();
        if session.is_over {
            return Poll::Ready(None);
        }
        let item = ready!(session.poll_frame(cx));
        session.is_over = !matches!(item, Some(Ok(_)));
        Poll::Ready(item)
    }
}

fn spec(request: WatchCreateRequest) -> WatchSpec {
    // No key means the lowest one.
    let key = if request.key.is_empty() { Bytes::from_static(b"\0") } else { request.key };
    let filtered = |filter: FilterType| request.filters.contains(&filter.into());
    WatchSpec {
        id: (request.watch_id != 0).then_some(WatchId(request.watch_id)),
        interval: KeyInterval::new(key, request.range_end),
        start: if request.start_revision == 0 { Start::Now } else { Start::At(request.start_revision) },
        filters: Filters { no_put: filtered(FilterType::Noput), no_delete: filtered(FilterType::Nodelete) },
        prev_kv: request.prev_kv,
        fragment: request.fragment,
        progress_notify: request.progress_notify,
    }
}

/// A status as Go prints it: clients compare the reason of a refusal with that text.
fn go_text(status: &Status) -> String {
    let code = match status.code() {
        Code::Cancelled => "Canceled".to_owned(),
        code => format!("{code:?}"),
    };
    format!("rpc error: code = {code} desc = {}", status.message())
}

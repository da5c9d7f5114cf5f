//! One open Watch stream: passes the client's requests on, and turns deliveries into responses. All of it happens
//! when the connection asks for the next response, so that a client which does not read is not served either; when
//! the connection drops it, its watchers end.

use super::codec::Frame;
use super::{Parts, Permitting};
use crate::api::asker::Asker;
use crate::api::metrics::WatchLoop;
use crate::api::status::ApiError;
use crate::auth::Identity;
use crate::defect::{self, Defect};
use crate::types::KeyInterval;
use crate::watch::{Delivery, Filters, Start, WatchId, WatchSpec, WatchStream};
use bytes::Bytes;
use keelstone_proto::etcdserverpb::watch_create_request::FilterType;
use keelstone_proto::etcdserverpb::watch_request::RequestUnion;
use keelstone_proto::etcdserverpb::{WatchCreateRequest, WatchRequest, WatchResponse};
use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};
use tokio_stream::Stream;
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
    asker: Arc<Asker>,
    /// Who the watchers were created for, where that was asked.
    owners: HashMap<WatchId, Identity>,
    /// A creation about which access control is asked, and the watcher that it is for. Later requests wait, since
    /// answers have an order.
    creating: Option<(WatchSpec, Permitting)>,
    /// Whose right is gone, and why, until that is delivered. What was queued before is not.
    withdrawn: HashMap<WatchId, ApiError>,
    /// Tells whether access control has changed; the other wakes for it.
    changes: watch::Receiver<()>,
    woken: tokio_stream::wrappers::WatchStream<()>,
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
        let (asker, requests) = Asker::of(request);
        let changes = parts.permits.changes.clone();
        let period = parts.progress.of_stream();
        let mut progress = interval_at(Instant::now() + period, period);
        progress.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            stream: parts.hub.open(),
            parts,
            asker: Arc::new(asker),
            owners: HashMap::new(),
            creating: None,
            withdrawn: HashMap::new(),
            woken: tokio_stream::wrappers::WatchStream::from_changes(changes.clone()),
            changes,
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
            if !self.finish_creating(cx) {
                return Ok(());
            }
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
        if !(self.parts.permits.is_closed)() {
            self.audit(&spec, Code::Ok);
            // A refusal is delivered as well.
            self.stream.create(spec).ok();
            return;
        }
        let permitting = (self.parts.permits.permit)(Arc::clone(&self.asker), spec.interval.clone());
        self.creating = Some((spec, permitting));
    }

    /// False while it is not known yet whether a watcher may be created.
    fn finish_creating(&mut self, cx: &mut Context<'_>) -> bool {
        let Some((spec, mut permitting)) = self.creating.take() else { return true };
        match permitting.as_mut().poll(cx) {
            Poll::Pending => {
                self.creating = Some((spec, permitting));
                return false;
            }
            Poll::Ready(Err(error)) => {
                self.audit(&spec, error.code());
                self.stream.refuse(refusal(&error));
            }
            Poll::Ready(Ok(owner)) => {
                self.audit(&spec, Code::Ok);
                if let Ok(id) = self.stream.create(spec) {
                    self.owners.insert(id, owner);
                }
            }
        }
        true
    }

    fn audit(&self, spec: &WatchSpec, code: Code) {
        if let Some(audited) = self.asker.audited() {
            audited.watched(&spec.interval, code);
        }
    }

    /// Ends the watchers that their owners may not have any more. Called before anything is delivered that was applied
    /// after the change.
    fn look_at_rights(&mut self) {
        if defect::on(Defect::WithdrawnWatchGoesOn) || !self.changes.has_changed().unwrap_or(false) {
            return;
        }
        self.changes.mark_unchanged();
        for (id, interval) in self.stream.watched() {
            let owner = self.owners.get(&id).unwrap_or(&Identity::NOBODY);
            if let Err(error) = (self.parts.permits.may_still)(owner, &interval)
                && self.stream.cancel(id)
            {
                self.owners.remove(&id);
                self.withdrawn.insert(id, error);
            }
        }
    }

    /// False for what is not told any more.
    fn is_told(&self, delivery: &Delivery) -> bool {
        match delivery {
            Delivery::Events(events) => !self.withdrawn.contains_key(&events.id),
            Delivery::Progress { id: Some(id), .. } => !self.withdrawn.contains_key(id),
            Delivery::Progress { id: None, .. }
            | Delivery::Created { .. }
            | Delivery::Refused { .. }
            | Delivery::Canceled { .. }
            | Delivery::Compacted { .. } => true,
        }
    }

    fn frame(&mut self, delivery: Delivery) -> Frame {
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
            Delivery::Canceled { id, revision } => {
                self.owners.remove(&id);
                let cancel_reason = self.withdrawn.remove(&id).as_ref().map(refusal).unwrap_or_default();
                WatchResponse { canceled: true, cancel_reason, ..head(revision, id.0) }
            }
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

    fn time(&self, took: Duration, events: usize) {
        let WatchLoop { events: responses, per_event, control, .. } = &self.parts.send_loop;
        let seconds = took.as_secs_f64();
        if events == 0 {
            return control.observe(seconds);
        }
        responses.observe(seconds);
        per_event.observe(seconds / events as f64);
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, Status>>> {
        if let Some(fragment) = self.fragments.pop_front() {
            return Poll::Ready(Some(Ok(fragment)));
        }
        loop {
            let looked = self.responses_since_look == 0;
            if looked {
                while let Poll::Ready(Some(())) = Pin::new(&mut self.woken).poll_next(cx) {}
                self.take_requests(cx)?;
                while self.progress.poll_tick(cx).is_ready() {
                    let begun = std::time::Instant::now();
                    self.stream.progress_tick();
                    self.parts.send_loop.progress.observe(begun.elapsed().as_secs_f64());
                }
            }
            let next = self.stream.poll_next(cx);
            self.look_at_rights();
            match next {
                Poll::Ready(Some(delivery)) if !self.is_told(&delivery) => {}
                Poll::Pending if looked => return Poll::Pending,
                Poll::Pending => self.responses_since_look = 0,
                Poll::Ready(None) => return Poll::Ready(Some(Err(ApiError::Stopped.into()))),
                Poll::Ready(Some(delivery)) => {
                    self.responses_since_look = (self.responses_since_look + 1) % RESPONSES_PER_LOOK;
                    let may_split = matches!(&delivery, Delivery::Events(events) if events.fragment);
                    let begun = std::time::Instant::now();
                    let frame = self.frame(delivery);
                    let events = frame.events.len();
                    if may_split {
                        self.fragments = frame.fragments(self.parts.max_message_bytes).into();
                    } else {
                        self.fragments.push_back(frame);
                    }
                    self.time(begun.elapsed(), events);
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

/// Why there is no such watcher, or no more: a status as Go prints it, since clients compare the text. etcd knows four.
fn refusal(error: &ApiError) -> String {
    let told = match error {
        ApiError::InvalidAuthToken | ApiError::AuthOldRevision | ApiError::UserEmpty => error.clone(),
        _ => ApiError::PermissionDenied,
    };
    let code = match told.code() {
        Code::Cancelled => "Canceled".to_owned(),
        code => format!("{code:?}"),
    };
    format!("rpc error: code = {code} desc = {}", told.text())
}

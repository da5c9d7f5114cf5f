//! One watch stream, driven by hand: requests go out as given, responses come back one by one.

use crate::proto::etcdserverpb::watch_client::WatchClient;
use crate::proto::etcdserverpb::watch_request::RequestUnion;
use crate::proto::etcdserverpb::{
    WatchCancelRequest, WatchCreateRequest, WatchProgressRequest, WatchRequest, WatchResponse,
};
use crate::proto::mvccpb::Event;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::transport::Channel;
use tonic::{Request, Status};

/// More responses than any test leaves unread.
pub(crate) const UNREAD_LIMIT: usize = 1 << 20;

const PATIENCE: Duration = Duration::from_secs(10);

/// A bidirectional stream. etcd sends no headers before its first response, so the call itself runs in
/// a task. When `unread` responses wait for the test, the task stops reading, and the server feels it.
#[derive(Debug)]
pub struct WatchStream {
    requests: Option<mpsc::UnboundedSender<WatchRequest>>,
    responses: mpsc::Receiver<(Instant, Result<WatchResponse, Status>)>,
    task: JoinHandle<()>,
}

impl WatchStream {
    pub(crate) fn open(
        mut client: WatchClient<Channel>,
        unread: usize,
        wrap: impl FnOnce(UnboundedReceiverStream<WatchRequest>) -> Request<UnboundedReceiverStream<WatchRequest>>,
    ) -> Self {
        let (requests, outgoing) = mpsc::unbounded_channel();
        let (incoming, responses) = mpsc::channel(unread);
        let request = wrap(UnboundedReceiverStream::new(outgoing));
        let task = tokio::spawn(async move {
            let mut stream = match client.watch(request).await {
                Ok(response) => response.into_inner(),
                Err(status) => {
                    // The test may have dropped its end, which is its right.
                    drop(incoming.send((Instant::now(), Err(status))).await);
                    return;
                }
            };
            while let Some(response) = stream.message().await.transpose() {
                let failed = response.is_err();
                if incoming.send((Instant::now(), response)).await.is_err() || failed {
                    return;
                }
            }
        });
        Self { requests: Some(requests), responses, task }
    }

    fn send(&self, request: RequestUnion) {
        let requests = self.requests.as_ref().expect("requests are still open");
        // A stream that the server ended shows in the next response.
        drop(requests.send(WatchRequest { request_union: Some(request) }));
    }

    pub fn create(&self, request: WatchCreateRequest) {
        self.send(RequestUnion::CreateRequest(request));
    }

    pub fn cancel(&self, watch_id: i64) {
        self.send(RequestUnion::CancelRequest(WatchCancelRequest { watch_id }));
    }

    pub fn ask_progress(&self) {
        self.send(RequestUnion::ProgressRequest(WatchProgressRequest {}));
    }

    /// A message with nothing in it.
    pub fn send_empty(&self) {
        let requests = self.requests.as_ref().expect("requests are still open");
        drop(requests.send(WatchRequest { request_union: None }));
    }

    /// Ends our half of the stream.
    pub fn close_requests(&mut self) {
        self.requests = None;
    }

    /// The next response, with the time when it came, `None` at the end of the stream.
    pub async fn next_timed(&mut self) -> Option<(Instant, Result<WatchResponse, Status>)> {
        self.responses.recv().await
    }

    /// The next response within the harness's patience.
    ///
    /// # Panics
    /// When nothing comes.
    pub async fn next(&mut self) -> Result<WatchResponse, Status> {
        match tokio::time::timeout(PATIENCE, self.responses.recv()).await {
            Ok(Some((_, response))) => response,
            Ok(None) => Err(Status::ok("end of stream")),
            Err(_) => panic!("no watch response within {PATIENCE:?}"),
        }
    }

    /// As [`Self::next`], and the stream must go on.
    pub async fn expect(&mut self) -> WatchResponse {
        self.next().await.expect("a watch response, not the end of the stream")
    }

    /// Creates a watcher and returns its `created` response.
    pub async fn create_and_wait(&mut self, request: WatchCreateRequest) -> WatchResponse {
        self.create(request);
        let response = self.expect().await;
        assert!(response.created, "first comes the created response: {response:?}");
        response
    }

    /// Collects events until there are at least `count`, over as many responses as it takes.
    pub async fn events(&mut self, count: usize) -> Vec<Event> {
        let mut events = Vec::new();
        while events.len() < count {
            let response = self.expect().await;
            assert!(!response.canceled, "cancelled before {count} events: {response:?}");
            events.extend(response.events);
        }
        events
    }

    /// What is there already, without waiting.
    pub fn try_next(&mut self) -> Option<Result<WatchResponse, Status>> {
        self.responses.try_recv().ok().map(|(_, response)| response)
    }
}

impl Drop for WatchStream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

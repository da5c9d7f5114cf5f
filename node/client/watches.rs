//! Watches on one stream. When it breaks they go on where they were, on a new one (etcd `client/v3/watch.go`).

use super::{CallError, Client, methods};
use keelstone_proto::etcdserverpb::watch_request::RequestUnion;
use keelstone_proto::etcdserverpb::{
    ResponseHeader, WatchCreateRequest, WatchProgressRequest, WatchRequest, WatchResponse,
};
use keelstone_proto::mvccpb::Event;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

/// The id of news for all watches.
const ALL: i64 = -1;
const RECONNECT_PAUSE: Duration = Duration::from_millis(100);
/// Requests on their way, beside those that a new stream begins with.
const QUEUE: usize = 16;

const COMPACTED: &str = "etcdserver: mvcc: required revision has been compacted";
const FUTURE: &str = "etcdserver: mvcc: required revision is a future revision";

/// What a watcher is told at once.
#[derive(Clone, Debug, Default)]
pub struct Watched {
    pub header: Option<ResponseHeader>,
    pub events: Vec<Event>,
    pub compact_revision: i64,
    pub canceled: bool,
    pub cancel_reason: String,
}

impl Watched {
    /// Only the news that there is none.
    pub fn is_progress(&self) -> bool {
        let revision = self.header.map_or(0, |header| header.revision);
        self.events.is_empty() && !self.canceled && self.compact_revision == 0 && revision != 0
    }
}

/// What happened to one watch.
#[derive(Debug)]
pub struct News {
    pub tag: usize,
    pub watched: Watched,
    /// Why the watch ended, if it did.
    pub error: Option<String>,
}

#[derive(Clone, Debug)]
struct Watch {
    tag: usize,
    /// Its start is kept where the watch is to go on.
    request: WatchCreateRequest,
}

#[derive(Debug)]
struct Open {
    requests: mpsc::Sender<WatchRequest>,
    answers: Streaming<WatchResponse>,
}

/// Watches by their ids on the stream, and those that have none yet in the order of their requests.
#[derive(Debug)]
pub struct Watches {
    client: Client,
    running: BTreeMap<i64, Watch>,
    starting: VecDeque<Watch>,
    open: Option<Open>,
    ready: VecDeque<News>,
}

/// A watch that is the only one of its stream.
pub async fn one(client: &Client, request: WatchCreateRequest) -> Watches {
    let mut watches = Watches::new(client);
    watches.create(0, request).await;
    watches
}

impl Watches {
    pub fn new(client: &Client) -> Self {
        Self {
            client: client.clone(),
            running: BTreeMap::new(),
            starting: VecDeque::new(),
            open: None,
            ready: VecDeque::new(),
        }
    }

    /// Begins a watch, whose news carry the tag.
    pub async fn create(&mut self, tag: usize, request: WatchCreateRequest) {
        self.starting.push_back(Watch { tag, request: request.clone() });
        if let Some(open) = &self.open {
            // A stream that just broke sends it once more when it is opened again.
            if open.requests.send(create(request)).await.is_err() {
                self.open = None;
            }
        }
    }

    /// Asks for news from every watch, be there any or not.
    ///
    /// # Errors
    /// If no stream can be had.
    pub async fn ask_progress(&mut self) -> Result<(), CallError> {
        let request = WatchRequest { request_union: Some(RequestUnion::ProgressRequest(WatchProgressRequest {})) };
        match &self.open {
            Some(open) if open.requests.send(request.clone()).await.is_ok() => Ok(()),
            _ => self.connect(Some(request)).await,
        }
    }

    /// What happens next; `None` when no watch is left.
    pub async fn next(&mut self) -> Option<News> {
        loop {
            if let Some(news) = self.ready.pop_front() {
                return Some(news);
            }
            if self.running.is_empty() && self.starting.is_empty() {
                return None;
            }
            let Some(open) = &mut self.open else {
                if let Err(error) = self.connect(None).await {
                    self.broken(&error).await;
                }
                continue;
            };
            match open.answers.message().await {
                Ok(Some(answer)) => self.take(answer),
                Ok(None) => self.broken(&CallError::from_status(Status::unavailable("EOF"), None)).await,
                Err(status) => self.broken(&CallError::from_status(status, None)).await,
            }
        }
    }

    /// Opens a stream that begins with all watches there are: a server of Go answers nothing before a request.
    async fn connect(&mut self, first: Option<WatchRequest>) -> Result<(), CallError> {
        let running = std::mem::take(&mut self.running);
        for watch in running.into_values().rev() {
            self.starting.push_front(watch);
        }
        let (requests, queue) = mpsc::channel(self.starting.len() + QUEUE);
        let creates = self.starting.iter().map(|watch| create(watch.request.clone()));
        for request in creates.chain(first) {
            // There is room for all of them.
            requests.send(request).await.map_err(|_| CallError::from_status(Status::internal("queue closed"), None))?;
        }
        let answers = self.client.stream(methods::WATCH, ReceiverStream::new(queue)).await?;
        self.open = Some(Open { requests, answers });
        Ok(())
    }

    /// The stream ended. Watches go on later, or end too.
    async fn broken(&mut self, error: &CallError) {
        self.open = None;
        if !error.is_final() {
            return sleep(RECONNECT_PAUSE).await;
        }
        let running = std::mem::take(&mut self.running).into_values();
        for watch in running.chain(std::mem::take(&mut self.starting)) {
            let watched = Watched { canceled: true, ..Watched::default() };
            self.ready.push_back(News { tag: watch.tag, watched, error: Some(error.to_string()) });
        }
    }

    fn take(&mut self, answer: WatchResponse) {
        if answer.created {
            let Some(mut watch) = self.starting.pop_front() else { return };
            if answer.canceled {
                let error = Some(reason(&answer));
                self.ready.push_back(News { tag: watch.tag, watched: watched(answer), error });
                return;
            }
            if watch.request.start_revision == 0 {
                watch.request.start_revision = revision(&answer) + 1;
            }
            self.running.insert(answer.watch_id, watch);
            return;
        }
        if answer.watch_id == ALL {
            let tags: Vec<usize> = self.running.values().map(|watch| watch.tag).collect();
            let news = |tag| News { tag, watched: watched(answer.clone()), error: None };
            return self.ready.extend(tags.into_iter().map(news));
        }
        let Some(watch) = self.running.get_mut(&answer.watch_id) else { return };
        let (tag, seen) =
            (watch.tag, answer.events.last().and_then(|event| event.kv.as_ref()).map(|pair| pair.mod_revision));
        // Progress is told of what was sent before.
        let seen = seen.unwrap_or_else(|| revision(&answer));
        watch.request.start_revision = watch.request.start_revision.max(seen + 1);
        let mut error = None;
        if answer.canceled {
            self.running.remove(&answer.watch_id);
            error = Some(reason(&answer));
        }
        self.ready.push_back(News { tag, watched: watched(answer), error });
    }
}

fn create(request: WatchCreateRequest) -> WatchRequest {
    WatchRequest { request_union: Some(RequestUnion::CreateRequest(request)) }
}

fn revision(answer: &WatchResponse) -> i64 {
    answer.header.map_or(0, |header| header.revision)
}

fn watched(answer: WatchResponse) -> Watched {
    Watched {
        header: answer.header,
        events: answer.events,
        compact_revision: answer.compact_revision,
        canceled: answer.canceled,
        cancel_reason: answer.cancel_reason,
    }
}

/// Why the server ended a watch.
fn reason(answer: &WatchResponse) -> String {
    if answer.compact_revision != 0 {
        COMPACTED.to_owned()
    } else if answer.cancel_reason.is_empty() {
        FUTURE.to_owned()
    } else if answer.cancel_reason.starts_with("rpc error: ") {
        // The server refuses watches with its own errors as text.
        answer.cancel_reason.clone()
    } else {
        CallError::from_status(Status::failed_precondition(answer.cancel_reason.clone()), None).to_string()
    }
}

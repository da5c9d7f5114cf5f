//! The service over a real connection: what a client sees, in etcd's words.

use super::*;
use crate::mvcc::{self, Store};
use crate::storage::memory::MemoryFile;
use crate::storage::{self, Durability, Storage};
use crate::threads::Threads;
use crate::types::{ClusterId, LeaseId, MemberId};
use crate::watch::{Metrics, Settings};
use bytes::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use keelstone_proto::etcdserverpb::watch_client::WatchClient;
use keelstone_proto::etcdserverpb::watch_create_request::FilterType;
use keelstone_proto::etcdserverpb::watch_request::RequestUnion;
use keelstone_proto::etcdserverpb::{WatchCancelRequest, WatchCreateRequest, WatchProgressRequest, WatchResponse};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::LocalSet;
use tokio_stream::wrappers::ReceiverStream;

struct Writer {
    store: Store,
    hub: Arc<Hub>,
    /// Nobody may watch any more.
    withdrawn: Arc<AtomicBool>,
    rights: watch::Sender<()>,
}

impl Writer {
    fn new(settings: Settings) -> Self {
        let registry = prometheus::Registry::new();
        let storage =
            Storage::create(MemoryFile::new(), 1 << 20, storage::Metrics::register(&registry).unwrap()).unwrap();
        let store = Store::open(storage, mvcc::Metrics::register(&registry).unwrap()).unwrap().store;
        let hub = Hub::new(store.views(), settings, Metrics::register(&registry).unwrap());
        Self { store, hub, withdrawn: Arc::default(), rights: watch::channel(()).0 }
    }

    /// Puts (with a value) and deletes in one revision.
    fn change(&mut self, changes: &[(&'static str, Option<Bytes>)]) {
        let mut batch = self.store.begin().unwrap();
        let mut txn = batch.txn();
        for (key, value) in changes {
            let key = Bytes::from_static(key.as_bytes());
            match value {
                Some(value) => txn.put(key, value.clone(), LeaseId::NONE),
                None => assert_eq!(txn.delete(&KeyInterval::One(key)), 1),
            }
        }
        let changed = txn.finish().expect("a change");
        batch.commit(Durability::Volatile).unwrap();
        self.hub.publish(&[changed]);
    }

    fn put(&mut self, key: &'static str, value: &'static str) {
        self.change(&[(key, Some(Bytes::from_static(value.as_bytes())))]);
    }

    fn delete(&mut self, key: &'static str) {
        self.change(&[(key, None)]);
    }

    fn compact(&mut self, revision: i64) {
        let mut batch = self.store.begin().unwrap();
        batch.compact(revision).unwrap();
        batch.commit(Durability::Volatile).unwrap();
        while self.store.is_compacting() {
            let mut batch = self.store.begin().unwrap();
            batch.compaction_slice(1000).unwrap();
            batch.commit(Durability::Volatile).unwrap();
        }
    }
}

struct Client {
    requests: mpsc::Sender<WatchRequest>,
    responses: Streaming<WatchResponse>,
}

impl Client {
    async fn send(&self, union: RequestUnion) {
        self.requests.send(WatchRequest { request_union: Some(union) }).await.unwrap();
    }

    async fn next(&mut self) -> WatchResponse {
        let next = tokio::time::timeout(Duration::from_secs(20), self.responses.message());
        next.await.expect("a response in time").unwrap().expect("an open stream")
    }

    async fn create(&mut self, request: WatchCreateRequest) -> WatchResponse {
        self.send(RequestUnion::CreateRequest(request)).await;
        self.next().await
    }

    /// The next response in short.
    async fn told(&mut self) -> String {
        short(&self.next().await)
    }
}

/// Puts the fields of a response that are set into one line.
fn short(response: &WatchResponse) -> String {
    let header = response.header.as_ref().expect("a header");
    assert_eq!((header.cluster_id, header.member_id, header.raft_term), (1, 2, 3));
    let mut text = format!("{}@{}", response.watch_id, header.revision);
    for (set, word) in
        [(response.created, " created"), (response.canceled, " canceled"), (response.fragment, " fragment")]
    {
        text += if set { word } else { "" };
    }
    if response.compact_revision != 0 {
        text += &format!(" compacted {}", response.compact_revision);
    }
    if !response.cancel_reason.is_empty() {
        text += &format!(" [{}]", response.cancel_reason);
    }
    for event in &response.events {
        let kv = event.kv.as_ref().expect("a pair");
        let key = std::str::from_utf8(&kv.key).unwrap();
        let kind = if event.r#type == 0 { "put" } else { "delete" };
        text += &format!(" {kind} {key}@{}", kv.mod_revision);
        if let Some(before) = &event.prev_kv {
            text += &format!("<{}", before.mod_revision);
        }
    }
    text
}

fn watch(key: &'static str, range_end: &'static str) -> WatchCreateRequest {
    let bytes = |text: &'static str| Bytes::from_static(text.as_bytes());
    WatchCreateRequest { key: bytes(key), range_end: bytes(range_end), ..WatchCreateRequest::default() }
}

/// Runs a test with a server and one client on one thread.
fn check<F: Future<Output = ()>>(settings: Settings, test: impl FnOnce(Writer, Client) -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(LocalSet::new().run_until(async {
        let store = Writer::new(settings);
        let hub = Arc::clone(&store.hub);
        let catch_up = Arc::clone(&hub);
        let catching_up = tokio::task::spawn_local(async move { catch_up.catch_up().await });
        let withdrawn = Arc::clone(&store.withdrawn);
        let permits = Permits {
            // Else `permit`, whose answers are what is looked at, would not be asked.
            is_closed: Box::new(|| true),
            permit: Box::new(|asker, interval| {
                let permitted = match asker.token() {
                    _ if interval.start().as_ref() != b"secret" => Ok(Identity::user("u", 1)),
                    Some(_) => Err(ApiError::PermissionDenied),
                    None => Err(ApiError::InvalidAuthToken),
                };
                Box::pin(async move {
                    tokio::task::yield_now().await;
                    permitted
                })
            }),
            may_still: Box::new(move |owner, interval| {
                assert_eq!(owner.who().user, "u");
                let is_gone = withdrawn.load(Ordering::Relaxed) && interval.contains(b"a");
                if is_gone { Err(ApiError::PermissionDenied) } else { Ok(()) }
            }),
            changes: store.rights.subscribe(),
        };
        let service = WatchService::new(Parts {
            hub: Arc::clone(&hub),
            answerer: Box::new(|| Answerer { cluster: ClusterId(1), member: MemberId(2), term: 3 }),
            permits,
            send_loop: WatchLoop::register(&prometheus::Registry::new()).unwrap(),
            progress: ProgressPeriod::new(Duration::from_millis(100), Arc::new(|| 0.0)),
            max_message_bytes: 4096,
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let serving = tokio::task::spawn_local(async move {
            let (socket, _) = listener.accept().await.unwrap();
            let connection = auto::Builder::new(TokioExecutor::new());
            // How it ends is the client's choice.
            drop(connection.serve_connection(TokioIo::new(socket), TowerToHyperService::new(service)).await);
        });
        let (requests, outgoing) = mpsc::channel(16);
        let mut client = WatchClient::connect(url).await.unwrap();
        let responses = client.watch(ReceiverStream::new(outgoing)).await.unwrap().into_inner();
        test(store, Client { requests, responses }).await;
        hub.close();
        catching_up.await.unwrap().unwrap();
        serving.abort();
    }));
}

#[test]
fn events_of_now_come_one_response_a_revision() {
    check(Settings::default(), async |mut store, mut client| {
        store.put("a", "1");
        assert_eq!(short(&client.create(watch("a", "c")).await), "0@2 created");
        store.change(&[("a", Some(Bytes::new())), ("b", Some(Bytes::new())), ("c", Some(Bytes::new()))]);
        store.delete("a");
        assert_eq!(client.told().await, "0@3 put a@3 put b@3");
        assert_eq!(client.told().await, "0@4 delete a@4");
    });
}

#[test]
fn history_comes_in_one_response_with_the_present_revision() {
    check(Settings::default(), async |mut store, mut client| {
        for _ in 0..3 {
            store.put("a", "1");
        }
        store.put("z", "1");
        let request = WatchCreateRequest { start_revision: 3, prev_kv: true, ..watch("a", "") };
        assert_eq!(short(&client.create(request).await), "0@5 created");
        assert_eq!(client.told().await, "0@5 put a@3<2 put a@4<3");
        store.delete("a");
        assert_eq!(client.told().await, "0@6 delete a@6<4");
        store.put("a", "1");
        assert_eq!(client.told().await, "0@7 put a@7");
    });
}

#[test]
fn ids_are_chosen_honoured_and_refused() {
    check(Settings::default(), async |_store, mut client| {
        assert_eq!(short(&client.create(watch("a", "")).await), "0@1 created");
        let named = || WatchCreateRequest { watch_id: 1, ..watch("a", "") };
        assert_eq!(short(&client.create(named()).await), "1@1 created");
        assert_eq!(short(&client.create(watch("a", "")).await), "2@1 created");
        let duplicate = "-1@1 created canceled [mvcc: duplicate watch ID provided on the WatchStream]";
        assert_eq!(short(&client.create(named()).await), duplicate);
        let empty = "-1@1 created canceled [mvcc: watcher range is empty]";
        assert_eq!(short(&client.create(watch("b", "a")).await), empty);
        let negative = WatchCreateRequest { start_revision: -1, ..watch("a", "") };
        assert_eq!(
            short(&client.create(negative).await),
            "-1@1 created canceled [etcdserver: mvcc: required revision has been compacted]"
        );
        assert_eq!(
            short(&client.create(watch("secret", "")).await),
            "-1@1 created canceled [rpc error: code = Unauthenticated desc = etcdserver: invalid auth token]"
        );
    });
}

#[test]
fn a_cancelled_watcher_is_silent_and_an_unknown_one_is_ignored() {
    check(Settings::default(), async |mut store, mut client| {
        client.create(watch("a", "")).await;
        client.create(watch("a", "")).await;
        client.send(RequestUnion::CancelRequest(WatchCancelRequest { watch_id: 9 })).await;
        client.send(RequestUnion::CancelRequest(WatchCancelRequest { watch_id: 0 })).await;
        assert_eq!(client.told().await, "0@1 canceled");
        store.put("a", "1");
        assert_eq!(client.told().await, "1@2 put a@2");
    });
}

#[test]
fn a_start_below_the_compaction_is_created_then_cancelled_without_a_reason() {
    check(Settings::default(), async |mut store, mut client| {
        for _ in 0..5 {
            store.put("a", "1");
        }
        store.compact(4);
        let from = |start_revision| WatchCreateRequest { start_revision, prev_kv: true, ..watch("a", "") };
        assert_eq!(short(&client.create(from(3)).await), "0@6 created");
        assert_eq!(client.told().await, "0@0 canceled compacted 4");
        assert_eq!(short(&client.create(from(4)).await), "1@6 created");
        assert_eq!(client.told().await, "1@6 put a@4 put a@5<4 put a@6<5", "the pair before the first is compacted");
        client.send(RequestUnion::CancelRequest(WatchCancelRequest { watch_id: 0 })).await;
        assert_eq!(client.told().await, "0@6 canceled", "its id is known until the client lets go of it");
    });
}

#[test]
fn a_future_start_passes_over_what_comes_before() {
    check(Settings::default(), async |mut store, mut client| {
        client.create(WatchCreateRequest { start_revision: 4, ..watch("a", "") }).await;
        store.put("a", "1");
        client.send(RequestUnion::ProgressRequest(WatchProgressRequest {})).await;
        store.put("a", "1");
        // Asked for at revision 2, below the start: no answer, so that of the next request comes first.
        assert_eq!(short(&client.create(watch("z", "")).await), "1@3 created");
        store.put("a", "1");
        assert_eq!(client.told().await, "0@4 put a@4");
        client.send(RequestUnion::ProgressRequest(WatchProgressRequest {})).await;
        assert_eq!(client.told().await, "-1@4");
    });
}

#[test]
fn filters_leave_nothing_of_a_revision_they_cover() {
    check(Settings::default(), async |mut store, mut client| {
        let filters = vec![FilterType::Noput.into(), 77];
        client.create(WatchCreateRequest { filters, ..watch("a", "") }).await;
        store.put("a", "1");
        store.delete("a");
        assert_eq!(client.told().await, "0@3 delete a@3");
    });
}

#[test]
fn a_quiet_watcher_reports_the_revision() {
    check(Settings::default(), async |mut store, mut client| {
        client.create(watch("a", "")).await;
        client.create(WatchCreateRequest { progress_notify: true, ..watch("a", "") }).await;
        store.put("z", "1");
        assert_eq!(client.told().await, "1@2");
        assert_eq!(client.told().await, "1@2");
    });
}

#[test]
fn large_responses_are_split_for_those_who_allow_it() {
    check(Settings::default(), async |mut store, mut client| {
        client.create(WatchCreateRequest { fragment: true, ..watch("", "\0") }).await;
        client.create(watch("", "\0")).await;
        let large = || Some(Bytes::from(vec![1; 1500]));
        store.change(&[("a", large()), ("b", large()), ("c", large())]);
        assert_eq!(client.told().await, "0@2 fragment put a@2 put b@2");
        assert_eq!(client.told().await, "0@2 put c@2");
        assert_eq!(client.told().await, "1@2 put a@2 put b@2 put c@2");
    });
}

#[test]
fn a_slow_client_gets_all_events_through_a_small_queue() {
    let settings = Settings {
        queue_deliveries: 1,
        queue_bytes: 200,
        budget_bytes: 1 << 20,
        slice_rows: 7,
        gather: Duration::from_millis(1),
        threads: Threads::Own,
    };
    check(settings, async |mut store, mut client| {
        client.create(watch("a", "")).await;
        client.create(WatchCreateRequest { prev_kv: true, ..watch("", "\0") }).await;
        let (mut first, mut second) = (1, 1);
        for round in 0..400 {
            store.put("a", "1");
            if round % 9 == 0 {
                tokio::task::yield_now().await;
            }
        }
        while first < 401 || second < 401 {
            let response = client.next().await;
            let last = if response.watch_id == 0 { &mut first } else { &mut second };
            for event in &response.events {
                *last += 1;
                assert_eq!(event.kv.as_ref().unwrap().mod_revision, *last);
                assert_eq!(event.prev_kv.is_some(), response.watch_id == 1 && *last > 2);
            }
        }
        client.send(RequestUnion::ProgressRequest(WatchProgressRequest {})).await;
        assert_eq!(client.told().await, "-1@401");
    });
}

#[test]
fn a_client_that_goes_away_leaves_no_watcher() {
    check(Settings::default(), async |mut store, mut client| {
        client.create(watch("a", "")).await;
        let gauges = store.hub.metrics().clone();
        assert_eq!((gauges.streams.get(), gauges.watchers.get()), (1, 1));
        drop(client);
        while gauges.streams.get() > 0 {
            store.put("a", "1");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!((gauges.watchers.get(), gauges.pending_events.get()), (0, 0));
    });
}

const DENIED: &str = "rpc error: code = PermissionDenied desc = etcdserver: permission denied";

#[test]
fn a_watch_ends_when_the_right_to_it_is_withdrawn() {
    check(Settings::default(), async |mut store, mut client| {
        client.create(watch("a", "b")).await;
        client.create(watch("b", "c")).await;
        // Not told any more: it was waiting when the right was withdrawn.
        store.put("a", "1");
        store.withdrawn.store(true, Ordering::Relaxed);
        store.rights.send_replace(());
        store.put("a", "2");
        store.put("b", "3");
        assert_eq!(client.told().await, "1@4 put b@4");
        let ended = client.next().await;
        assert_eq!((ended.watch_id, ended.canceled, ended.cancel_reason.as_str()), (0, true, DENIED));
        // The id is free again, and nothing of before sticks to it.
        store.withdrawn.store(false, Ordering::Relaxed);
        assert!(client.create(watch("a", "b")).await.created);
        store.put("a", "4");
        assert!(client.told().await.ends_with("@5 put a@5"));
    });
}

#[test]
fn a_quiet_watch_is_told_of_it_at_once() {
    check(Settings::default(), async |store, mut client| {
        client.create(watch("a", "b")).await;
        store.withdrawn.store(true, Ordering::Relaxed);
        store.rights.send_replace(());
        let ended = client.next().await;
        assert_eq!((ended.canceled, ended.cancel_reason.as_str(), ended.compact_revision), (true, DENIED, 0));
        // A client that cancels it as well is not told twice.
        client.send(RequestUnion::CancelRequest(WatchCancelRequest { watch_id: 0 })).await;
        client.send(RequestUnion::ProgressRequest(WatchProgressRequest {})).await;
        assert!(client.create(watch("b", "c")).await.created);
    });
}

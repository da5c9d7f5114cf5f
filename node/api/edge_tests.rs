//! The edge and its connections, with real clients over loopback and the health service behind.

use super::answer::text;
use super::edge::{CallDoor, Doors, Edge, PageDoor};
use super::health::HealthService;
use super::metrics::Metrics;
use super::serve::{ConnectionSettings, serve_client};
use super::stream_end::StreamEnder;
use crate::metrics::render;
use crate::net::tls::Entrance;
use http::StatusCode;
use keelstone_proto::etcdserverpb::PutRequest;
use keelstone_proto::etcdserverpb::kv_client::KvClient;
use keelstone_proto::health::health_check_response::ServingStatus;
use keelstone_proto::health::health_client::HealthClient;
use keelstone_proto::health::health_server::HealthServer;
use keelstone_proto::health::{HealthCheckRequest, HealthListRequest};
use prometheus::{IntCounter, Registry};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tonic::codegen::Service;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request};

struct Server {
    address: SocketAddr,
    registry: Registry,
    ender: StreamEnder,
    serving: watch::Sender<ServingStatus>,
    has_leader: Arc<AtomicBool>,
    is_learner: Arc<AtomicBool>,
    stop: oneshot::Sender<()>,
    stopped: JoinHandle<()>,
}

const MAX_MESSAGE_BYTES: usize = 1_000;

async fn start() -> Server {
    let registry = Registry::new();
    let (serving, status) = watch::channel(ServingStatus::Serving);
    let (ender, stream_ends) = StreamEnder::new();
    let (has_leader, is_learner) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicBool::new(false)));
    let health = HealthServer::new(HealthService::new(status));
    let calls = CallDoor {
        serve: Box::new(move |_rpc, _caller, request| health.clone().call(request)),
        is_learner: {
            let flag = Arc::clone(&is_learner);
            Box::new(move || flag.load(Ordering::Relaxed))
        },
        has_leader: {
            let flag = Arc::clone(&has_leader);
            Box::new(move || flag.load(Ordering::Relaxed))
        },
        max_message_bytes: MAX_MESSAGE_BYTES,
        budget: crate::admission::Budget::new(None),
        warn_unary_after: Duration::MAX,
        stream_ends,
    };
    let pages =
        PageDoor(Box::new(|request| Box::pin(async move { text(StatusCode::OK, request.uri.path().to_owned()) })));
    let doors = Doors { calls: Some(calls), pages: Some(pages), gateway: None, browsers: None, audit: None };
    let slow_applies = IntCounter::new("slow_applies", "Of apply.").expect("a name");
    let edge = Edge::new(doors, Metrics::register(&registry, slow_applies).expect("a fresh registry"));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let (stop, stopping) = oneshot::channel();
    let settings = ConnectionSettings { drain: Duration::from_millis(500), ..ConnectionSettings::default() };
    let stopped = tokio::spawn(serve_client(Box::new(listener), Entrance::Clear, edge, settings, async {
        stopping.await.ok();
    }));
    Server { address, registry, ender, serving, has_leader, is_learner, stop, stopped }
}

impl Server {
    async fn channel(&self) -> Channel {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.address)).expect("an address");
        endpoint.connect().await.expect("a server")
    }

    async fn health(&self) -> HealthClient<Channel> {
        HealthClient::new(self.channel().await)
    }

    /// Waits until a line of the exposition is there: the server counts a call's end after the client saw it.
    async fn await_line(&self, line: &str) {
        let has_line = || {
            let text = String::from_utf8(render(&self.registry).expect("rendered")).expect("text");
            text.lines().any(|found| found == line)
        };
        for _ in 0..500 {
            if has_line() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("never saw {line}");
    }
}

fn whole_server() -> HealthCheckRequest {
    HealthCheckRequest::default()
}

#[tokio::test]
async fn a_unary_call_is_answered_and_counted() {
    let server = start().await;
    let mut client = server.health().await;
    let answer = client.check(whole_server()).await.expect("serving").into_inner();
    assert_eq!(answer.status(), ServingStatus::Serving);
    let unknown = client.check(HealthCheckRequest { service: "nobody".into() }).await.expect_err("unknown");
    assert_eq!((unknown.code(), unknown.message()), (Code::NotFound, "unknown service"));
    let listed = client.list(HealthListRequest {}).await.expect("a list").into_inner();
    assert_eq!(listed.statuses.keys().collect::<Vec<_>>(), [""]);

    let check = r#"grpc_method="Check",grpc_service="grpc.health.v1.Health",grpc_type="unary""#;
    server.await_line(&format!(r#"grpc_server_handled_total{{grpc_code="OK",{check}}} 1"#)).await;
    server.await_line(&format!(r#"grpc_server_handled_total{{grpc_code="NotFound",{check}}} 1"#)).await;
    server.await_line(&format!("grpc_server_started_total{{{check}}} 2")).await;
    server.await_line(&format!("grpc_server_msg_received_total{{{check}}} 2")).await;
    server.await_line(&format!("grpc_server_msg_sent_total{{{check}}} 2")).await;
    server.await_line(&format!("grpc_server_handling_seconds_count{{{check}}} 2")).await;
    // "nobody" with its tag and length came, a status went out twice: alone, and in the list under an empty name.
    server.await_line("etcd_network_client_grpc_received_bytes_total 8").await;
    let requests = r#"etcd_server_client_requests_total{client_api_version="unknown",type="unary"} 3"#;
    server.await_line(requests).await;
}

#[tokio::test]
async fn metadata_is_checked_before_the_service_is_asked() {
    let server = start().await;
    let mut client = server.health().await;
    let with = |key: &'static str, value: &'static str| {
        let mut request = Request::new(whole_server());
        request.metadata_mut().insert(key, value.parse().expect("ascii"));
        request
    };
    client.check(with("hasleader", "true")).await.expect("there is a leader");
    server.has_leader.store(false, Ordering::Relaxed);
    client.check(with("hasleader", "false")).await.expect("only true asks for a leader");
    let refused = client.check(with("hasleader", "true")).await.expect_err("no leader");
    assert_eq!((refused.code(), refused.message()), (Code::Unavailable, "etcdserver: no leader"));
    client.check(with("client-api-version", "3.6")).await.expect("any version will do");
    server.await_line(r#"etcd_server_client_requests_total{client_api_version="3.6",type="unary"} 1"#).await;
    server.is_learner.store(true, Ordering::Relaxed);
    let refused = client.check(whole_server()).await.expect_err("a learner");
    assert_eq!(refused.message(), "etcdserver: rpc not supported for learner");
}

#[tokio::test]
async fn a_message_beyond_the_limit_is_refused_as_grpc_go_does() {
    let server = start().await;
    let mut client = server.health().await;
    let service = "x".repeat(MAX_MESSAGE_BYTES);
    let refused = client.check(HealthCheckRequest { service }).await.expect_err("too large");
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert_eq!(refused.message(), "grpc: received message larger than max (1003 vs. 1000)");
    client.check(whole_server()).await.expect("the connection goes on");
}

#[tokio::test]
async fn a_path_that_leads_nowhere_is_unimplemented() {
    let server = start().await;
    let channel = server.channel().await;
    let origin = format!("http://{}/nowhere", server.address).parse().expect("a uri");
    let refused = KvClient::with_origin(channel, origin).put(PutRequest::default()).await.expect_err("nowhere");
    assert_eq!(refused.code(), Code::Unimplemented);
    assert_eq!(refused.message(), "unknown service nowhere/etcdserverpb.KV");
}

#[tokio::test]
async fn a_stream_that_the_client_drops_counts_as_canceled() {
    let server = start().await;
    let mut client = server.health().await;
    let mut statuses = client.watch(whole_server()).await.expect("a stream").into_inner();
    statuses.message().await.expect("no error").expect("the first status");
    server.serving.send_replace(ServingStatus::NotServing);
    let changed = statuses.message().await.expect("no error").expect("a change");
    assert_eq!(changed.status(), ServingStatus::NotServing);
    drop(statuses);
    let watch = r#"grpc_method="Watch",grpc_service="grpc.health.v1.Health",grpc_type="server_stream""#;
    server.await_line(&format!(r#"grpc_server_handled_total{{grpc_code="Canceled",{watch}}} 1"#)).await;
    server.await_line(&format!("grpc_server_msg_sent_total{{{watch}}} 2")).await;
}

#[tokio::test]
async fn streams_that_need_a_leader_end_when_it_is_gone() {
    let server = start().await;
    let mut client = server.health().await;
    let mut request = Request::new(whole_server());
    request.metadata_mut().insert("hasleader", "true".parse().expect("ascii"));
    let mut needing = client.watch(request).await.expect("a stream").into_inner();
    let mut content = client.watch(whole_server()).await.expect("a stream").into_inner();
    for stream in [&mut needing, &mut content] {
        stream.message().await.expect("no error").expect("the first status");
    }
    let period = Duration::from_millis(5);
    let ended = tokio::select! {
        () = server.ender.follow_leader(period, || false) => unreachable!("it follows for ever"),
        ended = needing.message() => ended.expect_err("no leader"),
    };
    assert_eq!((ended.code(), ended.message()), (Code::Unavailable, "etcdserver: no leader"));
    server.serving.send_replace(ServingStatus::NotServing);
    content.message().await.expect("no error").expect("still there");
}

#[tokio::test]
async fn pages_are_served_on_the_same_port() {
    let server = start().await;
    let mut stream = TcpStream::connect(server.address).await.expect("a server");
    stream.write_all(b"GET /page HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\n/page"), "{answer}");
}

#[tokio::test]
async fn shutdown_ends_streams_and_connections_before_the_deadline() {
    let server = start().await;
    let mut client = server.health().await;
    let mut statuses = client.watch(whole_server()).await.expect("a stream").into_inner();
    statuses.message().await.expect("no error").expect("the first status");
    server.ender.stop();
    server.stop.send(()).expect("still serving");
    let ended = statuses.message().await.expect_err("the node stops");
    assert_eq!((ended.code(), ended.message()), (Code::Unavailable, "etcdserver: server stopped"));
    server.stopped.await.expect("no panic");
    TcpStream::connect(server.address).await.expect_err("nobody listens");
}

#[tokio::test]
async fn shutdown_does_not_wait_for_ever() {
    let server = start().await;
    let mut client = server.health().await;
    let mut statuses = client.watch(whole_server()).await.expect("a stream").into_inner();
    statuses.message().await.expect("no error").expect("the first status");
    // Nobody ends the stream.
    server.stop.send(()).expect("still serving");
    server.stopped.await.expect("no panic");
    statuses.message().await.expect_err("cut off");
}

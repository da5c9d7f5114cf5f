//! Connections of clients: HTTP/1 and HTTP/2 on one port, told apart by their first bytes. Every connection is a
//! task that is awaited; on shutdown each is told to finish and has until the deadline.

use super::call_timer::Caller;
use super::edge::Edge;
use crate::net::tls::{Entered, Entrance};
use crate::net::{Connection, Gathered, Listen, OpenCalls, PingLimit, PingRules};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// What operators may set on connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionSettings {
    pub max_concurrent_streams: u32,
    /// The server pings a connection that was quiet for so long …
    pub keepalive_interval: Duration,
    /// … and closes it if no answer comes within this.
    pub keepalive_timeout: Duration,
    /// A client that pings more often, while calls are open, is sent away.
    pub min_ping_interval: Duration,
    /// How long open calls may take to finish once the node stops.
    pub drain: Duration,
}

impl Default for ConnectionSettings {
    /// etcd's defaults.
    fn default() -> Self {
        Self {
            max_concurrent_streams: u32::MAX,
            keepalive_interval: Duration::from_secs(2 * 3600),
            keepalive_timeout: Duration::from_secs(20),
            min_ping_interval: Duration::from_secs(5),
            drain: Duration::from_secs(5),
        }
    }
}

/// Time for a client to send the headers of an HTTP/1 request (etcd's ReadHeaderTimeout).
const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(5 * 60);
/// Calls that clients may have given up before the server saw them. Go clients with a deadline cancel hundreds at
/// once when a node stalls; hyper's default of 20 would answer that by closing the connection.
const MAX_PENDING_RESETS: usize = 100_000;
/// What a client may have sent on one connection before its calls read it. h2 lets small frames that wait cost half of it,
/// and closes the connection beyond ("too_many_data_frames"): with its default of 1 MiB some 2 400 puts at once.
const CONNECTION_WINDOW_BYTES: u32 = 32 * 1024 * 1024;
/// Between attempts when accepting fails: out of descriptors, most likely.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Serves clients until `shutdown` resolves, then drains. Returns when the last connection is closed.
pub async fn serve_client(
    mut listener: Box<dyn Listen>,
    entrance: Entrance,
    edge: Edge<Incoming>,
    settings: ConnectionSettings,
    shutdown: impl Future<Output = ()>,
) {
    let builder = connection_builder(settings);
    let (stop, stopping) = watch::channel(false);
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        tokio::select! {
            biased;
            () = &mut shutdown => break,
            Some(_ended) = connections.join_next(), if !connections.is_empty() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, from)) => {
                    let (builder, entrance, edge) = (builder.clone(), entrance.clone(), edge.clone());
                    let accepted = Accepted { stream, from, min_ping_interval: settings.min_ping_interval };
                    connections.spawn(connection(builder, entrance, accepted, edge, stopping.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "accept client connection");
                    tokio::time::sleep(ACCEPT_RETRY).await;
                }
            },
        }
    }
    drop(listener);
    stop.send_replace(true);
    let drained = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(settings.drain, drained).await.is_err() {
        tracing::warn!(connections = connections.len(), "closing client connections with calls still open");
        connections.shutdown().await;
    }
}

fn connection_builder(settings: ConnectionSettings) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    // Scripts look for headers as Go writes them.
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_READ_TIMEOUT).title_case_headers(true);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(settings.max_concurrent_streams)
        .keep_alive_interval(settings.keepalive_interval)
        .keep_alive_timeout(settings.keepalive_timeout)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_pending_accept_reset_streams(MAX_PENDING_RESETS);
    builder
}

/// A connection as it came in.
struct Accepted {
    stream: Connection,
    from: Option<SocketAddr>,
    min_ping_interval: Duration,
}

/// Serves one connection, over whatever carries it, until it closes or the node stops.
async fn connection(
    builder: auto::Builder<TokioExecutor>,
    entrance: Entrance,
    Accepted { stream, from, min_ping_interval }: Accepted,
    edge: Edge<Incoming>,
    mut stopping: watch::Receiver<bool>,
) {
    let entered = tokio::select! {
        entered = entrance.enter(stream, from) => entered,
        () = stopped(&mut stopping) => return,
    };
    let Entered { connection, names, is_secure } = match entered {
        Ok(entered) => entered,
        Err(rejected) => return rejected.log("client", from),
    };
    let edge = edge.of(Caller(from), names).secured(is_secure);
    let calls = edge.limits_pings().then(OpenCalls::default);
    let rules = calls.clone().map(|calls| PingRules { min_interval: min_ping_interval, calls });
    let connection = PingLimit::new(Gathered::new(connection), rules);
    let edge = edge.counting(calls);
    let mut serving = pin!(builder.serve_connection_with_upgrades(TokioIo::new(connection), edge));
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = stopped(&mut stopping) => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        // Clients come and go; what it was belongs to a debugger.
        tracing::debug!(%error, "client connection ended");
    }
}

async fn stopped(stopping: &mut watch::Receiver<bool>) {
    // A closed channel means the same.
    stopping.wait_for(|stopping| *stopping).await.ok();
}

//! Sockets, bound before anything else starts, so that an address in use is the first thing an operator hears.

use crate::config::{ListenUrl, Urls};
use crate::net::{Gathered, Listen};
use crate::raft::PeerService;
use anyhow::Context;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use keelstone_proto::internal::peer_server::PeerServer;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// A socket, and the URL that it was made for.
pub type Listener = (ListenUrl, Box<dyn Listen>);

/// All sockets of a member.
#[derive(Debug, Default)]
pub struct Listeners {
    pub peer: Vec<Listener>,
    pub client: Vec<Listener>,
    pub client_http: Vec<Listener>,
    pub metrics: Vec<Listener>,
}

/// Binds every URL.
///
/// # Errors
/// One cannot be bound.
pub async fn bind(urls: &Urls) -> anyhow::Result<Listeners> {
    Ok(Listeners {
        peer: bind_all(&urls.listen_peer).await?,
        client: bind_all(&urls.listen_client).await?,
        client_http: bind_all(&urls.listen_client_http).await?,
        metrics: bind_all(&urls.listen_metrics).await?,
    })
}

async fn bind_all(urls: &[ListenUrl]) -> anyhow::Result<Vec<Listener>> {
    let mut bound: Vec<Listener> = Vec::with_capacity(urls.len());
    for url in urls {
        let address = url.address();
        let listener = TcpListener::bind(address).await;
        let listener = listener.with_context(|| format!("listen tcp {address}: bind"))?;
        bound.push((url.clone(), Box::new(listener)));
    }
    Ok(bound)
}

/// Serves peers until `stop` says so, and then no longer: what peers ask is worth nothing from a member that stops.
pub async fn serve_peers(
    mut listener: Box<dyn Listen>,
    service: PeerServer<PeerService>,
    ping_interval: Duration,
    mut stop: watch::Receiver<bool>,
) {
    let service = TowerToHyperService::new(service);
    let mut builder = auto::Builder::new(TokioExecutor::new()).http2_only();
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(ping_interval)
        .keep_alive_timeout(ping_interval)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            () = stopped(&mut stop) => break,
            Some(_ended) = connections.join_next(), if !connections.is_empty() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _from)) => {
                    let stream = TokioIo::new(Gathered::new(stream));
                    let connection = builder.serve_connection(stream, service.clone()).into_owned();
                    connections.spawn(async move {
                        // Peers come and go with their processes.
                        if let Err(error) = connection.await {
                            tracing::debug!(error, "peer connection ended");
                        }
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "accept peer connection");
                    tokio::time::sleep(ACCEPT_RETRY).await;
                }
            },
        }
    }
    connections.shutdown().await;
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    // A closed channel means the same.
    stop.wait_for(|stop| *stop).await.ok();
}

/// As the peers' own window: see `raft/network/client.rs`.
const WINDOW_BYTES: u32 = 4 * 1024 * 1024;
/// Between attempts when accepting fails: out of descriptors, most likely.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

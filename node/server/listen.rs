//! Sockets, bound before anything else starts, so that an address in use is the first thing an operator hears.

use super::security::Secured;
use crate::config::{Gate, ListenAddress, ListenUrl, Settings, Url, Urls};
use crate::net::tls::Entrance;
use crate::net::{self, Gathered, Listen};
use crate::raft::{Consensus, PeerService};
use anyhow::Context;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use std::net::IpAddr;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// A socket, and what comes in by it.
#[derive(Debug)]
pub struct Listener {
    /// The URL that it was made for; the last, if there are several for one address.
    pub url: ListenUrl,
    pub entrance: Entrance,
    pub socket: Box<dyn Listen>,
}

/// All sockets of a member.
#[derive(Debug, Default)]
pub struct Listeners {
    pub peer: Vec<Listener>,
    pub client: Vec<Listener>,
    pub client_http: Vec<Listener>,
    pub metrics: Vec<Listener>,
}

/// The address that calls to peers come from: the first that this member tells others to call it at, if the gate says so
/// (etcd `InferLocalAddr`). None: as the system has it.
pub fn calls_come_from(settings: &Settings) -> Option<IpAddr> {
    if !settings.gates.enabled(Gate::SetMemberLocalAddr) {
        return None;
    }
    let urls = &settings.urls.advertise_peer;
    let mut addresses = urls.iter().filter_map(|url| url.host().parse::<IpAddr>().ok());
    let found = addresses.find(|address| !address.is_loopback() && !address.is_unspecified());
    let urls: Vec<&str> = urls.iter().map(Url::as_str).collect();
    match found {
        Some(address) => tracing::info!("LocalAddr" = %address, "setting member local address"),
        None => tracing::warn!(
            "advertise-peer-urls" = ?urls,
            "unable to set a member local address due to lack of suitable local addresses"
        ),
    }
    found
}

/// Binds every URL.
///
/// # Errors
/// One cannot be bound.
pub async fn bind(urls: &Urls, secured: &Secured) -> anyhow::Result<Listeners> {
    let of_peers = |urls: &[ListenUrl]| secured.peer_entrance(urls);
    let of_clients = |urls: &[ListenUrl]| secured.client_entrance(urls);
    let of_metrics = |urls: &[ListenUrl]| secured.metrics_entrance(urls);
    Ok(Listeners {
        peer: bind_all(&urls.listen_peer, of_peers).await?,
        client: bind_all(&urls.listen_client, of_clients).await?,
        client_http: bind_all(&urls.listen_client_http, of_clients).await?,
        metrics: bind_all(&urls.listen_metrics, of_metrics).await?,
    })
}

/// One socket for each address.
async fn bind_all(urls: &[ListenUrl], entrance: impl Fn(&[ListenUrl]) -> Entrance) -> anyhow::Result<Vec<Listener>> {
    let mut bound: Vec<Listener> = Vec::with_capacity(urls.len());
    for url in urls {
        let address = url.address();
        if bound.iter().any(|listener| listener.url.address() == address) {
            continue;
        }
        let here: Vec<ListenUrl> = urls.iter().filter(|url| url.address() == address).cloned().collect();
        let (network, socket) = match address {
            ListenAddress::Tcp(address) => ("tcp", net::listen_tcp(*address).await),
            ListenAddress::Unix(path) => ("unix", net::listen_unix(path)),
        };
        let socket = socket.with_context(|| format!("listen {network} {address}: bind"))?;
        bound.push(Listener { url: url.clone(), entrance: entrance(&here), socket });
    }
    Ok(bound)
}

/// Serves peers until `stop` says so, and then no longer: what peers ask is worth nothing from a member that stops.
pub async fn serve_peers(
    Listener { entrance, mut socket, .. }: Listener,
    consensus: Consensus,
    mut stop: watch::Receiver<bool>,
) {
    let ping_interval = consensus.timing().silence;
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
            accepted = socket.accept() => match accepted {
                Ok((stream, from)) => {
                    let (builder, consensus, entrance) = (builder.clone(), consensus.clone(), entrance.clone());
                    connections.spawn(async move {
                        let entered = match entrance.enter(stream, from).await {
                            Ok(entered) => entered,
                            Err(rejected) => return rejected.log("peer", from),
                        };
                        let (connection, service) = PeerService::on(&consensus, entered.connection);
                        let (stream, service) = (TokioIo::new(Gathered::new(connection)), TowerToHyperService::new(service));
                        // Peers come and go with their processes.
                        if let Err(error) = builder.serve_connection(stream, service).await {
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

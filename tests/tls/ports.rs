//! One member with all its listeners, each behind TLS if a test asks for it.

use crate::suite;
use keelstone_harness::{Cluster, ClusterSpec, free_port};

/// Which of its listeners speak TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listener {
    Client,
    ClientHttp,
    Metrics,
    Peer,
}

pub struct Server {
    pub cluster: Cluster,
    pub client: u16,
    pub client_http: u16,
    pub metrics: u16,
    pub peer: u16,
}

impl Server {
    /// One with TLS on `listener` alone, and `flags`.
    pub async fn start(listener: Listener, flags: &[String]) -> Self {
        let server = Self::prepare(listener, flags).await;
        server.started().await
    }

    async fn prepare(listener: Listener, flags: &[String]) -> Self {
        let (client, client_http, metrics, peer) = (free_port(), free_port(), free_port(), free_port());
        let url =
            |of: Listener, port: u16| format!("{}://127.0.0.1:{port}", if of == listener { "https" } else { "http" });
        let client_url = url(Listener::Client, client);
        let peer_url = url(Listener::Peer, peer);
        let mut spec = ClusterSpec { proxied: false, ..ClusterSpec::of(1) };
        spec.flags = vec![
            format!("--listen-client-urls={client_url}"),
            format!("--advertise-client-urls={client_url}"),
            format!("--listen-metrics-urls={}", url(Listener::Metrics, metrics)),
            format!("--listen-peer-urls={peer_url}"),
            format!("--initial-advertise-peer-urls={peer_url}"),
            format!("--initial-cluster=m0={peer_url}"),
        ];
        if listener == Listener::ClientHttp {
            spec.flags.push(format!("--listen-client-http-urls={}", url(Listener::ClientHttp, client_http)));
        }
        spec.flags.extend(flags.iter().cloned());
        let mut cluster = Cluster::prepare(suite(), &spec).await;
        // What is refused is a warning in both.
        cluster.expect_errors("TLS");
        Self { cluster, client, client_http, metrics, peer }
    }

    async fn started(mut self) -> Self {
        self.cluster.start_all().await;
        self
    }

    pub fn port(&self, listener: Listener) -> u16 {
        match listener {
            Listener::Client => self.client,
            Listener::ClientHttp => self.client_http,
            Listener::Metrics => self.metrics,
            Listener::Peer => self.peer,
        }
    }
}

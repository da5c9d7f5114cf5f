//! What goes over the connections with each peer, whoever made them: bytes, behind TLS as they are before it. A peer is
//! active while there is a connection.

use crate::net::{Connection, Connector};
use crate::raft::metrics::Metrics;
use crate::types::MemberId;
use http::Uri;
use hyper_util::rt::TokioIo;
use prometheus::IntCounter;
use std::collections::HashMap;
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tower_service::Service;

/// Of all peers. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Traffic {
    metrics: Metrics,
    local: MemberId,
    /// Connections by peer.
    open: Arc<Mutex<HashMap<MemberId, usize>>>,
}

impl Traffic {
    pub fn new(metrics: Metrics, local: MemberId) -> Self {
        Self { metrics, local, open: Arc::default() }
    }

    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// A call to a peer failed.
    pub fn sending_failed(&self, peer: MemberId) {
        self.metrics.sent_failures.with_label_values(&[&peer.to_string()]).inc();
    }

    /// A call was refused, or could not be read. None: it does not say from which member it is.
    pub fn receiving_failed(&self, peer: Option<MemberId>) {
        let peer = peer.map_or("unknown".to_owned(), |peer| peer.to_string());
        self.metrics.received_failures.with_label_values(&[&peer]).inc();
    }

    /// Counts what goes over a connection that somebody made; see [`Meter::belongs_to`].
    pub fn meter(&self, connection: Connection) -> (Connection, Arc<Meter>) {
        let meter = Arc::new(Meter {
            traffic: self.clone(),
            owner: OnceLock::new(),
            sent: AtomicU64::new(0),
            received: AtomicU64::new(0),
        });
        (Box::new(Metered { inner: connection, meter: Arc::clone(&meter) }), meter)
    }

    fn opened(&self, peer: MemberId) {
        let mut open = self.open.lock().expect("no holder of this lock panics");
        let count = open.entry(peer).or_default();
        *count += 1;
        if *count == 1 {
            self.metrics.know(self.local, peer);
        }
        self.metrics.active_peers.with_label_values(&[&self.local.to_string(), &peer.to_string()]).set(1);
    }

    fn closed(&self, peer: MemberId) {
        let mut open = self.open.lock().expect("no holder of this lock panics");
        let left = open.get_mut(&peer).map_or(0, |count| {
            *count = count.saturating_sub(1);
            *count
        });
        if left == 0 {
            let labels = [&self.local.to_string()[..], &peer.to_string()[..]];
            self.metrics.active_peers.with_label_values(&labels).set(0);
            self.metrics.disconnected_peers.with_label_values(&labels).inc();
        }
    }
}

/// Counts for one connection, which is open as long as anybody has this.
#[derive(Debug)]
pub struct Meter {
    traffic: Traffic,
    owner: OnceLock<Owner>,
    /// Before it is known whose it is.
    sent: AtomicU64,
    received: AtomicU64,
}

#[derive(Debug)]
struct Owner {
    peer: MemberId,
    sent: IntCounter,
    received: IntCounter,
}

impl Meter {
    /// Says with whom the connection is; only the first time counts.
    pub fn belongs_to(&self, peer: MemberId) {
        self.owner.get_or_init(|| {
            let Metrics { sent_bytes, received_bytes, .. } = &self.traffic.metrics;
            let label = peer.to_string();
            let (sent, received) =
                (sent_bytes.with_label_values(&[&label]), received_bytes.with_label_values(&[&label]));
            sent.inc_by(self.sent.swap(0, Ordering::Relaxed));
            received.inc_by(self.received.swap(0, Ordering::Relaxed));
            self.traffic.opened(peer);
            Owner { peer, sent, received }
        });
    }

    fn sent(&self, bytes: usize) {
        match self.owner.get() {
            Some(owner) => owner.sent.inc_by(bytes as u64),
            None => _ = self.sent.fetch_add(bytes as u64, Ordering::Relaxed),
        }
    }

    fn received(&self, bytes: usize) {
        match self.owner.get() {
            Some(owner) => owner.received.inc_by(bytes as u64),
            None => _ = self.received.fetch_add(bytes as u64, Ordering::Relaxed),
        }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        if let Some(owner) = self.owner.get() {
            self.traffic.closed(owner.peer);
        }
    }
}

struct Metered {
    inner: Connection,
    meter: Arc<Meter>,
}

impl AsyncRead for Metered {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buffer))?;
        self.meter.received(buffer.filled().len() - before);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Metered {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let count = ready!(Pin::new(&mut self.inner).poll_write(cx, bytes))?;
        self.meter.sent(count);
        Poll::Ready(Ok(count))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let count = ready!(Pin::new(&mut self.inner).poll_write_vectored(cx, slices))?;
        self.meter.sent(count);
        Poll::Ready(Ok(count))
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

/// A way to one peer whose traffic is counted.
#[derive(Clone, Debug)]
pub struct MeteredWay {
    pub connector: Connector,
    pub traffic: Traffic,
    pub peer: MemberId,
}

impl Service<Uri> for MeteredWay {
    type Response = TokioIo<Connection>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.connector.poll_ready(cx)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let (connecting, traffic, peer) = (self.connector.call(uri), self.traffic.clone(), self.peer);
        Box::pin(async move {
            let (connection, meter) = traffic.meter(connecting.await?.into_inner());
            meter.belongs_to(peer);
            Ok(TokioIo::new(connection))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus::Registry;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    #[tokio::test]
    async fn what_went_over_a_connection_is_counted_for_its_peer_from_the_first_byte() {
        let metrics = Metrics::register(&Registry::new()).expect("a fresh registry");
        let traffic = Traffic::new(metrics.clone(), MemberId(1));
        let active = || metrics.active_peers.with_label_values(&["1", "2"]).get();
        let (ours, mut theirs) = duplex(64);
        let (mut connection, meter) = traffic.meter(Box::new(ours));
        theirs.write_all(b"hello").await.expect("sent");
        connection.read_exact(&mut [0; 5]).await.expect("received");
        assert_eq!(active(), 0);
        meter.belongs_to(MemberId(2));
        meter.belongs_to(MemberId(3));
        connection.write_all(b"you too").await.expect("sent");
        assert_eq!(metrics.received_bytes.with_label_values(&["2"]).get(), 5);
        assert_eq!(metrics.sent_bytes.with_label_values(&["2"]).get(), 7);
        let (second, other) = traffic.meter(Box::new(theirs));
        other.belongs_to(MemberId(2));
        drop(other);
        drop((connection, meter));
        assert_eq!(active(), 1, "one is left");
        drop(second);
        assert_eq!((active(), metrics.disconnected_peers.with_label_values(&["1", "2"]).get()), (0, 1));
    }
}

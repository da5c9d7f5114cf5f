//! One side of a simulated connection, and the ways to get one: listening and dialing.

use crate::host::{HostId, HostTime};
use crate::network::{End, Network};
use bytes::{Buf, Bytes};
use keelstone::net::{Accepting, Address, Connecting, Connection, Dial, Listen};
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

pub struct Endpoint {
    network: Network,
    time: HostTime,
    incoming: u64,
    outgoing: u64,
    /// Until what is on its way has arrived.
    arrival: Option<Pin<Box<Sleep>>>,
}

impl Endpoint {
    pub fn new(network: Network, time: HostTime, incoming: u64, outgoing: u64) -> Self {
        Self { network, time, incoming, outgoing, arrival: None }
    }

    /// What can be read now: bytes into `out`, the end, or when to look again.
    fn take(&self, cx: &Context<'_>, out: &mut ReadBuf<'_>) -> Result<io::Result<()>, Option<Duration>> {
        let now = self.time.now();
        let mut inner = self.network.lock();
        let Some(pipe) = inner.pipes.get_mut(&self.incoming) else {
            return Ok(Err(io::ErrorKind::ConnectionReset.into()));
        };
        let mut taken = false;
        while let Some((at, data)) = pipe.segments.front_mut() {
            if *at > now || out.remaining() == 0 {
                break;
            }
            let part = data.len().min(out.remaining());
            out.put_slice(&data[..part]);
            data.advance(part);
            pipe.waiting_bytes = pipe.waiting_bytes.saturating_sub(part);
            taken = true;
            if data.is_empty() {
                pipe.segments.pop_front();
            }
        }
        if taken {
            pipe.wake_writer();
            return Ok(Ok(()));
        }
        pipe.reader = Some(cx.waker().clone());
        match (pipe.segments.front(), pipe.end) {
            (Some((at, _)), _) => Err(Some(*at)),
            (None, Some((at, _))) if at > now => Err(Some(at)),
            (None, Some((_, End::Closed))) => Ok(Ok(())),
            (None, Some((_, End::Reset))) => Ok(Err(io::ErrorKind::ConnectionReset.into())),
            (None, None) => Err(None),
        }
    }
}

/// Polls a timer until `at`, so that the task looks again then. True if that is now.
fn poll_until(timer: &mut Option<Pin<Box<Sleep>>>, time: HostTime, at: Duration, cx: &mut Context<'_>) -> bool {
    let instant = time.instant(at);
    match timer {
        Some(timer) if timer.deadline() == instant => {}
        Some(timer) => timer.as_mut().reset(instant),
        None => *timer = Some(Box::pin(tokio::time::sleep_until(instant))),
    }
    timer.as_mut().is_some_and(|timer| timer.as_mut().poll(cx).is_ready())
}

impl AsyncRead for Endpoint {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            match self.take(cx, out) {
                Ok(result) => return Poll::Ready(result),
                Err(None) => return Poll::Pending,
                Err(Some(at)) => {
                    let time = self.time;
                    if !poll_until(&mut self.arrival, time, at, cx) {
                        return Poll::Pending;
                    }
                    self.arrival = None;
                }
            }
        }
    }
}

impl AsyncWrite for Endpoint {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let now = self.time.now();
        let mut inner = self.network.lock();
        match inner.pipes.get_mut(&self.outgoing) {
            None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            Some(pipe) if pipe.reader_gone || pipe.end.is_some() => {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            Some(pipe) if pipe.is_full() => {
                pipe.writer = Some(cx.waker().clone());
                return Poll::Pending;
            }
            Some(_) => {}
        }
        inner.send(self.outgoing, now, Bytes::copy_from_slice(data));
        Poll::Ready(Ok(data.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let now = self.time.now();
        self.network.lock().finish(self.outgoing, now, End::Closed);
        Poll::Ready(Ok(()))
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        let mut inner = self.network.lock();
        if !inner.switching_off {
            inner.finish(self.outgoing, self.time.now(), End::Closed);
            inner.abandon(self.incoming);
        }
    }
}

#[derive(Debug)]
pub struct SimulatedListener {
    pub network: Network,
    pub address: String,
    pub time: HostTime,
}

impl Listen for SimulatedListener {
    fn accept(&mut self) -> Accepting<'_> {
        Box::pin(async move {
            let mut timer = None;
            poll_fn(|cx| {
                loop {
                    match self.network.accept(&self.address, self.time, cx.waker()) {
                        Ok(endpoint) => return Poll::Ready(Ok((Box::new(endpoint) as Connection, None))),
                        Err(None) => return Poll::Pending,
                        Err(Some(at)) => {
                            if !poll_until(&mut timer, self.time, at, cx) {
                                return Poll::Pending;
                            }
                        }
                    }
                }
            })
            .await
        })
    }
}

#[derive(Debug)]
pub struct SimulatedDial {
    pub network: Network,
    pub host: HostId,
    pub time: HostTime,
}

/// Between two attempts to reach a machine through a blocked way.
const SYN_RETRY: Duration = Duration::from_secs(1);

impl Dial for SimulatedDial {
    fn dial(&self, to: &Address) -> Connecting {
        let (network, host, time, authority) = (self.network.clone(), self.host, self.time, to.to_string());
        Box::pin(async move {
            tokio::time::sleep(network.round_trip()).await;
            loop {
                // Whoever dials has a deadline.
                match network.connect(host, time, &authority) {
                    Some(connected) => return Ok(Box::new(connected?) as Connection),
                    None => tokio::time::sleep(SYN_RETRY).await,
                }
            }
        })
    }
}

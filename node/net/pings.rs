//! A limit on the pings of clients, by the rules of grpc-go's `keepalive.EnforcementPolicy`
//! (`internal/transport/http2_server.go`, handlePing), which is where etcd's `--grpc-keepalive-min-time` leads. h2 answers
//! pings without telling anybody, so they are counted here, in the bytes that it reads and writes: only the heads of
//! frames are looked at.
//!
//! ```text
//! frame := length u24 | kind u8 | flags u8 | stream u32 | payload
//! ```

use super::Gathered;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

/// What a client of HTTP/2 says first.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEAD_LEN: usize = 9;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PING: u8 = 6;
const GO_AWAY: u8 = 7;
/// Of a ping: it answers one of ours.
const ACK: u8 = 1;
const ENHANCE_YOUR_CALM: u32 = 11;
const REASON: &[u8] = b"too_many_pings";
/// Pings too early that are forgiven.
const MAX_STRIKES: u8 = 2;
/// Between pings while no call is open.
const IDLE_INTERVAL: Duration = Duration::from_secs(2 * 3600);
/// For the client to read why, before the connection is closed.
const FAREWELL: Duration = Duration::from_secs(1);

/// The calls that are open on one connection. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct OpenCalls(Arc<AtomicUsize>);

/// One of them, while it is held.
#[derive(Debug)]
pub struct OpenCall(Arc<AtomicUsize>);

impl OpenCalls {
    pub fn begin(&self) -> OpenCall {
        self.0.fetch_add(1, Ordering::Relaxed);
        OpenCall(Arc::clone(&self.0))
    }

    fn are_none(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How often the client of a connection may ping.
#[derive(Clone, Debug)]
pub struct PingRules {
    /// Between two pings while calls are open.
    pub min_interval: Duration,
    pub calls: OpenCalls,
}

/// A connection whose client is sent away if it pings more often than its rules allow.
#[derive(Debug)]
pub struct PingLimit {
    inner: Gathered,
    /// None: it may ping as it likes, or does not speak HTTP/2.
    watch: Option<Box<Watch>>,
}

#[derive(Debug)]
struct Watch {
    rules: PingRules,
    preface_seen: usize,
    read: Frames,
    written: Frames,
    /// The highest stream that the client has begun.
    last_stream: u32,
    last_ping: Option<Instant>,
    strikes: u8,
    /// Something was answered since the last ping: that makes good for earlier ones.
    has_answered: bool,
    leaving: Option<Leaving>,
}

/// On the way to the end of a connection.
#[derive(Debug)]
enum Leaving {
    /// Saying why, as soon as the frame that is being written is whole.
    Saying {
        frame: Vec<u8>,
        sent: usize,
    },
    Closing,
    /// What the client still sends is dropped: unread, it would take the last frame away from it.
    Draining(Pin<Box<Sleep>>),
}

impl PingLimit {
    pub fn new(inner: Gathered, rules: Option<PingRules>) -> Self {
        let watch = rules.map(|rules| {
            Box::new(Watch {
                rules,
                preface_seen: 0,
                read: Frames::default(),
                written: Frames::default(),
                last_stream: 0,
                last_ping: None,
                strikes: 0,
                has_answered: false,
                leaving: None,
            })
        });
        Self { inner, watch }
    }

    /// For a protocol that takes over from HTTP.
    pub fn into_inner(self) -> Gathered {
        self.inner
    }

    /// Ready only with the end of the connection, once it has come to that.
    fn poll_leave(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Error>> {
        let Some(watch) = self.watch.as_deref_mut().filter(|watch| watch.leaving.is_some()) else {
            return Poll::Ready(None);
        };
        if !watch.written.is_between() {
            return Poll::Ready(None);
        }
        loop {
            match watch.leaving.as_mut().expect("looked at above") {
                Leaving::Saying { frame, sent } if *sent < frame.len() => {
                    match ready!(Pin::new(&mut self.inner).poll_write(cx, &frame[*sent..])) {
                        Ok(count) if count > 0 => *sent += count,
                        Ok(_) | Err(_) => break,
                    }
                }
                Leaving::Saying { .. } => watch.leaving = Some(Leaving::Closing),
                Leaving::Closing => {
                    if ready!(Pin::new(&mut self.inner).poll_shutdown(cx)).is_err() {
                        break;
                    }
                    watch.leaving = Some(Leaving::Draining(Box::pin(sleep(FAREWELL))));
                }
                Leaving::Draining(until) => {
                    let mut dropped = [0; 1024];
                    let mut buffer = ReadBuf::new(&mut dropped);
                    match Pin::new(&mut self.inner).poll_read(cx, &mut buffer) {
                        Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {}
                        Poll::Ready(_) => break,
                        Poll::Pending => {
                            ready!(until.as_mut().poll(cx));
                            break;
                        }
                    }
                }
            }
        }
        Poll::Ready(Some(io::Error::new(io::ErrorKind::ConnectionAborted, "too many pings from the client")))
    }
}

impl Watch {
    /// False: this is no HTTP/2.
    fn read(&mut self, mut bytes: &[u8]) -> bool {
        if self.preface_seen < PREFACE.len() {
            let count = bytes.len().min(PREFACE.len() - self.preface_seen);
            let (begun, rest) = bytes.split_at(count);
            if begun != &PREFACE[self.preface_seen..][..count] {
                return false;
            }
            self.preface_seen += count;
            bytes = rest;
        }
        let mut frames = self.read;
        frames.pass(bytes, |head| match head.kind {
            HEADERS => self.last_stream = self.last_stream.max(head.stream),
            PING if head.flags & ACK == 0 => self.ping(),
            _ => {}
        });
        self.read = frames;
        true
    }

    fn wrote(&mut self, bytes: &[u8]) {
        let has_answered = &mut self.has_answered;
        self.written.pass(bytes, |head| *has_answered |= matches!(head.kind, DATA | HEADERS));
    }

    fn ping(&mut self) {
        let now = Instant::now();
        let last = self.last_ping.replace(now);
        if std::mem::take(&mut self.has_answered) {
            self.strikes = 0;
            return;
        }
        let interval = if self.rules.calls.are_none() { IDLE_INTERVAL } else { self.rules.min_interval };
        if last.is_some_and(|last| now.saturating_duration_since(last) < interval) {
            self.strikes = self.strikes.saturating_add(1);
        }
        if self.strikes > MAX_STRIKES && self.leaving.is_none() {
            self.leaving = Some(Leaving::Saying { frame: go_away(self.last_stream), sent: 0 });
        }
    }
}

fn go_away(last_stream: u32) -> Vec<u8> {
    let mut frame = Vec::with_capacity(HEAD_LEN + 8 + REASON.len());
    frame.extend_from_slice(&(8 + REASON.len() as u32).to_be_bytes()[1..]);
    frame.extend_from_slice(&[GO_AWAY, 0, 0, 0, 0, 0]);
    frame.extend_from_slice(&last_stream.to_be_bytes());
    frame.extend_from_slice(&ENHANCE_YOUR_CALM.to_be_bytes());
    frame.extend_from_slice(REASON);
    frame
}

/// Follows the frames of one direction over any cut into chunks.
#[derive(Clone, Copy, Debug, Default)]
struct Frames {
    head: [u8; HEAD_LEN],
    head_len: usize,
    payload_left: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Head {
    kind: u8,
    flags: u8,
    stream: u32,
}

impl Frames {
    fn pass(&mut self, mut bytes: &[u8], mut each: impl FnMut(Head)) {
        loop {
            let skipped = bytes.len().min(self.payload_left);
            self.payload_left -= skipped;
            bytes = &bytes[skipped..];
            if bytes.is_empty() {
                return;
            }
            let count = bytes.len().min(HEAD_LEN - self.head_len);
            self.head[self.head_len..][..count].copy_from_slice(&bytes[..count]);
            self.head_len += count;
            bytes = &bytes[count..];
            if self.head_len < HEAD_LEN {
                return;
            }
            self.head_len = 0;
            let [l0, l1, l2, kind, flags, s0, s1, s2, s3] = self.head;
            self.payload_left = u32::from_be_bytes([0, l0, l1, l2]) as usize;
            each(Head { kind, flags, stream: u32::from_be_bytes([s0, s1, s2, s3]) & (u32::MAX >> 1) });
        }
    }

    /// Whether a frame may begin here.
    fn is_between(&self) -> bool {
        self.head_len == 0 && self.payload_left == 0
    }
}

impl AsyncRead for PingLimit {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if let Some(ended) = ready!(self.poll_leave(cx)) {
            return Poll::Ready(Err(ended));
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buffer))?;
        if let Some(watch) = &mut self.watch
            && !watch.read(&buffer.filled()[before..])
        {
            self.watch = None;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for PingLimit {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let Some(ended) = ready!(self.poll_leave(cx)) {
            return Poll::Ready(Err(ended));
        }
        let written = ready!(Pin::new(&mut self.inner).poll_write_vectored(cx, slices))?;
        if let Some(watch) = &mut self.watch {
            let mut left = written;
            for slice in slices {
                let count = slice.len().min(left);
                watch.wrote(&slice[..count]);
                left -= count;
            }
        }
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(ended) = ready!(self.poll_leave(cx)) {
            return Poll::Ready(Err(ended));
        }
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
#[path = "pings_tests.rs"]
mod tests;

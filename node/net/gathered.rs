//! Fewer and fuller writes. h2 hands over an answer in parts, the message and then the trailers, and answers of one
//! connection one after the other; each part would be a packet of its own, and wake the other side once more.

use super::Connection;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};

/// What waits at the most.
const WAITING_BYTES: usize = 64 << 10;
/// A write of so many bytes is worth a call of its own, and not a copy.
const LARGE_BYTES: usize = 16 << 10;
/// The memory that an idle connection may keep.
const KEPT_BYTES: usize = 8 << 10;
/// How often a flush is put off for a protocol that does not read between two polls.
const PUT_OFF: u32 = 64;

/// A connection that holds small writes back until the task which serves it is polled again, behind all tasks that are ready now:
/// what they answer leaves with them. Never by a timer, so that nothing waits while there is nothing else to do.
pub struct Gathered {
    inner: Connection,
    waiting: Vec<u8>,
    /// How much of it is written.
    sent: usize,
    /// Flushes since the last write to `inner`.
    put_off: u32,
    /// The task was polled again since a flush was put off: it reads before it writes.
    is_due: bool,
}

impl std::fmt::Debug for Gathered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let waiting = self.waiting.len() - self.sent;
        f.debug_struct("Gathered").field("waiting", &waiting).finish_non_exhaustive()
    }
}

impl Gathered {
    pub fn new(inner: Connection) -> Self {
        Self { inner, waiting: Vec::new(), sent: 0, put_off: 0, is_due: false }
    }

    /// For a protocol that does not flush at each poll. What waits is written first.
    ///
    /// # Errors
    /// It cannot be written.
    pub async fn into_inner(mut self) -> io::Result<Connection> {
        std::future::poll_fn(|cx| self.drain(cx)).await?;
        self.inner.flush().await?;
        Ok(self.inner)
    }

    /// Writes out what waits.
    fn drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.waiting.len() {
            match ready!(Pin::new(&mut self.inner).poll_write(cx, &self.waiting[self.sent..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.sent += count,
            }
        }
        self.sent = 0;
        self.waiting.clear();
        self.waiting.shrink_to(KEPT_BYTES);
        (self.put_off, self.is_due) = (0, false);
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Gathered {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.is_due = self.put_off > 0;
        Pin::new(&mut self.inner).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Gathered {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let count: usize = slices.iter().map(|slice| slice.len()).sum();
        if count >= LARGE_BYTES || self.waiting.len() + count > WAITING_BYTES {
            ready!(self.drain(cx))?;
        }
        if count >= LARGE_BYTES {
            return Pin::new(&mut self.inner).poll_write_vectored(cx, slices);
        }
        for slice in slices {
            self.waiting.extend_from_slice(slice);
        }
        Poll::Ready(Ok(count))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.waiting.is_empty() && !self.is_due && self.put_off < PUT_OFF {
            self.put_off += 1;
            cx.waker().wake_by_ref();
            return Poll::Ready(Ok(()));
        }
        ready!(self.drain(cx))?;
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.drain(cx))?;
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
#[path = "gathered_tests.rs"]
mod tests;

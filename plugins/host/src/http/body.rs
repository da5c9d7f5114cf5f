//! Bodies whose bytes are counted as they pass.

use crate::stats::Stats;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};
use wasmtime_wasi_http::{Error, WasiBody};

pub(super) struct Counted {
    body: WasiBody,
    stats: Arc<Stats>,
    /// Of a response: what it may still bring, and what it might bring at all.
    left: Option<(u64, u64)>,
}

impl Counted {
    pub fn sent(body: WasiBody, stats: Arc<Stats>) -> Self {
        Self { body, stats, left: None }
    }

    pub fn received(body: WasiBody, stats: Arc<Stats>, max: u64) -> Self {
        Self { body, stats, left: Some((max, max)) }
    }
}

impl Body for Counted {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(cx));
        let bytes = match &frame {
            Some(Ok(frame)) => frame.data_ref().map_or(0, |data| data.len() as u64),
            _ => 0,
        };
        let Some((left, max)) = &mut self.left else {
            self.stats.http_sent_bytes.fetch_add(bytes, Relaxed);
            return Poll::Ready(frame);
        };
        let max = *max;
        if bytes > *left {
            *left = 0;
            return Poll::Ready(Some(Err(Error::HttpResponseBodySize(Some(max)))));
        }
        *left -= bytes;
        self.stats.http_received_bytes.fetch_add(bytes, Relaxed);
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

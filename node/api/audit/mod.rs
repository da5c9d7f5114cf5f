//! The audit log: one line of JSON for each call that has ended, refused ones too, and for each watcher of a stream. Who
//! called, from where, what, on which keys, and what came of it; never a value, a password or a token.
//!
//! Calls are put into a queue and never wait: a thread of its own makes lines of them and writes. What does not fit is
//! counted, and the log says so. Off, it costs a look at an `Option`.

mod asked;
mod line;
#[cfg(test)]
mod tests;

use super::call_timer::Caller;
use super::rpc::Rpc;
use crate::metrics::grpc::CallKind;
use crate::net::tls::Names;
use crate::types::KeyInterval;
use bytes::Bytes;
use line::Line;
use prometheus::{Error, IntCounter, Registry};
use std::io;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};
use tonic::Code;

/// Calls that may wait to be written …
const QUEUE_LEN: usize = 8_192;
/// … and what their messages may take, values included, which are dropped only when a line is made.
const QUEUE_BYTES: usize = 16 << 20;

/// Figures about the log.
#[derive(Clone, Debug)]
pub struct Metrics {
    written: IntCounter,
    dropped: IntCounter,
}

impl Metrics {
    /// # Errors
    /// The registry already has these families.
    pub fn register(registry: &Registry) -> Result<Self, Error> {
        let counter = |name, help| {
            let counter = IntCounter::new(name, help)?;
            registry.register(Box::new(counter.clone()))?;
            Ok::<_, Error>(counter)
        };
        Ok(Self {
            written: counter("keelstone_audit_lines_total", "Lines written to the audit log.")?,
            dropped: counter(
                "keelstone_audit_dropped_lines_total",
                "Lines of the audit log that were lost: the queue was full, or they could not be written.",
            )?,
        })
    }
}

/// Takes what is to be written.
#[derive(Debug)]
pub struct Audit {
    queue: SyncSender<Entry>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    waiting_bytes: AtomicUsize,
    /// Lost, and not told in the log yet.
    untold: AtomicU64,
    metrics: Metrics,
}

#[derive(Debug)]
enum Entry {
    Line { line: Box<Line>, bytes: usize },
    End,
}

/// The other end of the queue.
#[derive(Debug)]
pub struct Writer {
    queue: Receiver<Entry>,
    shared: Arc<Shared>,
}

impl Audit {
    pub fn new(metrics: Metrics) -> (Arc<Self>, Writer) {
        let (sender, queue) = sync_channel(QUEUE_LEN);
        let (waiting_bytes, untold) = (AtomicUsize::new(0), AtomicU64::new(0));
        let shared = Arc::new(Shared { waiting_bytes, untold, metrics });
        (Arc::new(Self { queue: sender, shared: Arc::clone(&shared) }), Writer { queue, shared })
    }

    fn put(&self, line: Line) {
        let bytes = line.held_bytes();
        let fits = self.shared.waiting_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes <= QUEUE_BYTES;
        if !fits || self.queue.try_send(Entry::Line { line: Box::new(line), bytes }).is_err() {
            self.shared.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
            self.shared.lost();
        }
    }

    /// Lets the writer end once it has written what waits. Blocks for a place in the queue.
    pub fn close(&self) {
        // It ends before this only with the process.
        self.queue.send(Entry::End).ok();
    }
}

impl Shared {
    fn lost(&self) {
        self.untold.fetch_add(1, Ordering::Relaxed);
        self.metrics.dropped.inc();
    }
}

impl Writer {
    /// Writes until the log is closed, on a thread of its own. `write` is given whole lines.
    pub fn run(self, mut write: impl FnMut(&[u8]) -> io::Result<()>) {
        let mut fails = false;
        while let Ok(Entry::Line { line, bytes }) = self.queue.recv() {
            let untold = self.shared.untold.swap(0, Ordering::Relaxed);
            let told = if untold > 0 { line::lost(untold) } else { Vec::new() };
            if untold > 0 {
                tracing::warn!(lines = untold, "lines of the audit log were lost");
            }
            let written = write(&[told, line.encode()].concat());
            self.shared.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
            match written {
                Ok(()) => {
                    fails = false;
                    self.shared.metrics.written.inc();
                }
                Err(error) => {
                    if !fails {
                        tracing::error!(%error, "the audit log cannot be written");
                    }
                    fails = true;
                    self.shared.untold.fetch_add(untold, Ordering::Relaxed);
                    self.shared.lost();
                }
            }
        }
    }
}

/// What goes with a listener's calls.
#[derive(Clone, Debug)]
pub struct AuditDoor {
    pub audit: Arc<Audit>,
    /// Calls come through the gateway.
    pub is_json: bool,
}

/// One call, until it has ended.
#[derive(Debug)]
pub struct Audited {
    door: AuditDoor,
    rpc: Rpc,
    caller: Caller,
    names: Option<Arc<Names>>,
    begun: Instant,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    user: Option<String>,
    /// Of the one message, as it came.
    chunks: Vec<Bytes>,
}

impl AuditDoor {
    pub fn begin(&self, rpc: Rpc, caller: Caller, names: Option<Arc<Names>>) -> Arc<Audited> {
        Arc::new(Audited { door: self.clone(), rpc, caller, names, begun: Instant::now(), seen: Mutex::default() })
    }
}

impl Audited {
    /// Something came from the client. The messages of streams are not kept: their watchers have lines of their own.
    pub fn heard(&self, data: &Bytes) {
        if self.rpc.labels().kind != CallKind::BidiStream {
            self.seen().chunks.push(data.clone());
        }
    }

    /// The caller has proved to be this user.
    pub fn known_as(&self, user: &str) {
        let mut seen = self.seen();
        if seen.user.as_deref() != Some(user) {
            seen.user = Some(user.to_owned());
        }
    }

    /// A watcher was created, or refused.
    pub fn watched(&self, interval: &KeyInterval, code: Code) {
        self.door.audit.put(Line { watched: Some(interval.clone()), ..self.line(code, Vec::new()) });
    }

    /// To be called once.
    pub fn ended(&self, code: Code) {
        let chunks = std::mem::take(&mut self.seen().chunks);
        self.door.audit.put(self.line(code, chunks));
    }

    fn line(&self, code: Code, chunks: Vec<Bytes>) -> Line {
        Line {
            at: SystemTime::now(),
            rpc: self.rpc,
            caller: self.caller,
            is_json: self.door.is_json,
            user: self.seen().user.clone(),
            names: self.names.clone(),
            chunks,
            watched: None,
            code,
            took: self.begun.elapsed(),
        }
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().expect("no holder of this lock panics")
    }
}

/// How long a call took, in microseconds, which is what lines say.
fn micros(took: Duration) -> u64 {
    u64::try_from(took.as_micros()).unwrap_or(u64::MAX)
}

//! Which unary calls take long: etcd's "request stats" (`v3rpc/interceptor.go`). Debugging, every call has its line.

use super::rpc::Rpc;
use crate::clock::timestamp;
use crate::config::value::GoDuration;
use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};
use tracing::Level;

/// Who calls. None where a connection is no socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Caller(pub Option<SocketAddr>);

/// What a line counts; sizes in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counted {
    pub request_count: i64,
    pub request_size: i64,
    pub response_count: i64,
    pub response_size: i64,
    /// The request, with sizes in place of values.
    pub content: String,
}

impl Counted {
    /// Of the calls into which etcd does not look.
    pub const UNKNOWN: Counted =
        Counted { request_count: -1, request_size: -1, response_count: -1, response_size: -1, content: String::new() };
}

/// Measures one call.
#[derive(Clone, Copy, Debug)]
pub struct CallTimer {
    rpc: Rpc,
    caller: Caller,
    /// What takes longer is warned about (etcd `--warning-unary-request-duration`).
    limit: Duration,
    started: Instant,
}

impl CallTimer {
    pub fn start(rpc: Rpc, caller: Caller, limit: Duration) -> Self {
        Self { rpc, caller, limit, started: Instant::now() }
    }

    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// The call is answered, or nobody waits for it any more.
    pub fn end(self, counted: impl FnOnce() -> Counted) {
        let took = self.elapsed();
        if tracing::enabled!(Level::DEBUG) {
            self.log(took, counted(), true);
        } else if took > self.limit {
            self.log(took, counted(), false);
        }
    }

    fn log(&self, took: Duration, counted: Counted, is_for_debugging: bool) {
        // For the line only. It is the time of the answer less what the call took, since wall time may jump.
        let start = SystemTime::now().checked_sub(took).unwrap_or(SystemTime::UNIX_EPOCH);
        let remote = self.caller.0.map_or_else(|| "No remote client info.".to_owned(), |remote| remote.to_string());
        let labels = self.rpc.labels();
        let method = format!("/{}/{}", labels.service, labels.method);
        macro_rules! stats {
            ($level:ident) => {
                tracing::$level!(
                    "start time" = timestamp(start),
                    "time spent" = %GoDuration::from(took),
                    remote,
                    "response type" = method,
                    "request count" = counted.request_count,
                    "request size" = counted.request_size,
                    "response count" = counted.response_count,
                    "response size" = counted.response_size,
                    "request content" = counted.content,
                    "request stats"
                )
            };
        }
        if is_for_debugging { stats!(debug) } else { stats!(warn) }
    }
}

//! Says which entries take long to apply, and which are refused, in etcd's words (`server/etcdserver/txn/util.go`).
//! Reads a clock, for these lines only: what an entry does never depends on it.

use super::loggable;
use super::reply::{AuthReply, Reply};
use super::scope::{Applied, Failure};
use crate::config::value::GoDuration;
use bytes::Bytes;
use keelstone_proto::etcdserverpb::InternalRaftRequest;
use prost::Message;
use std::fmt::{self, Display};
use std::time::{Duration, Instant};

/// What a line about a request says besides its time.
pub struct Line<'a> {
    /// Its kind, with a blank behind it; nothing for an entry.
    pub prefix: &'a str,
    pub request: &'a str,
    pub response: &'a str,
    pub error: Option<&'a dyn Display>,
}

impl fmt::Debug for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Line").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

/// Times the entries of a batch, one after the other, and then its commit.
#[derive(Debug)]
pub(super) struct Stopwatch {
    /// What takes longer is warned about (etcd `--warning-apply-duration`).
    limit: Duration,
    since: Instant,
    slow: u64,
}

impl Stopwatch {
    pub fn start(limit: Duration) -> Self {
        Self { limit, since: Instant::now(), slow: 0 }
    }

    /// How many of those that it was told of took too long.
    pub fn slow(&self) -> u64 {
        self.slow
    }

    /// An entry that is no command was applied.
    pub fn skip(&mut self) {
        self.since = Instant::now();
    }

    /// The entry that `data` encodes was applied. `shows_reply`: the reply is whole, since somebody waits for it.
    pub fn entry(&mut self, data: &Bytes, applied: &Applied, shows_reply: bool) {
        let now = Instant::now();
        let took = now.duration_since(self.since);
        self.since = now;
        let error = match applied {
            Ok(_) => None,
            Err(Failure::Refused(error)) => Some(error),
            // The node ends, and says why itself.
            Err(Failure::Fatal(_)) => return,
        };
        let is_refused = error.is_some_and(|error| !error.counts_as_success());
        if took <= self.limit && !is_refused {
            return;
        }
        let request = InternalRaftRequest::decode(data.as_ref()).map(|request| loggable::entry(&request));
        let request = request.unwrap_or_default();
        let response = match applied {
            Ok(reply) if shows_reply => reply_size(reply),
            Ok(_) | Err(_) => String::new(),
        };
        let error = error.map(|error| error as &dyn Display);
        let line = Line { prefix: "", request: &request, response: &response, error };
        if took > self.limit {
            self.slow += 1;
            warn_slow(took, self.limit, &line);
        }
        if is_refused {
            warn_refused(took, &line);
        }
        // The lines are not the next entry's.
        self.since = Instant::now();
    }

    /// The batch of so many entries was committed. etcd has no such line; but there an entry that waits for a slow
    /// commit is slow itself, and here none is.
    pub fn commit(&mut self, entries: usize) {
        let took = self.since.elapsed();
        if took > self.limit {
            self.slow += 1;
            let request = format!("entries:{entries}");
            warn_slow(
                took,
                self.limit,
                &Line { prefix: "commit of a batch ", request: &request, response: "", error: None },
            );
        }
    }
}

/// Says that something took longer than `limit`.
pub fn warn_slow(took: Duration, limit: Duration, line: &Line<'_>) {
    tracing::warn!(
        took = %GoDuration::from(took),
        "expected-duration" = %GoDuration::from(limit),
        prefix = line.prefix,
        request = line.request,
        response = line.response,
        error = line.error.map(tracing::field::display),
        "apply request took too long"
    );
}

fn warn_refused(took: Duration, line: &Line<'_>) {
    tracing::warn!(
        took = %GoDuration::from(took),
        request = line.request,
        response = line.response,
        error = line.error.map(tracing::field::display),
        "failed to apply request"
    );
}

/// Of the message, whose header holds only the revision by now. Nothing for what is no message.
fn reply_size(reply: &Reply) -> String {
    let bytes = match reply {
        Reply::Range(response) => response.encoded_len(),
        Reply::Put(response) => response.encoded_len(),
        Reply::DeleteRange(response) => response.encoded_len(),
        Reply::Txn(response) => response.encoded_len(),
        Reply::Compaction(response) => response.encoded_len(),
        Reply::LeaseGrant(response) => response.encoded_len(),
        Reply::LeaseRevoke(response) => response.encoded_len(),
        Reply::LeaseCheckpoint(response) => response.encoded_len(),
        Reply::Alarm(response) => response.encoded_len(),
        Reply::Auth(reply) => auth_reply_len(reply),
        Reply::Members(_) | Reply::Done => return String::new(),
    };
    format!("size:{bytes}")
}

fn auth_reply_len(reply: &AuthReply) -> usize {
    match reply {
        AuthReply::Enable(response) => response.encoded_len(),
        AuthReply::Disable(response) => response.encoded_len(),
        AuthReply::Status(response) => response.encoded_len(),
        AuthReply::Authenticate(authenticated) => authenticated.response.encoded_len(),
        AuthReply::UserAdd(response) => response.encoded_len(),
        AuthReply::UserDelete(response) => response.encoded_len(),
        AuthReply::UserGet(response) => response.encoded_len(),
        AuthReply::UserChangePassword(response) => response.encoded_len(),
        AuthReply::UserGrantRole(response) => response.encoded_len(),
        AuthReply::UserRevokeRole(response) => response.encoded_len(),
        AuthReply::UserList(response) => response.encoded_len(),
        AuthReply::RoleAdd(response) => response.encoded_len(),
        AuthReply::RoleDelete(response) => response.encoded_len(),
        AuthReply::RoleGet(response) => response.encoded_len(),
        AuthReply::RoleList(response) => response.encoded_len(),
        AuthReply::RoleGrantPermission(response) => response.encoded_len(),
        AuthReply::RoleRevokePermission(response) => response.encoded_len(),
    }
}

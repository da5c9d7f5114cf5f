//! A call of the KV service while it is served: what was asked is kept until the answer, so that a call that takes
//! long can be shown as etcd shows it (`v3rpc/interceptor.go`). A call that is dropped before its end, because its client
//! went away, is shown too.

use super::call_timer::{CallTimer, Counted};
use super::status::ApiError;
use crate::apply::loggable;
use keelstone_proto::etcdserverpb as pb;
use prost::Message;

/// What was answered, as far as lines show it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Answered {
    /// Keys found or deleted.
    pub count: i64,
    /// Of the whole message, in bytes.
    pub size: usize,
    /// Which branch a transaction took; none if there was no answer.
    pub succeeded: Option<bool>,
}

/// A message that can be asked.
pub trait Asked {
    fn counted(&self, answered: Answered) -> Counted;
}

impl Asked for pb::RangeRequest {
    fn counted(&self, answered: Answered) -> Counted {
        counted((0, self.encoded_len()), answered, loggable::range(self))
    }
}

/// A put, a delete or a transaction, as the log has it.
impl Asked for pb::InternalRaftRequest {
    fn counted(&self, answered: Answered) -> Counted {
        if let Some(put) = &self.put {
            return counted((1, put.encoded_len()), answered, loggable::put(put));
        }
        if let Some(delete) = &self.delete_range {
            return counted((0, delete.encoded_len()), answered, loggable::delete_range(delete));
        }
        match (&self.txn, answered.succeeded) {
            (Some(txn), Some(succeeded)) => {
                let ops = if succeeded { &txn.success } else { &txn.failure };
                let size = ops.iter().map(Message::encoded_len).sum();
                counted((ops.len(), size), answered, loggable::txn(txn))
            }
            // etcd does not know the branch then, and shows nothing of it.
            (Some(_), None) | (None, _) => counted((0, 0), answered, String::new()),
        }
    }
}

fn counted(request: (usize, usize), answered: Answered, content: String) -> Counted {
    let number = |size: usize| i64::try_from(size).unwrap_or(i64::MAX);
    Counted {
        request_count: number(request.0),
        request_size: number(request.1),
        response_count: answered.count,
        response_size: number(answered.size),
        content,
    }
}

/// Held while the call is served.
#[derive(Debug)]
pub struct KvCall<A: Asked> {
    pub asked: A,
    timer: CallTimer,
    is_ended: bool,
}

impl<A: Asked> KvCall<A> {
    pub fn begin(timer: CallTimer, asked: A) -> Self {
        Self { asked, timer, is_ended: false }
    }

    pub fn end<T>(mut self, answer: &Result<T, ApiError>, answered: impl FnOnce(&T) -> Answered) {
        self.is_ended = true;
        self.timer.end(|| self.asked.counted(answer.as_ref().map(answered).unwrap_or_default()));
    }
}

impl<A: Asked> Drop for KvCall<A> {
    fn drop(&mut self) {
        if !self.is_ended {
            self.timer.end(|| self.asked.counted(Answered::default()));
        }
    }
}

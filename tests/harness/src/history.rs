//! What clients did and heard. Times are since the start of the history; an operation whose answer never
//! came, or leaves open what happened, has an unknown outcome and stays possible for ever.

use crate::proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use crate::proto::etcdserverpb::request_op::Request as Op;
use crate::proto::etcdserverpb::response_op::Response as OpReply;
use crate::proto::etcdserverpb::*;
use crate::proto::mvccpb::KeyValue;
use crate::{Client, is_definite};
use bytes::Bytes;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::Instant;
use tonic::Status;

/// What a client asked for. Values are unique over the whole history, so that a write can be recognised.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// All keys in one transaction, or one key in a plain put.
    Put {
        keys: Vec<Bytes>,
        value: Bytes,
        lease: i64,
    },
    Delete {
        key: Bytes,
    },
    /// Puts if the key's mod revision is this one (0: absent), reads the key otherwise.
    Swap {
        key: Bytes,
        expected: i64,
        value: Bytes,
    },
    Read {
        key: Bytes,
        range_end: Bytes,
        serializable: bool,
    },
    Grant {
        lease: i64,
        ttl_secs: i64,
    },
    KeepAlive {
        lease: i64,
    },
    Revoke {
        lease: i64,
    },
}

/// What the server answered.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// Put, delete or revoke; `revision` is the header's. `deleted` counts the deleted keys of a delete.
    Written {
        revision: i64,
        deleted: i64,
    },
    /// `seen` is filled if the compare failed.
    Swapped {
        revision: i64,
        succeeded: bool,
        seen: Vec<KeyValue>,
    },
    Read {
        revision: i64,
        kvs: Vec<KeyValue>,
        count: i64,
    },
    /// Grant or keep-alive; the TTL is 0 if the lease was gone.
    Leased {
        ttl_secs: i64,
    },
}

/// How an operation ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    Done(Reply),
    /// Surely without effect.
    Refused(String),
    /// May have had its effect, may still have it.
    Unknown(String),
}

/// One call of one client.
#[derive(Debug, Clone, PartialEq)]
pub struct Operation {
    pub client: usize,
    pub member: usize,
    pub invoked: Duration,
    pub returned: Duration,
    pub action: Action,
    pub outcome: Outcome,
}

impl Operation {
    /// Header revision of the answer, if there was one with a meaning.
    pub fn revision(&self) -> Option<i64> {
        match &self.outcome {
            Outcome::Done(
                Reply::Written { revision, .. } | Reply::Swapped { revision, .. } | Reply::Read { revision, .. },
            ) => Some(*revision),
            Outcome::Done(Reply::Leased { .. }) | Outcome::Refused(_) | Outcome::Unknown(_) => None,
        }
    }

    /// True if the answer says that the operation made its revision.
    pub fn wrote(&self) -> bool {
        match (&self.action, &self.outcome) {
            (Action::Put { .. }, Outcome::Done(_)) => true,
            (Action::Delete { .. }, Outcome::Done(Reply::Written { deleted, .. })) => *deleted > 0,
            (Action::Swap { .. }, Outcome::Done(Reply::Swapped { succeeded, .. })) => *succeeded,
            _ => false,
        }
    }
}

/// Collects operations from many tasks. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Recorder {
    start: Instant,
    operations: Arc<Mutex<Vec<Operation>>>,
    done: Arc<AtomicUsize>,
}

impl Default for Recorder {
    fn default() -> Self {
        Self { start: Instant::now(), operations: Arc::default(), done: Arc::default() }
    }
}

impl Recorder {
    pub fn since_start(&self, at: Instant) -> Duration {
        at.saturating_duration_since(self.start)
    }

    /// Runs `action` on `member` and records it. Lease keep-alives go through [`Self::record`].
    pub async fn run(&self, client: usize, member: usize, link: &Client, action: Action) -> Operation {
        let invoked = Instant::now();
        let outcome = match perform(link, &action).await {
            Ok(reply) => Outcome::Done(reply),
            Err(status) if is_definite(&status) => Outcome::Refused(status.to_string()),
            Err(status) => Outcome::Unknown(status.to_string()),
        };
        self.record(client, member, invoked, action, outcome)
    }

    pub fn record(
        &self,
        client: usize,
        member: usize,
        invoked: Instant,
        action: Action,
        outcome: Outcome,
    ) -> Operation {
        let (invoked, returned) = (self.since_start(invoked), self.since_start(Instant::now()));
        let operation = Operation { client, member, invoked, returned, action, outcome };
        if matches!(operation.outcome, Outcome::Done(_)) {
            self.done.fetch_add(1, Ordering::Relaxed);
        }
        self.operations.lock().expect("no panic while recording").push(operation.clone());
        operation
    }

    /// How many operations were answered with success.
    pub fn done(&self) -> usize {
        self.done.load(Ordering::Relaxed)
    }

    /// The longest time since `from` in which no write through these members was acknowledged.
    pub fn longest_silence(&self, members: &[usize], from: Duration) -> Duration {
        let mut times: Vec<Duration> = vec![from];
        let operations = self.operations();
        let writes = operations.iter().filter(|operation| operation.wrote() && members.contains(&operation.member));
        times.extend(writes.map(|operation| operation.returned).filter(|returned| *returned > from));
        times.sort_unstable();
        times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
    }

    pub fn operations(&self) -> Vec<Operation> {
        self.operations.lock().expect("no panic while recording").clone()
    }
}

async fn perform(link: &Client, action: &Action) -> Result<Reply, Status> {
    match action {
        Action::Put { keys, value, lease } => {
            let put = |key: &Bytes| PutRequest {
                key: key.clone(),
                value: value.clone(),
                lease: *lease,
                ..Default::default()
            };
            let header = match keys.as_slice() {
                [key] => link.put_request(put(key)).await?.header,
                keys => {
                    let success = keys.iter().map(|key| op(Op::RequestPut(put(key)))).collect();
                    link.txn(TxnRequest { success, ..Default::default() }).await?.header
                }
            };
            Ok(Reply::Written { revision: revision(header), deleted: 0 })
        }
        Action::Delete { key } => {
            let reply = link.delete(key.clone()).await?;
            Ok(Reply::Written { revision: revision(reply.header), deleted: reply.deleted })
        }
        Action::Swap { key, expected, value } => {
            let reply = link.txn(swap(key, *expected, value)).await?;
            let seen = reply.responses.into_iter().find_map(|response| match response.response {
                Some(OpReply::ResponseRange(range)) => Some(range.kvs),
                _ => None,
            });
            let seen = seen.unwrap_or_default();
            Ok(Reply::Swapped { revision: revision(reply.header), succeeded: reply.succeeded, seen })
        }
        Action::Read { key, range_end, serializable } => {
            let (key, range_end) = (key.clone(), range_end.clone());
            let request = RangeRequest { key, range_end, serializable: *serializable, ..Default::default() };
            let reply = link.range(request).await?;
            Ok(Reply::Read { revision: revision(reply.header), kvs: reply.kvs, count: reply.count })
        }
        Action::Grant { lease, ttl_secs } => {
            let reply = link.grant(*ttl_secs, *lease).await?;
            Ok(Reply::Leased { ttl_secs: reply.ttl })
        }
        Action::Revoke { lease } => {
            let reply = link.revoke(*lease).await?;
            Ok(Reply::Written { revision: revision(reply.header), deleted: 0 })
        }
        Action::KeepAlive { lease } => {
            let reply = link.keep_alive().renew(*lease, Duration::from_secs(2)).await?;
            Ok(Reply::Leased { ttl_secs: reply.ttl })
        }
    }
}

fn revision(header: Option<ResponseHeader>) -> i64 {
    header.map_or(0, |header| header.revision)
}

fn op(request: Op) -> RequestOp {
    RequestOp { request: Some(request) }
}

fn swap(key: &Bytes, expected: i64, value: &Bytes) -> TxnRequest {
    let compare = Compare {
        result: CompareResult::Equal.into(),
        target: CompareTarget::Mod.into(),
        key: key.clone(),
        target_union: Some(TargetUnion::ModRevision(expected)),
        ..Default::default()
    };
    let put = PutRequest { key: key.clone(), value: value.clone(), ..Default::default() };
    let get = RangeRequest { key: key.clone(), ..Default::default() };
    TxnRequest {
        compare: vec![compare],
        success: vec![op(Op::RequestPut(put))],
        failure: vec![op(Op::RequestRange(get))],
    }
}

//! The calls that an API server makes of its storage, and nothing else: no bare put, no bare delete, no stream of ranges.

use bytes::Bytes;
use keelstone_harness::proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use keelstone_harness::proto::etcdserverpb::request_op::Request as Op;
use keelstone_harness::proto::etcdserverpb::response_op::Response as OpReply;
use keelstone_harness::proto::etcdserverpb::{
    CompactionRequest, Compare, DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest, WatchCreateRequest,
};
use keelstone_harness::proto::mvccpb::KeyValue;
use keelstone_harness::{Client, WatchStream, prefix_end};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tonic::{Code, Status};

pub const PODS: &str = "/registry/pods/";
pub const EVENTS: &str = "/registry/events/";
pub const COMPACT_KEY: &str = "compact_rev_key";
/// Keys of one page. There are a few pages.
pub const PAGE: i64 = 7;
const DEADLINE: Duration = Duration::from_secs(2);

const COMPACTED: &str = "etcdserver: mvcc: required revision has been compacted";
const FUTURE: &str = "etcdserver: mvcc: required revision is a future revision";

/// One API server's view of the cluster: all members, and the one that it talks to as long as that answers.
pub struct Storage {
    clients: Vec<Client>,
    current: AtomicUsize,
}

/// What a write has to find, of one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// 0: the key is absent.
    ModRevision(i64),
    Version(i64),
}

/// How a compare-and-write ended. Revisions are those of the answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    Written {
        revision: i64,
    },
    Differed {
        revision: i64,
        seen: Option<KeyValue>,
    },
    /// May have happened, may still happen.
    Unknown,
}

/// All pages of a list.
#[derive(Clone, Debug)]
pub struct Pages {
    pub revision: i64,
    pub kvs: Vec<KeyValue>,
    /// What each page said of how many keys there are from its first one on.
    pub counts: Vec<i64>,
}

impl Storage {
    /// Prefers the member at `first`.
    pub fn new(clients: Vec<Client>, first: usize) -> Self {
        let clients = clients.into_iter().map(|client| client.with_deadline(DEADLINE)).collect();
        Self { clients, current: AtomicUsize::new(first) }
    }

    fn client(&self) -> Client {
        self.clients[self.current.load(Ordering::Relaxed) % self.clients.len()].clone()
    }

    /// From now on another member is asked.
    pub fn turn_away(&self) {
        self.current.fetch_add(1, Ordering::Relaxed);
    }

    async fn range(&self, request: RangeRequest) -> Result<(i64, Vec<KeyValue>, i64), Status> {
        let answer = self.client().range(request).await.inspect_err(|status| self.heed(status))?;
        Ok((answer.header.map_or(0, |header| header.revision), answer.kvs, answer.count))
    }

    fn heed(&self, status: &Status) {
        if status.code() != Code::OutOfRange {
            self.turn_away();
        }
    }

    /// Every key with the prefix as of one revision; 0: that of the first page.
    pub async fn list(&self, prefix: &'static str, revision: i64) -> Result<Pages, Status> {
        let mut pages = Pages { revision, kvs: Vec::new(), counts: Vec::new() };
        let mut key = Bytes::from_static(prefix.as_bytes());
        loop {
            let range_end = prefix_end(prefix.as_bytes());
            let request = RangeRequest { key, range_end, limit: PAGE, revision: pages.revision, ..Default::default() };
            let (revision, kvs, count) = self.range(request).await?;
            if pages.revision == 0 {
                pages.revision = revision;
            }
            let is_last = count <= kvs.len() as i64;
            pages.kvs.extend(kvs);
            pages.counts.push(count);
            match pages.kvs.last() {
                Some(last) if !is_last => key = [&last.key[..], b"\0"].concat().into(),
                _ => return Ok(pages),
            }
        }
    }

    /// The revision that the cluster is at: what a cache has to come to before it may answer.
    pub async fn current_revision(&self, prefix: &'static str) -> Result<i64, Status> {
        let request = RangeRequest {
            key: Bytes::from_static(prefix.as_bytes()),
            range_end: prefix_end(prefix.as_bytes()),
            limit: 1,
            ..Default::default()
        };
        self.range(request).await.map(|(revision, ..)| revision)
    }

    /// A stream with one watcher, which a member that has no leader ends.
    pub fn watch(&self, key: Bytes, range_end: Bytes, start_revision: i64) -> WatchStream {
        let stream = self.client().requiring_leader().watch();
        let (prev_kv, progress_notify) = (true, true);
        let create =
            WatchCreateRequest { key, range_end, start_revision, prev_kv, progress_notify, ..Default::default() };
        stream.create(create);
        stream
    }

    /// Puts, or deletes if there is no value, if the key is as expected; reads it otherwise.
    pub async fn write(&self, key: &Bytes, expected: Expected, value: Option<&Bytes>, lease: i64) -> Outcome {
        let (target, target_union) = match expected {
            Expected::ModRevision(at) => (CompareTarget::Mod, TargetUnion::ModRevision(at)),
            Expected::Version(count) => (CompareTarget::Version, TargetUnion::Version(count)),
        };
        let compare = Compare {
            result: CompareResult::Equal.into(),
            target: target.into(),
            key: key.clone(),
            target_union: Some(target_union),
            ..Default::default()
        };
        let write = match value {
            Some(value) => {
                Op::RequestPut(PutRequest { key: key.clone(), value: value.clone(), lease, ..Default::default() })
            }
            None => Op::RequestDeleteRange(DeleteRangeRequest { key: key.clone(), ..Default::default() }),
        };
        let read = Op::RequestRange(RangeRequest { key: key.clone(), limit: 1, ..Default::default() });
        let op = |request| vec![RequestOp { request: Some(request) }];
        let request = TxnRequest { compare: vec![compare], success: op(write), failure: op(read) };
        let Ok(answer) = self.client().txn(request).await else {
            self.turn_away();
            return Outcome::Unknown;
        };
        let revision = answer.header.map_or(0, |header| header.revision);
        if answer.succeeded {
            return Outcome::Written { revision };
        }
        let seen = answer.responses.into_iter().find_map(|response| match response.response {
            Some(OpReply::ResponseRange(range)) => range.kvs.into_iter().next(),
            _ => None,
        });
        Outcome::Differed { revision, seen }
    }

    pub async fn grant(&self, ttl_secs: i64) -> Option<i64> {
        let granted = self.client().grant(ttl_secs, 0).await.inspect_err(|_| self.turn_away());
        granted.ok().map(|lease| lease.id)
    }

    /// A compaction that another API server was faster with is refused, which is as good.
    pub async fn compact(&self, revision: i64) {
        let asked = self.client().compact(CompactionRequest { revision, physical: false }).await;
        if let Err(status) = asked {
            self.heed(&status);
        }
    }
}

pub fn is_compacted(status: &Status) -> bool {
    status.code() == Code::OutOfRange && status.message() == COMPACTED
}

/// The two refusals whose texts Kubernetes compares.
pub async fn refuses_what_it_cannot_tell(client: &Client, compacted: i64, last: i64) {
    let key = Bytes::from_static(PODS.as_bytes());
    let at = |revision| client.range(RangeRequest { key: key.clone(), revision, ..Default::default() });
    for (revision, text) in [(compacted - 1, COMPACTED), (last + 1, FUTURE)] {
        let refused = at(revision).await.expect_err("no answer at this revision");
        assert_eq!((refused.code(), refused.message()), (Code::OutOfRange, text));
    }
    at(compacted).await.expect("the compact revision itself can be read");
}

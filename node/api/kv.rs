//! Keys and values. Writes go into the log; reads look at a pinned view, after a ReadIndex unless they say that an
//! old answer will do.

use super::asker::Asker;
use super::call_timer::{CallTimer, Caller};
use super::gate::Leave;
use super::kv_call::{Answered, KvCall};
use super::node::Node;
use super::range::{query, range};
use super::range_codec::EncodedRange;
use super::range_stream::Chunks;
use super::read_txn;
use super::rpc::Rpc;
use super::slow_read::{self, RangeTimer};
use super::status::ApiError;
use crate::admission::{self, Taken, WORTH_BYTES};
use crate::apply::{Asked, Reply};
use crate::defect::{self, Defect};
use crate::mvcc::{RangeQuery, RangeRows, ReadError, View};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{BoxStream, iter};
use keelstone_proto::etcdserverpb as pb;
use prost::Message;
use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::Instant;
use tonic::Status;

/// Answers of more keys than this are read aside, so that other requests of the thread need not wait.
const MANY_KEYS: i64 = 1_000;

#[derive(Clone, Debug)]
pub struct KvService {
    node: Arc<Node>,
}

impl KvService {
    pub fn new(node: Arc<Node>) -> Self {
        Self { node }
    }

    fn timer(&self, rpc: Rpc, caller: Caller) -> CallTimer {
        CallTimer::start(rpc, caller, self.node.settings.warn_unary_after)
    }

    /// The state that a read has to see, and leave to read in it.
    async fn view(
        &self,
        asker: &Asker,
        asked: Asked<'_>,
        is_serializable: bool,
    ) -> Result<(Leave, Arc<View>), ApiError> {
        let before = defect::on(Defect::ViewBeforeReadIndex).then(|| self.node.views.load());
        if !is_serializable {
            self.node.read_index().await?;
        }
        // Rights first: a view is published behind the rights that hold for it.
        let leave = self.node.gate.to_read(asker, asked).await?;
        Ok((leave, before.unwrap_or_else(|| self.node.views.load())))
    }

    /// The answer has its keys as the store has them.
    pub async fn range(
        &self,
        asker: &Asker,
        request: pb::RangeRequest,
        caller: Caller,
    ) -> Result<EncodedRange, ApiError> {
        let call = KvCall::begin(self.timer(Rpc::Range, caller), request);
        let answer = self.range_rows(asker, &call.asked).await;
        call.end(&answer, |range| Answered { count: range.count, size: range.encoded_len(), succeeded: None });
        answer
    }

    async fn range_rows(&self, asker: &Asker, request: &pb::RangeRequest) -> Result<EncodedRange, ApiError> {
        if !request.serializable {
            self.node.check_not_learner()?;
        }
        admission::check_range(request)?;
        let timer = RangeTimer::start(&self.node, request);
        let answer = self.read_rows(asker, request).await;
        let took = timer.end(&answer);
        self.node.metrics.requests.range.observe(took.as_secs_f64(), answer.is_ok());
        answer
    }

    async fn read_rows(&self, asker: &Asker, request: &pb::RangeRequest) -> Result<EncodedRange, ApiError> {
        let (leave, view) = self.view(asker, Asked::Range(request), request.serializable).await?;
        let started = Instant::now();
        let query = query(request);
        let taken = self.node.budget.begin();
        let found = if is_large(&view, request) {
            self.node.read_aside(move || read_within(&view, &query, taken)).await
        } else {
            read_within(&view, &query, taken).map_err(|error| self.node.refuse(error))
        };
        self.node.metrics.ranges.observe(started.elapsed().as_secs_f64(), found.is_ok());
        let (found, taken) = found?;
        self.node.gate.still_holds(leave)?;
        let header = self.node.answerer().header_at(found.revision);
        Ok(EncodedRange { header, rows: found.rows, more: found.more, count: found.count, _taken: Some(taken) })
    }

    /// Each chunk is read when the connection has room for it.
    pub async fn range_stream(
        &self,
        asker: Asker,
        request: pb::RangeRequest,
    ) -> Result<BoxStream<'static, Result<pb::RangeStreamResponse, Status>>, ApiError> {
        admission::check_range_stream(&request)?;
        let (leave, view) = self.view(&asker, Asked::Range(&request), request.serializable).await?;
        let target_bytes = self.node.settings.max_request_bytes;
        let node = Arc::clone(&self.node);
        let read = move |request: &pb::RangeRequest| {
            let chunk = range(&view, request).map_err(|error| node.refuse(error))?;
            // Before each message: a right that is withdrawn ends the stream.
            node.gate.still_holds(leave)?;
            Ok(chunk)
        };
        let chunks = Chunks::new(request, self.node.answerer(), target_bytes, read);
        Ok(iter(chunks).map(|chunk| chunk.map_err(Status::from)).boxed())
    }

    pub async fn put(
        &self,
        asker: &Asker,
        request: pb::PutRequest,
        caller: Caller,
    ) -> Result<pb::PutResponse, ApiError> {
        let entry = pb::InternalRaftRequest { put: Some(request), ..Default::default() };
        let mut call = KvCall::begin(self.timer(Rpc::Put, caller), entry);
        let answer = self.apply_put(asker, &mut call.asked).await;
        call.end(&answer, |response| Answered { size: response.encoded_len(), ..Answered::default() });
        answer
    }

    async fn apply_put(&self, asker: &Asker, entry: &mut pb::InternalRaftRequest) -> Result<pb::PutResponse, ApiError> {
        if let Some(request) = &entry.put {
            self.node.check_quota_for_put(request).await?;
            admission::check_put(request)?;
            entry.header = self.node.gate.to_write(asker, Asked::Put(request)).await?;
        }
        let Reply::Put(mut response) = self.node.propose_kept(entry, &self.node.metrics.requests.put).await? else {
            unreachable!("a put is answered with a put");
        };
        self.node.fill(&mut response.header);
        Ok(response)
    }

    pub async fn delete_range(
        &self,
        asker: &Asker,
        request: pb::DeleteRangeRequest,
        caller: Caller,
    ) -> Result<pb::DeleteRangeResponse, ApiError> {
        let entry = pb::InternalRaftRequest { delete_range: Some(request), ..Default::default() };
        let mut call = KvCall::begin(self.timer(Rpc::DeleteRange, caller), entry);
        let answer = self.apply_delete(asker, &mut call.asked).await;
        call.end(&answer, |response| Answered {
            count: response.deleted,
            size: response.encoded_len(),
            succeeded: None,
        });
        answer
    }

    /// A transaction as a step of something else.
    pub async fn run_txn(&self, asker: &Asker, request: pb::TxnRequest) -> Result<pb::TxnResponse, ApiError> {
        self.read_or_apply_txn(asker, &mut pb::InternalRaftRequest { txn: Some(request), ..Default::default() }).await
    }

    /// A delete as a step of something else.
    pub async fn run_delete(
        &self,
        asker: &Asker,
        request: pb::DeleteRangeRequest,
    ) -> Result<pb::DeleteRangeResponse, ApiError> {
        self.apply_delete(asker, &mut pb::InternalRaftRequest { delete_range: Some(request), ..Default::default() })
            .await
    }

    async fn apply_delete(
        &self,
        asker: &Asker,
        entry: &mut pb::InternalRaftRequest,
    ) -> Result<pb::DeleteRangeResponse, ApiError> {
        if let Some(request) = &entry.delete_range {
            admission::check_delete_range(request)?;
            entry.header = self.node.gate.to_write(asker, Asked::DeleteRange(request)).await?;
        }
        let durations = &self.node.metrics.requests.delete_range;
        let Reply::DeleteRange(mut response) = self.node.propose_kept(entry, durations).await? else {
            unreachable!("a delete is answered with a delete");
        };
        self.node.fill(&mut response.header);
        Ok(response)
    }

    pub async fn txn(
        &self,
        asker: &Asker,
        request: pb::TxnRequest,
        caller: Caller,
    ) -> Result<pb::TxnResponse, ApiError> {
        let entry = pb::InternalRaftRequest { txn: Some(request), ..Default::default() };
        let mut call = KvCall::begin(self.timer(Rpc::Txn, caller), entry);
        let answer = self.read_or_apply_txn(asker, &mut call.asked).await;
        call.end(&answer, |response| Answered {
            count: 0,
            size: response.encoded_len(),
            succeeded: Some(response.succeeded),
        });
        answer
    }

    async fn read_or_apply_txn(
        &self,
        asker: &Asker,
        entry: &mut pb::InternalRaftRequest,
    ) -> Result<pb::TxnResponse, ApiError> {
        if let Some(request) = &entry.txn {
            self.node.check_quota_for_txn(request).await?;
            admission::check_txn(request, self.node.settings.max_txn_ops)?;
            if admission::is_read_only(request) {
                let started = Instant::now();
                let answer = self.read_txn(asker, request).await;
                self.node.metrics.requests.read_only_txn.observe(started.elapsed().as_secs_f64(), answer.is_ok());
                return answer;
            }
            entry.header = self.node.gate.to_write(asker, Asked::Txn(request)).await?;
        }
        let Reply::Txn(mut response) = self.node.propose_kept(entry, &self.node.metrics.requests.txn).await? else {
            unreachable!("a transaction is answered with one");
        };
        self.node.fill(&mut response.header);
        Ok(response)
    }

    async fn read_txn(&self, asker: &Asker, request: &pb::TxnRequest) -> Result<pb::TxnResponse, ApiError> {
        let (leave, view) = self.view(asker, Asked::Txn(request), admission::is_serializable(request)).await?;
        let started = Instant::now();
        let answer = read_txn::run(&view, request).map_err(|error| self.node.refuse(error));
        slow_read::txn(&self.node, started.elapsed(), request, &answer);
        let mut response = answer?;
        self.node.gate.still_holds(leave)?;
        self.node.fill(&mut response.header);
        Ok(response)
    }

    pub async fn compact(
        &self,
        asker: &Asker,
        request: pb::CompactionRequest,
    ) -> Result<pb::CompactionResponse, ApiError> {
        let (revision, is_physical) = (request.revision, request.physical);
        let header = self.node.gate.to_write(asker, Asked::Root).await?;
        let entry = pb::InternalRaftRequest { header, compaction: Some(request), ..Default::default() };
        let durations = &self.node.metrics.requests.compaction;
        let Reply::Compaction(mut response) = self.node.propose(entry, durations).await? else {
            unreachable!("a compaction is answered with a compaction");
        };
        if is_physical {
            self.node.await_physical_compaction(revision).await?;
        }
        response.header = Some(self.node.answerer().header_at(self.node.revision()));
        Ok(response)
    }
}

/// Reads rows as long as there is memory for them. Twice, for they are copied into the answer.
fn read_within(view: &View, query: &RangeQuery, taken: Taken) -> Result<(RangeRows, Taken), ReadError> {
    let (taken, uncounted) = (RefCell::new(taken), Cell::new(0_usize));
    let found = view.range_rows(query, &|bytes| {
        let bytes = uncounted.get() + 2 * bytes + size_of::<Bytes>();
        if bytes < WORTH_BYTES {
            uncounted.set(bytes);
            return true;
        }
        uncounted.set(0);
        taken.borrow_mut().grow(bytes).is_ok()
    })?;
    Ok((found, taken.into_inner()))
}

/// True if the answer may hold so many keys that it takes milliseconds.
fn is_large(view: &View, request: &pb::RangeRequest) -> bool {
    let is_bounded = (1..=MANY_KEYS).contains(&request.limit);
    !(request.count_only || request.range_end.is_empty() || is_bounded) && view.keys() > MANY_KEYS as usize
}

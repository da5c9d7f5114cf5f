//! Keys and values. Writes go into the log; reads look at a pinned view, after a ReadIndex unless they say that an
//! old answer will do.

use super::edge::Served;
use super::node::Node;
use super::range::{query, range};
use super::range_codec::{EncodedRange, RangeCodec};
use super::range_stream::Chunks;
use super::read_txn;
use super::status::ApiError;
use crate::admission;
use crate::apply::Reply;
use crate::mvcc::View;
use bytes::BytesMut;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::{BoxStream, iter};
use keelstone_proto::etcdserverpb as pb;
use keelstone_proto::etcdserverpb::kv_server::Kv;
use prost::Message;
use std::sync::Arc;
use std::time::Instant;
use tonic::codegen::{Body, StdError};
use tonic::server::{Grpc, UnaryService};
use tonic::{Request, Response, Status};

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

    /// The state that a read has to see.
    async fn view(&self, is_serializable: bool) -> Result<Arc<View>, ApiError> {
        if !is_serializable {
            self.node.read_index().await?;
        }
        Ok(self.node.views.load())
    }

    /// The Range call, with its keys as the store has them.
    async fn range_rows(&self, request: pb::RangeRequest) -> Result<EncodedRange, ApiError> {
        if !request.serializable {
            self.node.check_not_learner()?;
        }
        admission::check_range(&request)?;
        let started = Instant::now();
        let response = self.read_rows(request).await;
        self.node.metrics.requests.range.observe(started.elapsed().as_secs_f64(), response.is_ok());
        response
    }

    async fn read_rows(&self, request: pb::RangeRequest) -> Result<EncodedRange, ApiError> {
        let view = self.view(request.serializable).await?;
        let started = Instant::now();
        let query = query(&request);
        let found = if is_large(&view, &request) {
            self.node.read_aside(move || view.range_rows(&query)).await
        } else {
            view.range_rows(&query).map_err(|error| self.node.refuse(error))
        };
        self.node.metrics.ranges.observe(started.elapsed().as_secs_f64(), found.is_ok());
        let found = found?;
        let header = self.node.answerer().header_at(found.revision);
        Ok(EncodedRange { header, rows: found.rows, more: found.more, count: found.count })
    }

    async fn read_txn(&self, request: pb::TxnRequest) -> Result<pb::TxnResponse, ApiError> {
        let view = self.view(admission::is_serializable(&request)).await?;
        let mut response = read_txn::run(&view, &request).map_err(|error| self.node.refuse(error))?;
        self.node.fill(&mut response.header);
        Ok(response)
    }

    async fn write_txn(&self, request: pb::TxnRequest) -> Result<pb::TxnResponse, ApiError> {
        let entry = pb::InternalRaftRequest { txn: Some(request), ..Default::default() };
        let Reply::Txn(mut response) = self.node.propose(entry, &self.node.metrics.requests.txn).await? else {
            unreachable!("a transaction is answered with one");
        };
        self.node.fill(&mut response.header);
        Ok(response)
    }
}

/// True if the answer may hold so many keys that it takes milliseconds.
fn is_large(view: &View, request: &pb::RangeRequest) -> bool {
    let is_bounded = (1..=MANY_KEYS).contains(&request.limit);
    !(request.count_only || request.range_end.is_empty() || is_bounded) && view.keys() > MANY_KEYS as usize
}

/// The Range call on the wire: as the generated service would serve it, but with [`RangeCodec`].
#[derive(Clone, Debug)]
pub struct RangeCall(Arc<KvService>);

impl RangeCall {
    pub fn new(service: Arc<KvService>) -> Self {
        Self(service)
    }

    pub fn call<B>(self, request: http::Request<B>) -> Served
    where
        B: Body + Send + 'static,
        B::Error: Into<StdError> + Send + 'static,
    {
        // The edge bounds the message.
        let mut grpc = Grpc::new(RangeCodec).max_decoding_message_size(usize::MAX);
        Box::pin(async move { Ok(grpc.unary(self, request).await) })
    }
}

impl UnaryService<pb::RangeRequest> for RangeCall {
    type Response = EncodedRange;
    type Future = BoxFuture<'static, Result<Response<EncodedRange>, Status>>;

    fn call(&mut self, request: Request<pb::RangeRequest>) -> Self::Future {
        let service = Arc::clone(&self.0);
        Box::pin(async move { Ok(Response::new(service.range_rows(request.into_inner()).await?)) })
    }
}

#[tonic::async_trait]
impl Kv for KvService {
    /// Not on the way of clients, whose calls go to [`RangeCall`].
    async fn range(&self, request: Request<pb::RangeRequest>) -> Result<Response<pb::RangeResponse>, Status> {
        let mut bytes = BytesMut::new();
        self.range_rows(request.into_inner()).await?.encode(&mut bytes);
        let response = pb::RangeResponse::decode(bytes.freeze());
        Ok(Response::new(response.map_err(|error| ApiError::Raw(error.to_string()))?))
    }

    type RangeStreamStream = BoxStream<'static, Result<pb::RangeStreamResponse, Status>>;

    /// Each chunk is read when the connection has room for it.
    async fn range_stream(
        &self,
        request: Request<pb::RangeRequest>,
    ) -> Result<Response<Self::RangeStreamStream>, Status> {
        let request = request.into_inner();
        admission::check_range_stream(&request).map_err(ApiError::from)?;
        let view = self.view(request.serializable).await?;
        let target_bytes = self.node.settings.max_request_bytes;
        let node = Arc::clone(&self.node);
        let read = move |request: &pb::RangeRequest| range(&view, request).map_err(|error| node.refuse(error));
        let chunks = Chunks::new(request, self.node.answerer(), target_bytes, read);
        Ok(Response::new(iter(chunks).map(|chunk| chunk.map_err(Status::from)).boxed()))
    }

    async fn put(&self, request: Request<pb::PutRequest>) -> Result<Response<pb::PutResponse>, Status> {
        let request = request.into_inner();
        self.node.check_quota_for_put(&request).await?;
        admission::check_put(&request).map_err(ApiError::from)?;
        let entry = pb::InternalRaftRequest { put: Some(request), ..Default::default() };
        let Reply::Put(mut response) = self.node.propose(entry, &self.node.metrics.requests.put).await? else {
            unreachable!("a put is answered with a put");
        };
        self.node.fill(&mut response.header);
        Ok(Response::new(response))
    }

    async fn delete_range(
        &self,
        request: Request<pb::DeleteRangeRequest>,
    ) -> Result<Response<pb::DeleteRangeResponse>, Status> {
        let request = request.into_inner();
        admission::check_delete_range(&request).map_err(ApiError::from)?;
        let entry = pb::InternalRaftRequest { delete_range: Some(request), ..Default::default() };
        let durations = &self.node.metrics.requests.delete_range;
        let Reply::DeleteRange(mut response) = self.node.propose(entry, durations).await? else {
            unreachable!("a delete is answered with a delete");
        };
        self.node.fill(&mut response.header);
        Ok(Response::new(response))
    }

    async fn txn(&self, request: Request<pb::TxnRequest>) -> Result<Response<pb::TxnResponse>, Status> {
        let request = request.into_inner();
        self.node.check_quota_for_txn(&request).await?;
        admission::check_txn(&request, self.node.settings.max_txn_ops).map_err(ApiError::from)?;
        if !admission::is_read_only(&request) {
            return Ok(Response::new(self.write_txn(request).await?));
        }
        let started = Instant::now();
        let response = self.read_txn(request).await;
        self.node.metrics.requests.read_only_txn.observe(started.elapsed().as_secs_f64(), response.is_ok());
        Ok(Response::new(response?))
    }

    async fn compact(
        &self,
        request: Request<pb::CompactionRequest>,
    ) -> Result<Response<pb::CompactionResponse>, Status> {
        let request = request.into_inner();
        let (revision, is_physical) = (request.revision, request.physical);
        let entry = pb::InternalRaftRequest { compaction: Some(request), ..Default::default() };
        let durations = &self.node.metrics.requests.compaction;
        let Reply::Compaction(mut response) = self.node.propose(entry, durations).await? else {
            unreachable!("a compaction is answered with a compaction");
        };
        if is_physical {
            self.node.await_physical_compaction(revision).await?;
        }
        response.header = Some(self.node.answerer().header_at(self.node.revision()));
        Ok(Response::new(response))
    }
}

//! A gRPC client of one member, with a deadline on every call. It never retries: what a call returned is
//! what the server said, or that nothing was heard in time.

use crate::proto::etcdserverpb::auth_client::AuthClient;
use crate::proto::etcdserverpb::cluster_client::ClusterClient;
use crate::proto::etcdserverpb::kv_client::KvClient;
use crate::proto::etcdserverpb::lease_client::LeaseClient;
use crate::proto::etcdserverpb::maintenance_client::MaintenanceClient;
use crate::proto::etcdserverpb::watch_client::WatchClient;
use crate::proto::etcdserverpb::*;
use crate::proto::health::HealthCheckRequest;
use crate::proto::health::health_check_response::ServingStatus;
use crate::proto::health::health_client::HealthClient;
use crate::watch::UNREAD_LIMIT;
use crate::{KeepAlive, WatchStream};
use bytes::Bytes;
use std::future::Future;
use std::time::Duration;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Response, Status, Streaming};

/// Longer than etcd's own limit for a request (5 s and two election timeouts), so that its answer is seen.
const DEADLINE: Duration = Duration::from_secs(10);

/// Larger than any reply of a test.
const MESSAGE_LIMIT: usize = 64 << 20;

/// Cheap to clone; clones share a connection.
#[derive(Debug, Clone)]
pub struct Client {
    channel: Channel,
    deadline: Duration,
    endpoint: String,
    /// Sent as `hasleader: true`.
    require_leader: bool,
    /// Sent as `token`.
    token: Option<String>,
}

impl Client {
    /// Connects at the first call, and again when the connection is lost.
    pub fn new(endpoint: &str) -> Self {
        let channel = Endpoint::from_shared(endpoint.to_owned()).expect("an address that the harness made");
        Self::over(channel.connect_timeout(Duration::from_secs(2)).tcp_nodelay(true).connect_lazy(), endpoint)
    }

    /// A client that is connected by whoever made the channel.
    pub fn over(channel: Channel, endpoint: &str) -> Self {
        Self { channel, deadline: DEADLINE, endpoint: endpoint.to_owned(), require_leader: false, token: None }
    }

    pub fn with_deadline(&self, deadline: Duration) -> Self {
        Self { deadline, ..self.clone() }
    }

    /// Asks to be refused, or cut off, while the member knows no leader.
    pub fn requiring_leader(&self) -> Self {
        Self { require_leader: true, ..self.clone() }
    }

    /// As whoever has this token.
    pub fn with_token(&self, token: &str) -> Self {
        Self { token: Some(token.to_owned()), ..self.clone() }
    }

    /// As this user, by a fresh token.
    pub async fn login(&self, name: &str, password: &str) -> Result<Self, Status> {
        let request = AuthenticateRequest { name: name.to_owned(), password: password.to_owned() };
        let response = self.unary(self.auth().authenticate(self.request(request))).await?;
        Ok(self.with_token(&response.token))
    }

    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    pub fn kv(&self) -> KvClient<Channel> {
        KvClient::new(self.channel()).max_decoding_message_size(MESSAGE_LIMIT)
    }

    pub fn auth(&self) -> AuthClient<Channel> {
        AuthClient::new(self.channel())
    }

    /// A request with this client's deadline and metadata.
    pub fn request<T>(&self, message: T) -> Request<T> {
        let mut request = self.streaming_request(message);
        request.set_timeout(self.deadline);
        request
    }

    /// A request with this client's metadata and no deadline.
    pub fn streaming_request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if self.require_leader {
            request.metadata_mut().insert("hasleader", tonic::metadata::MetadataValue::from_static("true"));
        }
        if let Some(token) = &self.token {
            let token = token.parse().expect("a token is ASCII");
            request.metadata_mut().insert("token", token);
        }
        request
    }

    async fn unary<T>(&self, call: impl Future<Output = Result<Response<T>, Status>>) -> Result<T, Status> {
        // The server is given the same deadline and normally answers first; a stopped one does not.
        let patience = self.deadline + Duration::from_millis(200);
        match tokio::time::timeout(patience, call).await {
            Ok(answer) => answer.map(Response::into_inner),
            Err(_) => Err(Status::deadline_exceeded("no answer within the client's deadline")),
        }
    }

    pub async fn range(&self, request: RangeRequest) -> Result<RangeResponse, Status> {
        self.unary(self.kv().range(self.request(request))).await
    }

    /// All parts of a RangeStream in order.
    pub async fn range_stream(&self, request: RangeRequest) -> Result<Vec<RangeResponse>, Status> {
        let mut parts = Vec::new();
        let collect = async {
            let mut stream = self.kv().range_stream(self.request(request)).await?.into_inner();
            while let Some(part) = stream.message().await? {
                parts.push(part.range_response.ok_or_else(|| Status::internal("a part without a range response"))?);
            }
            Ok(Response::new(()))
        };
        self.unary(collect).await?;
        Ok(parts)
    }

    pub async fn put_request(&self, request: PutRequest) -> Result<PutResponse, Status> {
        self.unary(self.kv().put(self.request(request))).await
    }

    pub async fn delete_range(&self, request: DeleteRangeRequest) -> Result<DeleteRangeResponse, Status> {
        self.unary(self.kv().delete_range(self.request(request))).await
    }

    pub async fn txn(&self, request: TxnRequest) -> Result<TxnResponse, Status> {
        self.unary(self.kv().txn(self.request(request))).await
    }

    pub async fn compact(&self, request: CompactionRequest) -> Result<CompactionResponse, Status> {
        self.unary(self.kv().compact(self.request(request))).await
    }

    /// Puts, and returns the revision of the put.
    pub async fn put(&self, key: impl Into<Bytes>, value: impl Into<Bytes>) -> Result<i64, Status> {
        let request = PutRequest { key: key.into(), value: value.into(), ..Default::default() };
        Ok(revision_of(self.put_request(request).await?.header.as_ref()))
    }

    /// Linearizable read of one key.
    pub async fn get(&self, key: impl Into<Bytes>) -> Result<RangeResponse, Status> {
        self.range(RangeRequest { key: key.into(), ..Default::default() }).await
    }

    /// Linearizable read of all keys with a prefix.
    pub async fn get_prefix(&self, prefix: impl Into<Bytes>) -> Result<RangeResponse, Status> {
        let key = prefix.into();
        let range_end = prefix_end(&key);
        self.range(RangeRequest { key, range_end, ..Default::default() }).await
    }

    /// Linearizable read of every key.
    pub async fn get_all(&self) -> Result<RangeResponse, Status> {
        let everything = Bytes::from_static(b"\0");
        self.range(RangeRequest { key: everything.clone(), range_end: everything, ..Default::default() }).await
    }

    /// Deletes one key, and returns the whole answer.
    pub async fn delete(&self, key: impl Into<Bytes>) -> Result<DeleteRangeResponse, Status> {
        self.delete_range(DeleteRangeRequest { key: key.into(), ..Default::default() }).await
    }

    pub fn watch(&self) -> WatchStream {
        self.watch_unread(UNREAD_LIMIT)
    }

    /// A watch that reads from its connection only while fewer than `unread` responses wait for the test.
    /// It has a connection of its own, so that its flow control holds up nothing else.
    pub fn watch_slowly(&self, unread: usize) -> WatchStream {
        Self::new(&self.endpoint).watch_unread(unread)
    }

    fn watch_unread(&self, unread: usize) -> WatchStream {
        let client = WatchClient::new(self.channel()).max_decoding_message_size(MESSAGE_LIMIT);
        WatchStream::open(client, unread, |requests| self.streaming_request(requests))
    }

    pub fn keep_alive(&self) -> KeepAlive {
        KeepAlive::open(LeaseClient::new(self.channel()), |requests| self.streaming_request(requests))
    }

    pub async fn grant(&self, ttl_secs: i64, id: i64) -> Result<LeaseGrantResponse, Status> {
        let request = self.request(LeaseGrantRequest { ttl: ttl_secs, id });
        self.unary(LeaseClient::new(self.channel()).lease_grant(request)).await
    }

    pub async fn revoke(&self, id: i64) -> Result<LeaseRevokeResponse, Status> {
        let request = self.request(LeaseRevokeRequest { id });
        self.unary(LeaseClient::new(self.channel()).lease_revoke(request)).await
    }

    pub async fn time_to_live(&self, id: i64, keys: bool) -> Result<LeaseTimeToLiveResponse, Status> {
        let request = self.request(LeaseTimeToLiveRequest { id, keys });
        self.unary(LeaseClient::new(self.channel()).lease_time_to_live(request)).await
    }

    pub async fn leases(&self) -> Result<LeaseLeasesResponse, Status> {
        let request = self.request(LeaseLeasesRequest {});
        self.unary(LeaseClient::new(self.channel()).lease_leases(request)).await
    }

    pub async fn member_list(&self, linearizable: bool) -> Result<MemberListResponse, Status> {
        let request = self.request(MemberListRequest { linearizable });
        self.unary(ClusterClient::new(self.channel()).member_list(request)).await
    }

    pub async fn member_add(&self, peer_url: &str, is_learner: bool) -> Result<MemberAddResponse, Status> {
        let request = self.request(MemberAddRequest { peer_urls: vec![peer_url.to_owned()], is_learner });
        self.unary(ClusterClient::new(self.channel()).member_add(request)).await
    }

    pub async fn member_remove(&self, id: u64) -> Result<MemberRemoveResponse, Status> {
        let request = self.request(MemberRemoveRequest { id });
        self.unary(ClusterClient::new(self.channel()).member_remove(request)).await
    }

    pub async fn member_update(&self, id: u64, peer_url: &str) -> Result<MemberUpdateResponse, Status> {
        let request = self.request(MemberUpdateRequest { id, peer_urls: vec![peer_url.to_owned()] });
        self.unary(ClusterClient::new(self.channel()).member_update(request)).await
    }

    pub async fn member_promote(&self, id: u64) -> Result<MemberPromoteResponse, Status> {
        let request = self.request(MemberPromoteRequest { id });
        self.unary(ClusterClient::new(self.channel()).member_promote(request)).await
    }

    pub async fn move_leader(&self, target_id: u64) -> Result<MoveLeaderResponse, Status> {
        let request = self.request(MoveLeaderRequest { target_id });
        self.unary(MaintenanceClient::new(self.channel()).move_leader(request)).await
    }

    pub async fn status(&self) -> Result<StatusResponse, Status> {
        let request = self.request(StatusRequest {});
        self.unary(MaintenanceClient::new(self.channel()).status(request)).await
    }

    pub async fn hash(&self) -> Result<HashResponse, Status> {
        let request = self.request(HashRequest {});
        self.unary(MaintenanceClient::new(self.channel()).hash(request)).await
    }

    pub async fn hash_kv(&self, revision: i64) -> Result<HashKvResponse, Status> {
        let request = self.request(HashKvRequest { revision });
        self.unary(MaintenanceClient::new(self.channel()).hash_kv(request)).await
    }

    pub async fn alarm(&self, request: AlarmRequest) -> Result<AlarmResponse, Status> {
        let request = self.request(request);
        self.unary(MaintenanceClient::new(self.channel()).alarm(request)).await
    }

    /// Opens the stream of a snapshot; without a deadline, since a slow reader may be what is tested.
    pub async fn snapshot(&self) -> Result<Streaming<SnapshotResponse>, Status> {
        let request = self.streaming_request(SnapshotRequest {});
        self.unary(MaintenanceClient::new(self.channel()).snapshot(request)).await
    }

    pub async fn defragment(&self) -> Result<DefragmentResponse, Status> {
        let request = self.request(DefragmentRequest {});
        self.unary(MaintenanceClient::new(self.channel()).defragment(request)).await
    }

    pub async fn health(&self, service: &str) -> Result<ServingStatus, Status> {
        let request = self.request(HealthCheckRequest { service: service.to_owned() });
        Ok(self.unary(HealthClient::new(self.channel()).check(request)).await?.status())
    }
}

pub(crate) fn revision_of(header: Option<&ResponseHeader>) -> i64 {
    header.map_or(0, |header| header.revision)
}

/// The end of the interval of all keys with this prefix, as etcd's clients compute it.
pub fn prefix_end(prefix: &[u8]) -> Bytes {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < 0xff {
            end.push(last + 1);
            return end.into();
        }
    }
    Bytes::from_static(b"\0")
}

/// Whether the server surely did not and will not do what it answered this to.
pub fn is_definite(status: &Status) -> bool {
    match status.code() {
        Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::ResourceExhausted
        | Code::FailedPrecondition
        | Code::OutOfRange
        | Code::Unimplemented
        | Code::Unauthenticated => true,
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss => false,
    }
}

#[cfg(test)]
mod tests {
    use super::prefix_end;

    #[test]
    fn the_end_of_a_prefix_carries_over_full_bytes() {
        assert_eq!(prefix_end(b"ab"), "ac");
        assert_eq!(prefix_end(b"a\xff"), "b");
        assert_eq!(prefix_end(b"\xff\xff"), "\0");
    }
}

//! All gRPC services of the client port, and which call belongs to which.

use super::asker::Asker;
use super::auth::AuthService;
use super::backup::BackupService;
use super::call::RequestBody;
use super::call_timer::Caller;
use super::cluster::ClusterService;
use super::edge::{CallDoor, Served};
use super::election::ElectionService;
use super::handler::{streaming, unary};
use super::health::HealthService;
use super::kv::KvService;
use super::lease::LeaseService;
use super::lock::LockService;
use super::maintenance::MaintenanceService;
use super::node::Node;
use super::range_codec::RangeCodec;
use super::recipe::Recipes;
use super::rpc::Rpc;
use super::stream_end::StreamEnds;
use crate::admission::MAX_GRPC_OVERHEAD_BYTES;
use crate::watch::Hub;
use bytes::Bytes;
use http::{Request, Response};
use keelstone_proto::etcdserverpb::auth_server::AuthServer;
use keelstone_proto::etcdserverpb::cluster_server::ClusterServer;
use keelstone_proto::etcdserverpb::lease_server::LeaseServer;
use keelstone_proto::etcdserverpb::maintenance_server::MaintenanceServer;
use keelstone_proto::health::health_server::HealthServer;
use keelstone_proto::keelstonepb::backup_server::BackupServer;
use keelstone_proto::v3electionpb::election_server::ElectionServer;
use keelstone_proto::v3lockpb::lock_server::LockServer;
use std::convert::Infallible;
use std::sync::Arc;
use tonic::Status;
use tonic::codegen::{Body, Service, StdError};
use tonic_prost::ProstCodec;

/// `W` is the watch service.
#[derive(Debug)]
pub struct Services<W> {
    node: Arc<Node>,
    kv: Arc<KvService>,
    watch: W,
    lease: LeaseServer<LeaseService>,
    cluster: ClusterServer<ClusterService>,
    maintenance: MaintenanceServer<MaintenanceService>,
    auth: AuthServer<AuthService>,
    lock: LockServer<LockService>,
    election: ElectionServer<ElectionService>,
    backup: BackupServer<BackupService>,
    health: HealthServer<HealthService>,
}

/// Calls one service: its clone is an `Arc`'s, its future is boxed by itself.
macro_rules! call {
    ($service:expr, $request:expr) => {
        $service.clone().call($request)
    };
}

/// A method as a function of who asks and the message, which owns its service.
macro_rules! method {
    ($service:expr, |$kv:ident, $asker:ident, $message:ident| $call:expr) => {{
        let service = Arc::clone(&$service);
        move |$asker, $message| {
            let $kv = Arc::clone(&service);
            async move { $call.await }
        }
    }};
}

impl<W> Services<W> {
    pub fn new(node: &Arc<Node>, watch: W, hub: Arc<Hub>, health: HealthService) -> Self {
        let recipes = Recipes::new(node, hub);
        // The edge bounds messages by their announced length, before they are read.
        const UNBOUNDED: usize = usize::MAX;
        Self {
            node: Arc::clone(node),
            kv: Arc::new(KvService::new(Arc::clone(node))),
            watch,
            lease: LeaseServer::new(LeaseService::new(Arc::clone(node))).max_decoding_message_size(UNBOUNDED),
            cluster: ClusterServer::new(ClusterService::new(Arc::clone(node))).max_decoding_message_size(UNBOUNDED),
            maintenance: MaintenanceServer::new(MaintenanceService::new(Arc::clone(node)))
                .max_decoding_message_size(UNBOUNDED),
            auth: AuthServer::new(AuthService::new(Arc::clone(node))).max_decoding_message_size(UNBOUNDED),
            lock: LockServer::new(LockService(recipes.clone())).max_decoding_message_size(UNBOUNDED),
            election: ElectionServer::new(ElectionService(recipes)).max_decoding_message_size(UNBOUNDED),
            backup: BackupServer::new(BackupService::new(Arc::clone(node))).max_decoding_message_size(UNBOUNDED),
            health: HealthServer::new(health).max_decoding_message_size(UNBOUNDED),
        }
    }

    /// The way of calls to these services.
    pub fn door<B>(self, node: Arc<Node>, stream_ends: StreamEnds) -> CallDoor<B>
    where
        RequestBody<B>: Body<Data = Bytes, Error = Status> + Send + 'static,
        W: Service<
                Request<RequestBody<B>>,
                Response = Response<tonic::body::Body>,
                Error = Infallible,
                Future = Served,
            > + Clone
            + Send
            + Sync
            + 'static,
    {
        let learner = Arc::clone(&node);
        let services = Arc::new(self);
        CallDoor {
            max_message_bytes: node.settings.max_request_bytes.saturating_add(MAX_GRPC_OVERHEAD_BYTES),
            budget: node.budget.clone(),
            warn_unary_after: node.settings.warn_unary_after,
            serve: Box::new(move |rpc, caller, request| services.enter(rpc, caller, request)),
            is_learner: Box::new(move || learner.is_learner()),
            has_leader: Box::new(move || node.has_leader()),
            stream_ends,
        }
    }

    /// Through the gate.
    fn enter<B>(self: &Arc<Self>, rpc: Rpc, caller: Caller, request: Request<B>) -> Served
    where
        B: Body + Send + 'static,
        B::Error: Into<StdError> + Send + 'static,
        W: Service<Request<B>, Response = Response<tonic::body::Body>, Error = Infallible, Future = Served>
            + Clone
            + Send
            + Sync
            + 'static,
    {
        if !self.node.gate.is_closed() {
            return self.serve(rpc, caller, request);
        }
        let services = Arc::clone(self);
        Box::pin(async move {
            let (mut parts, body) = request.into_parts();
            let asker = Asker::of_parts(parts.headers, parts.extensions);
            match services.node.gate.enter(rpc, &asker).await {
                Ok(identity) => {
                    (parts.headers, parts.extensions) = asker.into_parts(identity);
                    services.serve(rpc, caller, Request::from_parts(parts, body)).await
                }
                Err(error) => Ok(Status::from(error).into_http()),
            }
        })
    }

    fn serve<B>(&self, rpc: Rpc, caller: Caller, request: Request<B>) -> Served
    where
        B: Body + Send + 'static,
        B::Error: Into<StdError> + Send + 'static,
        W: Service<Request<B>, Response = Response<tonic::body::Body>, Error = Infallible, Future = Served> + Clone,
    {
        match rpc {
            Rpc::Range => {
                unary(RangeCodec, request, method!(self.kv, |kv, asker, message| kv.range(&asker, message, caller)))
            }
            Rpc::RangeStream => streaming(
                ProstCodec::default(),
                request,
                method!(self.kv, |kv, asker, message| kv.range_stream(asker, message)),
            ),
            Rpc::Put => unary(
                ProstCodec::default(),
                request,
                method!(self.kv, |kv, asker, message| kv.put(&asker, message, caller)),
            ),
            Rpc::DeleteRange => unary(
                ProstCodec::default(),
                request,
                method!(self.kv, |kv, asker, message| kv.delete_range(&asker, message, caller)),
            ),
            Rpc::Txn => unary(
                ProstCodec::default(),
                request,
                method!(self.kv, |kv, asker, message| kv.txn(&asker, message, caller)),
            ),
            Rpc::Compact => unary(
                ProstCodec::default(),
                request,
                method!(self.kv, |kv, asker, message| kv.compact(&asker, message)),
            ),
            Rpc::Watch => call!(self.watch, request),
            Rpc::LeaseGrant | Rpc::LeaseRevoke | Rpc::LeaseKeepAlive | Rpc::LeaseTimeToLive | Rpc::LeaseLeases => {
                call!(self.lease, request)
            }
            Rpc::MemberAdd | Rpc::MemberRemove | Rpc::MemberUpdate | Rpc::MemberList | Rpc::MemberPromote => {
                call!(self.cluster, request)
            }
            Rpc::Alarm
            | Rpc::Status
            | Rpc::Defragment
            | Rpc::Hash
            | Rpc::HashKv
            | Rpc::Snapshot
            | Rpc::MoveLeader
            | Rpc::Downgrade => call!(self.maintenance, request),
            Rpc::AuthEnable
            | Rpc::AuthDisable
            | Rpc::AuthStatus
            | Rpc::Authenticate
            | Rpc::UserAdd
            | Rpc::UserGet
            | Rpc::UserList
            | Rpc::UserDelete
            | Rpc::UserChangePassword
            | Rpc::UserGrantRole
            | Rpc::UserRevokeRole
            | Rpc::RoleAdd
            | Rpc::RoleGet
            | Rpc::RoleList
            | Rpc::RoleDelete
            | Rpc::RoleGrantPermission
            | Rpc::RoleRevokePermission => call!(self.auth, request),
            Rpc::Lock | Rpc::Unlock => call!(self.lock, request),
            Rpc::Campaign | Rpc::Proclaim | Rpc::ElectionLeader | Rpc::Observe | Rpc::Resign => {
                call!(self.election, request)
            }
            Rpc::BackupNow
            | Rpc::BackupList
            | Rpc::BackupVerify
            | Rpc::BackupForget
            | Rpc::BackupDrill
            | Rpc::BackupSchedule => call!(self.backup, request),
            Rpc::HealthCheck | Rpc::HealthList | Rpc::HealthWatch => call!(self.health, request),
        }
    }
}

//! What clients see of a member: the services and pages, wired to the node behind them.

use super::listen::Listener;
use super::registers::Registers;
use super::shutdown::DRAIN;
use super::{Node, StateFailed, access, memory, space};
use crate::api::Audit;
use crate::api::watch::{Parts as WatchParts, Permits, WatchService};
use crate::api::{
    self, AuditDoor, BackupDoor, BrowserRules, ConnectionSettings, Doors, Edge, Gateway, HealthService, PageSet, Pages,
    Services, serve_client,
};
use crate::api::{StreamEnder, StreamEnds};
use crate::config::{Gate, Inflight, LogLevel, Settings};
use crate::metrics::server::{ServerFacts, ServerReading, register};
use crate::net::tls::Entrance;
use crate::watch::{Hub, ProgressPeriod};
use hyper::body::Incoming;
use keelstone_proto::health::health_check_response::ServingStatus;
use prometheus::Registry;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::watch;
use tokio::task::JoinSet;

pub struct Clients {
    node: Arc<api::Node>,
    watch: WatchService,
    hub: Arc<Hub>,
    metrics: api::Metrics,
    registry: Registry,
    connections: ConnectionSettings,
    browsers: BrowserRules,
    has_gateway: bool,
    has_profiles: bool,
    audit: Option<Arc<Audit>>,
    health: watch::Sender<ServingStatus>,
    /// Whether health says so while the state is defragmented (gate StopGRPCServiceOnDefrag).
    stops_on_defragment: bool,
    ender: Arc<StreamEnder>,
    ends: StreamEnds,
}

impl Clients {
    /// # Errors
    /// A metric is registered already.
    pub fn new(
        node: &Node,
        settings: &Settings,
        registers: &Registers,
        backups: Option<BackupDoor>,
    ) -> anyhow::Result<Self> {
        let quota_bytes = space::quota_bytes(settings);
        register_server_metrics(node, settings, quota_bytes, &registers.registry)?;
        let (sizes, room) = (registers.storage.clone(), node.room.clone());
        let (end_process, path) = (Arc::clone(&node.end_process), node.state_path.clone());
        let shared = Arc::new(api::Node::new(api::Parts {
            consensus: node.consensus.clone(),
            worker: node.worker.clone(),
            published: node.published.clone(),
            metrics: registers.api.clone(),
            settings: api::Settings {
                max_request_bytes: settings.limits.max_request_bytes,
                max_txn_ops: settings.limits.max_txn_ops,
                max_inflight_bytes: max_inflight_bytes(settings),
                quota_bytes,
                warn_apply_after: settings.observe.warn_apply_duration,
                warn_unary_after: settings.observe.warn_unary_request_duration,
            },
            gate: api::GateSettings {
                tokens: access::token_kind(&settings.auth)?,
                bcrypt_cost: settings.auth.bcrypt_cost,
                knows_certificates: settings.security.client.client_cert_auth,
            },
            backups,
            threads: node.threads.clone(),
            storage_stats: Box::new(move || {
                let (total_bytes, in_use_bytes) = sizes.sizes();
                api::StorageStats { total_bytes, in_use_bytes, disk_is_low: room.is_low() }
            }),
            on_unreadable: Box::new(move |error| end_process(&StateFailed { path: path.clone(), cause: error })),
        }));
        let header_node = Arc::clone(&shared);
        let watch = WatchService::new(WatchParts {
            hub: Arc::clone(&node.hub),
            answerer: Box::new(move || header_node.answerer()),
            permits: Permits::of(&shared),
            send_loop: registers.api.watch_loop.clone(),
            progress: ProgressPeriod::new(settings.watch.progress_notify_interval, Arc::new(rand::random::<f64>)),
            max_message_bytes: settings.limits.max_message_bytes(),
        });
        if settings.observe.enable_pprof {
            tracing::info!(path = api::PPROF_PREFIX, "pprof is enabled");
        }
        let (ender, ends) = StreamEnder::new();
        let ping = settings.keepalive.server_ping;
        let defaults = ConnectionSettings::default();
        Ok(Self {
            node: shared,
            watch,
            hub: Arc::clone(&node.hub),
            metrics: registers.api.clone(),
            registry: registers.registry.clone(),
            connections: ConnectionSettings {
                max_concurrent_streams: settings.limits.max_concurrent_streams,
                keepalive_interval: ping.map_or(defaults.keepalive_interval, |ping| ping.interval),
                keepalive_timeout: ping.map_or(defaults.keepalive_timeout, |ping| ping.timeout),
                min_ping_interval: settings.keepalive.min_ping_interval,
                drain: DRAIN,
            },
            browsers: BrowserRules { origins: settings.http.origins.clone(), hosts: settings.http.hosts.clone() },
            has_gateway: settings.http.gateway,
            audit: node.audit.as_ref().map(|log| Arc::clone(&log.audit)),
            // As in etcd whoever debugs has them too.
            has_profiles: settings.observe.enable_pprof || settings.log.level == LogLevel::Debug,
            health: watch::channel(ServingStatus::NotServing).0,
            stops_on_defragment: settings.gates.enabled(Gate::StopGrpcServiceOnDefrag),
            ender: Arc::new(ender),
            ends,
        })
    }

    /// Serves `--listen-metrics-urls`, which work without a quorum.
    pub fn serve_metrics(&self, listeners: Vec<Listener>, serving: &mut JoinSet<()>, stopping: &watch::Receiver<bool>) {
        for listener in listeners {
            tracing::info!(address = %listener.url, "serving metrics");
            self.spawn(listener, self.edge(false, Some(PageSet::Metrics)), serving, stopping);
        }
    }

    /// Serves clients from now on.
    pub fn serve(
        &self,
        clients: Vec<Listener>,
        http: Vec<Listener>,
        serving: &mut JoinSet<()>,
        background: &mut JoinSet<()>,
        stopping: &watch::Receiver<bool>,
    ) {
        let pages = http.is_empty().then_some(PageSet::Client);
        let traffic = if http.is_empty() { "grpc+http" } else { "grpc" };
        for listener in clients {
            say_serving(&listener, traffic);
            self.spawn(listener, self.edge(true, pages), serving, stopping);
        }
        for listener in http {
            say_serving(&listener, "http");
            self.spawn(listener, self.edge(false, Some(PageSet::Client)), serving, stopping);
        }
        self.health.send_replace(ServingStatus::Serving);
        if self.stops_on_defragment {
            let active = self.node.consensus.defragmenting();
            background.spawn(follow_defragment(active, self.health.clone(), stopping.clone()));
        }
        let (ender, node) = (Arc::clone(&self.ender), Arc::clone(&self.node));
        let election = node.consensus.timing().election;
        background.spawn(async move { ender.follow_leader(election, || node.has_leader()).await });
    }

    /// Ends open streams, and says so to whoever asks for health.
    pub fn stop(&self) {
        self.health.send_replace(ServingStatus::NotServing);
        self.ender.stop();
    }

    fn edge(&self, calls: bool, pages: Option<PageSet>) -> Edge<Incoming> {
        let services = || {
            let health = HealthService::new(self.health.subscribe());
            Services::new(&self.node, self.watch.clone(), Arc::clone(&self.hub), health)
        };
        let calls = calls.then(|| services().door(Arc::clone(&self.node), self.ends.clone()));
        let is_for_clients = pages == Some(PageSet::Client);
        let gateway = (is_for_clients && self.has_gateway).then(|| {
            let calls = services().door(Arc::clone(&self.node), self.ends.clone());
            let max_message_bytes = calls.max_message_bytes();
            let doors =
                Doors { calls: Some(calls), pages: None, gateway: None, browsers: None, audit: self.audit(true) };
            let node = Arc::clone(&self.node);
            let knows_names = move || node.gate.settings.knows_certificates && node.gate.is_closed();
            Gateway::new(Edge::new(doors, self.metrics.clone()), max_message_bytes, knows_names)
        });
        let browsers = is_for_clients.then(|| self.browsers.clone());
        let pages = pages.map(|set| {
            let (node, registry) = (Arc::clone(&self.node), self.registry.clone());
            Pages { node, registry, set, has_profiles: self.has_profiles }.door()
        });
        let audit = self.audit(false);
        Edge::new(Doors { calls, pages, gateway, browsers, audit }, self.metrics.clone())
    }

    fn audit(&self, is_json: bool) -> Option<AuditDoor> {
        self.audit.as_ref().map(|audit| AuditDoor { audit: Arc::clone(audit), is_json })
    }

    fn spawn(
        &self,
        Listener { entrance, socket, .. }: Listener,
        edge: Edge<Incoming>,
        serving: &mut JoinSet<()>,
        stopping: &watch::Receiver<bool>,
    ) {
        let mut stopping = stopping.clone();
        let stopped = async move {
            // A closed channel means the same.
            stopping.wait_for(|stop| *stop).await.ok();
        };
        serving.spawn(serve_client(socket, entrance, edge, self.connections, stopped));
    }
}

fn max_inflight_bytes(settings: &Settings) -> Option<usize> {
    let bytes = match settings.limits.inflight {
        Inflight::Unlimited => None,
        Inflight::Bytes(bytes) => Some(bytes),
        Inflight::HalfOfMemory => memory::allowed_bytes().map(|bytes| bytes / 2),
    };
    bytes.map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX))
}

/// In etcd's words (`embed/serve.go`).
fn say_serving(Listener { url, entrance, .. }: &Listener, traffic: &str) {
    if !matches!(entrance, Entrance::Tls(_)) {
        tracing::info!(
            traffic,
            address = %url,
            "serving client traffic insecurely; this is strongly discouraged!"
        );
    }
    if !matches!(entrance, Entrance::Clear) {
        tracing::info!(traffic, address = %url, "serving client traffic securely");
    }
}

/// As etcd's `v3rpc/health.go` does, although nothing waits for a defragmentation here.
async fn follow_defragment(
    mut active: watch::Receiver<bool>,
    health: watch::Sender<ServingStatus>,
    stopping: watch::Receiver<bool>,
) {
    while active.changed().await.is_ok() {
        if *stopping.borrow() {
            return;
        }
        let (from, to) = match *active.borrow_and_update() {
            true => (ServingStatus::Serving, ServingStatus::NotServing),
            false => (ServingStatus::NotServing, ServingStatus::Serving),
        };
        let changed = health.send_if_modified(|status| *status == from && std::mem::replace(status, to) != to);
        let status = to.as_str_name();
        match to {
            ServingStatus::NotServing if changed => {
                tracing::warn!(service = "", status, reason = "defrag is active", "grpc service status changed");
            }
            _ if changed => tracing::info!(service = "", status, "grpc service status changed"),
            _ => {}
        }
    }
}

fn register_server_metrics(
    node: &Node,
    settings: &Settings,
    quota_bytes: i64,
    registry: &Registry,
) -> anyhow::Result<()> {
    let facts = ServerFacts {
        member: node.consensus.member_id(),
        version: crate::ETCD_VERSION,
        runtime: crate::runtime_name(),
        features: crate::config::gates::GATES
            .iter()
            .map(|gate| (gate.name, gate.stage.as_str(), settings.gates.enabled(gate.gate)))
            .collect(),
        quota_bytes,
    };
    let consensus = node.consensus.clone();
    let read = Box::new(move || {
        let (status, counters) = (consensus.status(), consensus.counters());
        ServerReading {
            has_leader: status.leader.is_some(),
            is_leader: status.leader == Some(consensus.member_id()),
            committed_index: status.committed,
            pending_proposals: counters.pending_proposals.load(Ordering::Relaxed),
            failed_proposals: counters.failed_proposals.load(Ordering::Relaxed),
            leader_changes: counters.leader_changes.load(Ordering::Relaxed),
            slow_read_indexes: counters.slow_read_indexes.load(Ordering::Relaxed),
            failed_read_indexes: counters.failed_read_indexes.load(Ordering::Relaxed),
        }
    });
    Ok(register(registry, facts, read)?)
}

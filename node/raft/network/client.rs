//! The calling side: one lazily connected channel per peer and purpose, and openraft's network trait over it.

use super::check::{self, Asked};
use super::convert;
use super::snapshot::send_snapshot;
use super::{
    CLUSTER_HEADER, FROM_HEADER, Identity, MAX_MESSAGE_BYTES, PROTOCOL, PROTOCOL_HEADER, TO_HEADER, WAS_REMOVED,
};
use crate::clock::{Clock, Ticks};
use crate::cluster::ClusterState;
use crate::net::{Connector, Dial};
use crate::raft::snapshot::SnapshotSource;
use crate::raft::state_files::StateFiles;
use crate::raft::types::{Peer, TypeConfig, Vote};
use crate::types::MemberId;
use arc_swap::ArcSwap;
use futures_util::{Stream, StreamExt};
use keelstone_proto::internal::peer_client::PeerClient;
use openraft::base::{BoxFuture, BoxStream};
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{Backoff, RPCOption, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::type_config::alias::SnapshotOf;
use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::Notify;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

/// What a connection carries. They are kept apart so that a snapshot or a large append never delays a heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// Log entries and votes.
    Replication,
    /// Liveness probes.
    Heartbeat,
    Snapshot,
    /// Requests of clients, handed to the leader.
    Forward,
}

/// Deadlines of peer connections, from etcd's heartbeat and election settings.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    pub heartbeat: Duration,
    pub election: Duration,
    /// When an idle connection is pinged at the latest, and how long the answer may take.
    pub silence: Duration,
}

pub type Client = PeerClient<InterceptedService<Channel, Introduce>>;

/// Writes who calls whom on every call.
#[derive(Clone, Debug)]
pub struct Introduce {
    cluster: MetadataValue<Ascii>,
    from: MetadataValue<Ascii>,
    to: MetadataValue<Ascii>,
    protocol: MetadataValue<Ascii>,
}

impl Interceptor for Introduce {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let metadata = request.metadata_mut();
        metadata.insert(CLUSTER_HEADER, self.cluster.clone());
        metadata.insert(FROM_HEADER, self.from.clone());
        metadata.insert(TO_HEADER, self.to.clone());
        metadata.insert(PROTOCOL_HEADER, self.protocol.clone());
        Ok(request)
    }
}

/// All connections to peers, made when first used. Cheap to clone.
#[derive(Clone, Debug)]
pub struct PeerClients {
    shared: Arc<Shared>,
}

/// A channel and the URLs it was made for.
type Known = (Vec<String>, Channel);

#[derive(Debug)]
struct Shared {
    identity: Identity,
    timing: Timing,
    /// None: TCP, and all URLs of a peer at once. Else its first URL.
    dial: Option<Arc<dyn Dial>>,
    /// Where a snapshot is read.
    files: Arc<StateFiles>,
    channels: Mutex<HashMap<(MemberId, Purpose), Known>>,
    clock: Arc<dyn Clock>,
    started: Ticks,
    /// What apply knows of the members, their addresses among it.
    cluster: Arc<ArcSwap<ClusterState>>,
    /// Is told when a peer says that this member was removed.
    removed: Arc<Notify>,
    /// Peers that ever failed to answer.
    unsteady: Mutex<HashMap<MemberId, Link>>,
}

/// A peer that failed to answer at some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    Down,
    /// It came back then.
    Up(Ticks),
}

impl PeerClients {
    pub fn new(
        identity: Identity,
        timing: Timing,
        dial: Option<Arc<dyn Dial>>,
        files: Arc<StateFiles>,
        clock: Arc<dyn Clock>,
        cluster: Arc<ArcSwap<ClusterState>>,
        removed: Arc<Notify>,
    ) -> Self {
        Self {
            shared: Arc::new(Shared {
                identity,
                timing,
                dial,
                files,
                channels: Mutex::new(HashMap::new()),
                started: clock.now(),
                cluster,
                removed,
                clock,
                unsteady: Mutex::default(),
            }),
        }
    }

    pub fn timing(&self) -> Timing {
        self.shared.timing
    }

    /// A client of `to`; nothing is sent yet.
    ///
    /// # Errors
    /// `Unavailable` if none of the URLs can be used.
    pub fn client(&self, to: MemberId, urls: &[String], purpose: Purpose) -> Result<Client, Status> {
        let channel = self.channel(to, urls, purpose)?;
        let identity = self.shared.identity;
        let introduce = Introduce {
            cluster: MetadataValue::from(identity.cluster.0),
            from: MetadataValue::from(identity.member.0),
            to: MetadataValue::from(to.0),
            protocol: MetadataValue::from(PROTOCOL),
        };
        Ok(PeerClient::with_interceptor(channel, introduce)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES))
    }

    /// Says so when a peer goes or comes back, in etcd's words (`rafthttp/peer_status.go`).
    fn note(&self, peer: MemberId, error: Option<&Status>) {
        let mut unsteady = self.shared.unsteady.lock().expect("no holder of this lock panics");
        let was_down = unsteady.get(&peer) == Some(&Link::Down);
        match error {
            Some(error) if !was_down => {
                unsteady.insert(peer, Link::Down);
                tracing::warn!("peer-id" = %peer, error = error.message(), "peer became inactive (message send to peer failed)");
            }
            None if was_down => {
                unsteady.insert(peer, Link::Up(self.shared.clock.now()));
                tracing::info!("peer-id" = %peer, "peer became active");
            }
            Some(_) | None => {}
        }
    }

    /// Since when no call to a peer has failed: from the start if none ever has. None while it does not answer.
    pub fn connected_since(&self, peer: MemberId) -> Option<Ticks> {
        match self.shared.unsteady.lock().expect("no holder of this lock panics").get(&peer) {
            Some(Link::Down) => None,
            Some(Link::Up(since)) => Some(*since),
            None => Some(self.shared.started),
        }
    }

    /// What a peer answered may be that this member was removed.
    pub fn heed(&self, answer: &Status) {
        if answer.code() == tonic::Code::PermissionDenied && answer.message() == WAS_REMOVED {
            self.shared.removed.notify_one();
        }
    }

    fn channel(&self, to: MemberId, urls: &[String], purpose: Purpose) -> Result<Channel, Status> {
        let mut channels = self.shared.channels.lock().expect("no holder of this lock panics");
        if let Some((known, channel)) = channels.get(&(to, purpose))
            && known == urls
        {
            return Ok(channel.clone());
        }
        let Timing { heartbeat, election, silence } = self.shared.timing;
        let mut endpoints = Vec::new();
        for url in urls {
            let endpoint = Endpoint::from_shared(url.clone())
                .map_err(|error| Status::unavailable(format!("peer URL {url}: {error}")))?;
            // A peer that went away without a word (a cut cable, a stopped process) is noticed by unanswered pings.
            endpoints.push(
                endpoint
                    .connect_timeout(election)
                    .tcp_nodelay(true)
                    .http2_keep_alive_interval(silence.min(heartbeat.max(Duration::from_millis(50)) * 2))
                    .keep_alive_timeout(silence)
                    .keep_alive_while_idle(true)
                    .initial_stream_window_size(WINDOW_BYTES)
                    .initial_connection_window_size(WINDOW_BYTES),
            );
        }
        let channel = match (endpoints.as_slice(), &self.shared.dial) {
            ([], _) => return Err(Status::unavailable("peer without a URL")),
            ([first, ..], Some(dial)) => first.connect_with_connector_lazy(Connector(Arc::clone(dial))),
            ([one], None) => one.connect_lazy(),
            (_, None) => Channel::balance_list(endpoints.into_iter()),
        };
        channels.insert((to, purpose), (urls.to_vec(), channel.clone()));
        Ok(channel)
    }
}

/// Flow-control window of a peer connection: one full append (2 MiB) never waits for an update.
const WINDOW_BYTES: u32 = 4 * 1024 * 1024;

impl RaftNetworkFactory<TypeConfig> for PeerClients {
    type Network = PeerNetwork;

    async fn new_client(&mut self, target: u64, node: &Peer) -> PeerNetwork {
        PeerNetwork::new(self.clone(), target, node, Purpose::Replication)
    }

    async fn new_heartbeat_client(&mut self, target: u64, node: &Peer) -> PeerNetwork {
        PeerNetwork::new(self.clone(), target, node, Purpose::Heartbeat)
    }

    async fn new_snapshot_client(&mut self, target: u64, node: &Peer) -> PeerNetwork {
        PeerNetwork::new(self.clone(), target, node, Purpose::Snapshot)
    }
}

/// openraft's way to one peer.
#[derive(Debug)]
pub struct PeerNetwork {
    clients: PeerClients,
    target: MemberId,
    urls: Vec<String>,
    purpose: Purpose,
}

impl PeerNetwork {
    fn new(clients: PeerClients, target: u64, node: &Peer, purpose: Purpose) -> Self {
        Self { clients, target: MemberId(target), urls: node.urls.clone(), purpose }
    }

    /// To where the peer is by now: openraft keeps what it made of the first address.
    fn client(&self) -> Result<Client, RPCError<TypeConfig>> {
        let cluster = self.clients.shared.cluster.load();
        let urls = cluster.members.get(self.target).map_or(&self.urls, |member| &member.peer_urls);
        self.clients.client(self.target, urls, self.purpose).map_err(|status| unreachable(&status))
    }
}

/// The call did not arrive, as far as we know; openraft backs off.
fn unreachable(status: &Status) -> RPCError<TypeConfig> {
    RPCError::Unreachable(Unreachable::new(status))
}

fn failed(status: &Status) -> RPCError<TypeConfig> {
    match status.code() {
        tonic::Code::Unavailable | tonic::Code::DeadlineExceeded => unreachable(status),
        _ => RPCError::Network(NetworkError::new(status)),
    }
}

impl RaftNetworkV2<TypeConfig> for PeerNetwork {
    type SnapshotData = SnapshotSource;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RPCError<TypeConfig>> {
        let one = futures_util::stream::iter([rpc]);
        let mut answers = self.stream_append(one, option).await?;
        match answers.next().await {
            Some(answer) => Ok(answer?.into()),
            None => Err(unreachable(&Status::unavailable("no answer to an append"))),
        }
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        _: RPCOption,
    ) -> BoxFuture<
        's,
        Result<BoxStream<'s, Result<StreamAppendResult<TypeConfig>, RPCError<TypeConfig>>>, RPCError<TypeConfig>>,
    >
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + openraft::OptionalSend + Unpin + 'static,
    {
        Box::pin(async move {
            let mut client = self.client()?;
            let asked = Arc::new(Mutex::new(VecDeque::new()));
            let asking = Arc::clone(&asked);
            let requests = input.map(move |request| {
                asking.lock().expect("no holder of this lock panics").push_back(Asked::by(&request));
                convert::append_to_proto(&request)
            });
            // The answer's headers come at once, so this bounds the set-up only; afterwards the pings of the
            // connection find a peer that has gone. openraft's limit is less than a heartbeat: over a slow link, or to
            // a busy machine, no stream would ever come about.
            let patience = self.clients.timing().election;
            let set_up = tokio::time::timeout(patience, client.append(requests)).await;
            let set_up = set_up.unwrap_or_else(|_| Err(Status::deadline_exceeded("append stream set-up")));
            self.clients.note(self.target, set_up.as_ref().err());
            let answers = match set_up {
                Ok(response) => response.into_inner(),
                Err(status) => {
                    // openraft tries again at once, twenty times over, before it asks for a pause.
                    tokio::time::sleep(self.clients.timing().heartbeat / 2).await;
                    return Err(failed(&status));
                }
            };
            let answers = answers.map(move |answer| {
                let answer = answer.and_then(convert::append_result_from_proto).map_err(|status| failed(&status))?;
                // One for each request, in order.
                let asked = asked.lock().expect("no holder of this lock panics").pop_front();
                let asked = asked.ok_or_else(|| failed(&Status::internal("answer without an append")))?;
                check::append_answer(&answer, &asked).map_err(|status| failed(&status))?;
                Ok(answer)
            });
            Ok(Box::pin(answers) as BoxStream<'s, _>)
        })
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        self.ask_vote(&rpc, false, option).await
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        self.ask_vote(&rpc, true, option).await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: SnapshotOf<TypeConfig, SnapshotSource>,
        cancel: impl Future<Output = ReplicationClosed> + openraft::OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let client = self.client().map_err(|_| {
            StreamingError::Unreachable(Unreachable::new(&Status::unavailable("snapshot: peer has no usable URL")))
        })?;
        tokio::select! {
            sent = send_snapshot(Arc::clone(&self.clients.shared.files), client, vote, snapshot) => match sent {
                Ok(vote) => Ok(SnapshotResponse::new(vote)),
                Err(status) => Err(StreamingError::Unreachable(Unreachable::new(&status))),
            },
            closed = cancel => Err(StreamingError::Closed(closed)),
        }
    }

    async fn transfer_leader(
        &mut self,
        req: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, RPCError<TypeConfig>> {
        let mut client = self.client()?;
        let mut request = Request::new(convert::transfer_to_proto(&req));
        request.set_timeout(option.hard_ttl());
        client.transfer_leader(request).await.map_err(|status| failed(&status))?;
        Ok(Ok(()))
    }

    fn backoff(&self) -> Option<Backoff> {
        let delay = self.clients.timing().heartbeat;
        Some(Backoff::new(std::iter::repeat(delay)))
    }
}

impl PeerNetwork {
    async fn ask_vote(
        &self,
        rpc: &VoteRequest<TypeConfig>,
        pre_vote: bool,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        let mut client = self.client()?;
        let mut request = Request::new(convert::vote_request_to_proto(rpc, pre_vote));
        request.set_timeout(option.hard_ttl());
        let response = client.vote(request).await.inspect_err(|status| self.clients.heed(status));
        let response = response.map_err(|status| failed(&status))?;
        let answer = convert::vote_response_from_proto(&response.into_inner()).map_err(|status| failed(&status))?;
        check::vote_answer(&answer, &rpc.vote).map_err(|status| failed(&status))?;
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::MemoryDisk;
    use crate::threads::Threads;
    use crate::types::ClusterId;
    use keelstone_proto::internal::PeerInfoRequest;
    use tokio::net::TcpListener;

    /// The election timeout is far beyond the deadline.
    #[tokio::test]
    async fn a_connection_to_a_silent_peer_is_given_up_long_before_an_election_timeout() {
        let mute = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let urls = [format!("http://{}", mute.local_addr().expect("bound"))];
        let timing = Timing {
            heartbeat: Duration::from_secs(100),
            election: Duration::from_secs(1000),
            silence: Duration::from_millis(50),
        };
        let metrics = crate::storage::Metrics::register(&prometheus::Registry::new()).expect("fresh registry");
        let (disk, unused) = (Arc::new(MemoryDisk::new()), Arc::new(|_: &dyn std::error::Error| {}));
        let files = StateFiles::new(disk, "/state".into(), 1 << 20, metrics, Threads::Own, unused);
        let identity = Identity { cluster: ClusterId(1), member: MemberId(1) };
        let clock = Arc::new(crate::clock::SystemClock::new());
        let peers = PeerClients::new(identity, timing, None, Arc::new(files), clock, Arc::default(), Arc::default());
        let mut client = peers.client(MemberId(2), &urls, Purpose::Forward).expect("a usable URL");
        let answer = tokio::time::timeout(Duration::from_secs(60), client.info(PeerInfoRequest {})).await;
        assert!(answer.expect("it ends by itself").is_err());
    }
}

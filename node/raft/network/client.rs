//! The calling side: one lazily connected channel per peer and purpose, and openraft's network trait over it.

use super::traffic::{MeteredWay, Traffic};
use super::{
    CLUSTER_HEADER, FROM_HEADER, Identity, MAX_MESSAGE_BYTES, PROTOCOL, PROTOCOL_HEADER, TO_HEADER, WAS_REMOVED,
};
use crate::clock::{Clock, Ticks};
use crate::cluster::ClusterState;
use crate::net::Reach;
use crate::raft::calling_back::CallingBack;
use crate::raft::metrics::Metrics;
use crate::raft::state_files::StateFiles;
use crate::types::MemberId;
use arc_swap::{ArcSwap, Guard};
use keelstone_proto::internal::peer_client::PeerClient;
use std::collections::HashMap;
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

/// What [`PeerClients::new`] connects.
#[derive(Debug)]
pub struct PeerParts {
    pub identity: Identity,
    pub timing: Timing,
    pub reach: Reach,
    /// Where a snapshot is read.
    pub files: Arc<StateFiles>,
    pub clock: Arc<dyn Clock>,
    /// What apply knows of the members.
    pub cluster: Arc<ArcSwap<ClusterState>>,
    /// Is told when a peer says that this member was removed.
    pub removed: Arc<Notify>,
    pub metrics: Metrics,
}

#[derive(Debug)]
struct Shared {
    identity: Identity,
    timing: Timing,
    reach: Reach,
    /// Where a snapshot is read.
    files: Arc<StateFiles>,
    channels: Mutex<HashMap<(MemberId, Purpose), Known>>,
    clock: Arc<dyn Clock>,
    started: Ticks,
    /// What apply knows of the members, their addresses among it.
    cluster: Arc<ArcSwap<ClusterState>>,
    /// Is told when a peer says that this member was removed.
    removed: Arc<Notify>,
    calling_back: CallingBack,
    traffic: Traffic,
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
    pub fn new(parts: PeerParts) -> Self {
        let PeerParts { identity, timing, reach, files, clock, cluster, removed, metrics } = parts;
        Self {
            shared: Arc::new(Shared {
                identity,
                timing,
                reach,
                files,
                channels: Mutex::new(HashMap::new()),
                started: clock.now(),
                cluster,
                removed,
                clock,
                calling_back: CallingBack::default(),
                traffic: Traffic::new(metrics, identity.member),
                unsteady: Mutex::default(),
            }),
        }
    }

    /// What apply knows of the members.
    pub(super) fn cluster(&self) -> Guard<Arc<ClusterState>> {
        self.shared.cluster.load()
    }

    pub(super) fn state_files(&self) -> Arc<StateFiles> {
        Arc::clone(&self.shared.files)
    }

    /// What goes to peers and comes from them.
    pub fn traffic(&self) -> &Traffic {
        &self.shared.traffic
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

    /// Who can call the leader.
    pub fn calling_back(&self) -> &CallingBack {
        &self.shared.calling_back
    }

    /// An answer to this leader said whether the follower can call it.
    pub(super) fn note_complaint(&self, follower: MemberId, complains: bool) {
        self.shared.calling_back.note(follower, complains, self.shared.clock.now());
    }

    /// Counts a failure, and says so when a peer goes or comes back, in etcd's words (`rafthttp/peer_status.go`).
    pub(super) fn note(&self, peer: MemberId, error: Option<&Status>) {
        if error.is_some() {
            self.traffic().sending_failed(peer);
        }
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
        let connector = self.shared.reach.connector(urls).map_err(|error| Status::unavailable(error.to_string()))?;
        // A peer that went away without a word (a cut cable, a stopped process) is noticed by unanswered pings.
        let endpoint = Endpoint::from_static(ANY_PEER)
            .connect_timeout(election)
            .http2_keep_alive_interval(silence.min(heartbeat.max(Duration::from_millis(50)) * 2))
            .keep_alive_timeout(silence)
            .keep_alive_while_idle(true)
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES);
        let traffic = self.shared.traffic.clone();
        let channel = endpoint.connect_with_connector_lazy(MeteredWay { connector, traffic, peer: to });
        channels.insert((to, purpose), (urls.to_vec(), channel.clone()));
        Ok(channel)
    }
}

/// What requests name as their server: a connection goes to wherever the peer's URLs say.
pub(super) const ANY_PEER: &str = "http://peer";
/// Flow-control window of a peer connection: one full append (2 MiB) never waits for an update.
const WINDOW_BYTES: u32 = 4 * 1024 * 1024;

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
        let reach = Reach { dial: Arc::new(crate::net::Sockets::default()), tls: None };
        let peers = PeerClients::new(PeerParts {
            identity,
            timing,
            reach,
            files: Arc::new(files),
            clock,
            cluster: Arc::default(),
            removed: Arc::default(),
            metrics: Metrics::detached(),
        });
        let mut client = peers.client(MemberId(2), &urls, Purpose::Forward).expect("a usable URL");
        let answer = tokio::time::timeout(Duration::from_secs(60), client.info(PeerInfoRequest::default())).await;
        assert!(answer.expect("it ends by itself").is_err());
    }
}

//! Real etcd and ours, side by side, with the same flags.

use crate::difference::{Answer, Identity, Reply, answer};
use crate::streams::StreamPair;
use crate::suite;
use crate::wire::{self, Metadata, Path};
use keelstone_harness::proto::etcdserverpb::{LeaseKeepAliveResponse, StatusRequest, StatusResponse};
use keelstone_harness::{Client, Cluster, ClusterSpec, KeepAlive, wait};
use prost::Message;
use std::fmt::Debug;
use std::path::Path as FilePath;
use std::time::Duration;
use tonic::Status;
use tonic::transport::Channel;

const STATUS: Path = "/etcdserverpb.Maintenance/Status";
const PATIENCE: Duration = Duration::from_secs(20);

/// One of the two servers, as seen by its client.
#[derive(Debug)]
pub struct Side {
    pub client: Client,
    pub channel: Channel,
    pub identity: Identity,
    keep_alive: KeepAlive,
}

impl Side {
    async fn connect(cluster: &Cluster) -> Self {
        let client = cluster[0].client();
        let channel = client.channel();
        let status: StatusResponse =
            wire::unary(&channel, STATUS, StatusRequest {}, Metadata::Nothing).await.expect("a status");
        // Answered once there is a leader to keep the time of leases; those from before it start together.
        client.time_to_live(1, false).await.expect("a time to live");
        let header = status.header.expect("a header");
        let identity = Identity { cluster: header.cluster_id, member: header.member_id, term: header.raft_term };
        Self { keep_alive: client.keep_alive(), client, channel, identity }
    }
}

/// First etcd, then ours, here and wherever there are two of a thing.
#[derive(Debug)]
pub struct Pair {
    clusters: [Cluster; 2],
    pub sides: [Side; 2],
}

impl Pair {
    pub async fn start(etcd: &FilePath, flags: &[String]) -> Self {
        let suites = [suite().with_server(etcd), suite().clone()];
        // Short ones make leases that end soon.
        let (heartbeat, election_timeout) = (Duration::from_millis(20), Duration::from_millis(200));
        let spec = ClusterSpec {
            members: 1,
            heartbeat,
            election_timeout,
            flags: flags.to_vec(),
            proxied: false,
            secure_peers: false,
        };
        let (etcd, ours) = tokio::join!(Cluster::start(&suites[0], &spec), Cluster::start(&suites[1], &spec));
        let sides = tokio::join!(Side::connect(&etcd), Side::connect(&ours)).into();
        Self { clusters: [etcd, ours], sides }
    }

    /// Kills both without a warning and starts them again on what they wrote.
    pub async fn restart(&mut self) {
        for cluster in &mut self.clusters {
            cluster[0].kill();
        }
        let [etcd, ours] = &mut self.clusters;
        tokio::join!(etcd.restart(0), ours.restart(0));
        let [etcd, ours] = &self.clusters;
        self.sides = tokio::join!(Side::connect(etcd), Side::connect(ours)).into();
    }

    pub fn stream(&self) -> StreamPair {
        StreamPair::open(self.sides.each_ref().map(|side| (side.client.watch(), side.identity)))
    }

    /// Waits until both have recorded the version of what they store.
    pub async fn storage_versions(&self) -> [String; 2] {
        self.both(async |side| {
            wait::until("a storage version of 3.7", PATIENCE, || async {
                let status: Result<StatusResponse, _> =
                    wire::unary(&side.channel, STATUS, StatusRequest {}, Metadata::Nothing).await;
                status.ok().map(|status| status.storage_version).filter(|version| version.starts_with("3.7"))
            })
            .await
        })
        .await
    }

    /// # Panics
    /// If one of ours logged an error.
    pub fn assert_no_unexpected_errors(&self) {
        self.clusters[1].assert_no_unexpected_errors();
    }

    pub async fn both<T>(&self, ask: impl AsyncFn(&Side) -> T) -> [T; 2] {
        let [etcd, ours] = &self.sides;
        tokio::join!(ask(etcd), ask(ours)).into()
    }

    /// Asks both at once; their answers are still to be compared.
    pub async fn answers<Q, A>(&self, path: Path, request: &Q, metadata: Metadata) -> [Answer<A>; 2]
    where
        Q: Message + Clone + 'static,
        A: Message + Default + Reply + 'static,
    {
        self.answers_to_each(path, [request.clone(), request.clone()], metadata).await
    }

    /// As [`Self::answers`], where the request names what is the server's own.
    pub async fn answers_to_each<Q, A>(&self, path: Path, requests: [Q; 2], metadata: Metadata) -> [Answer<A>; 2]
    where
        Q: Message + 'static,
        A: Message + Default + Reply + 'static,
    {
        let ask = async |side: &Side, request| {
            answer(wire::unary(&side.channel, path, request, metadata).await, &side.identity)
        };
        let ([etcd, ours], [first, second]) = (&self.sides, requests);
        tokio::join!(ask(etcd, first), ask(ours, second)).into()
    }

    /// Renews a lease on the stream that each side has for this.
    pub async fn renew(&mut self, id: i64) -> [Answer<LeaseKeepAliveResponse>; 2] {
        async fn renew(side: &mut Side, id: i64) -> Answer<LeaseKeepAliveResponse> {
            let reply: Result<_, Status> = side.keep_alive.renew(id, PATIENCE).await;
            answer(reply, &side.identity)
        }
        let [etcd, ours] = &mut self.sides;
        tokio::join!(renew(etcd, id), renew(ours, id)).into()
    }
}

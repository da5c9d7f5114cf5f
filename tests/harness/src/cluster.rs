//! Members that form one cluster, started with etcd's own flags, and the links between them.

use crate::links::{Flow, Links};
use crate::{Client, Machine, Member, Suite, free_port, wait};
use std::ops::{Index, IndexMut};
use std::path::{Path, PathBuf};
use std::time::Duration;

const LEADER_LIMIT: Duration = Duration::from_secs(30);

/// What to start. Heartbeat and election timeout are etcd's defaults unless set.
#[derive(Debug, Clone)]
pub struct ClusterSpec {
    pub members: usize,
    pub heartbeat: Duration,
    pub election_timeout: Duration,
    /// Further flags, the same for each member.
    pub flags: Vec<String>,
    /// Members reach each other through proxies, so that flows can be cut. Without, no flow can be set.
    pub proxied: bool,
    /// Peers speak TLS; the flags say with which certificates. They are known as 127.0.0.1.
    pub secure_peers: bool,
}

impl ClusterSpec {
    pub fn of(members: usize) -> Self {
        let (heartbeat, election_timeout) = (Duration::from_millis(100), Duration::from_secs(1));
        Self { members, heartbeat, election_timeout, flags: Vec::new(), proxied: true, secure_peers: false }
    }

    fn peer_url(&self, port: u16) -> String {
        format!("{}://127.0.0.1:{port}", if self.secure_peers { "https" } else { "http" })
    }

    pub fn with_flags(mut self, flags: &[&str]) -> Self {
        self.flags.extend(flags.iter().map(|flag| (*flag).to_owned()));
        self
    }
}

/// Running members; all end with this value.
#[derive(Debug)]
pub struct Cluster {
    members: Vec<Member>,
    links: Links,
    peer_ports: Vec<u16>,
    suite: Suite,
    spec: ClusterSpec,
    folder: PathBuf,
    pub election_timeout: Duration,
    /// Watched since the start.
    pub machine: Machine,
}

impl Cluster {
    /// Starts all members and waits until each serves.
    pub async fn start(suite: &Suite, spec: &ClusterSpec) -> Self {
        let mut cluster = Self::prepare(suite, spec).await;
        cluster.start_all().await;
        cluster
    }

    /// Gives out ports and folders and starts nothing.
    pub async fn prepare(suite: &Suite, spec: &ClusterSpec) -> Self {
        let folder = suite.make_folder(&format!("cluster-of-{}", spec.members));
        let ports = || -> Vec<u16> { (0..spec.members).map(|_| free_port()).collect() };
        let (client_ports, peer_ports) = (ports(), ports());
        let front_ports = if spec.proxied { ports() } else { peer_ports.clone() };
        let links = Links::start(if spec.proxied { &front_ports } else { &[] }, &peer_ports).await;
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        let peer_url = |port: u16| spec.peer_url(port);
        let initial: Vec<String> =
            front_ports.iter().enumerate().map(|(place, &port)| format!("m{place}={}", peer_url(port))).collect();
        let members = (0..spec.members).map(|place| {
            let mut args = vec![
                format!("--listen-client-urls={}", url(client_ports[place])),
                format!("--advertise-client-urls={}", url(client_ports[place])),
                format!("--listen-peer-urls={}", peer_url(peer_ports[place])),
                format!("--initial-advertise-peer-urls={}", peer_url(front_ports[place])),
                format!("--initial-cluster={}", initial.join(",")),
                "--initial-cluster-token=keelstone-test".to_owned(),
                "--initial-cluster-state=new".to_owned(),
                format!("--heartbeat-interval={}", spec.heartbeat.as_millis()),
                format!("--election-timeout={}", spec.election_timeout.as_millis()),
            ];
            args.extend(spec.flags.iter().cloned());
            Member::new(&suite.server, folder.clone(), &format!("m{place}"), client_ports[place], args)
        });
        let members = members.collect();
        let machine = Machine::watch();
        let (suite, spec) = (suite.clone(), spec.clone());
        Self { members, links, peer_ports, election_timeout: spec.election_timeout, suite, spec, folder, machine }
    }

    /// A further member that is to join, not started yet: its place and peer URL. `beside` are the places of those that it is
    /// told of. Only for members without proxies.
    pub fn prepare_joiner(&mut self, beside: &[usize]) -> (usize, String) {
        assert!(!self.spec.proxied, "a member that joins has no proxy");
        let place = self.len();
        let (client_port, peer_port) = (free_port(), free_port());
        self.peer_ports.push(peer_port);
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        let listed = beside.iter().chain([&place]).map(|&at| format!("m{at}={}", self.peer_url(self.peer_ports[at])));
        let mut args = vec![
            format!("--listen-client-urls={}", url(client_port)),
            format!("--advertise-client-urls={}", url(client_port)),
            format!("--listen-peer-urls={}", self.peer_url(peer_port)),
            format!("--initial-advertise-peer-urls={}", self.peer_url(peer_port)),
            format!("--initial-cluster={}", listed.collect::<Vec<_>>().join(",")),
            "--initial-cluster-state=existing".to_owned(),
            format!("--heartbeat-interval={}", self.spec.heartbeat.as_millis()),
            format!("--election-timeout={}", self.spec.election_timeout.as_millis()),
        ];
        args.extend(self.spec.flags.iter().cloned());
        let (server, folder) = (&self.suite.server, self.folder.clone());
        self.members.push(Member::new(server, folder, &format!("m{place}"), client_port, args));
        (place, self.peer_url(peer_port))
    }

    fn peer_url(&self, port: u16) -> String {
        self.spec.peer_url(port)
    }

    /// Starts every member that does not run, and waits until all serve.
    pub async fn start_all(&mut self) {
        for place in 0..self.len() {
            if !self.members[place].is_running() {
                self.launch(place);
            }
        }
        for member in &mut self.members {
            member.ready().await;
        }
    }

    /// Starts one member's process without waiting.
    pub fn launch(&mut self, place: usize) {
        self.launch_with(place, &[]);
    }

    /// As [`Self::launch`], with more flags this time.
    pub fn launch_with(&mut self, place: usize, more: &[&str]) {
        self.members[place].start_with(more);
        self.links.set_pid(place, self.members[place].pid());
    }

    /// Starts one member and waits until it serves.
    pub async fn restart(&mut self, place: usize) {
        self.launch(place);
        self.members[place].ready().await;
    }

    /// Kills all members and starts them again.
    pub async fn restart_after_kill(&mut self) {
        for member in &mut self.members {
            member.kill();
        }
        self.start_all().await;
    }

    /// From now on the members are started with another suite's server, on the same data and with the same flags.
    pub fn swap_server(&mut self, suite: &Suite) {
        self.suite.server = suite.server.clone();
        for member in &mut self.members {
            member.set_server(&suite.server);
        }
    }

    /// As [`Self::swap_server`], of one member.
    pub fn swap_server_of(&mut self, place: usize, suite: &Suite) {
        self.members[place].set_server(&suite.server);
    }

    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Where a member listens for its peers; other members come by a front that can be cut.
    pub fn peer_port(&self, place: usize) -> u16 {
        self.peer_ports[place]
    }

    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub fn iter(&self) -> impl Iterator<Item = &Member> {
        self.members.iter()
    }

    pub fn clients(&self) -> Vec<Client> {
        self.members.iter().map(Member::client).collect()
    }

    /// Sets what happens to bytes from one member to another.
    pub fn set_flow(&self, from: usize, to: usize, flow: Flow) {
        self.links.set(from, to, flow);
    }

    /// Sets both directions between one member and all others.
    pub fn set_flows_around(&self, place: usize, flow: Flow) {
        for other in (0..self.len()).filter(|&other| other != place) {
            self.links.set(place, other, flow);
            self.links.set(other, place, flow);
        }
    }

    /// Cuts one member off from all others, silently.
    pub fn isolate(&self, place: usize) {
        self.set_flows_around(place, Flow::Blackhole);
    }

    /// Holds all bytes of connections that others make to this member, both ways. Those that it makes go on.
    pub fn hold_calls_to(&self, place: usize) {
        self.links.hold_calls(place, true);
    }

    /// Lets all bytes pass again.
    pub fn heal(&self) {
        for place in 0..self.len() {
            self.set_flows_around(place, Flow::Pass);
            self.links.hold_calls(place, false);
        }
    }

    /// Waits until the given members agree on a leader among them in the same term, and returns its place.
    pub async fn leader_among(&self, places: &[usize]) -> usize {
        let clients: Vec<Client> =
            places.iter().map(|&place| self.members[place].client().with_deadline(Duration::from_secs(1))).collect();
        let what = format!("members {places:?} to agree on a leader, see {}", self.folder.display());
        wait::until(&what, LEADER_LIMIT, || async {
            let mut seen = Vec::new();
            for client in &clients {
                let status = client.status().await.ok()?;
                let header = status.header?;
                seen.push((header.member_id, status.leader, status.raft_term));
            }
            let (_, leader, term) = *seen.first()?;
            let agreed = leader != 0 && seen.iter().all(|&(_, other, at)| (other, at) == (leader, term));
            let place = seen.iter().position(|&(id, _, _)| id == leader)?;
            agreed.then(|| places[place])
        })
        .await
    }

    /// As [`Self::leader_among`] all members.
    pub async fn leader(&self) -> usize {
        self.leader_among(&(0..self.len()).collect::<Vec<_>>()).await
    }

    /// # Panics
    /// If a server logged an error that the test did not announce with [`Member::expect_errors`].
    pub fn assert_no_unexpected_errors(&self) {
        for member in &self.members {
            let lines = member.unexpected_errors();
            assert!(
                lines.is_empty(),
                "{} logged errors, see {}:\n{}",
                member.name,
                self.folder.display(),
                lines.join("\n")
            );
        }
    }

    /// Announces a text of error lines for every member.
    pub fn expect_errors(&mut self, text: &str) {
        for member in &mut self.members {
            member.expect_errors(text);
        }
    }
}

impl Drop for Cluster {
    /// A test that passed leaves nothing; one that failed leaves its data and logs.
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        for member in &mut self.members {
            member.kill();
        }
        if let Err(error) = std::fs::remove_dir_all(&self.folder) {
            eprintln!("{} stays: {error}", self.folder.display());
        }
    }
}

impl Index<usize> for Cluster {
    type Output = Member;

    fn index(&self, place: usize) -> &Member {
        &self.members[place]
    }
}

impl IndexMut<usize> for Cluster {
    fn index_mut(&mut self, place: usize) -> &mut Member {
        &mut self.members[place]
    }
}

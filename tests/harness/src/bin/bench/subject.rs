//! Servers that are measured: etcd's default settings, on fresh data directories.

use crate::args::Args;
use crate::wire::Connection;
use keelstone_harness::{Cluster, ClusterSpec, Suite};
use rustix::thread::{CpuSet, sched_setaffinity};
use std::path::Path;

/// All clients share so many connections, as with `--conns` of etcd's benchmark tool.
pub const CONNECTIONS: usize = 10;

/// Both servers, in the order of [`crate::report::SERVERS`].
pub struct Subjects {
    suites: [Suite; 2],
    pinned: bool,
}

impl Subjects {
    pub fn find(args: &Args) -> Self {
        let text = |path: &Path| path.to_str().expect("paths are UTF-8").to_owned();
        let suite = Suite::new(&text(&args.keelstone), &text(&args.folder), "bench");
        let suites = [suite.with_server(&args.etcd), suite.with_server(&args.keelstone)];
        Self { suites, pinned: args.pinned }
    }

    /// What is measured where, for the head of a report.
    pub fn describe(&self) -> String {
        let (major, minor, patch) = self.suites[0].server.version;
        let cores = if self.pinned { "servers on core 0, clients on core 1" } else { "unpinned" };
        let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let cpu = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
        format!("etcd {major}.{minor}.{patch} and keelstone on {}, {cores}", cpu.trim_start_matches(['\t', ':', ' ']))
    }

    /// Starts `members` of one server on fresh data directories and waits until they serve.
    pub async fn start(&self, server: usize, members: usize) -> Cluster {
        self.start_with(server, members, &[]).await
    }

    /// As [`Self::start`], with flags.
    pub async fn start_with(&self, server: usize, members: usize, flags: &[&str]) -> Cluster {
        let spec = ClusterSpec { proxied: false, ..ClusterSpec::of(members) }.with_flags(flags);
        let mut cluster = Cluster::prepare(&self.suites[server], &spec).await;
        for place in 0..members {
            self.launch(&mut cluster, place);
        }
        for place in 0..members {
            cluster[place].ready().await;
        }
        cluster
    }

    /// Starts the process of a prepared member without waiting.
    pub fn launch(&self, cluster: &mut Cluster, place: usize) {
        // A process inherits the cores of the thread that starts it, and asks for their number once.
        self.move_to_core(0);
        cluster.launch(place);
        self.move_to_core(1);
    }

    fn move_to_core(&self, core: usize) {
        if self.pinned {
            let mut cores = CpuSet::new();
            cores.set(core);
            sched_setaffinity(None, &cores).expect("two cores to pin to");
        }
    }
}

/// The connections that `clients` clients share, to all members in turn.
pub async fn connect(cluster: &Cluster, clients: usize) -> Vec<Connection> {
    connect_to(cluster, &(0..cluster.len()).collect::<Vec<_>>(), clients).await
}

/// As [`connect`], to some members.
pub async fn connect_to(cluster: &Cluster, places: &[usize], clients: usize) -> Vec<Connection> {
    let mut connections = Vec::new();
    for number in 0..clients.min(CONNECTIONS) {
        connections.push(Connection::open(cluster[places[number % places.len()]].client_port).await);
    }
    connections
}

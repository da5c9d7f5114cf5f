//! A server that is measured: one member with etcd's default settings, on a fresh data directory.

use crate::args::Args;
use keelstone_harness::{Client, Cluster, ClusterSpec, Suite};
use rustix::thread::{CpuSet, sched_setaffinity};
use std::path::Path;

/// All clients share so many connections, as with `--conns` of etcd's benchmark tool.
pub const CONNECTIONS: usize = 10;

pub const NAMES: [&str; 2] = ["etcd", "keelstone"];

/// Both servers, in the order of [`NAMES`].
pub struct Subjects {
    suites: [Suite; 2],
    pinned: bool,
}

impl Subjects {
    pub fn find(args: &Args) -> Self {
        let text = |path: &Path| path.to_str().expect("paths are UTF-8").to_owned();
        let suite = Suite::new(&text(&args.keelstone), &text(&args.folder), "measure");
        let suites = [suite.with_server(&args.etcd), suite.with_server(&args.keelstone)];
        Self { suites, pinned: args.pinned }
    }

    /// How both are run, for the head of a report.
    pub fn describe(&self) -> String {
        let (major, minor, patch) = self.suites[0].server.version;
        let cores = if self.pinned { "server on core 0, client on core 1" } else { "unpinned" };
        let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let load = load.split_whitespace().take(2).collect::<Vec<_>>().join(", ");
        format!(
            "etcd {major}.{minor}.{patch} and keelstone, one member, clients on up to {CONNECTIONS} connections, {cores}; \
             load average at the end {load}"
        )
    }

    /// Starts the server at `place` of [`NAMES`] on a fresh data directory and waits until it serves.
    pub async fn start(&self, place: usize) -> Cluster {
        let mut cluster = Cluster::prepare(&self.suites[place], &ClusterSpec::of(1)).await;
        self.launch(&mut cluster);
        cluster[0].ready().await;
        cluster
    }

    /// Starts the process of a prepared member without waiting.
    pub fn launch(&self, cluster: &mut Cluster) {
        // A process inherits the cores of the thread that starts it, and asks for their number once.
        self.move_to_core(0);
        cluster.launch(0);
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

/// The connections that `clients` clients share.
pub fn connect(cluster: &Cluster, clients: usize) -> Vec<Client> {
    (0..clients.min(CONNECTIONS)).map(|_| cluster[0].client()).collect()
}

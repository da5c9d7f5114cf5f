//! A server on what `snapshot restore` made of a file.

use crate::programs::{run_aside, text_of};
use crate::suite;
use keelstone_harness::{Cluster, ClusterSpec, Suite};
use std::path::Path;

/// Restores with etcd's tool and starts etcd on it.
pub async fn start(etcdutl: &Path, etcd: &Path, file: &Path) -> Cluster {
    start_with((etcdutl, &[]), &suite().with_server(etcd), file, &[]).await
}

/// The same with ours.
pub async fn start_ours(file: &Path, more: &[&str]) -> Cluster {
    start_with((&suite().server.binary, &["utl"]), suite(), file, more).await
}

/// The same with a tool, by its name and first words, a server, and more flags for the tool.
pub async fn start_with((tool, first): (&Path, &[&str]), server: &Suite, file: &Path, more: &[&str]) -> Cluster {
    let spec = ClusterSpec { proxied: false, ..ClusterSpec::of(1) };
    let mut cluster = Cluster::prepare(server, &spec).await;
    let url = format!("http://127.0.0.1:{}", cluster.peer_port(0));
    let data_dir = format!("--data-dir={}", text_of(&cluster[0].data_dir()));
    let (initial, advertised) = (format!("--initial-cluster=m0={url}"), format!("--initial-advertise-peer-urls={url}"));
    let flags = [
        "snapshot",
        "restore",
        text_of(file),
        &data_dir,
        "--name=m0",
        &initial,
        &advertised,
        "--initial-cluster-token=keelstone-test",
    ];
    run_aside(tool, &[first, &flags, more].concat()).await;
    cluster.start_all().await;
    cluster
}

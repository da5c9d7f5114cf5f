//! Real etcd on what `etcdutl snapshot restore` made of a file.

use crate::programs::{run_aside, text_of};
use crate::suite;
use keelstone_harness::{Cluster, ClusterSpec};
use std::path::Path;

/// Restores with one program and starts the other on it.
pub async fn start(etcdutl: &Path, etcd: &Path, file: &Path) -> Cluster {
    let spec = ClusterSpec { proxied: false, ..ClusterSpec::of(1) };
    let mut cluster = Cluster::prepare(&suite().with_server(etcd), &spec).await;
    let url = format!("http://127.0.0.1:{}", cluster.peer_port(0));
    let data_dir = format!("--data-dir={}", text_of(&cluster[0].data_dir()));
    let flags = [
        "snapshot",
        "restore",
        text_of(file),
        &data_dir,
        "--name=m0",
        &format!("--initial-cluster=m0={url}"),
        &format!("--initial-advertise-peer-urls={url}"),
        "--initial-cluster-token=keelstone-test",
    ];
    run_aside(etcdutl, &flags).await;
    cluster.start_all().await;
    cluster
}

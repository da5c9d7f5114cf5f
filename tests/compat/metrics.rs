//! What `/metrics` shows of three members under load, beside real etcd: families, types, labels and buckets; and that
//! what it says of peers is true.

use crate::suite;
use keelstone_harness::proto::etcdserverpb::CompactionRequest;
use keelstone_harness::{Cluster, ClusterSpec, http, prefix_end, tools, wait};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// What is of Go, of bbolt, of etcd's v2 store, of its snapshot files or of its proxy, and has no counterpart.
const NOT_OURS: [&str; 6] = [
    "go_",
    "promhttp_",
    "etcd_grpc_proxy_",
    "etcd_debugging_store_",
    "etcd_debugging_snap_save_",
    "etcd_debugging_disk_backend_commit_",
];

/// A family: its type, the names of its labels, and the bounds of its buckets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Family {
    kind: String,
    labels: BTreeSet<String>,
    bounds: BTreeSet<String>,
}

fn families(page: &str) -> BTreeMap<String, Family> {
    let mut families = BTreeMap::<String, Family>::new();
    let mut current = String::new();
    for line in page.lines() {
        if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|line| line.split_once(' ')) {
            current = name.to_owned();
            families.entry(current.clone()).or_default().kind = kind.to_owned();
        }
        let Some((_, labels)) = line.split_once('{').filter(|_| !line.starts_with('#')) else { continue };
        let family = families.get_mut(&current).expect("its type was told");
        // No value of a label has a quote or a comma in it.
        for (name, value) in labels.split("\",").filter_map(|label| label.split_once("=\"")) {
            let value = value.split('"').next().expect("a text");
            match (name, value.parse::<f64>()) {
                ("le", bound) => _ = family.bounds.insert(bound.map_or(value.to_owned(), |bound| format!("{bound:e}"))),
                (name, _) => _ = family.labels.insert(name.to_owned()),
            }
        }
    }
    families
}

async fn page(port: u16) -> String {
    http::get(port, "/metrics").await.expect("metrics").body
}

/// Some of everything that is counted.
async fn load(cluster: &Cluster) {
    let leader = cluster.leader().await;
    for (place, client) in cluster.clients().iter().enumerate() {
        for number in 0..50 {
            client.put(format!("{place}/{number}"), "v").await.expect("put");
        }
        client.get_all().await.expect("range");
        client.delete(format!("{place}/1")).await.expect("delete");
        client.status().await.expect("status");
    }
    let client = cluster[leader].client();
    let mut stream = client.watch();
    let all = keelstone_harness::proto::etcdserverpb::WatchCreateRequest {
        key: "0/".into(),
        range_end: prefix_end(b"0/"),
        progress_notify: true,
        ..Default::default()
    };
    stream.create_and_wait(all).await;
    client.put("0/watched", "v").await.expect("put");
    stream.events(1).await;
    client.grant(60, 5).await.expect("lease");
    client.revoke(5).await.expect("revoke");
    let revision = client.put("0/last", "v").await.expect("put");
    client.compact(CompactionRequest { revision, physical: true }).await.expect("compact");
    client.defragment().await.expect("defragment");
    http::get(cluster[leader].client_port, "/readyz").await.expect("a page");
}

/// The value of a series, whose labels are told in their order by name; zero if it is not there.
fn value(page: &str, series: &str) -> f64 {
    let line = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.map_or(0.0, |value| value.parse().expect("a number"))
}

#[tokio::test]
async fn families_types_labels_and_buckets_are_etcds() {
    let Some(etcd) = tools::etcd("metrics beside etcd") else { return };
    let mut pages = Vec::new();
    for server in [suite().clone(), suite().with_server(&etcd)] {
        let cluster = Cluster::start(&server, &ClusterSpec::of(3)).await;
        load(&cluster).await;
        let leader = cluster.leader().await;
        pages.push((
            families(&page(cluster[leader].client_port).await),
            families(&page(cluster[(leader + 1) % 3].client_port).await),
        ));
    }
    let [ours, etcds] = <[_; 2]>::try_from(pages).expect("two");
    for (who, ours, etcds) in [("leader", ours.0, etcds.0), ("follower", ours.1, etcds.1)] {
        let mut differ = Vec::new();
        for (name, theirs) in etcds.iter().filter(|(name, _)| !NOT_OURS.iter().any(|prefix| name.starts_with(prefix))) {
            match ours.get(name) {
                None => differ.push(format!("{name} is missing")),
                Some(ours) if ours != theirs && !is_fine(ours, theirs) => {
                    differ.push(format!("{name}\n  ours   {ours:?}\n  etcd's {theirs:?}"));
                }
                Some(_) => {}
            }
        }
        assert!(differ.is_empty(), "{who}: {} families differ:\n{}", differ.len(), differ.join("\n"));
    }
}

/// What has no series yet has no labels.
fn is_fine(ours: &Family, etcds: &Family) -> bool {
    ours.kind == etcds.kind && (ours.labels.is_empty() || etcds.labels.is_empty())
}

#[tokio::test]
async fn what_is_told_of_peers_is_true() {
    let mut cluster = Cluster::start(suite(), &ClusterSpec::of(3)).await;
    load(&cluster).await;
    let leader = cluster.leader().await;
    let (lost, port) = ((leader + 1) % 3, cluster[leader].client_port);
    let id = async |place: usize| {
        cluster[place].client().status().await.expect("status").header.expect("a header").member_id
    };
    let (own, peer) = (format!("{:x}", id(leader).await), format!("{:x}", id(lost).await));
    let active = format!(r#"etcd_network_active_peers{{Local="{own}",Remote="{peer}"}}"#);
    let disconnected = format!(r#"etcd_network_disconnected_peers_total{{Local="{own}",Remote="{peer}"}}"#);
    let to = |name: &str| format!(r#"etcd_network_peer_{name}{{To="{peer}"}}"#);
    let received = format!(r#"etcd_network_peer_received_bytes_total{{From="{peer}"}}"#);
    let begun = page(port).await;
    assert_eq!(value(&begun, &active), 1.0);
    assert!(value(&begun, &to("sent_bytes_total")) > 1000.0 && value(&begun, &received) > 1000.0);
    let payload = 100_000;
    cluster[leader].client().put("large", vec![b'v'; payload]).await.expect("put");
    let what = "a large value to be sent to a peer";
    wait::until(what, Duration::from_secs(30), || async {
        let sent = value(&page(port).await, &to("sent_bytes_total")) - value(&begun, &to("sent_bytes_total"));
        (sent > payload as f64).then_some(())
    })
    .await;
    cluster[lost].kill();
    wait::until("a peer to be missed", Duration::from_secs(60), || async {
        let now = page(port).await;
        let is_missed = value(&now, &active) == 0.0 && value(&now, &disconnected) >= 1.0;
        (is_missed && value(&now, &to("sent_failures_total")) > value(&begun, &to("sent_failures_total"))).then_some(())
    })
    .await;
    if !suite().server.is_etcd {
        // etcd asks every 30 s.
        assert!(value(&page(port).await, &to("round_trip_time_seconds_count")) > 0.0);
    }
}

//! When members that start together have their first leader.

use crate::{check, suite};
use keelstone_harness::{Cluster, ClusterSpec};
use serde_json::Value;
use std::time::Duration;

/// When the member wrote the first line with this text, in its own time.
fn written(cluster: &Cluster, place: usize, text: &str) -> Duration {
    let lines = cluster[place].log_lines(text);
    let line: Value = serde_json::from_str(&lines[0]).expect("a line of JSON");
    let clock = line["ts"].as_str().and_then(|ts| ts.get(11..26)).expect("a time of day");
    let parts: Vec<f64> = clock.split(':').map(|part| part.parse().expect("a number")).collect();
    Duration::from_secs_f64(parts[0] * 3600.0 + parts[1] * 60.0 + parts[2])
}

/// Whoever leads first has left the others a whole election timeout: of all members that one waited longest, or
/// another one longer still.
#[tokio::test(flavor = "multi_thread")]
async fn without_the_advance_of_ticks_nobody_stands_before_a_whole_election_timeout() {
    let election_timeout = Duration::from_secs(2);
    let spec = ClusterSpec { election_timeout, ..ClusterSpec::of(3) };
    check(spec.with_flags(&["--initial-election-tick-advance=false"]), async |cluster| {
        let day = Duration::from_secs(24 * 3600);
        let waited = (0..cluster.len()).map(|place| {
            let start = written(cluster, place, "skipping initial election tick advance");
            let ready = written(cluster, place, "ready to serve client requests");
            // Over midnight.
            if ready < start { ready + day - start } else { ready - start }
        });
        let longest = waited.max().expect("three members");
        assert!(longest >= election_timeout, "the first leader stood after {longest:?}");
        cluster[0].client().put("k", "v").await.expect("put");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_is_alone_leads_at_once() {
    if suite().server.is_etcd {
        println!("passed by: etcd waits for up to an election timeout");
        return;
    }
    // Were it to wait, it would not be ready within the harness's limit.
    let spec = ClusterSpec { election_timeout: Duration::from_secs(50), ..ClusterSpec::of(1) };
    check(spec.with_flags(&["--initial-election-tick-advance=false"]), async |cluster| {
        cluster[0].client().put("k", "v").await.expect("put");
    })
    .await;
}

//! Members that are not told who the others are: they find each other in a registry that another cluster keeps, ours or
//! etcd's, or by records of DNS. Where there is a real etcd it does the same beside ours, and says the same.

mod dns;
mod service;
mod srv;

use keelstone_harness::{Cluster, ClusterSpec, Suite, tools};
use serde_json::Value;
use std::sync::OnceLock;
use std::time::Duration;

/// Far more than anything here takes.
const LIMIT: Duration = Duration::from_secs(30);

fn suite() -> &'static Suite {
    static SUITE: OnceLock<Suite> = OnceLock::new();
    SUITE.get_or_init(|| Suite::new(env!("CARGO_BIN_EXE_keelstone"), env!("CARGO_TARGET_TMPDIR"), "discovery"))
}

/// Ours, and real etcd if there is one.
fn suites(test: &str) -> Vec<Suite> {
    let etcd = tools::etcd(test).filter(|_| !suite().server.is_etcd);
    std::iter::once(suite().clone()).chain(etcd.map(|etcd| suite().with_server(&etcd))).collect()
}

/// Members that are told of no cluster but by these flags.
fn untold(members: usize, flags: &[&str]) -> ClusterSpec {
    let spec = ClusterSpec { proxied: false, ..ClusterSpec::of(members) };
    spec.with_flags(&["--initial-cluster="]).with_flags(flags)
}

/// What one field said in each line with this message.
fn said(cluster: &Cluster, place: usize, message: &str, field: &str) -> Vec<String> {
    let lines = cluster[place].log_lines(&format!("\"msg\":\"{message}\""));
    let value = |line: &String| -> Option<String> {
        let line: Value = serde_json::from_str(line).expect("a line of JSON");
        line.get(field).map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned))
    };
    lines.iter().filter_map(value).collect()
}

/// All members know each other, and one log.
async fn is_one_cluster(cluster: &Cluster) {
    let list = cluster[0].client().member_list(true).await.expect("member list");
    let mut names: Vec<String> = list.members.into_iter().map(|member| member.name).collect();
    names.sort();
    assert_eq!(names, (0..cluster.len()).map(|place| format!("m{place}")).collect::<Vec<_>>());
    cluster[0].client().put("k", "v").await.expect("put");
    for member in cluster.iter() {
        assert_eq!(member.client().get("k").await.expect("get").kvs[0].value, "v");
    }
}

/// Launches a member that must end by itself; gives the error of its last line.
async fn refusal(cluster: &mut Cluster, place: usize, message: &str) -> String {
    cluster[place].expect_errors("discovery fail");
    cluster.launch(place);
    let exit = cluster[place].wait_for_exit().await;
    assert_eq!(exit.status.code(), Some(1));
    said(cluster, place, message, "error").pop().unwrap_or_else(|| panic!("no line {message:?}"))
}

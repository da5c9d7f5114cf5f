//! The operator's page: what is done to a cluster after it was started, command by command as it stands there. Once with
//! etcd's own tools, old and new, and once with ours under their names.

use crate::programs::{run_aside, text_of, try_aside};
use crate::suite;
use keelstone_harness::{Cluster, ClusterSpec, Suite, free_port, tools, wait};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(30);

/// The programs of a column.
struct Tools {
    etcd: Suite,
    etcdctl: PathBuf,
    /// Counts what is in a file.
    status: PathBuf,
    /// Make a data directory, a node each in turn. One that etcd's tool makes is taken over by our server when it starts.
    restore: Vec<PathBuf>,
}

impl Tools {
    /// Our binary under the names of etcd's programs.
    fn ours() -> Self {
        let folder = suite().make_folder("bin");
        let named = |name: &str| {
            let path = folder.join(name);
            symlink(&suite().server.binary, &path).expect("make a link");
            path
        };
        let (etcd, etcdctl, etcdutl) = (named("etcd"), named("etcdctl"), named("etcdutl"));
        Self {
            etcd: suite().with_server(&etcd),
            etcdctl: etcdctl.clone(),
            status: etcdctl.clone(),
            restore: vec![etcdctl, etcdutl],
        }
    }

    fn of_etcd(etcdctl: PathBuf, status: PathBuf, restore: Vec<PathBuf>) -> Self {
        Self { etcd: suite().clone(), etcdctl, status, restore }
    }

    async fn ctl(&self, endpoints: &[String], line: &[&str]) -> String {
        self.try_ctl(endpoints, line).await.unwrap_or_else(|said| panic!("{line:?}: {said}"))
    }

    async fn try_ctl(&self, endpoints: &[String], line: &[&str]) -> Result<String, String> {
        let endpoints = format!("--endpoints={}", endpoints.join(","));
        try_aside(&self.etcdctl, &[&[endpoints.as_str()], line].concat()).await
    }

    /// A change of members, which etcd refuses until the others have been connected for five seconds.
    async fn change(&self, endpoints: &[String], line: &[&str]) -> String {
        wait::until(&format!("{line:?}"), LIMIT, async || match self.try_ctl(endpoints, line).await {
            Ok(said) => Some(said),
            Err(said) if said.contains("etcdserver: unhealthy cluster") => None,
            Err(said) => panic!("{line:?}: {said}"),
        })
        .await
    }
}

/// A cluster whose members listen for clients at two addresses each; all of them.
async fn start(tools: &Tools, members: usize) -> (Cluster, Vec<String>) {
    let spec = ClusterSpec { proxied: false, ..ClusterSpec::of(members) };
    let mut cluster = Cluster::prepare(&tools.etcd, &spec).await;
    let mut endpoints = Vec::new();
    for place in 0..members {
        let second = format!("http://127.0.0.1:{}", free_port());
        let urls = format!("{},{second}", cluster[place].endpoint());
        let (listen, advertise) = (format!("--listen-client-urls={urls}"), format!("--advertise-client-urls={urls}"));
        cluster.launch_with(place, &[&listen, &advertise]);
        endpoints.extend([cluster[place].endpoint(), second]);
    }
    cluster.start_all().await;
    (cluster, endpoints)
}

/// The members by the words of a line: id, started or not, name.
fn members(list: &str) -> Vec<(String, String, String)> {
    let read = |line: &str| {
        let mut words = line.split(", ").map(str::to_owned);
        let mut next = || words.next().unwrap_or_else(|| panic!("a line of a member list: {line}"));
        (next(), next(), next())
    };
    list.lines().map(read).collect()
}

/// `member list` by several endpoints at once.
async fn list_started(tools: &Tools, endpoints: &[String], wanted: usize) -> Vec<(String, String, String)> {
    wait::until(&format!("{wanted} started members"), LIMIT, async || {
        let found = members(&tools.ctl(endpoints, &["member", "list"]).await);
        let all_started = found.iter().all(|(_, state, name)| state == "started" && !name.is_empty());
        (found.len() == wanted && all_started).then_some(found)
    })
    .await
}

async fn put_and_get(tools: &Tools, endpoints: &[String], key: &str) {
    assert_eq!(tools.ctl(endpoints, &["put", key, "value"]).await, "OK\n");
    let last = &endpoints[endpoints.len() - 1..];
    assert_eq!(tools.ctl(last, &["get", key]).await, format!("{key}\nvalue\n"));
}

/// The value of a line such as `ETCD_NAME="m3"`.
fn value_of<'t>(text: &'t str, variable: &str) -> &'t str {
    let line = text.lines().find_map(|line| line.strip_prefix(variable)?.strip_prefix("=\""));
    line.and_then(|line| line.strip_suffix('"')).unwrap_or_else(|| panic!("no {variable} in {text}"))
}

/// `member add`, starting what was added, `member remove`.
async fn change_members(tools: &Tools, cluster: &mut Cluster, endpoints: &[String]) {
    let (place, url) = cluster.prepare_joiner(&[0, 1, 2]);
    let said = tools.change(endpoints, &["member", "add", "m3", &format!("--peer-urls={url}")]).await;
    assert!(said.starts_with("Member ") && said.contains(" added to cluster "), "{said}");
    assert_eq!(
        (value_of(&said, "ETCD_NAME"), value_of(&said, "ETCD_INITIAL_CLUSTER_STATE")),
        ("m3", "existing"),
        "{said}"
    );
    // As with etcd, who joins may ask one that does not know yet, and is refused then.
    for place in 0..3 {
        let client = cluster[place].client();
        let knows = async || (client.member_list(false).await.ok()?.members.len() == 4).then_some(());
        wait::until("every member to know of the new one", LIMIT, knows).await;
    }
    let initial = format!("--initial-cluster={}", value_of(&said, "ETCD_INITIAL_CLUSTER"));
    cluster.launch_with(place, &[&initial, "--initial-cluster-state=existing"]);
    cluster[place].ready().await;
    let listed = list_started(tools, endpoints, 4).await;
    // One that is removed while it is still a learner to Raft calls nobody and is not told.
    let has_caught_up = || (0..3).any(|at| !cluster[at].log_lines("a new voter has caught up").is_empty());
    wait::until_true("the new voter has caught up", LIMIT, has_caught_up).await;
    let (id, ..) = listed.iter().find(|(_, _, name)| name == "m3").expect("it is listed");
    let said = tools.change(endpoints, &["member", "remove", id]).await;
    // One of sixteen begins with a zero, which etcdctl prints as a space.
    assert!(said.starts_with(&format!("Member {id:>16} removed from cluster ")), "{said}");
    assert!(cluster[place].wait_for_exit().await.status.success(), "a removed member ends");
    list_started(tools, endpoints, 3).await;
}

/// `snapshot restore` on the node of a member, whose data directory was moved aside.
async fn restore(tool: &Path, cluster: &Cluster, place: usize, file: &Path) {
    let url = |place: usize| format!("http://127.0.0.1:{}", cluster.peer_port(place));
    let initial: Vec<String> = (0..3).map(|place| format!("m{place}={}", url(place))).collect();
    let said = run_aside(
        tool,
        &[
            "snapshot",
            "restore",
            text_of(file),
            "--name",
            &format!("m{place}"),
            "--initial-cluster",
            &initial.join(","),
            "--initial-cluster-token",
            "etcd-cluster-restored",
            "--initial-advertise-peer-urls",
            &url(place),
            "--data-dir",
            text_of(&cluster[place].data_dir()),
        ],
    )
    .await;
    assert_eq!(said, "");
}

fn moved_aside(cluster: &Cluster, place: usize) -> PathBuf {
    cluster[place].data_dir().with_extension("old")
}

async fn walk(tools: &Tools) {
    for size in [1, 5] {
        let (cluster, endpoints) = start(tools, size).await;
        list_started(tools, &endpoints, size).await;
        put_and_get(tools, &endpoints, "key").await;
        drop(cluster);
    }
    let (mut cluster, endpoints) = start(tools, 3).await;
    list_started(tools, &endpoints, 3).await;
    put_and_get(tools, &endpoints, "kept").await;
    change_members(tools, &mut cluster, &endpoints).await;

    let file = suite().make_folder("page").join("snapshot.db");
    let said = tools.ctl(&endpoints[..1], &["snapshot", "save", text_of(&file)]).await;
    assert!(said.starts_with(&format!("Snapshot saved at {}\n", file.display())), "{said}");
    let table = run_aside(&tools.status, &["--write-out=table", "snapshot", "status", text_of(&file)]).await;
    assert!(table.contains("REVISION") && table.contains("TOTAL KEYS"), "{table}");
    put_and_get(tools, &endpoints, "lost").await;
    let old = cluster[0].client().status().await.expect("status").header.expect("a header").cluster_id;

    for place in 0..3 {
        cluster[place].terminate().await;
        std::fs::rename(cluster[place].data_dir(), moved_aside(&cluster, place)).expect("move the old data");
        restore(&tools.restore[place % tools.restore.len()], &cluster, place, &file).await;
    }
    // The third node has its old data first.
    let old_data = format!("--data-dir={}", text_of(&moved_aside(&cluster, 2)));
    cluster.launch_with(2, &[&old_data]);
    for place in [0, 1] {
        cluster.launch(place);
    }
    for place in [0, 1] {
        cluster[place].ready().await;
    }
    let both = [cluster[0].endpoint(), cluster[1].endpoint()];
    put_and_get(tools, &both, "new").await;
    let refused = || [0, 1].into_iter().any(|at| !cluster[at].log_lines("request cluster ID mismatch").is_empty());
    wait::until_true("the old member is refused", LIMIT, refused).await;
    assert!(!cluster[2].is_ready());
    cluster[2].kill();
    cluster.restart(2).await;

    let all: Vec<String> = cluster.iter().take(3).map(|member| member.endpoint()).collect();
    list_started(tools, &all, 3).await;
    for (key, wanted) in [("kept", "kept\nvalue\n"), ("lost", ""), ("new", "new\nvalue\n")] {
        for endpoint in &all {
            assert_eq!(tools.ctl(std::slice::from_ref(endpoint), &["get", key]).await, wanted, "{key} at {endpoint}");
        }
    }
    let new = cluster[2].client().status().await.expect("status").header.expect("a header").cluster_id;
    assert_ne!(old, new);
}

#[tokio::test]
async fn the_operators_page_with_tools_of_3_7() {
    let name = "the_operators_page_with_tools_of_3_7";
    let (Some(etcdctl), Some(etcdutl)) = (tools::etcdctl(7, name), tools::etcdutl(7, name)) else { return };
    walk(&Tools::of_etcd(etcdctl, etcdutl.clone(), vec![etcdutl])).await;
}

#[tokio::test]
async fn the_operators_page_with_tools_of_3_5() {
    let name = "the_operators_page_with_tools_of_3_5";
    let (Some(etcdctl), Some(etcdutl)) = (tools::etcdctl(5, name), tools::etcdutl(5, name)) else { return };
    // It has both commands in both tools.
    walk(&Tools::of_etcd(etcdctl.clone(), etcdctl.clone(), vec![etcdctl, etcdutl])).await;
}

#[tokio::test]
async fn the_operators_page_with_our_tools_under_their_names() {
    walk(&Tools::ours()).await;
}

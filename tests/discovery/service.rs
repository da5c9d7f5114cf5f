//! A registry in another cluster.

use crate::{LIMIT, is_one_cluster, refusal, said, suite, suites, untold};
use keelstone_harness::proto::etcdserverpb as pb;
use keelstone_harness::{Client, Cluster, ClusterSpec, Suite, wait};

async fn service(of: &Suite) -> Cluster {
    Cluster::start(of, &ClusterSpec { proxied: false, ..ClusterSpec::of(1) }).await
}

fn key(token: &str, rest: &str) -> String {
    format!("/_etcd/registry/{token}/{rest}")
}

async fn set_size(client: &Client, token: &str, size: &str) {
    client.put(key(token, "_config/size"), size.to_owned()).await.expect("put the size");
}

/// Members that ask `service` for the cluster `token`.
async fn members(of: &Suite, count: usize, service: &Cluster, token: &str, more: &[&str]) -> Cluster {
    let flags = [format!("--discovery-endpoints={}", service[0].endpoint()), format!("--discovery-token={token}")];
    let flags: Vec<&str> = flags.iter().map(String::as_str).chain(more.iter().copied()).collect();
    Cluster::prepare(of, &untold(count, &flags)).await
}

async fn until_it_says(cluster: &Cluster, place: usize, text: &str) {
    let what = format!("m{place} to say {text:?}");
    wait::until_true(&what, LIMIT, || !cluster[place].log_lines(text).is_empty()).await;
}

const WAITING: &str = "waiting for peers from discovery service";

/// Two wait for the third, though the service was away meanwhile. Once they have a log they ask nobody.
async fn they_find_each_other(by: &Suite) {
    let mut service = service(by).await;
    set_size(&service[0].client(), "t", "3").await;
    let mut cluster = members(suite(), 3, &service, "t", &[]).await;
    for place in [0, 1] {
        cluster.launch(place);
        until_it_says(&cluster, place, WAITING).await;
    }
    service[0].terminate().await;
    service[0].restart().await;
    cluster.start_all().await;
    is_one_cluster(&cluster).await;

    let written = service[0].client().get_prefix(key("t", "members")).await.expect("get").kvs;
    let mut values: Vec<String> =
        written.iter().map(|pair| String::from_utf8_lossy(&pair.value).into_owned()).collect();
    values.sort();
    let expected = |place: usize| format!("m{place}=http://127.0.0.1:{}", cluster.peer_port(place));
    assert_eq!(values, (0..3).map(expected).collect::<Vec<_>>());
    let list = cluster[0].client().member_list(true).await.expect("member list").members;
    let by_id = |id: u64| written.iter().any(|pair| pair.key.ends_with(format!("/members/{id:x}").as_bytes()));
    assert!(list.iter().all(|member| by_id(member.id)), "{list:?}");
    // In the order in which they came.
    let cluster_of = |place| said(&cluster, place, "discovery joined cluster successfully", "cluster");
    assert!(cluster_of(0)[0].ends_with(&expected(2)), "{:?}", cluster_of(0));
    assert_eq!(cluster_of(0), cluster_of(2));

    if !suite().server.is_etcd {
        cluster[2].terminate().await;
        std::fs::remove_dir_all(cluster[2].data_dir()).expect("remove its data");
        let why = refusal(&mut cluster, 2, "discovery failed").await;
        assert!(why.ends_with(" has already been bootstrapped"), "{why}");
    }
    service[0].kill();
    cluster[1].terminate().await;
    cluster.restart(1).await;
    let ignored = "discovery token is ignored since cluster already initialized; valid logs are found";
    assert_eq!(cluster[1].log_lines(ignored).len(), 1);
    assert_eq!(cluster[1].client().get("k").await.expect("get").kvs[0].value, "v");
    if !suite().server.is_etcd {
        cluster.assert_no_unexpected_errors();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn members_find_each_other_in_a_registry_of_ours() {
    they_find_each_other(suite()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn members_find_each_other_in_a_registry_of_etcd() {
    if let Some(etcd) = suites("a registry of etcd").get(1) {
        they_find_each_other(etcd).await;
    }
}

/// What the registry holds, and what a member says of it. Recorded from etcd 3.7.3, which is asked too.
#[tokio::test(flavor = "multi_thread")]
async fn who_has_no_place_is_told_why_and_ends() {
    let joining = |why: &str| format!("failed to join discovery cluster ({why})");
    let cases = [
        ("none", None, &[][..], joining("discovery: size key not found")),
        ("text", Some("many"), &[], joining("discovery: size key is bad")),
        ("zero", Some("0"), &[], joining("discovery: size key is bad")),
        ("full", Some("1"), &[("a", "a=http://127.0.0.1:1")], joining("discovery: cluster is full")),
        ("url", Some("2"), &[("a", "a=b")], joining("discovery: invalid peer URL")),
        // What describes no member takes no place.
        ("odd", Some("1"), &[("a", "nothing"), ("b", "b=http://127.0.0.1:1")], joining("discovery: cluster is full")),
    ];
    let service = service(suite()).await;
    for suite in suites("who has no place in a registry") {
        for (name, size, present, expected) in &cases {
            let token = format!("{name}-{}", suite.server.is_etcd);
            let client = service[0].client();
            if let Some(size) = size {
                set_size(&client, &token, size).await;
            }
            for (id, value) in *present {
                client.put(key(&token, &format!("members/{id}")), (*value).to_owned()).await.expect("put");
            }
            let mut cluster = members(&suite, 1, &service, &token, &[]).await;
            let said = refusal(&mut cluster, 0, "failed to bootstrap; discovery token was already used").await;
            assert_eq!(said, *expected, "{token}");
            let advice = "do not reuse discovery token; generate a new one to bootstrap a cluster";
            assert_eq!(cluster[0].log_lines(advice).len(), 1, "{token}");
            assert!(!cluster[0].data_dir().join("member/wal").exists(), "{token}: it has made a log");
        }
        let token = format!("existing-{}", suite.server.is_etcd);
        let mut cluster = members(&suite, 1, &service, &token, &["--initial-cluster-state=existing"]).await;
        let said = refusal(&mut cluster, 0, "discovery failed").await;
        assert_eq!(said, "discovery URL should not be set when joining existing initial cluster");
    }
}

/// It tries again, each time after a longer pause, and ends at once when it is told to.
#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_is_away_is_waited_for() {
    for suite in suites("a service that is away") {
        let mut service = service(&suite).await;
        set_size(&service[0].client(), "t", "2").await;
        service[0].kill();
        let mut cluster = members(&suite, 1, &service, "t", &["--discovery-request-timeout=100ms"]).await;
        cluster.launch(0);
        let retry = "retry connecting to discovery service";
        until_it_says(&cluster, 0, retry).await;
        service[0].restart().await;
        until_it_says(&cluster, 0, WAITING).await;
        let pauses = said(&cluster, 0, retry, "backoff");
        assert_eq!(pauses[0], "2s");
        assert_eq!(said(&cluster, 0, retry, "reason")[0], "cluster status check");
        let exit = cluster[0].terminate().await;
        assert!(!exit.status.success());
        assert!(!cluster[0].data_dir().join("member/wal").exists());
    }
}

/// A user with a password is who asks.
#[tokio::test(flavor = "multi_thread")]
async fn a_service_with_access_control_is_told_who_asks() {
    let service = service(suite()).await;
    let client = service[0].client();
    set_size(&client, "t", "1").await;
    let mut auth = client.auth();
    let user = pb::AuthUserAddRequest { name: "root".into(), password: "pw".into(), ..Default::default() };
    auth.user_add(user).await.expect("add user");
    let grant = pb::AuthUserGrantRoleRequest { user: "root".into(), role: "root".into() };
    auth.role_add(pb::AuthRoleAddRequest { name: "root".into() }).await.expect("add role");
    auth.user_grant_role(grant).await.expect("grant");
    auth.auth_enable(pb::AuthEnableRequest {}).await.expect("enable");

    for suite in suites("access control of a registry") {
        let flags = ["--discovery-user=root", "--discovery-password=wrong"];
        let mut cluster = members(&suite, 1, &service, "t", &flags).await;
        let said = refusal(&mut cluster, 0, "failed to bootstrap; discovery token was already used").await;
        let why = "etcdserver: authentication failed, invalid user ID or password";
        assert_eq!(said, format!("failed to join discovery cluster ({why})"));
    }
    if suite().server.is_etcd {
        println!("passed by: etcd takes root:pw for a name, and asks as nobody for ever");
        return;
    }
    let mut cluster = members(suite(), 1, &service, "t", &["--discovery-user=root:pw"]).await;
    cluster.start_all().await;
    is_one_cluster(&cluster).await;
}

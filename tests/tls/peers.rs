//! Members that call each other behind TLS.

use crate::certs::{Authority, LOCAL, Pair, Usage, Wanted};
use crate::{folder, suite};
use keelstone_harness::{Cluster, ClusterSpec, wait};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);

fn spec(members: usize, flags: Vec<String>) -> ClusterSpec {
    ClusterSpec { proxied: false, secure_peers: true, flags, ..ClusterSpec::of(members) }
}

/// Each shows `pair`, and asks for what `authority` has signed.
fn mutual(authority: &Authority, pair: &Pair) -> Vec<String> {
    vec![
        format!("--peer-cert-file={}", pair.cert.display()),
        format!("--peer-key-file={}", pair.key.display()),
        format!("--peer-trusted-ca-file={}", authority.file().display()),
        "--peer-client-cert-auth".to_owned(),
    ]
}

/// What is written through each member is read through each other one.
async fn replicates(cluster: &Cluster, places: &[usize]) {
    for &place in places {
        let key = format!("by-{place}");
        let put = || async { cluster[place].client().put(key.clone(), "v").await.ok() };
        wait::until("a put", LIMIT, put).await;
        for &other in places {
            let found = cluster[other].client().get(key.clone()).await.expect("a linearizable read").count;
            assert_eq!(found, 1, "{key} through m{other}");
        }
    }
}

#[tokio::test]
async fn members_replicate_add_and_lose_members_behind_mutual_tls() {
    let folder = folder("mutual");
    let authority = Authority::new(&folder, "ca");
    let pair = authority.sign("peer", LOCAL);
    let mut cluster = Cluster::start(suite(), &spec(3, mutual(&authority, &pair))).await;
    replicates(&cluster, &[0, 1, 2]).await;
    let (place, url) = cluster.prepare_joiner(&[0, 1, 2]);
    assert!(url.starts_with("https://"));
    wait::until("a member to be added", LIMIT, || async { cluster[0].client().member_add(&url, false).await.ok() })
        .await;
    cluster.restart(place).await;
    replicates(&cluster, &[0, 1, 2, 3]).await;
    let leader = cluster.leader().await;
    cluster[leader].kill();
    let left: Vec<usize> = (0..4).filter(|&place| place != leader).collect();
    cluster.leader_among(&left).await;
    replicates(&cluster, &left).await;
    cluster.restart(leader).await;
    replicates(&cluster, &[0, 1, 2, 3]).await;
}

#[tokio::test]
async fn members_that_made_their_own_certificates_find_each_other() {
    let cluster = Cluster::start(suite(), &spec(3, vec!["--peer-auto-tls".to_owned()])).await;
    replicates(&cluster, &[0, 1, 2]).await;
}

#[tokio::test]
async fn a_certificate_for_calls_may_be_another_than_for_listening() {
    let folder = folder("two-pairs");
    let authority = Authority::new(&folder, "ca");
    let listens = authority.sign("listens", Wanted { usage: Usage::ServerOnly, ..LOCAL });
    let calls = authority.sign("calls", LOCAL);
    let mut flags = mutual(&authority, &listens);
    flags.push(format!("--peer-client-cert-file={}", calls.cert.display()));
    flags.push(format!("--peer-client-key-file={}", calls.key.display()));
    let cluster = Cluster::start(suite(), &spec(3, flags)).await;
    replicates(&cluster, &[0, 1, 2]).await;
}

/// Three members, of which the third shows `wrong`. The other two replicate.
async fn two_and_one_that_shows(wrong: &Pair, flags: Vec<String>) -> Cluster {
    let mut cluster = Cluster::prepare(suite(), &spec(3, flags)).await;
    let shown =
        [format!("--peer-cert-file={}", wrong.cert.display()), format!("--peer-key-file={}", wrong.key.display())];
    cluster[2].add_flags(&shown.each_ref().map(String::as_str));
    for place in 0..3 {
        cluster.launch(place);
    }
    for place in 0..2 {
        cluster[place].ready().await;
    }
    replicates(&cluster, &[0, 1]).await;
    cluster
}

/// A member with a certificate of another authority is heard by nobody, and does not disturb the others.
#[tokio::test]
async fn a_member_that_shows_the_wrong_certificate_stays_alone() {
    let folder = folder("wrong");
    let (authority, stranger) = (Authority::new(&folder, "ca"), Authority::new(&folder, "stranger"));
    let (right, wrong) = (authority.sign("right", LOCAL), stranger.sign("wrong", LOCAL));
    // It trusts the others, but shows what they do not trust.
    let cluster = two_and_one_that_shows(&wrong, mutual(&authority, &right)).await;
    wait::until("its calls to be refused", LIMIT, || async {
        let refused = |place: usize| !cluster[place].log_lines("rejected connection on peer endpoint").is_empty();
        (refused(0) || refused(1)).then_some(())
    })
    .await;
    assert!(cluster[2].log_lines("ready to serve client requests").is_empty());
}

/// Names count in both directions: who is called has to show one that is allowed, as who calls.
#[tokio::test]
async fn a_member_by_a_name_that_is_not_allowed_is_neither_heard_nor_called() {
    let folder = folder("names");
    let authority = Authority::new(&folder, "ca");
    let right = authority.sign("right", Wanted { common_name: "right", ..LOCAL });
    let wrong = authority.sign("wrong", Wanted { common_name: "wrong", ..LOCAL });
    let mut flags = mutual(&authority, &right);
    flags.push("--peer-cert-allowed-cn=right".to_owned());
    let cluster = two_and_one_that_shows(&wrong, flags).await;
    wait::until("calls to be refused in both directions", LIMIT, || async {
        // Who calls it tells it what it thinks of its certificate.
        let refused = [0, 1, 2].map(|place| cluster[place].log_lines("rejected connection on peer endpoint"));
        let says = |place: usize, text: &str| refused[place].iter().any(|line| line.contains(text));
        let is_not_heard = (0..2).any(|place| says(place, "client certificate authentication failed"));
        (is_not_heard && says(2, "remote error: tls: bad certificate")).then_some(())
    })
    .await;
    assert!(cluster[2].log_lines("ready to serve client requests").is_empty());
}

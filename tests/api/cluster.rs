//! Cluster: who is a member.

use crate::{check, check_alone};

#[tokio::test]
async fn the_only_member_is_listed_as_started() {
    check(async |case| {
        for linearizable in [false, true] {
            let reply = case.client.member_list(linearizable).await.expect("member list");
            assert_eq!(reply.members.len(), 1);
            let member = &reply.members[0];
            let header = reply.header.expect("a header");
            assert_eq!((member.id, member.name.as_str(), member.is_learner), (header.member_id, "m0", false));
            assert_eq!(member.client_urls, [format!("http://127.0.0.1:{}", case.port)]);
            assert_eq!(member.peer_urls.len(), 1);
            assert_eq!(header.revision, 0, "answers about members carry no revision");
            assert!(header.raft_term > 0 && header.cluster_id != 0);
        }
    })
    .await;
}

#[tokio::test]
async fn ids_follow_from_peer_urls_and_token_as_in_etcd() {
    use keelstone_harness::free_port;
    // A URL that nobody dials, so that the ids do not depend on this run's ports: computed by etcd 3.7.3.
    let port = free_port();
    let flags = [
        "--initial-advertise-peer-urls=http://127.0.0.1:1".to_owned(),
        "--initial-cluster=m0=http://127.0.0.1:1".to_owned(),
        "--initial-cluster-token=a-token".to_owned(),
        format!("--listen-peer-urls=http://127.0.0.1:{port}"),
    ];
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    check_alone(&flags, async |case| {
        let header = case.client.get("k").await.expect("get").header.expect("a header");
        assert_eq!((header.member_id, header.cluster_id), (13649454370380549318, 2235067001959535272));
    })
    .await;
}

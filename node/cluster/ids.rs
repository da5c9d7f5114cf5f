//! Ids as etcd computes them (`server/etcdserver/api/membership`: member.go `computeMemberID`, cluster.go
//! `genID`), so that members which start from the same flags agree without talking.

use super::urls::PeerUrls;
use crate::types::{ClusterId, MemberId};
use sha1::{Digest, Sha1};

/// The id of a member: of one named in `--initial-cluster` from the cluster's token; of one added later from
/// an empty token and the time of the request.
pub fn member_id(peer_urls: &PeerUrls, token: &str, unix_secs: Option<i64>) -> MemberId {
    let mut hash = Sha1::new();
    for url in peer_urls.iter() {
        hash.update(url);
    }
    hash.update(token);
    if let Some(secs) = unix_secs {
        hash.update(secs.to_string());
    }
    MemberId(first_eight_bytes(hash))
}

/// The id of a cluster that starts with these members.
pub fn cluster_id(members: impl IntoIterator<Item = MemberId>) -> ClusterId {
    let mut ids: Vec<MemberId> = members.into_iter().collect();
    ids.sort_unstable();
    let mut hash = Sha1::new();
    for id in ids {
        hash.update(id.0.to_be_bytes());
    }
    ClusterId(first_eight_bytes(hash))
}

fn first_eight_bytes(hash: Sha1) -> u64 {
    let digest = hash.finalize();
    u64::from_be_bytes(std::array::from_fn(|at| digest[at]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::InitialCluster;

    /// Printed by etcd 3.7.3 at its first start with these flags.
    #[test]
    fn ids_equal_those_of_etcd() {
        let one = InitialCluster::parse("default=http://localhost:23800").expect("valid");
        let members = one.members("etcd-cluster").expect("distinct");
        assert_eq!(members[0].id, MemberId(0x7422778393c9654c));
        assert_eq!(cluster_id(members.iter().map(|member| member.id)), ClusterId(0xa9c81872ca11f616));

        let three = InitialCluster::parse(
            "infra0=http://127.0.0.1:23801,infra1=http://127.0.0.1:23802,\
             infra2=http://127.0.0.1:23804,infra2=http://127.0.0.1:23803",
        )
        .expect("valid");
        let members = three.members("tok-7").expect("distinct");
        let ids: Vec<(&str, u64)> = members.iter().map(|member| (member.name.as_str(), member.id.0)).collect();
        assert_eq!(
            ids,
            [("infra0", 0x04c614998556d4f8), ("infra2", 0x4189d8e6671fe224), ("infra1", 0xf23885f07d0c8c31)]
        );
        assert_eq!(cluster_id(members.iter().map(|member| member.id)), ClusterId(0x01941e4c87df041f));
    }

    /// The default flags of etcd, known from every tutorial.
    #[test]
    fn the_default_member_has_its_well_known_id() {
        let urls = PeerUrls::parse(["http://localhost:2380"]).expect("valid");
        let id = member_id(&urls, "etcd-cluster", None);
        assert_eq!(id.to_string(), "8e9e05c52164694d");
        assert_eq!(cluster_id([id]).to_string(), "cdf818194e3a8c32");
    }

    #[test]
    fn a_member_added_later_has_the_time_in_its_id() {
        let urls = PeerUrls::parse(["http://localhost:2380"]).expect("valid");
        assert_ne!(member_id(&urls, "", Some(1)), member_id(&urls, "", Some(2)));
    }
}

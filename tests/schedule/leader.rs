//! Another leader goes on.

use crate::support::{Place, ctl, metric, name, to};
use std::collections::BTreeSet;

#[tokio::test]
async fn a_new_leader_goes_on_with_full_backups_and_segments() {
    let place = Place::new();
    let flags = ["--backup-schedule=@every 2s", "--backup-delta-interval=1s", "--backup-retention=all"];
    let mut cluster = place.members(3, &flags).await;
    let first = cluster.leader().await;
    let client = cluster[first].client();
    let revision = client.put("before", "1").await.expect("put");
    place.reaches(revision).await;
    let before: BTreeSet<String> = place.list("full").await.iter().map(name).collect();
    let of_first = place.list("full").await[0]["member_id"].clone();
    let others: Vec<usize> = (0..3).filter(|&member| member != first).collect();
    for &member in &others {
        // Only one of them makes them.
        assert_eq!(metric(cluster[member].client_port, "keelstone_backup_successes_total{kind=\"full\"}").await, 0.0);
    }
    cluster[first].kill();
    let second = cluster.leader_among(&others).await;
    let mut last = 0;
    for value in 0..50 {
        last = cluster[second].client().put("after", value.to_string()).await.expect("put");
    }
    place.reaches(last).await;
    keelstone_harness::wait::until("a full backup by the new leader", crate::support::LIMIT, || async {
        place.list("full").await.iter().any(|full| full["member_id"] != of_first).then_some(())
    })
    .await;
    let after: BTreeSet<String> = place.list("full").await.iter().map(name).collect();
    assert!(after.is_superset(&before));
    let gaps = metric(cluster[second].client_port, "keelstone_backup_gaps_total{reason=\"purged\"}").await;
    assert_eq!(gaps, 0.0, "segments go on where the first leader's ended");
    let mut delta = place.list("delta").await;
    delta.sort_by_key(to);
    for pair in delta.windows(2) {
        assert!(pair[1]["from"]["index"].as_u64() <= pair[0]["to"]["index"].as_u64(), "a hole: {pair:?}");
    }
    place.backup(&["verify"]).await.well();
    let drilled = ctl(&["--endpoints", &cluster[second].endpoint(), "backup", "drill", "-w", "json"]).await;
    assert!(drilled.well().json()["revision"].as_i64() >= Some(last));
}

#[tokio::test]
async fn a_follower_makes_one_when_asked() {
    let place = Place::new();
    let cluster = place.members(3, &["--backup-schedule=@every 1h", "--backup-delta-interval=1s"]).await;
    let leader = cluster.leader().await;
    let follower = (leader + 1) % 3;
    let revision = cluster[follower].client().put("a", "b").await.expect("put");
    let made = ctl(&["--endpoints", &cluster[follower].endpoint(), "backup", "now", "-w", "json"]).await.well().json();
    assert!(to(&made) >= revision);
    let status = cluster[follower].client().status().await.expect("status");
    let own = status.header.map(|header| format!("{:x}", header.member_id));
    assert_eq!(made["member_id"].as_str(), own.as_deref());
    place.backup(&["verify"]).await.well();
}

//! A kill in the middle of a backup leaves nothing that counts, and the next start takes what is left away.

use crate::support::{LIMIT, Place, ctl, metric_reaches};
use keelstone_harness::{Client, wait};
use std::time::Duration;
use tokio::task::JoinSet;

/// Some tens of megabytes, so that a backup takes a while.
async fn fill(client: &Client) {
    let mut writers = JoinSet::new();
    for writer in 0..8 {
        let client = client.with_deadline(Duration::from_secs(30));
        writers.spawn(async move {
            for key in 0..12 {
                client.put(format!("{writer}/{key}"), vec![b'x'; 500_000]).await.expect("put");
            }
        });
    }
    writers.join_all().await;
}

#[tokio::test]
async fn a_kill_in_the_middle_leaves_no_half_that_counts() {
    let place = Place::new();
    let mut cluster = place.members(1, &[]).await;
    fill(&cluster[0].client()).await;
    let endpoint = cluster[0].endpoint();
    let asked = tokio::spawn(async move { ctl(&["--endpoints", &endpoint, "backup", "now"]).await });
    let is_half = |place: &Place| place.files().iter().any(|file| file.extension().is_some_and(|end| end == "part"));
    wait::until_true("a backup to be on its way", LIMIT, || is_half(&place)).await;
    cluster[0].kill();
    assert!(is_half(&place), "it was killed in the middle: {:?}", place.files());
    assert_ne!(asked.await.expect("the run does not panic").code, 0);
    assert_eq!(place.list("full").await, [] as [serde_json::Value; 0]);
    place.backup(&["verify"]).await.well();
    let ended = place.backup(&["drill"]).await;
    assert!(ended.code == 4 && ended.err.contains("there is no full backup"), "{ended:?}");

    cluster.restart(0).await;
    wait::until_true("the half to be swept", LIMIT, || place.files().is_empty()).await;
    ctl(&["--endpoints", &cluster[0].endpoint(), "backup", "now"]).await.well();
    place.backup(&["drill"]).await.well();
}

#[tokio::test]
async fn segments_go_on_after_kills() {
    let place = Place::new();
    let flags = ["--backup-schedule=@every 1h", "--backup-delta-interval=1s"];
    let mut cluster = place.members(1, &flags).await;
    let mut last = 0;
    for round in 0..4 {
        for key in 0..40 {
            last = cluster[0].client().put(format!("{round}/{key}"), "value").await.expect("put");
        }
        if round % 2 == 0 {
            place.reaches(last).await;
        }
        cluster[0].kill();
        cluster.restart(0).await;
    }
    last = cluster[0].client().put("end", "value").await.expect("put").max(last);
    place.reaches(last).await;
    metric_reaches(cluster[0].client_port, "keelstone_backup_successes_total{kind=\"delta\"}", 1.0).await;
    assert_eq!(place.list("full").await.len(), 1, "no gap made another one due");
    let delta = place.list("delta").await;
    for pair in delta.windows(2) {
        assert_eq!(pair[0]["to"], pair[1]["from"], "segments have no hole between them");
    }
    let drilled = place.backup(&["drill", "-w", "json"]).await.well().json();
    assert_eq!(drilled["revision"].as_i64(), Some(last));
}

//! Where segments cannot go on, a full backup is made and an operator can see why.

use crate::support::{LIMIT, Place, metric, metric_reaches};
use keelstone_harness::wait;

#[tokio::test]
async fn a_log_that_was_purged_meanwhile_begins_a_new_full_backup() {
    let place = Place::new();
    let flags = [
        "--backup-schedule=@every 1h",
        "--backup-delta-interval=1s",
        "--backup-retention=all",
        "--snapshot-count=50",
        "--snapshot-catchup-entries=10",
    ];
    let cluster = place.members(1, &flags).await;
    let (client, port) = (cluster[0].client(), cluster[0].client_port);
    let first = client.put("a", "1").await.expect("put");
    place.reaches(first).await;
    assert_eq!(place.list("full").await.len(), 1);

    // The destination is away for a while.
    let away = place.path.with_extension("away");
    std::fs::rename(&place.path, &away).expect("take the place away");
    std::fs::write(&place.path, "no directory").expect("put a file in its way");
    wait::until("the log to be purged and the destination to be missed", LIMIT, || async {
        for _ in 0..100 {
            client.put("b", "2").await.expect("put");
        }
        let failures = metric(port, "keelstone_backup_failures_total{kind=\"delta\",reason=\"io\"}").await;
        (failures >= 3.0).then_some(())
    })
    .await;
    std::fs::remove_file(&place.path).expect("remove the file");
    std::fs::rename(&away, &place.path).expect("bring the place back");
    metric_reaches(port, "keelstone_backup_gaps_total{reason=\"purged\"}", 1.0).await;
    let last = client.put("c", "3").await.expect("put");
    wait::until("a second full backup", LIMIT, || async { (place.list("full").await.len() == 2).then_some(()) }).await;
    place.reaches(last).await;
    assert_eq!(cluster[0].log_lines("segments of the log have a gap").len(), 1);
    // Both sides of the gap can be had back.
    let drilled = place.backup(&["drill", "-w", "json"]).await.well().json();
    assert!(drilled["revision"].as_i64() >= Some(last), "{drilled}");
    let folder = crate::support::suite().make_folder("before-the-gap");
    let file = folder.join("x.db");
    let revision = format!("--revision={first}");
    place.backup(&["export", &revision, crate::support::text_of(&file)]).await.well();
    cluster.assert_no_unexpected_errors();
}

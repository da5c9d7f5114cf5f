//! What is not kept goes, and the last good one never does.

use crate::support::{LIMIT, Place, ctl, metric, name, to};
use keelstone_harness::wait;

#[tokio::test]
async fn only_what_is_to_be_kept_is_kept() {
    let place = Place::new();
    let flags = ["--backup-schedule=@every 1s", "--backup-delta-interval=1s", "--backup-retention=count=2"];
    let cluster = place.members(1, &flags).await;
    let (client, port) = (cluster[0].client(), cluster[0].client_port);
    wait::until("six full backups", LIMIT, || async {
        client.put("key", "value").await.expect("put");
        // The next one is there before the oldest is forgotten.
        let kept = place.list("full").await.len();
        assert!(kept <= 3, "{kept} full backups");
        (metric(port, "keelstone_backup_successes_total{kind=\"full\"}").await >= 6.0).then_some(())
    })
    .await;
    wait::until("old segments to go", LIMIT, || async {
        let oldest = place.list("full").await.first()?["to"]["index"].as_u64();
        let needed = place.list("delta").await.iter().filter(|delta| delta["to"]["index"].as_u64() <= oldest).count();
        (needed == 0).then_some(())
    })
    .await;
    cluster.assert_no_unexpected_errors();
}

#[tokio::test]
async fn the_last_full_backup_that_is_sound_cannot_be_forgotten() {
    let place = Place::new();
    let cluster = place.members(1, &["--backup-retention=all"]).await;
    let endpoint = cluster[0].endpoint();
    let ask = async |args: &[&str]| ctl(&[&["--endpoints", &endpoint, "backup"], args].concat()).await;
    let mut names = Vec::new();
    for value in 0..3 {
        cluster[0].client().put("a", value.to_string()).await.expect("put");
        names.push(name(&ask(&["now", "-w", "json"]).await.well().json()));
    }
    let all: Vec<&str> = std::iter::once("forget").chain(names.iter().map(String::as_str)).collect();
    for ended in [ask(&all).await, place.backup(&all).await] {
        assert_eq!(ended.code, 1, "{ended:?}");
        assert!(ended.err.contains("no full backup would be left"), "{ended:?}");
    }
    let dry = ask(&["forget", &names[0], "--dry-run"]).await.well();
    assert_eq!(dry.out, format!("{}: would be forgotten\n", names[0]));
    let dry = place.backup(&["forget", "--retention=count=1", "--dry-run"]).await.well();
    assert_eq!(dry.out.lines().count(), 2, "{}", dry.out);
    assert_eq!(place.list("full").await.len(), 3);

    // With the newest damaged the one before is the last good one.
    let object = place.path.join(place.list("full").await[2]["object"].as_str().expect("a key"));
    let mut bytes = std::fs::read(&object).expect("read the object");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&object, bytes).expect("damage the object");
    let ended = ask(&["forget", &names[0], &names[1]]).await;
    assert!(ended.code == 1 && ended.err.contains("no full backup would be left"), "{ended:?}");
    let gone = place.backup(&["forget", &names[0]]).await.well();
    assert_eq!(gone.out, format!("{}: forgotten\n", names[0]));
    assert_eq!(place.list("full").await.iter().map(to).collect::<Vec<_>>(), [3, 4]);
    assert_eq!(place.files().len(), 4, "{:?}", place.files());
}

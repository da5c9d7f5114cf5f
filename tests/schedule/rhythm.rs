//! What is made when, and that it is there and sound.

use crate::support::{LIMIT, Place, ctl, metric, metric_reaches, name, to};
use keelstone_harness::wait;

#[tokio::test]
async fn full_backups_and_segments_appear_while_writes_go_on() {
    let place = Place::new();
    let flags = ["--backup-schedule=@every 2s", "--backup-delta-interval=1s", "--backup-retention=all"];
    let cluster = place.members(1, &flags).await;
    let (client, port) = (cluster[0].client(), cluster[0].client_port);
    let mut written = 0;
    wait::until("three full backups and four segments", LIMIT, || async {
        for _ in 0..20 {
            client.put(format!("key/{written}"), "value").await.expect("put");
        }
        (place.list("full").await.len() >= 3 && place.list("delta").await.len() >= 4).then_some(())
    })
    .await;
    written += client.put("last", "value").await.expect("put");
    place.reaches(written).await;
    let (full, delta) = (place.list("full").await, place.list("delta").await);
    for segment in &delta[1..] {
        let follows = segment["follows"]["name"].as_str().expect("it follows another");
        assert!(delta.iter().chain(&full).any(|backup| name(backup) == follows), "{segment}");
    }
    for pair in delta.windows(2) {
        assert_eq!(pair[0]["to"], pair[1]["from"], "segments have no hole between them");
    }
    let verdict = place.backup(&["verify", "-w", "json"]).await.well().json();
    assert!(verdict["sound"].as_array().expect("a list").len() >= full.len() + delta.len());

    for kind in ["full", "delta"] {
        for series in ["successes_total", "last_success_timestamp_seconds", "last_size_bytes", "last_revision"] {
            let series = format!("keelstone_backup_{series}{{kind=\"{kind}\"}}");
            assert!(metric(port, &series).await > 0.0, "{series}");
        }
        let failures = format!("keelstone_backup_failures_total{{kind=\"{kind}\",reason=\"io\"}}");
        assert_eq!(metric(port, &failures).await, 0.0);
    }
    let age = metric(port, "keelstone_backup_age_seconds").await;
    assert!((0.0..60.0).contains(&age), "{age}");
    let endpoint = cluster[0].endpoint();
    let rhythm = ctl(&["--endpoints", &endpoint, "backup", "schedule", "-w", "json"]).await.well().json();
    assert_eq!((&rhythm["leads"], &rhythm["schedule"]), (&true.into(), &"@every 2s".into()), "{rhythm}");
    assert!(rhythm["next_full_millis"].as_u64() > rhythm["last_full_millis"].as_u64(), "{rhythm}");
    cluster.assert_no_unexpected_errors();
}

#[tokio::test]
async fn a_backup_is_made_when_asked_and_shown_by_member_and_files_alike() {
    let place = Place::new();
    let cluster = place.members(1, &[]).await;
    let (client, endpoint) = (cluster[0].client(), cluster[0].endpoint());
    let revision = client.put("a", "1").await.expect("put");
    let ask = async |args: &[&str]| ctl(&[&["--endpoints", &endpoint, "backup"], args].concat()).await;
    let made = ask(&["now", "-w", "json"]).await.well().json();
    assert_eq!((to(&made), &made["kind"]), (revision, &"full".into()));
    let hash = client.hash_kv(revision).await.expect("hash");
    assert_eq!(made["hash_kv"].as_u64(), Some(hash.hash.into()));
    let name = name(&made);
    for form in ["simple", "table", "json"] {
        for args in [&["list", "-w", form][..], &["show", &name, "-w", form], &["verify", &name, "-w", form]] {
            let (member, files) = (ask(args).await.well(), place.backup(args).await.well());
            assert_eq!(member.out, files.out, "{args:?}");
            assert!(member.out.contains(&name), "{args:?}: {}", member.out);
        }
    }
    for (args, code, says) in [
        (&["show", "nothing"][..], 4, "there is no backup \"nothing\""),
        (&["verify", "nothing"], 4, "there is no backup \"nothing\""),
        (&["forget", "nothing"], 4, "there is no backup \"nothing\""),
        (&["show"], 2, "backup show takes the name of one backup"),
        (&["list", "--bogus"], 2, "unknown flag: --bogus"),
    ] {
        for ended in [ask(args).await, place.backup(args).await] {
            assert_eq!(ended.code, code, "{args:?}: {ended:?}");
            assert!(ended.err.contains(says), "{args:?}: {ended:?}");
        }
    }
    metric_reaches(cluster[0].client_port, "keelstone_backup_successes_total{kind=\"full\"}", 1.0).await;
    cluster.assert_no_unexpected_errors();
}

#[tokio::test]
async fn a_member_without_a_place_says_so() {
    let spec = keelstone_harness::ClusterSpec::of(1);
    let cluster = keelstone_harness::Cluster::start(crate::support::suite(), &spec).await;
    let endpoint = cluster[0].endpoint();
    for command in ["now", "list", "verify", "drill", "schedule"] {
        let ended = ctl(&["--endpoints", &endpoint, "backup", command]).await;
        assert_eq!(ended.code, 1, "{ended:?}");
        assert!(ended.err.contains("this member has no place for backups (--backup-dir)"), "{ended:?}");
    }
}

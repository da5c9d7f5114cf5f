//! Damaged files are found, named, and not relied on; drills fail where they should.

use crate::support::{Ended, Place, ctl, metric, suite};
use keelstone_harness::Cluster;
use std::path::Path;

/// One full backup and some segments, with nobody writing any more.
async fn filled(place: &Place) -> Cluster {
    let cluster = place.members(1, &["--backup-schedule=@every 1h", "--backup-delta-interval=1s"]).await;
    place.reaches(1).await;
    for round in 0..3 {
        let mut revision = 0;
        for key in 0..30 {
            revision = cluster[0].client().put(format!("{round}/{key}"), vec![b'x'; 500]).await.expect("put");
        }
        place.reaches(revision).await;
    }
    cluster
}

fn flip(file: &Path, at: usize) {
    let mut bytes = std::fs::read(file).expect("read a file of the place");
    bytes[at] ^= 1;
    std::fs::write(file, bytes).expect("write a file of the place");
}

/// The name of the backup that a file belongs to.
fn stem(file: &Path) -> String {
    file.file_stem().expect("a name").to_string_lossy().into_owned()
}

#[tokio::test]
async fn a_flipped_byte_in_any_file_is_found_and_named() {
    let place = Place::new();
    let mut cluster = filled(&place).await;
    cluster[0].terminate().await;
    place.backup(&["verify"]).await.well();
    let files = place.files();
    assert!(files.len() >= 8, "{files:?}");
    for file in &files {
        let len = std::fs::metadata(file).expect("a file").len() as usize;
        for at in [0, 1, len / 3, len / 2, len - 1] {
            flip(file, at);
            let ended = place.backup(&["verify", "-w", "json"]).await;
            assert_eq!(ended.code, 3, "{} at {at}: {ended:?}", file.display());
            let verdict = ended.json();
            let damaged = verdict["damaged"].as_array().expect("a list");
            // What follows a backup whose manifest cannot be read is sound in itself.
            assert!(damaged.iter().any(|damaged| damaged["name"] == stem(file).as_str()), "{at}: {verdict}");
            flip(file, at);
        }
    }
    place.backup(&["verify"]).await.well();
    // One that is gone or cut, too.
    let object = files.iter().find(|file| file.extension().is_some_and(|end| end == "log")).expect("a segment");
    let bytes = std::fs::read(object).expect("read");
    std::fs::write(object, &bytes[..bytes.len() - 1]).expect("cut");
    let ended = place.backup(&["verify"]).await;
    assert!(ended.code == 3 && ended.out.contains(&stem(object)), "{ended:?}");
    std::fs::remove_file(object).expect("remove");
    let ended = place.backup(&["verify"]).await;
    assert!(ended.code == 3 && ended.out.contains("not there"), "{ended:?}");
}

async fn drill(cluster: &Cluster) -> Ended {
    ctl(&["--endpoints", &cluster[0].endpoint(), "backup", "drill", "-w", "json"]).await
}

#[tokio::test]
async fn a_drill_passes_and_with_a_damaged_object_fails_as_a_metric_too() {
    let place = Place::new();
    let cluster = filled(&place).await;
    let port = cluster[0].client_port;
    assert_eq!(metric(port, "keelstone_backup_drill_passed").await, -1.0);
    let passed = drill(&cluster).await.well().json();
    assert!(passed["failure"].is_null() && passed["hashes"].as_u64() >= Some(2), "{passed}");
    assert!(passed["segments"].as_u64() >= Some(1) && passed["entries"].as_u64() >= Some(60), "{passed}");
    let status = cluster[0].client().status().await.expect("status");
    assert_eq!(passed["revision"].as_i64(), status.header.map(|header| header.revision));
    assert_eq!(metric(port, "keelstone_backup_drill_passed").await, 1.0);
    let offline = place.backup(&["drill", "-w", "json"]).await.well().json();
    assert_eq!((&offline["revision"], &offline["full"]), (&passed["revision"], &passed["full"]));

    let objects = place.files().into_iter().filter(|file| file.extension().is_some_and(|end| end != "json"));
    for object in objects {
        let middle = std::fs::metadata(&object).expect("a file").len() as usize / 2;
        flip(&object, middle);
        for ended in [drill(&cluster).await, place.backup(&["drill", "-w", "json"]).await] {
            assert_eq!(ended.code, 3, "{}: {ended:?}", object.display());
            let failure = ended.json()["failure"].as_str().expect("why").to_owned();
            assert!(failure.contains(&stem(&object)), "{failure}");
        }
        assert_eq!(metric(port, "keelstone_backup_drill_passed").await, 0.0);
        flip(&object, middle);
    }
    assert!(metric(port, "keelstone_backup_drill_failures_total").await >= 2.0);
    drill(&cluster).await.well();
    assert_eq!(metric(port, "keelstone_backup_drill_passed").await, 1.0);
    let scratch = cluster[0].data_dir().join("member");
    let left: Vec<_> = keelstone_files(&scratch).into_iter().filter(|name| name.contains("drill")).collect();
    assert_eq!(left, Vec::<String>::new());
}

fn keelstone_files(folder: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).expect("list") {
        let path = entry.expect("list").path();
        names.push(path.display().to_string());
        if path.is_dir() {
            names.extend(keelstone_files(&path));
        }
    }
    names
}

#[tokio::test]
async fn a_copy_is_whole_elsewhere_and_made_once() {
    let place = Place::new();
    let mut cluster = filled(&place).await;
    cluster[0].terminate().await;
    let other = Place { path: suite().make_folder("copied") };
    let to = other.url();
    place.backup(&["copy", "--to", &to]).await.well();
    assert_eq!(place.files().len(), other.files().len());
    other.backup(&["verify"]).await.well();
    place.backup(&["copy", "--to", &to]).await.well();
    let (drilled, copy) = (place.backup(&["drill", "-w", "json"]).await, other.backup(&["drill", "-w", "json"]).await);
    assert_eq!(drilled.well().json()["revision"], copy.well().json()["revision"]);

    // What is damaged is not copied, the rest is.
    let third = Place { path: suite().make_folder("copied-in-part") };
    let object = place.files().into_iter().find(|file| file.extension().is_some_and(|end| end == "db"));
    flip(&object.expect("a full backup"), 5_000);
    let ended = place.backup(&["copy", "--to", &third.url()]).await;
    assert_eq!(ended.code, 5, "{ended:?}");
    assert_eq!(third.files().len(), place.files().len() - 2);
    third.backup(&["verify"]).await.well();
    let ended = place.backup(&["copy"]).await;
    assert!(ended.code == 2 && ended.err.contains("needs --backup-dir and --to"), "{ended:?}");
}

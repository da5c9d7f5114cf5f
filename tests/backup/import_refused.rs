//! What is not taken over: it is said why, and nothing that etcd left is touched.

use crate::import::{content_of, copy, fill, spec};
use crate::suite;
use keelstone_harness::{Cluster, tools};
use std::path::{Path, PathBuf};

/// The directory of one etcd that was killed.
async fn left_by(etcd: &Path) -> PathBuf {
    let mut cluster = Cluster::start(&suite().with_server(etcd), &spec(1)).await;
    fill(&cluster[0].client()).await;
    cluster[0].kill();
    let dir = suite().make_folder("left").join("left.etcd");
    copy(&cluster[0].data_dir(), &dir);
    dir
}

fn without_lock(dir: &Path) -> std::collections::BTreeMap<PathBuf, Vec<u8>> {
    let mut content = content_of(dir);
    content.remove(Path::new("member/keelstone.lock"));
    content
}

/// Starts ours on a copy of `dir` after a change to it; it must end with that text, and leave all as it was.
async fn refused(dir: &Path, change: impl FnOnce(&Path), text: &str) {
    let mut cluster = Cluster::prepare(suite(), &spec(1)).await;
    let data_dir = cluster[0].data_dir();
    copy(dir, &data_dir);
    change(&data_dir);
    let before = content_of(&data_dir);
    cluster.expect_errors("discovery failed");
    cluster.launch(0);
    let exit = cluster[0].wait_for_exit().await;
    assert!(!exit.status.success(), "{text}");
    let said = cluster[0].log_lines("discovery failed");
    assert!(said.len() == 1 && said[0].contains(text), "{text}: {said:?}");
    assert!(without_lock(&data_dir) == before, "{text}: the directory changed");
}

fn first_log(data_dir: &Path) -> PathBuf {
    data_dir.join("member/wal/0000000000000000-0000000000000000.wal")
}

fn overwrite(path: &Path, offset: usize, with: &[u8]) {
    let mut bytes = std::fs::read(path).expect("read");
    bytes[offset..offset + with.len()].copy_from_slice(with);
    std::fs::write(path, bytes).expect("write");
}

#[tokio::test]
async fn damage_is_said_and_nothing_is_touched() {
    let Some(etcd) = tools::etcd("damage_is_said_and_nothing_is_touched") else { return };
    let dir = left_by(&etcd).await;
    let other = left_by(&etcd).await;
    let database = |dir: &Path| dir.join("member/snap/db");
    let flip_in_log = |dir: &Path| overwrite(&first_log(dir), 700, &[0xff, 0xff, 0xff]);
    refused(&dir, flip_in_log, "corrupt log file").await;
    let remove_log = |dir: &Path| std::fs::remove_dir_all(dir.join("member/wal")).expect("remove");
    refused(&dir, remove_log, "a database without its log cannot be taken over").await;
    let remove_database = |dir: &Path| std::fs::remove_file(database(dir)).expect("remove");
    refused(&dir, remove_database, "of the backend is missing").await;
    let cut_database = |dir: &Path| {
        let bytes = std::fs::read(database(dir)).expect("read");
        std::fs::write(database(dir), &bytes[..9_000]).expect("write");
    };
    refused(&dir, cut_database, "the file").await;
    let foreign = |dir: &Path| std::fs::write(database(dir), vec![b'x'; 100_000]).expect("write");
    refused(&dir, foreign, "member/snap/db").await;
    // The log of a member that has hardly begun.
    let young = {
        let mut cluster = Cluster::start(&suite().with_server(&etcd), &spec(1)).await;
        cluster[0].kill();
        let dir = suite().make_folder("young").join("young.etcd");
        copy(&cluster[0].data_dir(), &dir);
        dir
    };
    let older_log = |dir: &Path| {
        std::fs::remove_dir_all(dir.join("member/wal")).expect("remove");
        copy(&young.join("member/wal"), &dir.join("member/wal"));
    };
    refused(&other, older_log, "is ahead of the log").await;
    let in_the_way = |dir: &Path| {
        // Whatever the index is.
        for index in 0..1_000 {
            std::fs::create_dir(dir.join(format!("member/wal.etcd-{index}"))).expect("create");
        }
    };
    refused(&dir, in_the_way, "is there already: move it away to import again").await;
}

#[tokio::test]
async fn a_directory_on_which_etcd_runs_is_refused() {
    let name = "a_directory_on_which_etcd_runs_is_refused";
    let Some(etcd) = tools::etcd(name) else { return };
    let theirs = Cluster::start(&suite().with_server(&etcd), &spec(1)).await;
    fill(&theirs[0].client()).await;
    let mut ours = Cluster::prepare(suite(), &spec(1)).await;
    std::fs::create_dir_all(ours[0].data_dir()).expect("create");
    std::os::unix::fs::symlink(theirs[0].data_dir().join("member"), ours[0].data_dir().join("member")).expect("link");
    ours.expect_errors("discovery failed");
    ours.launch(0);
    assert!(!ours[0].wait_for_exit().await.status.success());
    let said = ours[0].log_lines("is in use by another process: etcd still runs on this directory");
    assert_eq!(said.len(), 1);
    theirs[0].client().put("k", "v").await.expect("etcd goes on");
}

//! Data directories that etcd's own tools restored from a snapshot file, taken over at the first start.

use crate::import::{etcd_on_copy, fill, has_lease, same_hash, spec};
use crate::programs::{run_aside, text_of};
use crate::suite;
use keelstone_harness::proto::etcdserverpb::WatchCreateRequest;
use keelstone_harness::{Cluster, tools};
use std::path::{Path, PathBuf};

const RAISED_BY: i64 = 1_000_000;

/// A snapshot file of real etcd, and its revision.
async fn saved(etcd: &Path, etcdctl: &Path) -> (PathBuf, i64) {
    let cluster = Cluster::start(&suite().with_server(etcd), &spec(1)).await;
    let client = cluster[0].client();
    fill(&client).await;
    let file = suite().make_folder("saved").join("snapshot.db");
    let endpoints = format!("--endpoints={}", cluster[0].endpoint());
    run_aside(etcdctl, &[&endpoints, "snapshot", "save", text_of(&file)]).await;
    let revision = client.get("none").await.expect("get").header.expect("a header").revision;
    (file, revision)
}

/// Members whose directories a tool has made from a file; not started.
async fn restored(program: &Path, file: &Path, members: usize, flags: &[&str]) -> Cluster {
    let cluster = Cluster::prepare(suite(), &spec(members)).await;
    let url = |place: usize| format!("http://127.0.0.1:{}", cluster.peer_port(place));
    let all: Vec<String> = (0..members).map(|place| format!("m{place}={}", url(place))).collect();
    for place in 0..members {
        let own = [
            format!("--name=m{place}"),
            format!("--data-dir={}", text_of(&cluster[place].data_dir())),
            format!("--initial-cluster={}", all.join(",")),
            format!("--initial-advertise-peer-urls={}", url(place)),
            "--initial-cluster-token=keelstone-test".to_owned(),
        ];
        let mut words = vec!["snapshot", "restore", text_of(file)];
        words.extend(own.iter().map(String::as_str));
        words.extend(flags);
        run_aside(program, &words).await;
    }
    cluster
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_a_tool_restored_is_what_etcd_makes_of_it() {
    let name = "a_directory_that_a_tool_restored_is_what_etcd_makes_of_it";
    let (Some(etcd), Some(etcdctl)) = (tools::etcd(name), tools::etcdctl(7, name)) else { return };
    let (file, revision) = saved(&etcd, &etcdctl).await;
    let raised = format!("--bump-revision={RAISED_BY}");
    let programs = [
        (tools::etcdutl(5, name), &[][..]),
        (tools::etcdutl(7, name), &[]),
        (tools::etcdutl(7, name), &[raised.as_str(), "--mark-compacted"]),
    ];
    for (program, flags) in programs {
        let Some(program) = program else { return };
        let mut cluster = restored(&program, &file, 1, flags).await;
        let theirs = etcd_on_copy(&etcd, &cluster[0].data_dir()).await;
        cluster.start_all().await;
        let client = cluster[0].client();
        let (_, reached) = same_hash(&[theirs[0].client(), client.clone()]).await;
        assert_eq!(reached, if flags.is_empty() { revision } else { revision + RAISED_BY }, "{flags:?}");
        has_lease(&client).await;
        let [ours, theirs] = [&client, &theirs[0].client()];
        let [ours, theirs] = [ours.member_list(true).await, theirs.member_list(true).await].map(|members| {
            let members = members.expect("members").members;
            members.into_iter().map(|member| (member.id, member.peer_urls, member.name)).collect::<Vec<_>>()
        });
        assert_eq!(ours, theirs);
        if !flags.is_empty() {
            let mut watch = client.watch();
            let request =
                WatchCreateRequest { key: "filled/".into(), start_revision: revision + 1, ..Default::default() };
            watch.create(request);
            let answer = loop {
                let answer = watch.expect().await;
                if answer.canceled {
                    break answer;
                }
            };
            assert_eq!(answer.compact_revision, reached);
        }
        let next = client.put("later", "v").await.expect("put");
        assert_eq!(next, reached + 1);
        cluster.restart_after_kill().await;
        assert_eq!(client.get("later").await.expect("get").kvs.len(), 1);
        cluster.assert_no_unexpected_errors();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn three_directories_that_a_tool_restored_become_one_cluster() {
    let name = "three_directories_that_a_tool_restored_become_one_cluster";
    let (Some(etcd), Some(etcdctl), Some(etcdctl_3_4)) =
        (tools::etcd(name), tools::etcdctl(7, name), tools::etcdctl(4, name))
    else {
        return;
    };
    let (file, revision) = saved(&etcd, &etcdctl).await;
    let Some(etcdutl) = tools::etcdutl(7, name) else { return };
    // That of 3.4 leaves the members of the old cluster in the database and names the new ones in its snapshot file alone.
    for program in [etcdutl, etcdctl_3_4] {
        let mut cluster = restored(&program, &file, 3, &[]).await;
        cluster.start_all().await;
        let clients = cluster.clients();
        let (_, reached) = same_hash(&clients).await;
        assert_eq!(reached, revision);
        let members = clients[0].member_list(true).await.expect("members").members;
        let names: Vec<_> = members.iter().map(|member| member.name.as_str()).collect();
        assert_eq!((names.len(), names.iter().all(|name| name.starts_with('m'))), (3, true), "{names:?}");
        assert_eq!(clients[1].put("later", "v").await.expect("put"), revision + 1);
        cluster.restart_after_kill().await;
        same_hash(&clients).await;
        cluster.assert_no_unexpected_errors();
    }
}

//! Etcd on rows that it made itself and that went through a file of ours: users and roles.

use crate::programs::{run_aside, status};
use crate::stored::{content, open, saved, storage_of};
use crate::{restored, suite};
use keelstone_harness::tools;

#[tokio::test]
async fn etcd_on_a_file_of_ours_has_users_and_roles() {
    let name = "etcd_on_a_file_of_ours_has_users_and_roles";
    let (Some(etcd), Some(etcdctl), Some(etcdutl)) =
        (tools::etcd(name), tools::etcdctl(7, name), tools::etcdutl(7, name))
    else {
        return;
    };
    let rows = content(&open(include_bytes!("etcd-3.7.3/snapshot.db")).expect("a database")).expect("a whole file");
    let file = suite().make_folder("users").join("snapshot.db");
    std::fs::write(&file, saved(&storage_of(&rows))).expect("write the file");
    assert_eq!(status(&etcdutl, &file).await.hash, 1630944834, "as of etcd's own file");
    let cluster = restored::start(&etcdutl, &etcd, &file).await;
    let endpoints = format!("--endpoints={}", cluster[0].endpoint());
    for (line, wanted) in [
        (&["user", "list"][..], "alice\nbob\n"),
        (&["user", "get", "alice"], "User: alice\nRoles: reader\n"),
        (&["role", "list"], "reader\n"),
        (&["role", "get", "reader"], "Role reader\nKV Read:\n\t[key/, key0) (prefix key/)\nKV Write:\n"),
        (&["get", "key/8", "--print-value-only"], "again\n"),
        (&["get", "key/7"], ""),
    ] {
        let args: Vec<&str> = [endpoints.as_str()].into_iter().chain(line.iter().copied()).collect();
        assert_eq!(run_aside(&etcdctl, &args).await, wanted, "{line:?}");
    }
}

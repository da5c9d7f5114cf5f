//! Users go with the data, there and back: a directory of etcd's and its log become ours, and a snapshot of ours
//! becomes etcd's.

use crate::import::{copy, spec};
use crate::programs::run_aside;
use crate::{restored, suite};
use keelstone_harness::proto::authpb::{Permission, permission::Type};
use keelstone_harness::proto::etcdserverpb::{
    AuthEnableRequest, AuthRoleAddRequest, AuthRoleGrantPermissionRequest, AuthUserAddRequest, AuthUserGrantRoleRequest,
};
use keelstone_harness::{Client, Cluster, ClusterSpec, tools};
use tonic::Code;

/// Root, and a user who may read and write below `a/`; then access control is on.
async fn make_users(client: &Client) {
    let mut auth = client.auth();
    for name in ["root", "u"] {
        let add =
            AuthUserAddRequest { name: name.to_owned(), password: format!("{name}-secret"), ..Default::default() };
        auth.user_add(client.request(add)).await.expect("add user");
    }
    auth.role_add(client.request(AuthRoleAddRequest { name: "r".into() })).await.expect("add role");
    let perm = Permission { perm_type: Type::Readwrite.into(), key: "a/".into(), range_end: "a0".into() };
    let permit = AuthRoleGrantPermissionRequest { name: "r".into(), perm: Some(perm) };
    auth.role_grant_permission(client.request(permit)).await.expect("grant permission");
    for (user, role) in [("root", "root"), ("u", "r")] {
        let grant = AuthUserGrantRoleRequest { user: user.into(), role: role.into() };
        auth.user_grant_role(client.request(grant)).await.expect("grant role");
    }
    auth.auth_enable(client.request(AuthEnableRequest {})).await.expect("enable");
}

/// What [`make_users`] made holds.
async fn check_users(client: &Client) {
    let code = |answer: Result<i64, tonic::Status>| answer.map(|_| ()).map_err(|status| status.code());
    assert_eq!(code(client.put("a/k", "1").await), Err(Code::InvalidArgument), "nobody");
    assert!(client.login("u", "root-secret").await.is_err(), "another password");
    let user = client.login("u", "u-secret").await.expect("login");
    assert_eq!(code(user.put("a/k", "2").await), Ok(()));
    assert_eq!(code(user.put("b/k", "2").await), Err(Code::PermissionDenied));
    let root = client.login("root", "root-secret").await.expect("login");
    assert_eq!(code(root.put("b/k", "3").await), Ok(()));
}

#[tokio::test]
async fn what_etcd_left_is_served_with_its_users_whether_in_the_database_or_in_the_log() {
    let name = "what_etcd_left_is_served_with_its_users_whether_in_the_database_or_in_the_log";
    let Some(etcd) = tools::etcd(name) else { return };
    // One that was killed has not written its database for long: its users are entries of the log.
    for is_killed in [false, true] {
        let mut theirs = Cluster::start(&suite().with_server(&etcd), &spec(1)).await;
        make_users(&theirs[0].client()).await;
        check_users(&theirs[0].client()).await;
        if is_killed {
            theirs[0].kill();
        } else {
            theirs[0].terminate().await;
        }
        let mut ours = Cluster::prepare(suite(), &spec(1)).await;
        copy(&theirs[0].data_dir(), &ours[0].data_dir());
        ours.start_all().await;
        check_users(&ours[0].client()).await;
        // And after a restart, from our own log and state.
        ours[0].kill();
        ours.restart(0).await;
        check_users(&ours[0].client()).await;
        ours.assert_no_unexpected_errors();
    }
}

#[tokio::test]
async fn a_snapshot_of_ours_takes_its_users_to_etcd_and_to_another_cluster_of_ours() {
    let name = "a_snapshot_of_ours_takes_its_users_to_etcd_and_to_another_cluster_of_ours";
    let (Some(etcd), Some(etcdctl), Some(etcdutl)) =
        (tools::etcd(name), tools::etcdctl(7, name), tools::etcdutl(7, name))
    else {
        return;
    };
    let spec = ClusterSpec { proxied: false, ..ClusterSpec::of(1) }.with_flags(&["--bcrypt-cost=4"]);
    let cluster = Cluster::start(suite(), &spec).await;
    make_users(&cluster[0].client()).await;
    let file = suite().make_folder("with-users").join("snapshot.db");
    let endpoints = format!("--endpoints={}", cluster[0].endpoint());
    let save = [&endpoints, "--user=root:root-secret", "snapshot", "save", file.to_str().expect("text")];
    run_aside(&etcdctl, &save).await;
    let theirs = restored::start(&etcdutl, &etcd, &file).await;
    check_users(&theirs[0].client()).await;

    let mut again = Cluster::prepare(suite(), &spec).await;
    let restore = ["utl", "snapshot", "restore", file.to_str().expect("text"), "--data-dir"];
    let data_dir = again[0].data_dir();
    run_aside(&suite().server.binary, &[&restore[..], &[data_dir.to_str().expect("text")]].concat()).await;
    again.start_all().await;
    check_users(&again[0].client()).await;
}

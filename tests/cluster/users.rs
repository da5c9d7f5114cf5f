//! Access control where members fall behind.

use crate::catch_up::snapshot_flags;
use crate::check;
use keelstone_harness::proto::authpb::{Permission, permission::Type};
use keelstone_harness::proto::etcdserverpb::*;
use keelstone_harness::{Client, ClusterSpec, wait};
use std::time::Duration;
use tonic::Code;

const LIMIT: Duration = Duration::from_secs(60);

async fn add(client: &Client, name: &str) {
    let add = AuthUserAddRequest { name: name.into(), password: name.into(), ..AuthUserAddRequest::default() };
    client.auth().user_add(client.request(add)).await.expect("add user");
}

async fn grant(client: &Client, user: &str, role: &str) {
    let grant = AuthUserGrantRoleRequest { user: user.into(), role: role.into() };
    client.auth().user_grant_role(client.request(grant)).await.expect("grant role");
}

async fn permit(client: &Client, key: &str) {
    let perm = Some(Permission { perm_type: Type::Read.into(), key: key.to_owned().into(), range_end: "".into() });
    let permit = AuthRoleGrantPermissionRequest { name: "r".into(), perm };
    client.auth().role_grant_permission(client.request(permit)).await.expect("grant permission");
}

/// By the member's own state alone.
async fn may_read(client: &Client, key: &str) -> Result<(), Code> {
    let range = RangeRequest { key: key.to_owned().into(), serializable: true, ..RangeRequest::default() };
    client.range(range).await.map(drop).map_err(|status| status.code())
}

/// The entries that changed users never reach it, only what came of them.
#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_catches_up_by_snapshot_has_users_and_rights() {
    let flags = snapshot_flags("--snapshot-count=100", 10);
    let spec = ClusterSpec::of(3).with_flags(&flags.each_ref().map(String::as_str)).with_flags(&["--bcrypt-cost=4"]);
    check(spec, async |cluster| {
        let follower = (cluster.leader().await + 1) % 3;
        let other = cluster[(follower + 1) % 3].client();
        for name in ["root", "changed", "same", "gone"] {
            add(&other, name).await;
        }
        let role = AuthRoleAddRequest { name: "r".into() };
        other.auth().role_add(other.request(role)).await.expect("add role");
        permit(&other, "a").await;
        grant(&other, "root", "root").await;
        for name in ["changed", "same", "gone"] {
            grant(&other, name, "r").await;
        }
        other.auth().auth_enable(other.request(AuthEnableRequest {})).await.expect("enable");
        let behind = cluster[follower].client();
        let root = behind.login("root", "root").await.expect("login");
        let mut users = Vec::new();
        for name in ["changed", "same", "gone"] {
            let user = behind.login(name, name).await.expect("login");
            assert_eq!(may_read(&user, "a").await, Ok(()));
            users.push(user);
        }

        cluster.isolate(follower);
        let root_elsewhere = other.login("root", "root").await.expect("login");
        let change =
            AuthUserChangePasswordRequest { name: "changed".into(), password: "x".into(), ..Default::default() };
        other.auth().user_change_password(root_elsewhere.request(change)).await.expect("change password");
        let delete = AuthUserDeleteRequest { name: "gone".into() };
        other.auth().user_delete(root_elsewhere.request(delete)).await.expect("delete user");
        // One of the same name is another user.
        for name in ["late", "gone"] {
            add(&root_elsewhere, name).await;
            grant(&root_elsewhere, name, "r").await;
        }
        permit(&root_elsewhere, "b").await;
        for number in 0..1000 {
            root_elsewhere.put(format!("k{}", number % 50), "x".repeat(1000)).await.expect("put");
        }
        cluster.heal();
        wait::until("the follower to catch up", LIMIT, || async { root.get("k0").await.ok() }).await;
        assert!(!cluster[follower].log_lines("received and saved database snapshot").is_empty());

        assert_eq!(may_read(&users[0], "a").await, Err(Code::Unauthenticated), "its password is another");
        assert_eq!(may_read(&users[1], "b").await, Ok(()), "by the token of before");
        assert_eq!(may_read(&users[1], "c").await, Err(Code::PermissionDenied));
        assert_eq!(may_read(&users[2], "a").await, Err(Code::Unauthenticated), "another user of this name");
        assert_eq!(may_read(&behind, "a").await, Err(Code::InvalidArgument), "nobody");
        let late = behind.login("late", "late").await.expect("login");
        assert_eq!(may_read(&late, "b").await, Ok(()));
        assert!(behind.login("changed", "changed").await.is_err());
    })
    .await;
}

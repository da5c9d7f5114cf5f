//! Access control as a client sees it: users, roles, tokens, and what they let through.

mod advisories;
mod jwt;
mod members;
mod rights;

use crate::{Case, refused, suite};
use bytes::Bytes;
use keelstone_harness::proto::authpb::{Permission, UserAddOptions, permission::Type};
use keelstone_harness::proto::etcdserverpb::request_op::Request as Op;
use keelstone_harness::proto::etcdserverpb::*;
use keelstone_harness::{Client, Cluster, ClusterSpec};
use std::time::Duration;
use tonic::{Code, Response, Status};

pub const PATIENCE: Duration = Duration::from_secs(20);
pub const EMPTY: &str = "etcdserver: user name is empty";
pub const DENIED: &str = "etcdserver: permission denied";
pub const BAD_TOKEN: &str = "etcdserver: invalid auth token";
const FAILED: &str = "etcdserver: authentication failed, invalid user ID or password";

/// Cheap hashes: what they cost is not what is tested.
pub const FLAGS: &[&str] = &["--bcrypt-cost=4"];

/// Everything about users, with the answers as they come.
pub struct Users<'c>(pub &'c Client);

macro_rules! calls {
    ($($name:ident($($field:ident: $type:ty),*) = $call:ident, $request:ident -> $response:ident;)*) => {
        #[allow(clippy::needless_update, reason = "few have further fields")]
        impl Users<'_> {
            $(pub async fn $name(&self, $($field: $type),*) -> Result<$response, Status> {
                let request = $request { $($field: $field.into(),)* ..Default::default() };
                self.0.auth().$call(self.0.request(request)).await.map(Response::into_inner)
            })*
        }
    };
}

calls! {
    enable() = auth_enable, AuthEnableRequest -> AuthEnableResponse;
    disable() = auth_disable, AuthDisableRequest -> AuthDisableResponse;
    status() = auth_status, AuthStatusRequest -> AuthStatusResponse;
    add(name: &str, password: &str) = user_add, AuthUserAddRequest -> AuthUserAddResponse;
    delete(name: &str) = user_delete, AuthUserDeleteRequest -> AuthUserDeleteResponse;
    get(name: &str) = user_get, AuthUserGetRequest -> AuthUserGetResponse;
    list() = user_list, AuthUserListRequest -> AuthUserListResponse;
    change(name: &str, password: &str) =
        user_change_password, AuthUserChangePasswordRequest -> AuthUserChangePasswordResponse;
    grant(user: &str, role: &str) = user_grant_role, AuthUserGrantRoleRequest -> AuthUserGrantRoleResponse;
    revoke(name: &str, role: &str) = user_revoke_role, AuthUserRevokeRoleRequest -> AuthUserRevokeRoleResponse;
    add_role(name: &str) = role_add, AuthRoleAddRequest -> AuthRoleAddResponse;
    delete_role(role: &str) = role_delete, AuthRoleDeleteRequest -> AuthRoleDeleteResponse;
    get_role(role: &str) = role_get, AuthRoleGetRequest -> AuthRoleGetResponse;
    list_roles() = role_list, AuthRoleListRequest -> AuthRoleListResponse;
    authenticate(name: &str, password: &str) = authenticate, AuthenticateRequest -> AuthenticateResponse;
}

impl Users<'_> {
    pub async fn permit(
        &self,
        role: &str,
        kind: Type,
        key: &str,
        range_end: &str,
    ) -> Result<AuthRoleGrantPermissionResponse, Status> {
        let perm =
            Permission { perm_type: kind.into(), key: key.to_owned().into(), range_end: range_end.to_owned().into() };
        let request = AuthRoleGrantPermissionRequest { name: role.to_owned(), perm: Some(perm) };
        self.0.auth().role_grant_permission(self.0.request(request)).await.map(Response::into_inner)
    }

    pub async fn forbid(
        &self,
        role: &str,
        key: &str,
        range_end: &str,
    ) -> Result<AuthRoleRevokePermissionResponse, Status> {
        let (key, range_end) = (key.to_owned().into(), range_end.to_owned().into());
        let request = AuthRoleRevokePermissionRequest { role: role.to_owned(), key, range_end };
        self.0.auth().role_revoke_permission(self.0.request(request)).await.map(Response::into_inner)
    }

    pub async fn add_without_password(&self, name: &str) -> Result<AuthUserAddResponse, Status> {
        let options = Some(UserAddOptions { no_password: true });
        let request = AuthUserAddRequest { name: name.to_owned(), options, ..Default::default() };
        self.0.auth().user_add(self.0.request(request)).await.map(Response::into_inner)
    }

    async fn revision(&self) -> u64 {
        self.status().await.expect("open").auth_revision
    }

    /// A user with a role of the same name.
    pub async fn add_with_role(&self, name: &str) {
        self.add(name, name).await.expect("add user");
        self.add_role(name).await.expect("add role");
        self.grant(name, name).await.expect("grant role");
    }

    /// Turns access control on, with root's password `root`.
    pub async fn enable_with_root(&self) -> Client {
        self.add("root", "root").await.expect("add root");
        self.grant("root", "root").await.expect("grant root");
        self.enable().await.expect("enable");
        self.0.login("root", "root").await.expect("login")
    }
}

/// A server whose access is controlled.
pub struct Controlled {
    pub cluster: Cluster,
    pub root: Client,
}

impl Controlled {
    pub async fn start(members: usize, flags: &[&str]) -> Self {
        let spec = ClusterSpec::of(members).with_flags(FLAGS).with_flags(flags);
        let cluster = Cluster::start(suite(), &spec).await;
        let root = Users(&cluster[0].client()).enable_with_root().await;
        Self { cluster, root }
    }

    pub fn anyone(&self) -> Client {
        self.cluster[0].client()
    }

    pub fn users(&self) -> Users<'_> {
        Users(&self.root)
    }

    /// A user that may do what these say, logged in. (Every change makes older tokens of the JWT kind useless, and no
    /// simple ones.)
    pub async fn user(&self, name: &str, permissions: &[(Type, &str, &str)]) -> Client {
        let users = self.users();
        users.add_with_role(name).await;
        for (kind, key, range_end) in permissions {
            users.permit(name, *kind, key, range_end).await.expect("grant permission");
        }
        self.anyone().login(name, name).await.expect("login")
    }
}

pub async fn check_controlled(case: impl AsyncFnOnce(&Controlled)) {
    let controlled = Controlled::start(1, &[]).await;
    case(&controlled).await;
    controlled.cluster.assert_no_unexpected_errors();
}

/// etcd writes an error for each that it refuses.
pub async fn check_open(case: impl AsyncFnOnce(&Case)) {
    let cluster = Cluster::start(suite(), &ClusterSpec::of(1).with_flags(FLAGS)).await;
    case(&Case { client: cluster[0].client(), port: cluster[0].client_port, prefix: String::new() }).await;
    if !suite().server.is_etcd {
        cluster.assert_no_unexpected_errors();
    }
}

pub fn range(key: &str, range_end: &str) -> RangeRequest {
    RangeRequest { key: key.to_owned().into(), range_end: range_end.to_owned().into(), ..Default::default() }
}

pub fn put(key: &str) -> PutRequest {
    PutRequest { key: key.to_owned().into(), value: "v".into(), ..Default::default() }
}

pub fn delete(key: &str, range_end: &str) -> DeleteRangeRequest {
    DeleteRangeRequest { key: key.to_owned().into(), range_end: range_end.to_owned().into(), prev_kv: false }
}

pub fn txn(success: Vec<Op>) -> TxnRequest {
    let success = success.into_iter().map(|op| RequestOp { request: Some(op) }).collect();
    TxnRequest { success, ..Default::default() }
}

#[track_caller]
pub fn denied<T: std::fmt::Debug>(answer: Result<T, Status>) {
    refused(answer, Code::PermissionDenied, DENIED);
}

#[tokio::test]
async fn access_is_controlled_from_when_root_says_so_until_root_says_not() {
    check_open(async |case| {
        let open = Users(&case.client);
        let status = open.status().await.expect("status");
        assert_eq!((status.enabled, status.auth_revision), (false, 1));
        assert!(status.header.expect("a header").revision >= 1);
        refused(open.enable().await, Code::FailedPrecondition, "etcdserver: root user does not exist");
        open.add("root", "root").await.expect("add");
        refused(open.enable().await, Code::FailedPrecondition, "etcdserver: root user does not have root role");
        open.grant("root", "root").await.expect("the role need not exist");
        refused(
            open.authenticate("root", "root").await,
            Code::FailedPrecondition,
            "etcdserver: authentication is not enabled",
        );
        open.enable().await.expect("enable");
        let status = open.status().await.expect("open to everybody");
        assert_eq!((status.enabled, status.auth_revision), (true, 3));
        let page = keelstone_harness::http::get(case.port, "/metrics").await.expect("metrics").body;
        for line in [
            "etcd_debugging_auth_revision 3\n",
            "etcd_server_request_duration_seconds_count{success=\"true\",type=\"AuthUserAdd\"} 1\n",
            "etcd_server_request_duration_seconds_count{success=\"true\",type=\"AuthEnable\"} ",
        ] {
            assert!(page.contains(line), "{line}");
        }
        refused(case.client.put("a", "1").await, Code::InvalidArgument, EMPTY);
        refused(open.enable().await, Code::InvalidArgument, EMPTY);
        let root = case.client.login("root", "root").await.expect("login");
        Users(&root).enable().await.expect("once more is no error");
        let invalid_management = "etcdserver: invalid auth management";
        refused(Users(&root).delete("root").await, Code::InvalidArgument, invalid_management);
        refused(Users(&root).revoke("root", "root").await, Code::InvalidArgument, invalid_management);
        refused(Users(&root).delete_role("root").await, Code::InvalidArgument, invalid_management);
        root.put("a", "1").await.expect("root may");
        Users(&root).disable().await.expect("disable");
        assert_eq!(open.revision().await, 4);
        // A token does no harm then, not even one that was none.
        case.client.with_token("none").put("a", "2").await.expect("open again");
        open.delete("root").await.expect("root is not needed any more");
    })
    .await;
}

#[tokio::test]
async fn users_and_roles_are_what_etcd_says_they_are() {
    check_open(async |case| {
        let users = Users(&case.client);
        let failed = |answer: Result<_, Status>, text: &str| refused(answer, Code::FailedPrecondition, text);
        refused(users.add("", "p").await, Code::InvalidArgument, EMPTY);
        users.add("b", "p").await.expect("add");
        users.add("a", "").await.expect("an empty password is one");
        failed(users.add("a", "p").await.map(drop), "etcdserver: user name already exists");
        assert_eq!(users.list().await.expect("list").users, ["a", "b"]);
        failed(users.get("c").await.map(drop), "etcdserver: user name not found");
        failed(users.delete("c").await.map(drop), "etcdserver: user name not found");
        failed(users.change("c", "p").await.map(drop), "etcdserver: user name not found");
        refused(users.add_role("").await, Code::InvalidArgument, "etcdserver: role name is empty");
        for role in ["s", "r"] {
            users.add_role(role).await.expect("add role");
        }
        failed(users.add_role("r").await.map(drop), "etcdserver: role name already exists");
        assert_eq!(users.list_roles().await.expect("list").roles, ["r", "s"]);
        failed(users.grant("a", "t").await.map(drop), "etcdserver: role name not found");
        failed(users.grant("c", "r").await.map(drop), "etcdserver: user name not found");
        for role in ["s", "r"] {
            users.grant("a", role).await.expect("grant");
        }
        assert_eq!(users.get("a").await.expect("get").roles, ["r", "s"]);
        let before = users.revision().await;
        users.grant("a", "r").await.expect("has it");
        assert_eq!(users.revision().await, before);
        failed(users.revoke("b", "r").await.map(drop), "etcdserver: role is not granted to the user");
        failed(users.get_role("t").await.map(drop), "etcdserver: role name not found");
        failed(users.delete_role("t").await.map(drop), "etcdserver: role name not found");

        for (kind, key, end) in [(Type::Read, "b", "c"), (Type::Write, "a", ""), (Type::Readwrite, "b", "\0")] {
            users.permit("r", kind, key, end).await.expect("grant permission");
        }
        let shown = |permissions: &[Permission]| -> Vec<(Type, Bytes, Bytes)> {
            permissions.iter().map(|own| (own.perm_type(), own.key.clone(), own.range_end.clone())).collect()
        };
        let permissions = users.get_role("r").await.expect("get").perm;
        let wanted: [(Type, Bytes, Bytes); 3] = [
            (Type::Write, "a".into(), "".into()),
            (Type::Read, "b".into(), "c".into()),
            (Type::Readwrite, "b".into(), "\0".into()),
        ];
        assert_eq!(shown(&permissions), wanted);
        refused(
            users.permit("r", Type::Read, "b", "a").await,
            Code::InvalidArgument,
            "etcdserver: invalid auth management",
        );
        failed(users.permit("t", Type::Read, "a", "").await.map(drop), "etcdserver: role name not found");
        failed(users.forbid("r", "a", "b").await.map(drop), "etcdserver: permission is not granted to the role");
        users.forbid("r", "a", "").await.expect("revoke");
        let nothing = AuthRoleGrantPermissionRequest { name: "r".into(), perm: None };
        let answer = case.client.auth().role_grant_permission(case.client.request(nothing)).await;
        refused(answer, Code::InvalidArgument, "etcdserver: permission not given");
        users.delete_role("r").await.expect("delete");
        assert_eq!(users.get("a").await.expect("get").roles, ["s"]);
        users.delete("a").await.expect("delete");
        assert_eq!(users.list().await.expect("list").users, ["b"]);
        users.add_role("root").await.expect("add");
        let all = users.get_role("root").await.expect("get").perm;
        assert_eq!(shown(&all), [(Type::Readwrite, "".into(), "\0".into())]);
    })
    .await;
}

#[tokio::test]
async fn who_knows_the_password_gets_a_token() {
    check_controlled(async |controlled| {
        let (users, anyone) = (controlled.users(), Users(&controlled.anyone()));
        users.add("u", "secret").await.expect("add");
        users.add_without_password("cert").await.expect("add");
        let token = anyone.authenticate("u", "secret").await.expect("login").token;
        let (letters, index) = token.split_once('.').expect("two parts");
        assert!(letters.len() == 16 && letters.bytes().all(|byte| byte.is_ascii_alphabetic()), "{token}");
        assert!(index.parse::<u64>().is_ok(), "{token}");
        refused(anyone.authenticate("u", "secre").await, Code::InvalidArgument, FAILED);
        refused(anyone.authenticate("nobody", "secret").await, Code::InvalidArgument, FAILED);
        refused(anyone.authenticate("", "").await, Code::InvalidArgument, FAILED);
        refused(
            anyone.authenticate("cert", "").await,
            Code::Unknown,
            "auth: authentication failed, password was given for no password user",
        );
        let too_long = "p".repeat(73);
        refused(users.add("long", &too_long).await, Code::Unknown, "bcrypt: password length exceeds 72 bytes");
        refused(users.change("u", &too_long).await, Code::Unknown, "bcrypt: password length exceeds 72 bytes");
        for none in ["", "a", "a.b", "aaaaaaaaaaaaaaaa.1", &format!("{letters}.{index}.1")] {
            let answer = controlled.anyone().with_token(none).get("a").await;
            refused(answer, Code::Unauthenticated, BAD_TOKEN);
        }
        let known = controlled.anyone().with_token(&token);
        denied(known.get("a").await);
        // With another password the old token is none.
        users.change("u", "other").await.expect("change");
        refused(known.get("a").await, Code::Unauthenticated, BAD_TOKEN);
        refused(anyone.authenticate("u", "secret").await, Code::InvalidArgument, FAILED);
        let known = controlled.anyone().login("u", "other").await.expect("login");
        users.delete("u").await.expect("delete");
        refused(known.get("a").await, Code::Unauthenticated, BAD_TOKEN);
        // Without a new one nobody gets in.
        users.add("v", "secret").await.expect("add");
        users.change("v", "").await.expect("change");
        refused(anyone.authenticate("v", "").await, Code::InvalidArgument, FAILED);
    })
    .await;
}

#[tokio::test]
async fn a_token_that_is_not_used_ends() {
    let flags = ["--auth-token-ttl=1"];
    let controlled = Controlled::start(1, &flags).await;
    let answer = keelstone_harness::wait::until("a token to end", PATIENCE, || async {
        // Unused for longer each time.
        let token = Users(&controlled.anyone()).authenticate("root", "root").await.expect("login").token;
        tokio::time::sleep(Duration::from_millis(1100)).await;
        controlled.anyone().with_token(&token).get("a").await.err()
    })
    .await;
    refused(Err::<(), _>(answer), Code::Unauthenticated, BAD_TOKEN);
}

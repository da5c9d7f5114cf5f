//! Access control as a client sees it: users, roles, tokens, and what they let through.

use crate::{Case, refused, suite};
use bytes::Bytes;
use keelstone_harness::proto::authpb::{Permission, UserAddOptions, permission::Type};
use keelstone_harness::proto::etcdserverpb::request_op::Request as Op;
use keelstone_harness::proto::etcdserverpb::*;
use keelstone_harness::{Client, Cluster, ClusterSpec};
use std::time::Duration;
use tonic::{Code, Response, Status};

const PATIENCE: Duration = Duration::from_secs(20);
const EMPTY: &str = "etcdserver: user name is empty";
const DENIED: &str = "etcdserver: permission denied";
const BAD_TOKEN: &str = "etcdserver: invalid auth token";
const FAILED: &str = "etcdserver: authentication failed, invalid user ID or password";

/// Cheap hashes: what they cost is not what is tested.
pub const FLAGS: &[&str] = &["--bcrypt-cost=4"];

/// Everything about users, with the answers as they come.
pub struct Users<'c>(pub &'c Client);

macro_rules! calls {
    ($($name:ident($($field:ident: $type:ty),*) = $call:ident, $request:ident -> $response:ident;)*) => {
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
struct Controlled {
    cluster: Cluster,
    root: Client,
}

impl Controlled {
    async fn start(members: usize, flags: &[&str]) -> Self {
        let spec = ClusterSpec::of(members).with_flags(FLAGS).with_flags(flags);
        let cluster = Cluster::start(suite(), &spec).await;
        let root = Users(&cluster[0].client()).enable_with_root().await;
        Self { cluster, root }
    }

    fn anyone(&self) -> Client {
        self.cluster[0].client()
    }

    fn users(&self) -> Users<'_> {
        Users(&self.root)
    }

    /// A user that may do what these say, logged in. (Every change makes older tokens of the JWT kind useless, and no
    /// simple ones.)
    async fn user(&self, name: &str, permissions: &[(Type, &str, &str)]) -> Client {
        let users = self.users();
        users.add_with_role(name).await;
        for (kind, key, range_end) in permissions {
            users.permit(name, *kind, key, range_end).await.expect("grant permission");
        }
        self.anyone().login(name, name).await.expect("login")
    }
}

async fn check_controlled(case: impl AsyncFnOnce(&Controlled)) {
    let controlled = Controlled::start(1, &[]).await;
    case(&controlled).await;
    controlled.cluster.assert_no_unexpected_errors();
}

/// etcd writes an error for each that it refuses.
async fn check_open(case: impl AsyncFnOnce(&Case)) {
    let cluster = Cluster::start(suite(), &ClusterSpec::of(1).with_flags(FLAGS)).await;
    case(&Case { client: cluster[0].client(), port: cluster[0].client_port, prefix: String::new() }).await;
    if !suite().server.is_etcd {
        cluster.assert_no_unexpected_errors();
    }
}

fn range(key: &str, range_end: &str) -> RangeRequest {
    RangeRequest { key: key.to_owned().into(), range_end: range_end.to_owned().into(), ..Default::default() }
}

fn put(key: &str) -> PutRequest {
    PutRequest { key: key.to_owned().into(), value: "v".into(), ..Default::default() }
}

fn delete(key: &str, range_end: &str) -> DeleteRangeRequest {
    DeleteRangeRequest { key: key.to_owned().into(), range_end: range_end.to_owned().into(), prev_kv: false }
}

fn txn(success: Vec<Op>) -> TxnRequest {
    let success = success.into_iter().map(|op| RequestOp { request: Some(op) }).collect();
    TxnRequest { success, ..Default::default() }
}

#[track_caller]
fn denied<T: std::fmt::Debug>(answer: Result<T, Status>) {
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

#[tokio::test]
async fn keys_are_read_and_written_by_who_may() {
    check_controlled(async |controlled| {
        let user = controlled
            .user(
                "u",
                &[(Type::Read, "r", ""), (Type::Write, "w", ""), (Type::Readwrite, "a", "b"), (Type::Read, "b", "c")],
            )
            .await;
        for key in ["r", "w", "ab", "bb", "x"] {
            controlled.root.put(key, "of root").await.expect("root may");
        }
        for (key, end) in [("r", ""), ("a", "b"), ("ab", ""), ("a", "c"), ("ab", "bz")] {
            user.range(range(key, end)).await.expect("may read");
            user.range_stream(range(key, end)).await.expect("may read");
            let stale = RangeRequest { serializable: true, ..range(key, end) };
            user.range(stale).await.expect("may read");
        }
        for (key, end) in [("w", ""), ("x", ""), ("a", "d"), ("r", "s"), ("a", "\0"), ("\0", "\0"), ("r", "\0")] {
            denied(user.range(range(key, end)).await);
            denied(user.range_stream(range(key, end)).await);
            denied(user.range(RangeRequest { serializable: true, ..range(key, end) }).await);
            denied(user.range(RangeRequest { count_only: true, ..range(key, end) }).await);
            denied(user.range(RangeRequest { keys_only: true, limit: 1, ..range(key, end) }).await);
        }
        user.put_request(put("w")).await.expect("may write");
        denied(user.put_request(put("r")).await);
        denied(user.put_request(PutRequest { prev_kv: true, ..put("w") }).await);
        user.put_request(PutRequest { prev_kv: true, ..put("a") }).await.expect("may both");
        user.delete_range(delete("a", "b")).await.expect("may write");
        denied(user.delete_range(delete("a", "c")).await);
        denied(user.delete_range(delete("a", "\0")).await);
        denied(user.delete_range(DeleteRangeRequest { prev_kv: true, ..delete("w", "") }).await);
        // A transaction that only reads has no entry in the log.
        user.txn(txn(vec![Op::RequestRange(range("r", ""))])).await.expect("may read");
        denied(user.txn(txn(vec![Op::RequestRange(range("w", ""))])).await);
        let compare = Compare { key: "w".into(), ..Default::default() };
        denied(user.txn(TxnRequest { compare: vec![compare], ..Default::default() }).await);
        let nested = txn(vec![Op::RequestRange(range("w", ""))]);
        denied(user.txn(txn(vec![Op::RequestTxn(nested)])).await);
        refused(controlled.anyone().get("r").await, Code::InvalidArgument, EMPTY);
        refused(
            controlled.anyone().txn(txn(vec![Op::RequestRange(range("r", ""))])).await,
            Code::InvalidArgument,
            EMPTY,
        );
        // What is given, and what is taken, counts at once; a simple token is none of a revision.
        controlled.users().permit("u", Type::Read, "x", "").await.expect("grant");
        user.get("x").await.expect("may read now");
        controlled.users().forbid("u", "x", "").await.expect("revoke");
        denied(user.get("x").await);
    })
    .await;
}

fn watch(key: &str, range_end: &str) -> WatchCreateRequest {
    WatchCreateRequest { key: key.to_owned().into(), range_end: range_end.to_owned().into(), ..Default::default() }
}

/// The reason of a refusal, as Go prints a status.
fn reason(code: &str, text: &str) -> String {
    format!("rpc error: code = {code} desc = {text}")
}

async fn refusal(client: &Client, request: WatchCreateRequest) -> String {
    let response = client.watch().create_and_wait(request).await;
    assert!(response.canceled && response.watch_id == -1, "{response:?}");
    response.cancel_reason
}

#[tokio::test]
async fn ghsa_xg4h_6gfc_h4m8_a_watch_is_of_keys_that_may_all_be_read() {
    check_controlled(async |controlled| {
        let user = controlled.user("u", &[(Type::Read, "a", ""), (Type::Read, "b", "d"), (Type::Write, "w", "")]).await;
        let mut stream = user.watch();
        for (key, end) in [("a", ""), ("b", "d"), ("c", ""), ("bb", "c")] {
            assert!(!stream.create_and_wait(watch(key, end)).await.canceled, "{key} {end}");
        }
        // From a key on, by its prefix, below what may be read, all.
        for (key, end) in
            [("a", "\0"), ("b", "\0"), ("a", "b"), ("a", "c"), ("w", ""), ("", ""), ("", "\0"), ("\0", "\0")]
        {
            assert_eq!(refusal(&user, watch(key, end)).await, reason("PermissionDenied", DENIED), "{key} {end}");
        }
        let anyone = controlled.anyone();
        assert_eq!(refusal(&anyone, watch("a", "")).await, reason("InvalidArgument", EMPTY));
        let stranger = anyone.with_token("aaaaaaaaaaaaaaaa.1");
        assert_eq!(refusal(&stranger, watch("a", "")).await, reason("Unauthenticated", BAD_TOKEN));
        controlled.root.put("c", "1").await.expect("put");
        assert_eq!(stream.events(2).await.len(), 2, "to two watchers of one stream");
    })
    .await;
}

#[tokio::test]
async fn a_watch_whose_right_is_withdrawn_ends() {
    if suite().server.is_etcd {
        println!("passed by: etcd lets it go on");
        return;
    }
    check_controlled(async |controlled| {
        let user = controlled.user("u", &[(Type::Read, "a", "b"), (Type::Read, "c", "")]).await;
        let mut stream = user.watch();
        let lost = stream.create_and_wait(watch("a", "b")).await.watch_id;
        let kept = stream.create_and_wait(watch("c", "")).await.watch_id;
        controlled.users().forbid("u", "a", "b").await.expect("revoke");
        controlled.root.put("a", "secret").await.expect("put");
        let ended = stream.expect().await;
        assert_eq!((ended.watch_id, ended.canceled, ended.events.len()), (lost, true, 0));
        assert_eq!(ended.cancel_reason, reason("PermissionDenied", DENIED));
        controlled.root.put("c", "1").await.expect("put");
        let told = stream.expect().await;
        assert_eq!((told.watch_id, told.events.len()), (kept, 1));
        // With the user, all of its watches end.
        controlled.users().delete("u").await.expect("delete");
        assert_eq!(stream.expect().await.cancel_reason, reason("PermissionDenied", DENIED));
    })
    .await;
    // One that was opened by nobody, when access was not controlled.
    check_open(async |case| {
        let mut stream = case.client.watch();
        stream.create_and_wait(watch("a", "")).await;
        Users(&case.client).enable_with_root().await;
        assert_eq!(stream.expect().await.cancel_reason, reason("InvalidArgument", EMPTY));
    })
    .await;
}

#[tokio::test]
async fn cve_2023_32082_keys_of_a_lease_are_told_to_who_may_read_them() {
    check_controlled(async |controlled| {
        let user = controlled.user("u", &[(Type::Readwrite, "a", "b")]).await;
        let root = &controlled.root;
        for (id, key) in [(7, "a"), (7, "x"), (8, "a")] {
            root.grant(60, id).await.ok();
            root.put_request(PutRequest { lease: id, ..put(key) }).await.expect("put");
        }
        // "a" hangs on 8 now.
        root.put_request(PutRequest { lease: 7, ..put("ab") }).await.expect("put");
        assert_eq!(user.time_to_live(7, false).await.expect("open to users").granted_ttl, 60);
        denied(user.time_to_live(7, true).await);
        assert_eq!(user.time_to_live(8, true).await.expect("may read").keys, [Bytes::from("a")]);
        denied(user.leases().await);
        assert_eq!(user.time_to_live(9, true).await.expect("there is none").ttl, -1);
        for answer in
            [controlled.anyone().time_to_live(8, false).await, controlled.anyone().time_to_live(8, true).await]
        {
            refused(answer, Code::InvalidArgument, EMPTY);
        }
        // CVE-2026-33413: granting, renewing and ending were open.
        refused(controlled.anyone().grant(60, 10).await, Code::InvalidArgument, EMPTY);
        refused(controlled.anyone().revoke(8).await, Code::InvalidArgument, EMPTY);
        refused(controlled.anyone().leases().await, Code::InvalidArgument, EMPTY);
        let renewed = controlled.anyone().keep_alive().renew(8, PATIENCE).await;
        refused(renewed, Code::InvalidArgument, EMPTY);
        denied(user.revoke(7).await);
        denied(user.keep_alive().renew(7, PATIENCE).await);
        assert_eq!(user.keep_alive().renew(8, PATIENCE).await.expect("may write").ttl, 60);
        // A put onto a lease would end with keys that are not the user's.
        denied(user.put_request(PutRequest { lease: 7, ..put("ab") }).await);
        user.put_request(PutRequest { lease: 8, ..put("ab") }).await.expect("may write all of it");
        root.delete("x").await.expect("delete");
        user.grant(60, 11).await.expect("open to users");
        assert_eq!(user.leases().await.expect("may read all").leases.len(), 3);
        user.revoke(8).await.expect("may write all of it");
    })
    .await;
}

#[tokio::test]
async fn leases_end_by_themselves_whoever_they_are_of() {
    check_controlled(async |controlled| {
        controlled.root.grant(1, 7).await.expect("grant");
        controlled.root.put_request(PutRequest { lease: 7, ..put("a") }).await.expect("put");
        keelstone_harness::wait::until("the lease to end", PATIENCE, || async {
            (controlled.root.get("a").await.expect("get").count == 0).then_some(())
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn cve_2026_33413_what_is_for_operators_is_for_root() {
    check_controlled(async |controlled| {
        let (user, anyone, root) =
            (controlled.user("u", &[(Type::Readwrite, "\0", "\0")]).await, controlled.anyone(), &controlled.root);
        macro_rules! roots {
            ($($client:ident => $call:expr),* $(,)?) => {$({
                let $client = &user;
                denied($call);
                let $client = &anyone;
                refused($call, Code::InvalidArgument, EMPTY);
            })*};
        }
        let none = AlarmRequest::default();
        let raise = AlarmRequest { action: 1, member_id: 1, alarm: 1 };
        roots! {
            client => client.compact(CompactionRequest { revision: 1, physical: false }).await,
            client => client.member_add("http://127.0.0.1:1", true).await,
            client => client.member_remove(7).await,
            client => client.member_update(7, "http://127.0.0.1:1").await,
            client => client.member_promote(7).await,
            client => client.move_leader(7).await,
            client => client.hash().await,
            client => client.hash_kv(0).await,
            client => client.defragment().await,
            client => client.alarm(raise).await,
            client => Users(client).list().await,
            client => Users(client).list_roles().await,
            client => Users(client).get("root").await,
            client => Users(client).get_role("root").await,
            client => Users(client).add("x", "x").await,
            client => Users(client).delete("u").await,
            client => Users(client).change("root", "x").await,
            client => Users(client).grant("u", "root").await,
            client => Users(client).revoke("u", "u").await,
            client => Users(client).add_role("x").await,
            client => Users(client).delete_role("u").await,
            client => Users(client).permit("u", Type::Read, "a", "").await,
            client => Users(client).forbid("u", "a", "").await,
            client => Users(client).disable().await,
        }
        let mut snapshot = user.snapshot().await;
        if let Ok(stream) = &mut snapshot {
            denied(stream.message().await);
        } else {
            denied(snapshot);
        }
        assert_eq!(Users(&user).get("u").await.expect("its own").roles, ["u"]);
        assert_eq!(Users(&user).get_role("u").await.expect("its own").perm.len(), 1);
        for answer in
            [user.status().await.map(drop), user.member_list(true).await.map(drop), user.alarm(none).await.map(drop)]
        {
            answer.expect("open to users");
        }
        for answer in [
            anyone.status().await.map(drop),
            anyone.member_list(true).await.map(drop),
            anyone.alarm(none).await.map(drop),
        ] {
            refused(answer, Code::InvalidArgument, EMPTY);
        }
        anyone.health("").await.expect("open to everybody");
        root.hash_kv(0).await.expect("root may");
        root.defragment().await.expect("root may");
        assert!(root.snapshot().await.expect("root may").message().await.expect("bytes").is_some());
    })
    .await;
}

#[tokio::test]
async fn what_one_member_knows_of_users_all_do() {
    let mut controlled = Controlled::start(3, &[]).await;
    let user = controlled.user("u", &[(Type::Readwrite, "a", "")]).await;
    let token = Users(&controlled.anyone()).authenticate("u", "u").await.expect("login").token;
    for member in 0..3 {
        // At once, also where the entry that assigned it is not applied yet.
        let client = controlled.cluster[member].client().with_token(&token);
        client.put("a", "1").await.expect("may write");
        client.get("a").await.expect("may read");
        denied(client.put("b", "1").await);
        denied(client.get("b").await);
    }
    for member in 0..3 {
        let client = controlled.cluster[member].client().with_token(&token);
        controlled.users().permit("u", Type::Readwrite, "b", "").await.expect("grant");
        client.get("b").await.expect("given elsewhere just now");
        controlled.users().forbid("u", "b", "").await.expect("revoke");
        denied(client.get("b").await);
        denied(client.put("b", "1").await);
    }
    // A member that was down learns of it, and remembers it; of tokens it knows those that are assigned while it runs.
    controlled.cluster[2].kill();
    controlled.users().add("late", "late").await.expect("add");
    controlled.cluster.restart(2).await;
    let late = controlled.cluster[2].client();
    late.login("late", "late").await.expect("login");
    refused(late.get("a").await, Code::InvalidArgument, EMPTY);
    controlled.users().change("u", "x").await.expect("change");
    for member in 0..3 {
        let client = controlled.cluster[member].client().with_token(&token);
        refused(client.get("a").await, Code::Unauthenticated, BAD_TOKEN);
    }
    drop(user);
    controlled.cluster.assert_no_unexpected_errors();
}

#[tokio::test]
async fn a_restart_keeps_users_and_drops_tokens() {
    let mut controlled = Controlled::start(1, &[]).await;
    let user = controlled.user("u", &[(Type::Read, "a", "")]).await;
    user.get("a").await.expect("may read");
    let before = Users(&controlled.anyone()).revision().await;
    controlled.cluster[0].kill();
    controlled.cluster.restart(0).await;
    let anyone = controlled.anyone();
    let status = Users(&anyone).status().await.expect("status");
    assert_eq!((status.enabled, status.auth_revision), (true, before));
    let token = user.with_token("aaaaaaaaaaaaaaaa.1");
    refused(token.get("a").await, Code::Unauthenticated, BAD_TOKEN);
    let again = anyone.login("u", "u").await.expect("login");
    again.get("a").await.expect("may read");
    denied(again.get("b").await);
    controlled.cluster.assert_no_unexpected_errors();
}

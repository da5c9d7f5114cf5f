//! The common name of a client's certificate as a user, with `--client-cert-auth`.

use crate::certs::{Authority, LOCAL, Wanted};
use crate::folder;
use crate::ports::{Listener, Server};
use crate::probe::Probe;
use crate::rotation::client;
use keelstone_harness::Client;
use keelstone_harness::proto::authpb::{Permission, UserAddOptions, permission::Type};
use keelstone_harness::proto::etcdserverpb::*;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use tonic::{Code, Status};

const EMPTY: (Code, &str) = (Code::InvalidArgument, "etcdserver: user name is empty");
const DENIED: (Code, &str) = (Code::PermissionDenied, "etcdserver: permission denied");
const BAD_TOKEN: (Code, &str) = (Code::Unauthenticated, "etcdserver: invalid auth token");

/// Root, and `u` without a password, who may write `a`; then access is controlled.
async fn make_users(client: &Client) {
    let mut auth = client.auth();
    let options = Some(UserAddOptions { no_password: true });
    for (name, options, password) in [("root", None, "root"), ("u", options, "")] {
        let add = AuthUserAddRequest {
            name: name.into(),
            password: password.into(),
            options,
            ..AuthUserAddRequest::default()
        };
        auth.user_add(client.request(add)).await.expect("add user");
    }
    auth.role_add(client.request(AuthRoleAddRequest { name: "r".into() })).await.expect("add role");
    let perm = Some(Permission { perm_type: Type::Write.into(), key: "a".into(), range_end: "".into() });
    let permit = AuthRoleGrantPermissionRequest { name: "r".into(), perm };
    auth.role_grant_permission(client.request(permit)).await.expect("grant permission");
    for (user, role) in [("root", "root"), ("u", "r")] {
        let grant = AuthUserGrantRoleRequest { user: user.into(), role: role.into() };
        auth.user_grant_role(client.request(grant)).await.expect("grant role");
    }
    auth.auth_enable(client.request(AuthEnableRequest {})).await.expect("enable");
}

#[track_caller]
fn refused<T: std::fmt::Debug>(answer: Result<T, Status>, wanted: (Code, &str)) {
    let status = answer.expect_err(wanted.1);
    assert_eq!((status.code(), status.message()), wanted);
}

struct Guarded {
    server: Server,
    authority: Authority,
}

impl Guarded {
    async fn start(name: &str, flags: &[&str]) -> Self {
        let authority = Authority::new(&folder(name), "ca");
        let pair = authority.sign("server", LOCAL);
        let file = |flag: &str, path: &std::path::Path| format!("--{flag}={}", path.display());
        let mut all = vec![
            file("cert-file", &pair.cert),
            file("key-file", &pair.key),
            file("trusted-ca-file", &authority.file()),
            "--bcrypt-cost=4".to_owned(),
        ];
        all.extend(flags.iter().map(ToString::to_string));
        Self { server: Server::start(Listener::Client, &all).await, authority }
    }

    /// Who shows a certificate of this name.
    fn named(&self, common_name: &str) -> Client {
        client(&self.probe(common_name), self.server.client, &Arc::new(AtomicUsize::new(0)))
    }

    fn probe(&self, common_name: &str) -> Probe {
        let pair = self.authority.sign(&format!("client-{common_name}"), Wanted { common_name, ..LOCAL });
        Probe::default().trusting(&self.authority.file()).showing(&pair)
    }
}

#[tokio::test]
async fn who_shows_a_certificate_is_whom_it_names() {
    let guarded = Guarded::start("users", &["--client-cert-auth"]).await;
    make_users(&guarded.named("anybody")).await;
    let (user, root) = (guarded.named("u"), guarded.named("root"));
    user.put("a", "1").await.expect("may write");
    refused(user.put("b", "1").await, DENIED);
    refused(user.get("a").await, DENIED);
    root.put("b", "1").await.expect("root may");
    root.hash_kv(0).await.expect("root may");
    refused(user.hash_kv(0).await, DENIED);
    // A name that no user has.
    refused(guarded.named("ghost").put("a", "1").await, DENIED);
    // A token counts before the certificate, also one that does not count.
    let as_root = user.login("root", "root").await.expect("login");
    as_root.put("b", "2").await.expect("root may");
    refused(root.with_token("aaaaaaaaaaaaaaaa.1").put("b", "1").await, BAD_TOKEN);
    // What is changed counts for certificates at once.
    let forbid = AuthRoleRevokePermissionRequest { role: "r".into(), key: "a".into(), range_end: "".into() };
    root.auth().role_revoke_permission(root.request(forbid)).await.expect("revoke");
    refused(user.put("a", "1").await, DENIED);
}

#[tokio::test]
async fn without_the_flag_a_certificate_names_nobody() {
    let guarded = Guarded::start("no-users", &[]).await;
    let root = guarded.named("root");
    make_users(&root).await;
    refused(root.put("a", "1").await, EMPTY);
    root.login("root", "root").await.expect("login").put("a", "1").await.expect("root may");
}

/// A call as JSON would be nobody's, which is told before it is looked at.
#[tokio::test]
async fn who_shows_a_name_is_not_served_by_the_gateway() {
    let guarded = Guarded::start("json", &["--client-cert-auth"]).await;
    let (named, nameless) = (guarded.probe("root"), guarded.probe(""));
    let port = guarded.server.client;
    let path = "/v3/kv/range";
    let page = async |probe: &Probe, path| probe.get(port, path).await.expect("a page");
    assert!(page(&named, path).await.starts_with("HTTP/1.1 501"), "access is not controlled yet");
    make_users(&guarded.named("root")).await;
    let refused = page(&named, path).await;
    let told = "CommonName of client sending a request against gateway will be ignored and not used as expected";
    assert!(refused.starts_with("HTTP/1.1 400") && refused.contains(told), "{refused}");
    assert!(page(&named, "/version").await.starts_with("HTTP/1.1 200"));
    assert!(page(&nameless, path).await.starts_with("HTTP/1.1 501"));
}

/// The gateway's own certificate must not stand for whom it calls for.
#[tokio::test]
async fn cve_2018_16886_the_certificate_of_a_gateway_names_nobody() {
    let guarded = Guarded::start("gateway", &["--client-cert-auth"]).await;
    let root = guarded.named("root");
    make_users(&root).await;
    let mut request = root.request(PutRequest { key: "a".into(), ..PutRequest::default() });
    root.kv().put(root.request(PutRequest { key: "a".into(), ..PutRequest::default() })).await.expect("root may");
    request.metadata_mut().insert("grpcgateway-accept", "*/*".parse().expect("ASCII"));
    refused(root.kv().put(request).await, EMPTY);
}

//! What entries may do under access control, whoever let them into the log. Tests that bear the name of an advisory
//! fail without the check that it asked for.

use super::testing::{Node, bytes, delete, grant, op, put, range, revoke};
use super::{ApplyError, AuthReply, Authenticated, Reply};
use crate::auth::{AuthError, Password};
use keelstone_proto::authpb::{Permission, UserAddOptions, permission::Type};
use keelstone_proto::etcdserverpb::request_op::Request;
use keelstone_proto::etcdserverpb::{self as pb, InternalRaftRequest};

/// Root, and `u`, who may read `r`, write `w`, and both of `[a, b)`.
fn controlled() -> Node {
    let mut node = Node::new();
    for name in ["root", "u"] {
        let add =
            pb::AuthUserAddRequest { name: name.to_owned(), hashed_password: "aGFzaA==".into(), ..Default::default() };
        applies(&mut node, InternalRaftRequest { auth_user_add: Some(add), ..Default::default() });
    }
    let role = pb::AuthRoleAddRequest { name: "role".into() };
    applies(&mut node, InternalRaftRequest { auth_role_add: Some(role), ..Default::default() });
    for (kind, key, range_end) in [(Type::Read, "r", ""), (Type::Write, "w", ""), (Type::Readwrite, "a", "b")] {
        permit(&mut node, kind, key, range_end);
    }
    give(&mut node, "root", "root");
    give(&mut node, "u", "role");
    applies(&mut node, InternalRaftRequest { auth_enable: Some(pb::AuthEnableRequest {}), ..Default::default() });
    node
}

fn permit(node: &mut Node, kind: Type, key: &str, range_end: &str) {
    let perm = Some(Permission { perm_type: kind.into(), key: bytes(key), range_end: bytes(range_end) });
    let grant = pb::AuthRoleGrantPermissionRequest { name: "role".into(), perm };
    applies(node, InternalRaftRequest { auth_role_grant_permission: Some(grant), ..Default::default() });
}

fn give(node: &mut Node, user: &str, role: &str) {
    let grant = pb::AuthUserGrantRoleRequest { user: user.to_owned(), role: role.to_owned() };
    applies(node, InternalRaftRequest { auth_user_grant_role: Some(grant), ..Default::default() });
}

/// As root.
fn applies(node: &mut Node, request: InternalRaftRequest) -> Reply {
    by(node, "root", request).expect("root may")
}

fn by(node: &mut Node, user: &str, mut request: InternalRaftRequest) -> Result<Reply, ApplyError> {
    let auth_revision = node.applier.published().access.state().revision();
    request.header = Some(pb::RequestHeader { username: user.to_owned(), auth_revision, ..Default::default() });
    node.apply(request)
}

fn denied(node: &mut Node, request: InternalRaftRequest) {
    assert_eq!(by(node, "u", request), Err(AuthError::PermissionDenied.into()));
}

fn of_put(put: pb::PutRequest) -> InternalRaftRequest {
    InternalRaftRequest { put: Some(put), ..Default::default() }
}

fn of_delete(delete: pb::DeleteRangeRequest) -> InternalRaftRequest {
    InternalRaftRequest { delete_range: Some(delete), ..Default::default() }
}

fn of_txn(success: Vec<Request>) -> InternalRaftRequest {
    let success = success.into_iter().map(op).collect();
    InternalRaftRequest { txn: Some(pb::TxnRequest { success, ..Default::default() }), ..Default::default() }
}

#[test]
fn a_user_writes_what_its_roles_permit_and_reads_nothing_by_it() {
    let mut node = controlled();
    assert!(by(&mut node, "u", of_put(put("w", "1"))).is_ok() && by(&mut node, "u", of_put(put("ab", "1"))).is_ok());
    denied(&mut node, of_put(put("r", "1")));
    assert!(by(&mut node, "u", of_delete(delete("a", "b"))).is_ok());
    denied(&mut node, of_delete(delete("a", "c")));
    // What was there is a read.
    let and_read = |put: pb::PutRequest| of_put(pb::PutRequest { prev_kv: true, ..put });
    denied(&mut node, and_read(put("w", "2")));
    assert!(by(&mut node, "u", and_read(put("a", "2"))).is_ok());
    denied(&mut node, of_delete(pb::DeleteRangeRequest { prev_kv: true, ..delete("w", "") }));
    assert_eq!(by(&mut node, "", of_put(put("w", "1"))), Err(AuthError::PermissionDenied.into()));
    assert_eq!(node.put(put("w", "1")), Err(AuthError::UserEmpty.into()), "nobody, of no revision");
    assert!(applies(&mut node, of_put(put("r", "1"))).eq(&Reply::Put(pb::PutResponse {
        header: Some(pb::ResponseHeader { revision: 6, ..Default::default() }),
        prev_kv: None,
    })));
}

#[test]
fn a_right_of_before_a_change_is_none() {
    let mut node = controlled();
    let header = Some(pb::RequestHeader { username: "u".into(), auth_revision: 2, ..Default::default() });
    let late = InternalRaftRequest { header, ..of_put(put("w", "1")) };
    assert_eq!(node.apply(late), Err(AuthError::OldRevision.into()));
    assert!(by(&mut node, "u", of_put(put("w", "1"))).is_ok());
}

#[test]
fn cve_2026_33343_operations_of_nested_transactions_need_their_rights() {
    let mut node = controlled();
    for inner in [
        Request::RequestPut(put("r", "1")),
        Request::RequestRange(range("w", "")),
        Request::RequestDeleteRange(delete("a", "c")),
    ] {
        let nested = Request::RequestTxn(pb::TxnRequest { success: vec![op(inner.clone())], ..Default::default() });
        denied(&mut node, of_txn(vec![nested.clone()]));
        let twice = Request::RequestTxn(pb::TxnRequest { success: vec![op(nested)], ..Default::default() });
        denied(&mut node, of_txn(vec![Request::RequestPut(put("w", "1")), twice]));
        // In the branch that is not taken.
        let failure = pb::TxnRequest { failure: vec![op(inner)], ..Default::default() };
        denied(&mut node, InternalRaftRequest { txn: Some(failure), ..Default::default() });
    }
    let compare = pb::Compare { key: bytes("w"), ..Default::default() };
    let compared = pb::TxnRequest { compare: vec![compare], ..Default::default() };
    let nested = Request::RequestTxn(compared.clone());
    denied(&mut node, InternalRaftRequest { txn: Some(compared), ..Default::default() });
    denied(&mut node, of_txn(vec![nested]));
    let from_key = pb::Compare { key: bytes("a"), range_end: bytes("\0"), ..Default::default() };
    let compared = pb::TxnRequest { compare: vec![from_key], ..Default::default() };
    denied(&mut node, InternalRaftRequest { txn: Some(compared), ..Default::default() });
}

#[test]
fn cve_2026_44283_a_put_in_a_transaction_reads_its_previous_pair_and_takes_a_lease() {
    let mut node = controlled();
    applies(&mut node, grant(7, 60));
    applies(&mut node, of_put(pb::PutRequest { lease: 7, ..put("r", "of root") }));
    let previous = pb::PutRequest { prev_kv: true, ..put("w", "1") };
    // It would end with the lease, and `u` could not save it.
    let leased = pb::PutRequest { lease: 7, ..put("w", "1") };
    for put in [previous, leased.clone()] {
        denied(&mut node, of_put(put.clone()));
        denied(&mut node, of_txn(vec![Request::RequestPut(put.clone())]));
        let nested = pb::TxnRequest { success: vec![op(Request::RequestPut(put))], ..Default::default() };
        denied(&mut node, of_txn(vec![Request::RequestTxn(nested)]));
    }
    permit(&mut node, Type::Readwrite, "r", "");
    assert!(by(&mut node, "u", of_put(leased)).is_ok());
}

#[test]
fn a_lease_is_ended_by_who_may_write_all_its_keys() {
    let mut node = controlled();
    for id in [7, 8] {
        applies(&mut node, grant(id, 60));
    }
    for key in ["w", "r"] {
        applies(&mut node, of_put(pb::PutRequest { lease: 7, ..put(key, "1") }));
    }
    denied(&mut node, revoke(7));
    assert!(node.applier.published().lessor.exists(crate::types::LeaseId(7)));
    assert!(by(&mut node, "u", revoke(8)).is_ok(), "it has no keys");
    assert!(by(&mut node, "root", revoke(7)).is_ok());
}

#[test]
fn users_and_roles_are_roots_and_who_asks_for_its_own() {
    let mut node = controlled();
    let user = |name: &str| InternalRaftRequest {
        auth_user_get: Some(pb::AuthUserGetRequest { name: name.to_owned() }),
        ..Default::default()
    };
    let role = |name: &str| InternalRaftRequest {
        auth_role_get: Some(pb::AuthRoleGetRequest { role: name.to_owned() }),
        ..Default::default()
    };
    assert!(by(&mut node, "u", user("u")).is_ok() && by(&mut node, "u", role("role")).is_ok());
    denied(&mut node, user("root"));
    denied(&mut node, role("root"));
    let rejected = |node: &mut Node, request: InternalRaftRequest| {
        assert_eq!(by(node, "", request.clone()), Err(AuthError::UserEmpty.into()));
        assert_eq!(by(node, "gone", request.clone()), Err(AuthError::UserNotFound.into()));
        denied(node, request);
    };
    let none = InternalRaftRequest::default;
    for request in [
        InternalRaftRequest { auth_user_list: Some(pb::AuthUserListRequest {}), ..none() },
        InternalRaftRequest { auth_role_list: Some(pb::AuthRoleListRequest {}), ..none() },
        InternalRaftRequest { auth_user_add: Some(Default::default()), ..none() },
        InternalRaftRequest { auth_user_delete: Some(Default::default()), ..none() },
        InternalRaftRequest { auth_user_change_password: Some(Default::default()), ..none() },
        InternalRaftRequest { auth_user_grant_role: Some(Default::default()), ..none() },
        InternalRaftRequest { auth_user_revoke_role: Some(Default::default()), ..none() },
        InternalRaftRequest { auth_role_add: Some(Default::default()), ..none() },
        InternalRaftRequest { auth_role_delete: Some(Default::default()), ..none() },
        InternalRaftRequest { auth_role_grant_permission: Some(Default::default()), ..none() },
        InternalRaftRequest { auth_role_revoke_permission: Some(Default::default()), ..none() },
        InternalRaftRequest { auth_enable: Some(pb::AuthEnableRequest {}), ..none() },
        InternalRaftRequest { auth_disable: Some(pb::AuthDisableRequest {}), ..none() },
    ] {
        rejected(&mut node, request);
    }
    let status = InternalRaftRequest { auth_status: Some(pb::AuthStatusRequest {}), ..none() };
    match by(&mut node, "", status).expect("open") {
        Reply::Auth(AuthReply::Status(status)) => assert_eq!((status.enabled, status.auth_revision), (true, 9)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_token_counts_on_every_member_that_has_applied_it_until_its_user_changes() {
    let mut node = controlled();
    let login = InternalRaftRequest {
        authenticate: Some(pb::InternalAuthenticateRequest {
            name: "u".into(),
            simple_token: "abc".into(),
            ..Default::default()
        }),
        ..Default::default()
    };
    let access = std::sync::Arc::clone(&node.applier.published().access);
    let index = node.next_position().index;
    let Ok(Reply::Auth(AuthReply::Authenticate(Authenticated { response, auth_revision }))) = node.apply(login.clone())
    else {
        panic!("u has a password");
    };
    assert_eq!((response.token.as_str(), auth_revision), (format!("abc.{index}").as_str(), 9));
    let change = pb::AuthUserChangePasswordRequest { name: "u".into(), ..Default::default() };
    applies(&mut node, InternalRaftRequest { auth_user_change_password: Some(change), ..Default::default() });
    // The clock of an unserved access ends every token at once, so that only the count tells: see `simple_token`.
    assert!(access.tokens().user_of(&response.token).is_none());
    let options = Some(UserAddOptions { no_password: true });
    let add = pb::AuthUserAddRequest { name: "cert".into(), options, ..Default::default() };
    applies(&mut node, InternalRaftRequest { auth_user_add: Some(add), ..Default::default() });
    let mut by_certificate = login;
    by_certificate.authenticate.as_mut().expect("set").name = "cert".into();
    assert_eq!(node.apply(by_certificate), Err(AuthError::AuthFailed.into()));
}

/// CVE-2021-28235 and TOB-009: what enters the log is the hash. Entries of etcd before 3.5 are the exception, and
/// come to the same hash on all members.
#[test]
fn an_entry_with_a_password_of_an_old_etcd_makes_the_same_hash_everywhere() {
    let add = pb::AuthUserAddRequest { name: "u".into(), password: "secret".into(), ..Default::default() };
    let add = InternalRaftRequest { auth_user_add: Some(add), ..Default::default() };
    let hash_of = |node: &mut Node| {
        node.apply(add.clone()).expect("not controlled");
        node.applier.published().access.state().password_of("u").expect("a user").to_vec()
    };
    let hash = hash_of(&mut Node::new());
    assert_eq!(hash_of(&mut Node::new()), hash);
    assert!(Password::new("secret".into()).matches(&hash));
}

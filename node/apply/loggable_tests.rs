//! The texts were recorded from etcd 3.7.3 (whose build has two blanks between fields of the newer form).

use super::*;
use bytes::Bytes;
use pb::compare::{CompareResult, CompareTarget};
use pb::range_request::{SortOrder, SortTarget};

/// Not UTF-8, and with all that is escaped.
const NASTY: &[u8] = b"k\"\x01\n\xff\xc3\xa9";

fn entry_of(command: pb::InternalRaftRequest) -> String {
    let header = Some(pb::RequestHeader { id: 7, ..Default::default() });
    entry(&pb::InternalRaftRequest { header, ..command })
}

fn put_of(key: impl Into<Bytes>, value: &str) -> pb::PutRequest {
    pb::PutRequest { key: key.into(), value: Bytes::copy_from_slice(value.as_bytes()), ..Default::default() }
}

fn range_of(key: &'static str) -> pb::RangeRequest {
    pb::RangeRequest { key: key.into(), ..Default::default() }
}

fn compare_of(compare: pb::Compare) -> pb::Compare {
    pb::Compare { key: "foo".into(), ..compare }
}

/// Every op, a compare with a value and one without.
fn txn_of() -> pb::TxnRequest {
    let op = |request| pb::RequestOp { request: Some(request) };
    let delete = pb::DeleteRangeRequest { key: "y".into(), ..Default::default() };
    pb::TxnRequest {
        compare: vec![
            compare_of(pb::Compare {
                target: CompareTarget::Value.into(),
                target_union: Some(TargetUnion::Value("secret".into())),
                ..Default::default()
            }),
            compare_of(pb::Compare {
                result: CompareResult::Greater.into(),
                target: CompareTarget::Mod.into(),
                target_union: Some(TargetUnion::ModRevision(0)),
                ..Default::default()
            }),
        ],
        success: vec![
            op(Request::RequestPut(put_of("a", "secret"))),
            op(Request::RequestRange(range_of("x"))),
            op(Request::RequestDeleteRange(delete)),
        ],
        failure: vec![op(Request::RequestTxn(pb::TxnRequest {
            success: vec![op(Request::RequestPut(put_of("q", "secret")))],
            ..Default::default()
        }))],
    }
}

#[test]
fn requests_read_as_in_etcds_lines() {
    let leased = pb::PutRequest { lease: 291, ..put_of("l", "1") };
    let kept = pb::PutRequest { ignore_value: true, ..put_of("nokey", "") };
    assert_eq!(put(&put_of(NASTY, "v")), r#"key:"k\"\001\n\377\303\251" value_size:1 "#);
    assert_eq!(put(&leased), r#"key:"l" value_size:1 lease:291 "#);
    assert_eq!(put(&kept), r#"key:"nokey" ignore_value:true "#);
    let sorted = pb::RangeRequest {
        range_end: "z".into(),
        limit: 5,
        revision: 2,
        sort_order: SortOrder::Descend.into(),
        sort_target: SortTarget::Mod.into(),
        keys_only: true,
        ..range_of("a")
    };
    assert_eq!(
        range(&sorted),
        r#"key:"a" range_end:"z" limit:5 revision:2 sort_order:DESCEND sort_target:MOD keys_only:true"#
    );
    let delete = pb::DeleteRangeRequest { key: NASTY.into(), prev_kv: true, ..Default::default() };
    assert_eq!(delete_range(&delete), r#"key:"k\"\x01\n\xffé" prev_kv:true"#);
    assert_eq!(
        txn(&txn_of()),
        "compare:<target:VALUE key:\"foo\" value_size:6  result:GREATER target:MOD key:\"foo\" mod_revision:0> \
         success:<request_put:<key:\"a\" value_size:6 > request_range:{key:\"x\"} request_delete_range:{key:\"y\"}> \
         failure:<request_txn:<compare:<> success:<request_put:<key:\"q\" value_size:6 >> failure:<>>>"
    );
}

#[test]
fn entries_read_as_in_etcds_lines() {
    let all = pb::InternalRaftRequest::default;
    let attributes =
        membershippb::Attributes { name: "default".into(), client_urls: vec!["http://127.0.0.1:24379".into()] };
    let member = membershippb::ClusterMemberAttrSetRequest { member_id: 1304, member_attributes: Some(attributes) };
    let version = membershippb::ClusterVersionSetRequest { ver: "3.7.0".into() };
    let grant = pb::LeaseGrantRequest { ttl: 100, id: 0x5315_a215_3ef2_0d08 };
    let revoke = pb::LeaseRevokeRequest { id: 0x1234 };
    let delete = pb::DeleteRangeRequest { key: "foo".into(), prev_kv: true, ..Default::default() };
    let compaction = pb::CompactionRequest { revision: 3, physical: false };
    for (command, said) in [
        (
            pb::InternalRaftRequest { put: Some(put_of("foo", "bar")), ..all() },
            r#"header:<ID:7> put:<key:"foo" value_size:3 >"#,
        ),
        (
            pb::InternalRaftRequest { delete_range: Some(delete), ..all() },
            r#"header:{ID:7} delete_range:{key:"foo" prev_kv:true}"#,
        ),
        (
            pb::InternalRaftRequest { lease_grant: Some(grant), ..all() },
            "header:<ID:7> lease_grant:<ttl:100-second id:5315a2153ef20d08>",
        ),
        (
            pb::InternalRaftRequest { lease_revoke: Some(revoke), ..all() },
            "header:<ID:7> lease_revoke:<id:0000000000001234>",
        ),
        (
            pb::InternalRaftRequest { cluster_member_attr_set: Some(member), ..all() },
            "header:{ID:7} cluster_member_attr_set:{member_ID:1304 \
             member_attributes:{name:\"default\" client_urls:\"http://127.0.0.1:24379\"}}",
        ),
        (
            pb::InternalRaftRequest { cluster_version_set: Some(version), ..all() },
            r#"header:{ID:7} cluster_version_set:{ver:"3.7.0"}"#,
        ),
        (pb::InternalRaftRequest { compaction: Some(compaction), ..all() }, "header:{ID:7} compaction:{revision:3}"),
        (pb::InternalRaftRequest { alarm: Some(Default::default()), ..all() }, "header:{ID:7} alarm:{}"),
    ] {
        assert_eq!(entry_of(command), said);
    }
}

#[test]
fn commands_on_access_read_as_in_etcds_lines() {
    let none = pb::InternalRaftRequest::default;
    let perm = |kind: i32, key: &'static [u8], end: &'static [u8]| {
        Some(keelstone_proto::authpb::Permission { perm_type: kind, key: key.into(), range_end: end.into() })
    };
    let granted = |name: &str, perm| pb::AuthRoleGrantPermissionRequest { name: name.into(), perm };
    let revoked = |role: &str, key: &'static [u8], end: &'static [u8]| pb::AuthRoleRevokePermissionRequest {
        role: role.into(),
        key: key.into(),
        range_end: end.into(),
    };
    let grant = pb::AuthUserGrantRoleRequest { user: "u".into(), role: "r".into() };
    let revoke = pb::AuthUserRevokeRoleRequest { name: "u".into(), role: "r".into() };
    for (command, text) in [
        (pb::InternalRaftRequest { auth_enable: Some(Default::default()), ..none() }, "auth_enable:{}"),
        (
            pb::InternalRaftRequest { auth_user_get: Some(pb::AuthUserGetRequest { name: "u".into() }), ..none() },
            r#"auth_user_get:{name:"u"}"#,
        ),
        (
            pb::InternalRaftRequest { auth_role_get: Some(pb::AuthRoleGetRequest::default()), ..none() },
            "auth_role_get:{}",
        ),
        (
            pb::InternalRaftRequest { auth_user_grant_role: Some(grant), ..none() },
            r#"auth_user_grant_role:{user:"u" role:"r"}"#,
        ),
        (
            pb::InternalRaftRequest { auth_user_revoke_role: Some(revoke), ..none() },
            r#"auth_user_revoke_role:{name:"u" role:"r"}"#,
        ),
        (
            pb::InternalRaftRequest { auth_role_grant_permission: Some(granted("", perm(0, b"aab", b""))), ..none() },
            r#"auth_role_grant_permission:{perm:{key:"aab"}}"#,
        ),
        (
            pb::InternalRaftRequest {
                auth_role_grant_permission: Some(granted("r3", perm(1, b"b\xff", b"\0"))),
                ..none()
            },
            r#"auth_role_grant_permission:{name:"r3" perm:{permType:WRITE key:"b\xff" range_end:"\x00"}}"#,
        ),
        (
            pb::InternalRaftRequest { auth_role_revoke_permission: Some(revoked("", b"aa", b"\0")), ..none() },
            r#"auth_role_revoke_permission:{key:"aa" range_end:"\x00"}"#,
        ),
    ] {
        assert_eq!(entry_of(command), format!("header:{{ID:7}} {text}"));
    }
}

#[test]
fn no_value_and_no_password_is_shown() {
    let user = pb::AuthUserAddRequest { name: "root".into(), password: "secret".into(), ..Default::default() };
    let change =
        pb::AuthUserChangePasswordRequest { name: "root".into(), password: "secret".into(), ..Default::default() };
    let login =
        pb::InternalAuthenticateRequest { name: "root".into(), password: "secret".into(), ..Default::default() };
    for command in [
        pb::InternalRaftRequest { put: Some(put_of("k", "secret")), ..Default::default() },
        pb::InternalRaftRequest { txn: Some(txn_of()), ..Default::default() },
        pb::InternalRaftRequest { auth_user_add: Some(user), ..Default::default() },
        pb::InternalRaftRequest { auth_user_change_password: Some(change), ..Default::default() },
        pb::InternalRaftRequest { authenticate: Some(login), ..Default::default() },
    ] {
        let text = entry_of(command);
        assert!(!text.contains("secret"), "{text}");
    }
}

#[test]
fn a_long_key_is_cut() {
    let text = put(&put_of("é".repeat(MAX_LEN), "v"));
    assert!(text.len() <= MAX_LEN + 3 && text.ends_with("..."));
    let text = range(&pb::RangeRequest { key: "é".repeat(MAX_LEN).into(), ..Default::default() });
    assert!(text.len() <= MAX_LEN + 3 && text.ends_with("é..."));
}

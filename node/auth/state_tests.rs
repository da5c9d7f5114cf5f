//! What users may do follows from the rows alone, and changes are refused as etcd refuses them.

use super::*;
use crate::storage::Table;
use bytes::Bytes;
use prost::Message;

fn user(name: &str) -> UserRow {
    UserRow { name: name.into(), password: b"hash".to_vec(), roles: Vec::new(), options: Some(UserOptions::default()) }
}

fn permission(kind: i32, key: &str, range_end: &str) -> Permission {
    Permission { kind, key: Bytes::copy_from_slice(key.as_bytes()), range_end: range_end.to_owned().into() }
}

/// With root, and with a user `u` that has the role `r`.
fn enabled() -> AuthState {
    let mut state = AuthState::default();
    state.add_user(user("root")).expect("new");
    state.grant_role("root", "root").expect("needs no such role");
    state.add_user(user("u")).expect("new");
    state.add_role("r").expect("new");
    state.grant_role("u", "r").expect("both are there");
    state.enable().expect("root is there");
    state
}

fn who<'a>(state: &AuthState, user: &'a str) -> Who<'a> {
    Who { user, revision: state.revision() }
}

#[test]
fn access_is_not_controlled_without_a_root_who_could_turn_it_off() {
    let mut state = AuthState::default();
    assert_eq!(state.enable(), Err(AuthError::RootUserNotExist));
    state.add_user(user("root")).expect("new");
    assert_eq!(state.enable(), Err(AuthError::RootRoleNotExist));
    assert_eq!(state.check_root(Who::default()), Ok(()), "not controlled yet");
    let mut state = enabled();
    for refused in [state.delete_user("root"), state.revoke_role("root", "root"), state.delete_role("root")] {
        assert_eq!(refused, Err(AuthError::InvalidManagement));
    }
    assert!(!state.disable().is_empty() && state.delete_user("root").is_ok());
}

#[test]
fn root_may_do_everything_and_others_what_their_roles_permit() {
    let mut state = enabled();
    state.grant_permission("r", permission(Permission::READ, "a", "c")).expect("a role");
    state.grant_permission("r", permission(Permission::WRITE, "b", "")).expect("a role");
    let check = |state: &AuthState, name, right, key: &str, end: &str| {
        state.check_keys(who(state, name), right, key.as_bytes(), end.as_bytes())
    };
    assert_eq!(check(&state, "root", Right::Write, "\0", "\0"), Ok(()));
    assert_eq!(check(&state, "u", Right::Read, "a", "c"), Ok(()));
    assert_eq!(check(&state, "u", Right::Read, "a", "d"), Err(AuthError::PermissionDenied));
    assert_eq!(check(&state, "u", Right::Write, "b", ""), Ok(()));
    assert_eq!(check(&state, "u", Right::Write, "a", ""), Err(AuthError::PermissionDenied));
    assert_eq!(check(&state, "nobody", Right::Read, "a", ""), Err(AuthError::PermissionDenied));
    assert_eq!(state.check_root(who(&state, "u")), Err(AuthError::PermissionDenied));
    assert_eq!(state.check_root(who(&state, "nobody")), Err(AuthError::UserNotFound));
    assert_eq!(state.check_root(Who::default()), Err(AuthError::UserEmpty));
    state.revoke_permission("r", &"a".into(), &"c".into()).expect("was granted");
    assert_eq!(check(&state, "u", Right::Read, "a", ""), Err(AuthError::PermissionDenied));
    assert_eq!(state.revoke_permission("r", &"b".into(), &"c".into()), Err(AuthError::PermissionNotGranted));
    state.delete_role("r").expect("is there");
    assert_eq!(check(&state, "u", Right::Write, "b", ""), Err(AuthError::PermissionDenied));
    assert!(!state.has_role("u", "r"));
}

#[test]
fn who_was_made_sure_of_before_a_change_is_asked_again() {
    let mut state = enabled();
    let earlier = Who { user: "root", revision: state.revision() };
    state.add_role("s").expect("new");
    assert_eq!(state.check_keys(earlier, Right::Read, b"a", b""), Err(AuthError::OldRevision));
    assert_eq!(state.check_keys(Who::default(), Right::Read, b"a", b""), Err(AuthError::UserEmpty));
    assert_eq!(state.check_root(earlier), Ok(()), "as in etcd");
}

#[test]
fn the_revision_counts_changes_but_not_the_switch_to_on() {
    let mut state = AuthState::default();
    assert_eq!(state.revision(), FIRST_REVISION);
    state.add_user(user("root")).expect("new");
    let granted = state.grant_role("root", "root").expect("a user");
    assert_eq!(granted.last().map(|change| change.value.clone()), Some(Some(3_u64.to_be_bytes().to_vec())));
    assert_eq!((state.grant_role("root", "root"), state.revision()), (Ok(Vec::new()), 3), "nothing new");
    let enabled = state.enable().expect("root is there");
    assert_eq!((enabled.len(), state.revision()), (1, 3));
    assert_eq!(state.enable(), Ok(Vec::new()));
    state.disable();
    assert_eq!((state.revision(), state.disable()), (4, Vec::new()));
}

#[test]
fn what_is_not_there_is_named_and_what_is_there_twice() {
    let mut state = enabled();
    assert_eq!(state.add_user(user("")), Err(AuthError::UserEmpty));
    assert_eq!(state.add_user(user("u")), Err(AuthError::UserAlreadyExist));
    assert_eq!(state.delete_user("v"), Err(AuthError::UserNotFound));
    assert_eq!(state.change_password("v", Vec::new()), Err(AuthError::UserNotFound));
    assert_eq!(state.grant_role("v", "r"), Err(AuthError::UserNotFound));
    assert_eq!(state.grant_role("u", "s"), Err(AuthError::RoleNotFound));
    assert_eq!(state.revoke_role("u", "s"), Err(AuthError::RoleNotGranted));
    assert_eq!(state.add_role(""), Err(AuthError::RoleEmpty));
    assert_eq!(state.add_role("r"), Err(AuthError::RoleAlreadyExist));
    assert_eq!(state.delete_role("s"), Err(AuthError::RoleNotFound));
    for none in [permission(0, "", ""), permission(0, "b", "a"), permission(0, "b", "b")] {
        assert_eq!(state.grant_permission("r", none), Err(AuthError::InvalidManagement));
    }
    assert_eq!(state.grant_permission("s", permission(0, "a", "")), Err(AuthError::RoleNotFound));
    assert!(state.grant_permission("r", permission(0, "b", "\0")).is_ok());
}

#[test]
fn a_permission_for_the_same_keys_is_changed_and_others_stand_by_key() {
    let mut state = enabled();
    for (kind, key, end) in [(0, "b", "c"), (1, "a", ""), (2, "b", "c"), (0, "b", "d")] {
        state.grant_permission("r", permission(kind, key, end)).expect("a role");
    }
    let of = |permission: &Permission| (permission.kind, permission.key.clone(), permission.range_end.clone());
    let permissions: Vec<_> = state.role("r").expect("a role").permissions.iter().map(of).collect();
    assert_eq!(permissions, [(1, "a".into(), "".into()), (2, "b".into(), "c".into()), (0, "b".into(), "d".into())]);
}

#[test]
fn a_user_without_a_password_gets_none_and_no_token() {
    let mut state = enabled();
    let options = Some(UserOptions { no_password: true });
    state.add_user(UserRow { password: Vec::new(), options, ..user("cert") }).expect("new");
    state.change_password("cert", b"hash".to_vec()).expect("a user");
    assert_eq!(state.password_of("cert"), Some(&b""[..]));
    assert_eq!(state.check_login("cert"), Err(AuthError::AuthFailed));
    assert_eq!((state.check_login("u"), state.check_login("v")), (Ok(()), Err(AuthError::AuthFailed)));
    state.disable();
    assert_eq!(state.check_login("u"), Err(AuthError::AuthNotEnabled));
}

/// The rows of all changes, one after the other, are the state.
#[test]
fn a_state_is_read_back_from_the_rows_that_it_set() {
    let mut state = AuthState::default();
    let mut rows = std::collections::BTreeMap::new();
    type Step = fn(&mut AuthState) -> Result<Vec<Change>, AuthError>;
    let steps: [Step; 9] = [
        |state| state.add_user(user("root")),
        |state| state.grant_role("root", "root"),
        |state| state.add_role("r"),
        |state| state.add_role("s"),
        |state| state.grant_permission("r", permission(Permission::READ_WRITE, "a", "\0")),
        |state| state.add_user(user("u")),
        |state| state.grant_role("u", "s"),
        |state| state.grant_role("u", "r"),
        |state| state.enable(),
    ];
    let gone: [Step; 2] =
        [|state| state.delete_role("s"), |state| state.add_user(user("v")).and_then(|_| state.delete_user("v"))];
    for step in steps.iter().chain(&gone) {
        for Change { table, key, value } in step(&mut state).expect("in order") {
            match value {
                Some(value) => drop(rows.insert((table, key), value)),
                None => drop(rows.remove(&(table, key))),
            }
        }
        let of = |wanted: Table| {
            let rows = rows.iter().filter(|((table, _), _)| *table == wanted);
            rows.map(|((_, key), value)| (key.clone(), value.clone())).collect::<Vec<_>>()
        };
        let read = AuthState::from_rows(of(Table::Auth), of(Table::AuthUsers), of(Table::AuthRoles));
        assert_eq!(read.expect("own rows"), state);
    }
    assert_eq!(state.user("u").expect("a user").roles, ["r"]);
}

#[test]
fn a_row_that_etcd_does_not_write_is_refused() {
    let row = |name: &str| user(name).encode_to_vec();
    let read = |users| AuthState::from_rows(Vec::new(), users, Vec::new());
    assert!(read(vec![(b"u".to_vec(), row("u"))]).is_ok());
    assert!(matches!(read(vec![(b"v".to_vec(), row("u"))]), Err(AuthRowError::Name { .. })));
    assert!(matches!(read(vec![(b"u".to_vec(), vec![0xff])]), Err(AuthRowError::Decode(_))));
    let short = AuthState::from_rows(vec![(b"authRevision".to_vec(), vec![1])], Vec::new(), Vec::new());
    assert!(matches!(short, Err(AuthRowError::Revision { len: 1 })));
}

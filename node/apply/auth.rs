//! Commands on access control: the state decides, its rows follow. etcd `server/etcdserver/apply/backend.go` and
//! `server/auth/store.go`.

use super::scope::{Applied, Failure, Scope};
use super::{ApplyError, AuthReply, Authenticated, Reply};
use crate::auth::{AuthError, AuthState, Change, Permission, ROOT_ROLE, UserOptions, UserRow, hash_with_salt_of};
use crate::defect::{self, Defect};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use keelstone_proto::authpb;
use keelstone_proto::etcdserverpb::{self as pb, ResponseHeader};
use std::sync::Arc;

impl Scope<'_, '_> {
    /// Changes the state and its rows; answers the header of the reply.
    fn change_auth(
        &mut self,
        change: impl FnOnce(&mut AuthState) -> Result<Vec<Change>, AuthError>,
    ) -> Result<Option<ResponseHeader>, Failure> {
        let mut auth = AuthState::clone(self.auth);
        let changes = change(&mut auth).map_err(ApplyError::from)?;
        if !changes.is_empty() {
            *self.auth = Arc::new(auth);
        }
        let batch = self.batch.storage();
        for Change { table, key, value } in changes {
            match value {
                Some(value) => batch.put(table, &key, &value),
                None => batch.remove(table, &key),
            }
        }
        Ok(self.header())
    }

    /// The hash that an entry brings. Those of etcd before 3.5 bring the password.
    fn hash_of(&self, name: &str, password: &str, hashed: &str) -> Result<Vec<u8>, ApplyError> {
        if !password.is_empty() && hashed.is_empty() {
            let hash = hash_with_salt_of(&format!("{}/{name}", self.index), password);
            return hash.map_err(|_| AuthError::NoPasswordUser.into());
        }
        // etcd's word for what is no base64.
        STANDARD.decode(hashed).map_err(|_| AuthError::NoPasswordUser.into())
    }
}

fn done(reply: AuthReply) -> Applied {
    Ok(Reply::Auth(reply))
}

pub(super) fn enable(scope: &mut Scope<'_, '_>) -> Applied {
    let header = scope.change_auth(AuthState::enable)?;
    done(AuthReply::Enable(pb::AuthEnableResponse { header }))
}

pub(super) fn disable(scope: &mut Scope<'_, '_>) -> Applied {
    let header = scope.change_auth(|auth| Ok(auth.disable()))?;
    scope.tokens.forget_all();
    done(AuthReply::Disable(pb::AuthDisableResponse { header }))
}

pub(super) fn status(scope: &Scope<'_, '_>) -> Applied {
    let (enabled, auth_revision) = (scope.auth.is_enabled(), scope.auth.revision());
    done(AuthReply::Status(pb::AuthStatusResponse { header: scope.header(), enabled, auth_revision }))
}

/// The password was compared before the proposal. Every member learns of the token here.
pub(super) fn authenticate(scope: &mut Scope<'_, '_>, request: &pb::InternalAuthenticateRequest) -> Applied {
    scope.auth.check_login(&request.name).map_err(ApplyError::from)?;
    let mut token = String::new();
    if !request.simple_token.is_empty() {
        token = format!("{}.{}", request.simple_token, scope.index);
        scope.tokens.assign(token.clone(), &request.name);
    }
    let response = pb::AuthenticateResponse { header: scope.header(), token };
    done(AuthReply::Authenticate(Authenticated { response, auth_revision: scope.auth.revision() }))
}

pub(super) fn user_add(scope: &mut Scope<'_, '_>, request: pb::AuthUserAddRequest) -> Applied {
    let pb::AuthUserAddRequest { name, password, options, hashed_password } = request;
    // In etcd's order, which tells which error is answered.
    if !name.is_empty() && scope.auth.user(&name).is_some() {
        return Err(ApplyError::from(AuthError::UserAlreadyExist).into());
    }
    let no_password = options.is_some_and(|options| options.no_password);
    let password = match name.is_empty() || no_password {
        true => Vec::new(),
        false => scope.hash_of(&name, &password, &hashed_password)?,
    };
    let options = Some(UserOptions { no_password });
    let user = UserRow { name: name.into_bytes(), password, roles: Vec::new(), options };
    let header = scope.change_auth(|auth| auth.add_user(user))?;
    done(AuthReply::UserAdd(pb::AuthUserAddResponse { header }))
}

pub(super) fn user_delete(scope: &mut Scope<'_, '_>, request: &pb::AuthUserDeleteRequest) -> Applied {
    let header = scope.change_auth(|auth| auth.delete_user(&request.name))?;
    scope.tokens.forget_user(&request.name);
    done(AuthReply::UserDelete(pb::AuthUserDeleteResponse { header }))
}

pub(super) fn user_change_password(scope: &mut Scope<'_, '_>, request: &pb::AuthUserChangePasswordRequest) -> Applied {
    let user = scope.auth.user(&request.name).ok_or(ApplyError::from(AuthError::UserNotFound))?;
    let hash = match user.has_password() {
        true => scope.hash_of(&request.name, &request.password, &request.hashed_password)?,
        false => Vec::new(),
    };
    let header = scope.change_auth(|auth| auth.change_password(&request.name, hash))?;
    if !defect::on(Defect::TokenOutlivesPassword) {
        scope.tokens.forget_user(&request.name);
    }
    done(AuthReply::UserChangePassword(pb::AuthUserChangePasswordResponse { header }))
}

pub(super) fn user_get(scope: &Scope<'_, '_>, request: &pb::AuthUserGetRequest) -> Applied {
    let user = scope.auth.user(&request.name).ok_or(ApplyError::from(AuthError::UserNotFound))?;
    let (header, roles) = (scope.header(), user.roles.clone());
    done(AuthReply::UserGet(pb::AuthUserGetResponse { header, roles }))
}

pub(super) fn user_list(scope: &Scope<'_, '_>) -> Applied {
    let (header, users) = (scope.header(), scope.auth.user_names().map(str::to_owned).collect());
    done(AuthReply::UserList(pb::AuthUserListResponse { header, users }))
}

pub(super) fn user_grant_role(scope: &mut Scope<'_, '_>, request: &pb::AuthUserGrantRoleRequest) -> Applied {
    let header = scope.change_auth(|auth| auth.grant_role(&request.user, &request.role))?;
    done(AuthReply::UserGrantRole(pb::AuthUserGrantRoleResponse { header }))
}

pub(super) fn user_revoke_role(scope: &mut Scope<'_, '_>, request: &pb::AuthUserRevokeRoleRequest) -> Applied {
    let header = scope.change_auth(|auth| auth.revoke_role(&request.name, &request.role))?;
    done(AuthReply::UserRevokeRole(pb::AuthUserRevokeRoleResponse { header }))
}

pub(super) fn role_add(scope: &mut Scope<'_, '_>, request: &pb::AuthRoleAddRequest) -> Applied {
    let header = scope.change_auth(|auth| auth.add_role(&request.name))?;
    done(AuthReply::RoleAdd(pb::AuthRoleAddResponse { header }))
}

pub(super) fn role_delete(scope: &mut Scope<'_, '_>, request: &pb::AuthRoleDeleteRequest) -> Applied {
    let header = scope.change_auth(|auth| auth.delete_role(&request.role))?;
    done(AuthReply::RoleDelete(pb::AuthRoleDeleteResponse { header }))
}

/// Root's role permits everything, whatever its row says.
pub(super) fn role_get(scope: &Scope<'_, '_>, request: &pb::AuthRoleGetRequest) -> Applied {
    let role = scope.auth.role(&request.role).ok_or(ApplyError::from(AuthError::RoleNotFound))?;
    let perm = if request.role == ROOT_ROLE {
        let perm_type = authpb::permission::Type::Readwrite.into();
        vec![authpb::Permission { perm_type, key: Default::default(), range_end: vec![0].into() }]
    } else {
        role.permissions.iter().map(message).collect()
    };
    done(AuthReply::RoleGet(pb::AuthRoleGetResponse { header: scope.header(), perm }))
}

fn message(permission: &Permission) -> authpb::Permission {
    let Permission { kind, key, range_end } = permission.clone();
    authpb::Permission { perm_type: kind, key, range_end }
}

pub(super) fn role_list(scope: &Scope<'_, '_>) -> Applied {
    let (header, roles) = (scope.header(), scope.auth.role_names().map(str::to_owned).collect());
    done(AuthReply::RoleList(pb::AuthRoleListResponse { header, roles }))
}

pub(super) fn role_grant_permission(scope: &mut Scope<'_, '_>, request: pb::AuthRoleGrantPermissionRequest) -> Applied {
    let given = request.perm.ok_or(ApplyError::from(AuthError::PermissionNotGiven))?;
    // The state outlives the entry, whose bytes these are slices of.
    let own = |bytes: &Bytes| Bytes::copy_from_slice(bytes);
    let permission = Permission { kind: given.perm_type, key: own(&given.key), range_end: own(&given.range_end) };
    let header = scope.change_auth(|auth| auth.grant_permission(&request.name, permission))?;
    done(AuthReply::RoleGrantPermission(pb::AuthRoleGrantPermissionResponse { header }))
}

pub(super) fn role_revoke_permission(
    scope: &mut Scope<'_, '_>,
    request: &pb::AuthRoleRevokePermissionRequest,
) -> Applied {
    let header = scope.change_auth(|auth| auth.revoke_permission(&request.role, &request.key, &request.range_end))?;
    done(AuthReply::RoleRevokePermission(pb::AuthRoleRevokePermissionResponse { header }))
}

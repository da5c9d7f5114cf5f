//! Users, roles, permissions and tokens. All goes through the log, also what is only read: one way, decided by the
//! replicated state, as in etcd. Passwords are hashed and compared here, aside, and get no further.

use super::asker::Asker;
use super::gate::TokenKind;
use super::node::Node;
use super::status::ApiError;
use crate::apply::{Asked, AuthReply, Authenticated, Reply};
use crate::auth::{AuthError, HashError, Password, new_prefix};
use crate::defect::{self, Defect};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use keelstone_proto::etcdserverpb::auth_server::Auth;
use keelstone_proto::etcdserverpb::{self as pb, InternalRaftRequest};
use std::sync::Arc;
use tokio::sync::Semaphore;
use tonic::{Request, Response, Status};

/// Hashes made or compared at once: each takes a processor for tens of milliseconds, and anybody may ask for a token.
const HASHES_AT_ONCE: usize = 1;

#[derive(Clone, Debug)]
pub struct AuthService {
    node: Arc<Node>,
    hashing: Arc<Semaphore>,
}

/// Proposes a command and answers its reply, whose header is completed.
macro_rules! apply {
    // What root alone may do.
    ($service:ident, $request:ident, $field:ident, $kind:ident) => {{
        let (asker, message) = Asker::of($request);
        let header = $service.node.gate.to_write(&asker, Asked::Root).await?;
        let entry = InternalRaftRequest { header, $field: Some(message), ..Default::default() };
        apply!($service, entry, $kind)
    }};
    ($service:ident, $entry:ident, $kind:ident) => {{
        let AuthReply::$kind(mut response) = $service.propose($entry, stringify!($kind)).await? else {
            unreachable!("a command is answered with its own reply");
        };
        $service.node.fill(&mut response.header);
        Ok(Response::new(response))
    }};
}

impl AuthService {
    pub fn new(node: Arc<Node>) -> Self {
        Self { node, hashing: Arc::new(Semaphore::new(HASHES_AT_ONCE)) }
    }

    /// `kind` as in [`AuthReply`].
    async fn propose(&self, entry: InternalRaftRequest, kind: &str) -> Result<AuthReply, ApiError> {
        let durations = self.node.metrics.requests.of_auth(&metric_type(kind));
        match self.node.propose(entry, &durations).await? {
            Reply::Auth(reply) => Ok(reply),
            _ => unreachable!("a command on access control is answered with such a reply"),
        }
    }

    /// Does work with a password aside, one after the other.
    async fn with_password<T: Send + 'static>(
        &self,
        password: Arc<Password>,
        work: impl FnOnce(&Password) -> T + Send + 'static,
    ) -> Result<T, ApiError> {
        let _turn = self.hashing.acquire().await.map_err(|_| ApiError::Stopped)?;
        self.node.aside(move || work(&password)).await
    }

    /// As entries have it.
    async fn hashed(&self, password: String) -> Result<String, ApiError> {
        let cost = self.node.gate.settings.bcrypt_cost;
        let password = Arc::new(Password::new(password));
        let hash = self.with_password(password, move |password| password.hash(cost)).await?;
        // etcd has no code for it either.
        Ok(STANDARD.encode(hash.map_err(|error: HashError| ApiError::Raw(error.to_string()))?))
    }

    /// The revision of access control at which the password was right.
    async fn check_password(&self, name: &str, password: &Arc<Password>) -> Result<u64, ApiError> {
        let state = self.node.gate.access().state();
        if !state.is_enabled() {
            return Err(AuthError::AuthNotEnabled.into());
        }
        let user = state.user(name).ok_or(AuthError::AuthFailed)?;
        if !user.has_password() {
            return Err(AuthError::NoPasswordUser.into());
        }
        let hash = user.password.clone();
        let matches = self.with_password(password.clone(), move |password| password.matches(&hash)).await?;
        if matches { Ok(state.revision()) } else { Err(AuthError::AuthFailed.into()) }
    }

    /// A password that was right until then may be another when the entry is applied: then once more.
    async fn token(&self, name: String, password: String) -> Result<pb::AuthenticateResponse, ApiError> {
        let password = Arc::new(Password::new(password));
        self.node.read_index().await?;
        loop {
            let checked = self.check_password(&name, &password).await;
            let checked_at = checked.inspect_err(|error| {
                if *error != ApiError::AuthNotEnabled {
                    tracing::warn!(user = name, %error, "invalid authentication was requested");
                }
            })?;
            let simple_token = match &self.node.gate.settings.tokens {
                TokenKind::Simple => new_prefix(),
                TokenKind::Jwt(_) => String::new(),
                TokenKind::None => return Err(AuthError::AuthFailed.into()),
            };
            let request = pb::InternalAuthenticateRequest { name: name.clone(), simple_token, ..Default::default() };
            let entry = InternalRaftRequest { authenticate: Some(request), ..Default::default() };
            let AuthReply::Authenticate(Authenticated { mut response, auth_revision }) =
                self.propose(entry, "Authenticate").await?
            else {
                unreachable!("a command is answered with its own reply");
            };
            if auth_revision != checked_at {
                tracing::info!("revision when password checked became stale; retrying");
                continue;
            }
            if let TokenKind::Jwt(jwt) = &self.node.gate.settings.tokens {
                response.token = jwt.sign(&name, auth_revision, self.node.consensus.unix_secs())?;
            }
            self.node.fill(&mut response.header);
            return Ok(response);
        }
    }
}

/// The password, which the message loses: what is left is proposed.
fn without_password(password: &mut String) -> String {
    if defect::on(Defect::PasswordProposed) { password.clone() } else { std::mem::take(password) }
}

/// etcd's name of the command in its metric of durations.
fn metric_type(kind: &str) -> String {
    match kind {
        "Authenticate" => kind.to_owned(),
        _ => format!("Auth{kind}"),
    }
}

#[tonic::async_trait]
impl Auth for AuthService {
    /// Open to everybody.
    async fn auth_status(
        &self,
        request: Request<pb::AuthStatusRequest>,
    ) -> Result<Response<pb::AuthStatusResponse>, Status> {
        let entry = InternalRaftRequest { auth_status: Some(request.into_inner()), ..Default::default() };
        apply!(self, entry, Status)
    }

    async fn authenticate(
        &self,
        request: Request<pb::AuthenticateRequest>,
    ) -> Result<Response<pb::AuthenticateResponse>, Status> {
        let pb::AuthenticateRequest { name, password } = request.into_inner();
        Ok(Response::new(self.token(name, password).await?))
    }

    async fn auth_enable(
        &self,
        request: Request<pb::AuthEnableRequest>,
    ) -> Result<Response<pb::AuthEnableResponse>, Status> {
        apply!(self, request, auth_enable, Enable)
    }

    async fn auth_disable(
        &self,
        request: Request<pb::AuthDisableRequest>,
    ) -> Result<Response<pb::AuthDisableResponse>, Status> {
        apply!(self, request, auth_disable, Disable)
    }

    /// The entry has the hash alone.
    async fn user_add(
        &self,
        mut request: Request<pb::AuthUserAddRequest>,
    ) -> Result<Response<pb::AuthUserAddResponse>, Status> {
        let message = request.get_mut();
        let password = without_password(&mut message.password);
        if !message.options.is_some_and(|options| options.no_password) {
            message.hashed_password = self.hashed(password).await?;
        }
        apply!(self, request, auth_user_add, UserAdd)
    }

    /// A user may ask for itself.
    async fn user_get(
        &self,
        request: Request<pb::AuthUserGetRequest>,
    ) -> Result<Response<pb::AuthUserGetResponse>, Status> {
        let (asker, message) = Asker::of(request);
        let header = self.node.gate.to_write(&asker, Asked::User(&message.name)).await?;
        let entry = InternalRaftRequest { header, auth_user_get: Some(message), ..Default::default() };
        apply!(self, entry, UserGet)
    }

    async fn user_list(
        &self,
        request: Request<pb::AuthUserListRequest>,
    ) -> Result<Response<pb::AuthUserListResponse>, Status> {
        apply!(self, request, auth_user_list, UserList)
    }

    async fn user_delete(
        &self,
        request: Request<pb::AuthUserDeleteRequest>,
    ) -> Result<Response<pb::AuthUserDeleteResponse>, Status> {
        apply!(self, request, auth_user_delete, UserDelete)
    }

    /// The entry has the hash alone.
    async fn user_change_password(
        &self,
        mut request: Request<pb::AuthUserChangePasswordRequest>,
    ) -> Result<Response<pb::AuthUserChangePasswordResponse>, Status> {
        let message = request.get_mut();
        let password = without_password(&mut message.password);
        if !password.is_empty() {
            message.hashed_password = self.hashed(password).await?;
        }
        apply!(self, request, auth_user_change_password, UserChangePassword)
    }

    async fn user_grant_role(
        &self,
        request: Request<pb::AuthUserGrantRoleRequest>,
    ) -> Result<Response<pb::AuthUserGrantRoleResponse>, Status> {
        apply!(self, request, auth_user_grant_role, UserGrantRole)
    }

    async fn user_revoke_role(
        &self,
        request: Request<pb::AuthUserRevokeRoleRequest>,
    ) -> Result<Response<pb::AuthUserRevokeRoleResponse>, Status> {
        apply!(self, request, auth_user_revoke_role, UserRevokeRole)
    }

    async fn role_add(
        &self,
        request: Request<pb::AuthRoleAddRequest>,
    ) -> Result<Response<pb::AuthRoleAddResponse>, Status> {
        apply!(self, request, auth_role_add, RoleAdd)
    }

    /// A user may ask for a role that it has.
    async fn role_get(
        &self,
        request: Request<pb::AuthRoleGetRequest>,
    ) -> Result<Response<pb::AuthRoleGetResponse>, Status> {
        let (asker, message) = Asker::of(request);
        let header = self.node.gate.to_write(&asker, Asked::Role(&message.role)).await?;
        let entry = InternalRaftRequest { header, auth_role_get: Some(message), ..Default::default() };
        apply!(self, entry, RoleGet)
    }

    async fn role_list(
        &self,
        request: Request<pb::AuthRoleListRequest>,
    ) -> Result<Response<pb::AuthRoleListResponse>, Status> {
        apply!(self, request, auth_role_list, RoleList)
    }

    async fn role_delete(
        &self,
        request: Request<pb::AuthRoleDeleteRequest>,
    ) -> Result<Response<pb::AuthRoleDeleteResponse>, Status> {
        apply!(self, request, auth_role_delete, RoleDelete)
    }

    async fn role_grant_permission(
        &self,
        request: Request<pb::AuthRoleGrantPermissionRequest>,
    ) -> Result<Response<pb::AuthRoleGrantPermissionResponse>, Status> {
        apply!(self, request, auth_role_grant_permission, RoleGrantPermission)
    }

    async fn role_revoke_permission(
        &self,
        request: Request<pb::AuthRoleRevokePermissionRequest>,
    ) -> Result<Response<pb::AuthRoleRevokePermissionResponse>, Status> {
        apply!(self, request, auth_role_revoke_permission, RoleRevokePermission)
    }
}

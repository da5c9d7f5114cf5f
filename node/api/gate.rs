//! The one gate (DESIGN D12): what each call needs, who asks, and whether that one may.
//!
//! A member knows users and rights as of what it has applied. What is allowed by that and goes into the log is judged
//! again when it is applied; what is refused by that is judged once more behind a ReadIndex, since the right may have
//! been given elsewhere. So a refusal is as true as a linearizable read, and nobody without a right gets anything into
//! the log.

use super::asker::Asker;
use super::rpc::Rpc;
use super::status::ApiError;
use crate::apply::{Asked, Judge};
use crate::auth::{Access, AuthError, AuthState, Identity, Jwt, SimpleTokens, Who};
use crate::defect::{self, Defect};
use crate::lease::Lessor;
use crate::raft::Consensus;
use crate::types::KeyInterval;
use keelstone_proto::etcdserverpb::RequestHeader;
use std::fmt;
use std::sync::Arc;

/// What a call needs before its service sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Open to everybody.
    Nothing,
    /// If there is a token it must count.
    Token,
    /// Somebody, whatever rights that one has.
    User,
    /// Somebody; which rights depends on the message, so that the service asks for them.
    Rights,
    /// A stream of messages that are asked about one by one, since tokens end and rights change.
    EachMessage,
    /// A recipe of requests, each of which is asked about; what they are told is told on without its code.
    EachStep,
    Root,
}

/// As in etcd 3.7.3; [`crate::api`]'s own calls are root's.
pub fn need(rpc: Rpc) -> Need {
    match rpc {
        Rpc::Authenticate | Rpc::HealthCheck | Rpc::HealthList | Rpc::HealthWatch => Need::Nothing,
        Rpc::AuthStatus => Need::Token,
        Rpc::LeaseGrant | Rpc::MemberList | Rpc::Status => Need::User,
        Rpc::Range
        | Rpc::RangeStream
        | Rpc::Put
        | Rpc::DeleteRange
        | Rpc::Txn
        | Rpc::LeaseRevoke
        | Rpc::LeaseTimeToLive
        | Rpc::LeaseLeases
        | Rpc::Alarm
        | Rpc::UserGet
        | Rpc::RoleGet => Need::Rights,
        Rpc::Watch | Rpc::LeaseKeepAlive => Need::EachMessage,
        Rpc::Lock | Rpc::Unlock | Rpc::Campaign | Rpc::Proclaim | Rpc::ElectionLeader | Rpc::Observe | Rpc::Resign => {
            Need::EachStep
        }
        Rpc::Compact
        | Rpc::MemberAdd
        | Rpc::MemberRemove
        | Rpc::MemberUpdate
        | Rpc::MemberPromote
        | Rpc::Defragment
        | Rpc::Hash
        | Rpc::HashKv
        | Rpc::Snapshot
        | Rpc::MoveLeader
        | Rpc::Downgrade
        | Rpc::AuthEnable
        | Rpc::AuthDisable
        | Rpc::UserAdd
        | Rpc::UserList
        | Rpc::UserDelete
        | Rpc::UserChangePassword
        | Rpc::UserGrantRole
        | Rpc::UserRevokeRole
        | Rpc::RoleAdd
        | Rpc::RoleList
        | Rpc::RoleDelete
        | Rpc::RoleGrantPermission
        | Rpc::RoleRevokePermission
        | Rpc::BackupNow
        | Rpc::BackupList
        | Rpc::BackupVerify
        | Rpc::BackupForget
        | Rpc::BackupDrill
        | Rpc::BackupSchedule => Need::Root,
    }
}

/// How users are known by what they send.
#[derive(Debug)]
pub enum TokenKind {
    Simple,
    Jwt(Box<Jwt>),
    /// By no token at all (`--auth-token=''`).
    None,
}

/// What the operator says of access.
#[derive(Debug)]
pub struct GateSettings {
    pub tokens: TokenKind,
    pub bcrypt_cost: u32,
    /// Whether the name in a client's certificate is that of a user.
    pub knows_certificates: bool,
}

/// One for all connections.
pub struct Gate {
    access: Arc<Access>,
    lessor: Arc<Lessor>,
    consensus: Consensus,
    pub settings: GateSettings,
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// Leave to read, by one state of access control: what was read may be told only if [`Gate::still_holds`] then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Leave {
    /// Zero: access was not controlled.
    revision: u64,
}

impl Gate {
    pub fn new(access: Arc<Access>, lessor: Arc<Lessor>, consensus: Consensus, settings: GateSettings) -> Self {
        Self { access, lessor, consensus, settings }
    }

    /// False: everybody may do everything, and nothing needs to be asked.
    pub fn is_closed(&self) -> bool {
        self.access.is_enabled()
    }

    pub fn access(&self) -> &Arc<Access> {
        &self.access
    }

    /// Who asks, now. Waits until this member has applied the entry that assigned the token.
    ///
    /// # Errors
    /// The token does not count.
    pub async fn identify(&self, asker: &Asker) -> Result<Identity, ApiError> {
        let identity = self.find_identity(asker).await?;
        if let Some(audited) = asker.audited().filter(|_| identity.is_somebody()) {
            audited.known_as(identity.who().user);
        }
        Ok(identity)
    }

    async fn find_identity(&self, asker: &Asker) -> Result<Identity, ApiError> {
        let Some(token) = asker.token() else {
            let name = asker.common_name().filter(|_| self.settings.knows_certificates);
            return Ok(name.map_or(Identity::NOBODY, |name| Identity::user(name, self.access.state().revision())));
        };
        let token = std::str::from_utf8(token).map_err(|_| ApiError::InvalidAuthToken)?;
        let found = match &self.settings.tokens {
            TokenKind::Simple => {
                let index = SimpleTokens::index_of(token).ok_or(ApiError::InvalidAuthToken)?;
                if self.consensus.status().applied < index {
                    // All that was assigned by then is known after it.
                    self.consensus.read_index().await?;
                }
                // Before the user, lest a change in between goes unnoticed.
                let revision = self.access.state().revision();
                self.access.tokens().user_of(token).map(|user| Identity::user(user, revision))
            }
            TokenKind::Jwt(jwt) => jwt.verify(token, self.consensus.unix_secs()),
            TokenKind::None => None,
        };
        found.ok_or_else(|| {
            tracing::warn!("invalid auth token");
            ApiError::InvalidAuthToken
        })
    }

    /// Who asks: as the gate found it, if nothing has changed since.
    async fn identity(&self, asker: &Asker) -> Result<Identity, ApiError> {
        match asker.identity() {
            Some(identity) if identity.who().revision == self.access.state().revision() => Ok(identity.clone()),
            Some(_) | None => self.identify(asker).await,
        }
    }

    /// Whether somebody may do something, as of now and by this member's state.
    ///
    /// # Errors
    /// As [`Judge::check`].
    pub fn judge(&self, state: &AuthState, who: Who<'_>, asked: Asked<'_>) -> Result<(), AuthError> {
        Judge { auth: state, who, lessor: &self.lessor }.check(asked)
    }

    async fn attempt(
        &self,
        asker: &Asker,
        check: &(dyn Fn(Who<'_>) -> Result<(), AuthError> + Sync),
    ) -> Result<Identity, ApiError> {
        let identity = self.identity(asker).await?;
        check(identity.who())?;
        Ok(identity)
    }

    /// Who asks, if `check` lets that one; a refusal is looked at again with all that was committed in the cluster.
    async fn admit(
        &self,
        asker: &Asker,
        check: &(dyn Fn(Who<'_>) -> Result<(), AuthError> + Sync),
    ) -> Result<Identity, ApiError> {
        if !self.is_closed() {
            return Ok(Identity::NOBODY);
        }
        let refused = match self.attempt(asker, check).await {
            Ok(identity) => return Ok(identity),
            Err(refused) => refused,
        };
        if self.consensus.read_index().await.is_err() {
            return Err(refused);
        }
        if !self.is_closed() {
            return Ok(Identity::NOBODY);
        }
        let identity = self.identify(asker).await?;
        check(identity.who())?;
        Ok(identity)
    }

    /// What the door asks of each call, before its message is read.
    ///
    /// # Errors
    /// The call must not go on.
    pub async fn enter(&self, rpc: Rpc, asker: &Asker) -> Result<Identity, ApiError> {
        if defect::on(Defect::OperatorCallsOpen) && matches!(need(rpc), Need::User | Need::Root) {
            return Ok(Identity::NOBODY);
        }
        match need(rpc) {
            Need::Nothing | Need::EachMessage | Need::EachStep => Ok(Identity::NOBODY),
            Need::Token => self.admit(asker, &|_| Ok(())).await,
            Need::User | Need::Rights => {
                // With auth off meanwhile, nobody will do.
                let somebody = |who: Who<'_>| if who.revision == 0 { Err(AuthError::UserEmpty) } else { Ok(()) };
                self.admit(asker, &somebody).await
            }
            Need::Root => self.admit(asker, &|who| self.judge(&self.access.state(), who, Asked::Root)).await,
        }
    }

    /// Leave to write: the header of the entry, by which it is judged again when it is applied.
    ///
    /// # Errors
    /// There is none.
    pub async fn to_write(&self, asker: &Asker, asked: Asked<'_>) -> Result<Option<RequestHeader>, ApiError> {
        if !self.is_closed() {
            return Ok(None);
        }
        let identity = self.admit(asker, &|who| self.judge(&self.access.state(), who, asked)).await?;
        let Who { user, revision } = identity.who();
        let header = RequestHeader { username: user.to_owned(), auth_revision: revision, ..RequestHeader::default() };
        Ok(identity.is_somebody().then_some(header))
    }

    /// Leave to read, by the state that this member has. Whoever wants all that was committed waits for it before.
    ///
    /// # Errors
    /// There is none.
    pub async fn to_read(&self, asker: &Asker, asked: Asked<'_>) -> Result<Leave, ApiError> {
        if !self.is_closed() {
            return Ok(Leave { revision: 0 });
        }
        let identity = self.identity(asker).await?;
        self.judge(&self.access.state(), identity.who(), asked)?;
        Ok(Leave { revision: identity.who().revision })
    }

    /// Leave to watch, for as long as [`Self::may_still_watch`]: who asks.
    ///
    /// # Errors
    /// There is none.
    pub async fn to_watch(&self, asker: &Asker, interval: &KeyInterval) -> Result<Identity, ApiError> {
        if !self.is_closed() {
            return Ok(Identity::NOBODY);
        }
        self.admit(asker, &|who| self.judge(&self.access.state(), who, Asked::Watch(interval))).await
    }

    /// Whether somebody who was let may watch on. What the token said of the time does not count any more, only who it
    /// named.
    ///
    /// # Errors
    /// Why not.
    pub fn may_still_watch(&self, identity: &Identity, interval: &KeyInterval) -> Result<(), ApiError> {
        let state = self.access.state();
        let revision = if identity.is_somebody() { state.revision() } else { 0 };
        let who = Who { revision, ..identity.who() };
        Ok(self.judge(&state, who, Asked::Watch(interval))?)
    }

    /// False once access control has changed, or counts at all, since leave was given.
    pub fn holds_as_given(&self, leave: Leave) -> bool {
        let now = if self.is_closed() { self.access.state().revision() } else { 0 };
        leave.revision == now
    }

    /// To be asked between reading and telling: what was read may be newer than the state that gave leave.
    ///
    /// # Errors
    /// Access control has changed.
    pub fn still_holds(&self, leave: Leave) -> Result<(), ApiError> {
        let holds = leave.revision == 0 || leave.revision == self.access.state().revision();
        if holds { Ok(()) } else { Err(ApiError::AuthOldRevision) }
    }
}

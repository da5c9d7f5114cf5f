//! Which rights a request needs, down to every operation of every nested transaction (etcd
//! `server/etcdserver/apply/auth.go` and the checks in `v3_server.go`). Asked before a proposal and for reads, where
//! the answer saves work and is true of this member's state; and asked again when an entry is applied, where it
//! decides.
//!
//! No match here has a default arm: what is new has to say what it needs.

use super::command::Command;
use crate::auth::{AuthError, AuthState, Right, Who};
use crate::defect::{self, Defect};
use crate::lease::Lessor;
use crate::types::{KeyInterval, LeaseId};
use bytes::Bytes;
use keelstone_proto::etcdserverpb::request_op::Request;
use keelstone_proto::etcdserverpb::{DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest};

/// What somebody wants to do.
#[derive(Clone, Copy, Debug)]
pub enum Asked<'a> {
    /// What everybody may do who is somebody.
    Somebody,
    /// What root alone may do.
    Root,
    Range(&'a RangeRequest),
    Put(&'a PutRequest),
    DeleteRange(&'a DeleteRangeRequest),
    Txn(&'a TxnRequest),
    Watch(&'a KeyInterval),
    /// To end a lease, which deletes its keys, or to let it live, which keeps them.
    LeaseWrite(LeaseId),
    /// To learn which keys a lease has.
    LeaseKeys(LeaseId),
    /// To read these keys.
    Keys(&'a [Bytes]),
    /// To learn of all leases.
    LeaseList,
    User(&'a str),
    Role(&'a str),
}

/// Judges one who asks, by one state.
#[derive(Clone, Copy, Debug)]
pub struct Judge<'a> {
    pub auth: &'a AuthState,
    pub who: Who<'a>,
    /// Which keys a lease has counts as well.
    pub lessor: &'a Lessor,
}

impl Judge<'_> {
    /// # Errors
    /// Nobody asks; the one who does may not do it; access control has changed since that one was made sure of.
    pub fn check(&self, asked: Asked<'_>) -> Result<(), AuthError> {
        if !self.auth.is_enabled() {
            return Ok(());
        }
        match asked {
            Asked::Somebody if self.who.user.is_empty() => Err(AuthError::UserEmpty),
            Asked::Somebody => Ok(()),
            Asked::Root => self.auth.check_root(self.who),
            Asked::Range(request) => self.read(&request.key, &request.range_end),
            Asked::Put(request) => self.put(request),
            Asked::DeleteRange(request) => self.delete_range(request),
            Asked::Txn(request) => self.txn(request),
            Asked::Watch(interval) => self.watch(interval),
            Asked::LeaseWrite(_) | Asked::LeaseKeys(_) | Asked::LeaseList if self.who.user.is_empty() => {
                Err(AuthError::UserEmpty)
            }
            Asked::LeaseWrite(id) => self.lease_keys(id, Right::Write),
            Asked::LeaseKeys(_) | Asked::Keys(_) if defect::on(Defect::LeaseKeysUnchecked) => Ok(()),
            Asked::LeaseKeys(id) => self.lease_keys(id, Right::Read),
            Asked::Keys(keys) => self.keys(keys, Right::Read),
            Asked::LeaseList => self.lease_list(),
            Asked::User(name) => {
                self.auth.check_root(self.who).or_else(|error| if self.who.user == name { Ok(()) } else { Err(error) })
            }
            Asked::Role(name) => self
                .auth
                .check_root(self.who)
                .or_else(|error| if self.auth.has_role(self.who.user, name) { Ok(()) } else { Err(error) }),
        }
    }

    /// What apply asks of an entry. Commands without a right of their own are proposed by members for themselves, or
    /// were checked by the gate of the member that proposed them; as in etcd.
    pub(super) fn check_command(&self, command: &Command) -> Result<(), AuthError> {
        match command {
            Command::Range(request) => self.check(Asked::Range(request)),
            Command::Put(request) => self.check(Asked::Put(request)),
            Command::DeleteRange(request) => self.check(Asked::DeleteRange(request)),
            Command::Txn(request) => self.check(Asked::Txn(request)),
            // That somebody asks is made sure of where it is proposed: etcd's log may hold others, for leases without
            // keys.
            Command::LeaseRevoke(request) => self.lease_keys(LeaseId(request.id), Right::Write),
            Command::AuthUserGet(request) => self.check(Asked::User(&request.name)),
            Command::AuthRoleGet(request) => self.check(Asked::Role(&request.role)),
            Command::AuthEnable(_)
            | Command::AuthDisable(_)
            | Command::AuthUserAdd(_)
            | Command::AuthUserDelete(_)
            | Command::AuthUserChangePassword(_)
            | Command::AuthUserGrantRole(_)
            | Command::AuthUserRevokeRole(_)
            | Command::AuthUserList(_)
            | Command::AuthRoleList(_)
            | Command::AuthRoleAdd(_)
            | Command::AuthRoleDelete(_)
            | Command::AuthRoleGrantPermission(_)
            | Command::AuthRoleRevokePermission(_) => self.check(Asked::Root),
            Command::Authenticate(_)
            | Command::AuthStatus(_)
            | Command::Compaction(_)
            | Command::LeaseGrant(_)
            | Command::LeaseCheckpoint(_)
            | Command::Alarm(_)
            | Command::ClusterVersionSet(_)
            | Command::ClusterMemberAttrSet(_)
            | Command::DowngradeInfoSet(_)
            | Command::DowngradeVersionTest(_) => Ok(()),
        }
    }

    fn read(&self, key: &[u8], range_end: &[u8]) -> Result<(), AuthError> {
        self.auth.check_keys(self.who, Right::Read, key, range_end)
    }

    fn write(&self, key: &[u8], range_end: &[u8]) -> Result<(), AuthError> {
        self.auth.check_keys(self.who, Right::Write, key, range_end)
    }

    /// A lease that ends deletes its keys: to hang a key on it takes the right to write all that it has.
    fn put(&self, request: &PutRequest) -> Result<(), AuthError> {
        self.write(&request.key, b"")?;
        if !defect::on(Defect::LeaseAttachUnchecked) {
            self.lease_keys(LeaseId(request.lease), Right::Write)?;
        }
        let shows = request.prev_kv && !defect::on(Defect::PreviousPairUnchecked);
        if shows { self.read(&request.key, b"") } else { Ok(()) }
    }

    fn delete_range(&self, request: &DeleteRangeRequest) -> Result<(), AuthError> {
        self.write(&request.key, &request.range_end)?;
        let shows = request.prev_kv && !defect::on(Defect::PreviousPairUnchecked);
        if shows { self.read(&request.key, &request.range_end) } else { Ok(()) }
    }

    /// Both branches, whichever is taken: which one it is tells something of the keys.
    fn txn(&self, request: &TxnRequest) -> Result<(), AuthError> {
        for compare in &request.compare {
            self.read(&compare.key, &compare.range_end)?;
        }
        request.success.iter().chain(&request.failure).try_for_each(|op| self.op(op))
    }

    fn op(&self, op: &RequestOp) -> Result<(), AuthError> {
        match &op.request {
            Some(Request::RequestRange(request)) => self.read(&request.key, &request.range_end),
            Some(Request::RequestPut(request)) => self.put(request),
            Some(Request::RequestDeleteRange(request)) => self.delete_range(request),
            Some(Request::RequestTxn(_)) if defect::on(Defect::NestedOpsUnchecked) => Ok(()),
            Some(Request::RequestTxn(request)) => self.txn(request),
            // Without content: does nothing.
            None => Ok(()),
        }
    }

    fn watch(&self, interval: &KeyInterval) -> Result<(), AuthError> {
        match interval {
            KeyInterval::One(key) => self.read(key, b""),
            KeyInterval::Range { start, end: None } if defect::on(Defect::FromKeyWatchUnchecked) => {
                self.read(start, b"")
            }
            KeyInterval::Range { start, end: None } => self.read(start, b"\0"),
            KeyInterval::Range { start, end: Some(end) } => self.read(start, end),
        }
    }

    fn lease_keys(&self, id: LeaseId, right: Right) -> Result<(), AuthError> {
        self.keys(&self.lessor.keys(id).unwrap_or_default(), right)
    }

    fn keys(&self, keys: &[Bytes], right: Right) -> Result<(), AuthError> {
        if self.auth.check_root(self.who).is_ok() {
            return Ok(());
        }
        keys.iter().try_for_each(|key| self.auth.check_keys(self.who, right, key, b""))
    }

    fn lease_list(&self) -> Result<(), AuthError> {
        if self.auth.check_root(self.who).is_ok() {
            return Ok(());
        }
        self.lessor.ids().into_iter().try_for_each(|id| self.lease_keys(id, Right::Read))
    }
}

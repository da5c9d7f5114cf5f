//! Which file does which command, and what raised alarms keep from it.

use super::command::Command;
use super::permit::Judge;
use super::scope::{Applied, Scope};
use super::{ApplyError, Reply};
use super::{alarm, auth, cluster, compact, cost, delete, lease, put, range, txn};
use crate::alarm::AlarmType;
use crate::auth::Who;

impl Scope<'_, '_> {
    /// Does what the command says, if no alarm is in its way and `who` may do it.
    pub fn dispatch(&mut self, command: Command, who: Who<'_>) -> Applied {
        self.check_alarms(&command)?;
        self.check_access(&command, who)?;
        match command {
            Command::Range(request) => range::apply(self, &request),
            Command::Put(request) => put::apply(self, request),
            Command::DeleteRange(request) => delete::apply(self, request),
            Command::Txn(request) => txn::apply(self, request),
            Command::Compaction(request) => compact::apply(self, request),
            Command::LeaseGrant(request) => lease::grant(self, request),
            Command::LeaseRevoke(request) => lease::revoke(self, request),
            Command::LeaseCheckpoint(request) => lease::checkpoint(self, request),
            Command::Alarm(request) => alarm::apply(self, request),
            Command::ClusterVersionSet(request) => cluster::set_version(self, &request),
            Command::ClusterMemberAttrSet(request) => cluster::set_attributes(self, request),
            Command::DowngradeInfoSet(request) => cluster::set_downgrade(self, request),
            // etcd's tests write it to make older versions fail; it does nothing.
            Command::DowngradeVersionTest(_) => Ok(Reply::Done),
            Command::AuthEnable(_) => auth::enable(self),
            Command::AuthDisable(_) => auth::disable(self),
            Command::Authenticate(request) => auth::authenticate(self, &request),
            Command::AuthStatus(_) => auth::status(self),
            Command::AuthUserAdd(request) => auth::user_add(self, request),
            Command::AuthUserDelete(request) => auth::user_delete(self, &request),
            Command::AuthUserGet(request) => auth::user_get(self, &request),
            Command::AuthUserChangePassword(request) => auth::user_change_password(self, &request),
            Command::AuthUserGrantRole(request) => auth::user_grant_role(self, &request),
            Command::AuthUserRevokeRole(request) => auth::user_revoke_role(self, &request),
            Command::AuthUserList(_) => auth::user_list(self),
            Command::AuthRoleList(_) => auth::role_list(self),
            Command::AuthRoleAdd(request) => auth::role_add(self, &request),
            Command::AuthRoleDelete(request) => auth::role_delete(self, &request),
            Command::AuthRoleGet(request) => auth::role_get(self, &request),
            Command::AuthRoleGrantPermission(request) => auth::role_grant_permission(self, request),
            Command::AuthRoleRevokePermission(request) => auth::role_revoke_permission(self, &request),
        }
    }

    /// The state as it is now decides, whatever was found before the entry was proposed.
    fn check_access(&self, command: &Command, who: Who<'_>) -> Result<(), ApplyError> {
        if !self.auth.is_enabled() {
            return Ok(());
        }
        Ok(Judge { auth: self.auth, who, lessor: self.lessor }.check_command(command)?)
    }

    /// What raised alarms refuse (etcd `corrupt.go` and `capped.go` in `server/etcdserver/apply`): CORRUPT all that
    /// touches keys, NOSPACE all that adds. Deletes and compactions stay possible, they make space.
    fn check_alarms(&self, command: &Command) -> Result<(), ApplyError> {
        let touches_keys = matches!(
            command,
            Command::Range(_)
                | Command::Put(_)
                | Command::DeleteRange(_)
                | Command::Txn(_)
                | Command::Compaction(_)
                | Command::LeaseGrant(_)
                | Command::LeaseRevoke(_)
        );
        if touches_keys && self.alarms.is_raised(AlarmType::Corrupt) {
            return Err(ApplyError::Corrupt);
        }
        let adds = match command {
            Command::Put(_) | Command::LeaseGrant(_) => true,
            Command::Txn(request) => self.alarms.is_raised(AlarmType::NoSpace) && cost::txn(request) > 0,
            _ => false,
        };
        if adds && self.alarms.is_raised(AlarmType::NoSpace) {
            return Err(ApplyError::NoSpace);
        }
        Ok(())
    }
}

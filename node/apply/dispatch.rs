//! Which file does which command, and what raised alarms keep from it.

use super::command::Command;
use super::scope::{Applied, Scope};
use super::{ApplyError, Reply};
use super::{alarm, cluster, compact, cost, delete, lease, put, range, txn};
use crate::alarm::AlarmType;

impl Scope<'_, '_> {
    /// Does what the command says, if no alarm is in its way.
    pub fn dispatch(&mut self, command: Command) -> Applied {
        self.check_alarms(&command)?;
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
            Command::AuthEnable(_)
            | Command::AuthDisable(_)
            | Command::Authenticate(_)
            | Command::AuthStatus(_)
            | Command::AuthUserAdd(_)
            | Command::AuthUserDelete(_)
            | Command::AuthUserGet(_)
            | Command::AuthUserChangePassword(_)
            | Command::AuthUserGrantRole(_)
            | Command::AuthUserRevokeRole(_)
            | Command::AuthUserList(_)
            | Command::AuthRoleList(_)
            | Command::AuthRoleAdd(_)
            | Command::AuthRoleDelete(_)
            | Command::AuthRoleGet(_)
            | Command::AuthRoleGrantPermission(_)
            | Command::AuthRoleRevokePermission(_) => Err(ApplyError::AuthNotBuilt.into()),
        }
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

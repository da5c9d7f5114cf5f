//! Users and roles as every member has them, and what follows from them (etcd `server/auth/store.go`).

use super::row::{ENABLED_KEY, REVISION_KEY};
use super::{AuthError, AuthRowError, KeySet, Permission, ROOT_ROLE, ROOT_USER, Right, RoleRow, UserRow, Who};
use crate::defect::{self, Defect};
use crate::storage::{StorageError, Table, Version};
use bytes::Bytes;
use prost::Message;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Of a state that nobody has changed.
pub const FIRST_REVISION: u64 = 1;

/// A row that a change sets, or removes where there is no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub table: Table,
    pub key: Vec<u8>,
    pub value: Option<Vec<u8>>,
}

/// A user, and the keys that the roles permit together.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Account {
    row: UserRow,
    read: KeySet,
    write: KeySet,
}

/// Cheap to clone: accounts and roles are shared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthState {
    is_enabled: bool,
    revision: u64,
    users: BTreeMap<Arc<str>, Arc<Account>>,
    roles: BTreeMap<Arc<str>, Arc<RoleRow>>,
}

impl Default for AuthState {
    fn default() -> Self {
        Self { is_enabled: false, revision: FIRST_REVISION, users: BTreeMap::new(), roles: BTreeMap::new() }
    }
}

type Rows = Vec<(Vec<u8>, Vec<u8>)>;

/// Why the state of a file cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum AuthReadError {
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error(transparent)]
    Row(#[from] AuthRowError),
}

impl AuthState {
    /// # Errors
    /// The file cannot be read, or holds a row that etcd does not write.
    pub fn read(version: &Version) -> Result<Self, AuthReadError> {
        let rows = |table| version.rows(table);
        Ok(Self::from_rows(rows(Table::Auth)?, rows(Table::AuthUsers)?, rows(Table::AuthRoles)?)?)
    }

    pub(super) fn from_rows(switches: Rows, users: Rows, roles: Rows) -> Result<Self, AuthRowError> {
        let mut state = Self::default();
        for (key, value) in switches {
            match key.as_slice() {
                ENABLED_KEY => state.is_enabled = value == [1],
                REVISION_KEY => {
                    let bytes = value.as_slice().try_into();
                    let bytes = bytes.map_err(|_| AuthRowError::Revision { len: value.len() })?;
                    // etcd raises a zero at its start.
                    state.revision = u64::from_be_bytes(bytes).max(FIRST_REVISION);
                }
                // A row of a later version is none of our business.
                _ => {}
            }
        }
        for (key, value) in roles {
            let role = RoleRow::from_row(&key, &value)?;
            state.roles.insert(name_of(key)?, Arc::new(role));
        }
        for (key, value) in users {
            let user = UserRow::from_row(&key, &value)?;
            let account = state.account(user);
            state.users.insert(name_of(key)?, account);
        }
        Ok(state)
    }

    pub fn is_enabled(&self) -> bool {
        self.is_enabled
    }

    pub fn revision(&self) -> u64 {
        self.revision
    }

    pub fn user(&self, name: &str) -> Option<&UserRow> {
        self.users.get(name).map(|account| &account.row)
    }

    /// The hash; empty for a user without a password.
    pub fn password_of(&self, name: &str) -> Option<&[u8]> {
        self.user(name).map(|user| user.password.as_slice())
    }

    pub fn role(&self, name: &str) -> Option<&RoleRow> {
        self.roles.get(name).map(Arc::as_ref)
    }

    pub fn user_names(&self) -> impl Iterator<Item = &str> {
        self.users.keys().map(AsRef::as_ref)
    }

    pub fn role_names(&self) -> impl Iterator<Item = &str> {
        self.roles.keys().map(AsRef::as_ref)
    }

    pub fn has_role(&self, user: &str, role: &str) -> bool {
        self.user(user).is_some_and(|user| user.has_role(role))
    }

    // What somebody may do.

    /// For what root alone may do. As in etcd an older revision is no hindrance.
    ///
    /// # Errors
    /// Nobody asks; there is no such user; the user has not the root role.
    pub fn check_root(&self, who: Who<'_>) -> Result<(), AuthError> {
        if !self.is_enabled {
            return Ok(());
        }
        if who.user.is_empty() {
            return Err(AuthError::UserEmpty);
        }
        let user = self.user(who.user).ok_or(AuthError::UserNotFound)?;
        if user.has_role(ROOT_ROLE) { Ok(()) } else { Err(AuthError::PermissionDenied) }
    }

    /// For all keys of a pair as requests have it.
    ///
    /// # Errors
    /// Nobody asks; the state has changed since it was found out who does; the right is missing for a part of the keys.
    pub fn check_keys(&self, who: Who<'_>, right: Right, key: &[u8], range_end: &[u8]) -> Result<(), AuthError> {
        if !self.is_enabled {
            return Ok(());
        }
        if who.revision == 0 {
            return Err(AuthError::UserEmpty);
        }
        if who.revision < self.revision && !defect::on(Defect::OldRightCounts) {
            return Err(AuthError::OldRevision);
        }
        let account = self.users.get(who.user).ok_or(AuthError::PermissionDenied)?;
        let keys = match right {
            Right::Read => &account.read,
            Right::Write => &account.write,
        };
        let may = account.row.has_role(ROOT_ROLE) || keys.covers(key, range_end);
        if may { Ok(()) } else { Err(AuthError::PermissionDenied) }
    }

    /// Whether a token may be given to this user.
    ///
    /// # Errors
    /// Access is not controlled; there is no such user, or one without a password.
    pub fn check_login(&self, name: &str) -> Result<(), AuthError> {
        if !self.is_enabled {
            return Err(AuthError::AuthNotEnabled);
        }
        if self.user(name).is_some_and(UserRow::has_password) { Ok(()) } else { Err(AuthError::AuthFailed) }
    }

    // Changes, each with the rows that it sets. One that is refused changes nothing.

    /// # Errors
    /// There is nobody who could do everything.
    pub fn enable(&mut self) -> Result<Vec<Change>, AuthError> {
        if self.is_enabled {
            return Ok(Vec::new());
        }
        let root = self.user(ROOT_USER).ok_or(AuthError::RootUserNotExist)?;
        if !root.has_role(ROOT_ROLE) {
            return Err(AuthError::RootRoleNotExist);
        }
        self.is_enabled = true;
        Ok(vec![set(Table::Auth, ENABLED_KEY, vec![1])])
    }

    pub fn disable(&mut self) -> Vec<Change> {
        if !self.is_enabled {
            return Vec::new();
        }
        self.is_enabled = false;
        self.changed(vec![set(Table::Auth, ENABLED_KEY, vec![0])])
    }

    /// # Errors
    /// Without a name; there is one of that name.
    pub fn add_user(&mut self, user: UserRow) -> Result<Vec<Change>, AuthError> {
        let name = new_name(&user.name).ok_or(AuthError::UserEmpty)?;
        if self.users.contains_key(name) {
            return Err(AuthError::UserAlreadyExist);
        }
        let change = self.put_user(user);
        Ok(self.changed(vec![change]))
    }

    /// # Errors
    /// It is root, who is needed; there is no such user.
    pub fn delete_user(&mut self, name: &str) -> Result<Vec<Change>, AuthError> {
        if self.is_enabled && name == ROOT_USER {
            return Err(AuthError::InvalidManagement);
        }
        self.users.remove(name).ok_or(AuthError::UserNotFound)?;
        Ok(self.changed(vec![remove(Table::AuthUsers, name)]))
    }

    /// `password` is the hash; a user without a password stays so.
    ///
    /// # Errors
    /// There is no such user.
    pub fn change_password(&mut self, name: &str, password: Vec<u8>) -> Result<Vec<Change>, AuthError> {
        let user = self.user(name).ok_or(AuthError::UserNotFound)?.clone();
        let password = if user.has_password() { password } else { Vec::new() };
        let change = self.put_user(UserRow { password, ..user });
        Ok(self.changed(vec![change]))
    }

    /// No change if the user has the role. The root role need not exist.
    ///
    /// # Errors
    /// There is no such user, or no such role.
    pub fn grant_role(&mut self, name: &str, role: &str) -> Result<Vec<Change>, AuthError> {
        let mut user = self.user(name).ok_or(AuthError::UserNotFound)?.clone();
        if role != ROOT_ROLE && !self.roles.contains_key(role) {
            return Err(AuthError::RoleNotFound);
        }
        if user.has_role(role) {
            return Ok(Vec::new());
        }
        user.roles.push(role.to_owned());
        user.roles.sort_unstable();
        let change = self.put_user(user);
        Ok(self.changed(vec![change]))
    }

    /// # Errors
    /// It is root's root role, which is needed; there is no such user; it has not this role.
    pub fn revoke_role(&mut self, name: &str, role: &str) -> Result<Vec<Change>, AuthError> {
        if self.is_enabled && name == ROOT_USER && role == ROOT_ROLE {
            return Err(AuthError::InvalidManagement);
        }
        let mut user = self.user(name).ok_or(AuthError::UserNotFound)?.clone();
        if !take_role(&mut user, role) {
            return Err(AuthError::RoleNotGranted);
        }
        let change = self.put_user(user);
        Ok(self.changed(vec![change]))
    }

    /// # Errors
    /// Without a name; there is one of that name.
    pub fn add_role(&mut self, name: &str) -> Result<Vec<Change>, AuthError> {
        if name.is_empty() {
            return Err(AuthError::RoleEmpty);
        }
        if self.roles.contains_key(name) {
            return Err(AuthError::RoleAlreadyExist);
        }
        let change = self.put_role(RoleRow { name: name.as_bytes().to_vec(), permissions: Vec::new() });
        Ok(self.changed(vec![change]))
    }

    /// Takes it from all who have it.
    ///
    /// # Errors
    /// It is the root role, which is needed; there is no such role.
    pub fn delete_role(&mut self, name: &str) -> Result<Vec<Change>, AuthError> {
        if self.is_enabled && name == ROOT_ROLE {
            return Err(AuthError::InvalidManagement);
        }
        self.roles.remove(name).ok_or(AuthError::RoleNotFound)?;
        let mut changes = vec![remove(Table::AuthRoles, name)];
        let holders: Vec<UserRow> = self.holders(name).cloned().collect();
        for mut user in holders {
            take_role(&mut user, name);
            changes.push(self.put_user(user));
        }
        Ok(self.changed(changes))
    }

    /// Sets the kind of a permission that there is for exactly these keys.
    ///
    /// # Errors
    /// The keys are none; there is no such role.
    pub fn grant_permission(&mut self, role: &str, permission: Permission) -> Result<Vec<Change>, AuthError> {
        if !names_keys(&permission) {
            return Err(AuthError::InvalidManagement);
        }
        let mut row = self.role(role).ok_or(AuthError::RoleNotFound)?.clone();
        // etcd compares with the first of several permissions that begin at one key, and no other.
        let at = row.permissions.partition_point(|own| own.key < permission.key);
        match row.permissions.get_mut(at) {
            Some(own) if own.key == permission.key && own.range_end == permission.range_end => {
                own.kind = permission.kind;
            }
            _ => {
                row.permissions.push(permission);
                // Stable, as etcd's sort is for up to a dozen.
                row.permissions.sort_by(|a, b| a.key.cmp(&b.key));
            }
        }
        Ok(self.change_role(row))
    }

    /// # Errors
    /// There is no such role, or it has no permission for exactly these keys.
    pub fn revoke_permission(&mut self, role: &str, key: &Bytes, range_end: &Bytes) -> Result<Vec<Change>, AuthError> {
        let mut row = self.role(role).ok_or(AuthError::RoleNotFound)?.clone();
        let before = row.permissions.len();
        row.permissions.retain(|own| own.key != *key || own.range_end != *range_end);
        if row.permissions.len() == before {
            return Err(AuthError::PermissionNotGranted);
        }
        Ok(self.change_role(row))
    }

    fn change_role(&mut self, row: RoleRow) -> Vec<Change> {
        let name = String::from_utf8_lossy(&row.name).into_owned();
        let change = self.put_role(row);
        let holders: Vec<UserRow> = self.holders(&name).cloned().collect();
        for user in holders {
            self.put_user(user);
        }
        self.changed(vec![change])
    }

    fn holders(&self, role: &str) -> impl Iterator<Item = &UserRow> {
        self.users.values().map(|account| &account.row).filter(move |user| user.has_role(role))
    }

    fn put_user(&mut self, row: UserRow) -> Change {
        let (name, value) = (row.name.clone(), row.encode_to_vec());
        let account = self.account(row);
        self.users.insert(String::from_utf8_lossy(&name).into(), account);
        set(Table::AuthUsers, &name, value)
    }

    fn put_role(&mut self, row: RoleRow) -> Change {
        let (name, value) = (row.name.clone(), row.encode_to_vec());
        self.roles.insert(String::from_utf8_lossy(&name).into(), Arc::new(row));
        set(Table::AuthRoles, &name, value)
    }

    fn account(&self, row: UserRow) -> Arc<Account> {
        let permissions = |right| {
            let roles = row.roles.iter().filter_map(|role| self.roles.get(role.as_str()));
            let permissions = roles.flat_map(|role| &role.permissions).filter(move |own| own.gives(right));
            KeySet::union(permissions.map(|own| (&own.key, &own.range_end)))
        };
        let (read, write) = (permissions(Right::Read), permissions(Right::Write));
        Arc::new(Account { row, read, write })
    }

    /// Raises the revision, for all but the switch to on.
    fn changed(&mut self, mut changes: Vec<Change>) -> Vec<Change> {
        self.revision += 1;
        changes.push(set(Table::Auth, REVISION_KEY, self.revision.to_be_bytes().to_vec()));
        changes
    }
}

fn set(table: Table, key: &[u8], value: Vec<u8>) -> Change {
    Change { table, key: key.to_vec(), value: Some(value) }
}

fn remove(table: Table, name: &str) -> Change {
    Change { table, key: name.as_bytes().to_vec(), value: None }
}

fn name_of(key: Vec<u8>) -> Result<Arc<str>, AuthRowError> {
    let name = String::from_utf8(key).map_err(|error| AuthRowError::Name { row: error.into_bytes() })?;
    Ok(name.into())
}

fn new_name(name: &[u8]) -> Option<&str> {
    std::str::from_utf8(name).ok().filter(|name| !name.is_empty())
}

fn take_role(user: &mut UserRow, role: &str) -> bool {
    let before = user.roles.len();
    user.roles.retain(|own| own != role);
    user.roles.len() < before
}

/// One key, all from one on, or an interval that is not empty (etcd `isValidPermissionRange`).
fn names_keys(permission: &Permission) -> bool {
    let Permission { key, range_end, .. } = permission;
    !key.is_empty() && (range_end.is_empty() || range_end.as_ref() == [0] || key < range_end)
}

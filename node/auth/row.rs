//! Rows of the tables `authUsers` and `authRoles`, byte for byte as etcd writes them (`api/authpb/auth.proto`): the key
//! is the name, the value
//!
//! ```text
//! user  {1: name, 2: bcrypt hash, 3: role, 3: role …, 4: {1: no password}}
//! role  {1: name, 2: {1: type, 2: key, 3: range end}, 2: …}
//! ```
//!
//! The table `auth` holds `authEnabled`, one byte 0 or 1, and `authRevision`, a u64, big-endian.

use bytes::Bytes;
use prost::Message;
use std::fmt;

pub(super) const ENABLED_KEY: &[u8] = b"authEnabled";
pub(super) const REVISION_KEY: &[u8] = b"authRevision";

#[derive(Clone, PartialEq, Eq, Message)]
#[prost(skip_debug)]
pub struct UserRow {
    #[prost(bytes = "vec", tag = "1")]
    pub name: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub password: Vec<u8>,
    /// Sorted.
    #[prost(string, repeated, tag = "3")]
    pub roles: Vec<String>,
    #[prost(message, optional, tag = "4")]
    pub options: Option<UserOptions>,
}

/// Without the hash.
impl fmt::Debug for UserRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = String::from_utf8_lossy(&self.name);
        f.debug_struct("UserRow").field("name", &name).field("roles", &self.roles).finish_non_exhaustive()
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct UserOptions {
    /// Known by a certificate alone.
    #[prost(bool, tag = "1")]
    pub no_password: bool,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct RoleRow {
    #[prost(bytes = "vec", tag = "1")]
    pub name: Vec<u8>,
    /// Sorted by key.
    #[prost(message, repeated, tag = "2")]
    pub permissions: Vec<Permission>,
}

/// The keys are a pair as in requests.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Permission {
    /// A number that etcd does not know permits nothing.
    #[prost(int32, tag = "1")]
    pub kind: i32,
    #[prost(bytes = "bytes", tag = "2")]
    pub key: Bytes,
    #[prost(bytes = "bytes", tag = "3")]
    pub range_end: Bytes,
}

/// What may be done with keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Right {
    Read,
    Write,
}

impl Permission {
    pub const READ: i32 = 0;
    pub const WRITE: i32 = 1;
    pub const READ_WRITE: i32 = 2;

    pub fn gives(&self, right: Right) -> bool {
        match right {
            Right::Read => matches!(self.kind, Self::READ | Self::READ_WRITE),
            Right::Write => matches!(self.kind, Self::WRITE | Self::READ_WRITE),
        }
    }
}

/// A row that etcd does not write.
#[derive(Debug, thiserror::Error)]
pub enum AuthRowError {
    #[error("read row of a user or role")]
    Decode(#[from] prost::DecodeError),
    #[error("row {row:02x?} of access control is of another name, or of none")]
    Name { row: Vec<u8> },
    #[error("revision of access control has {len} bytes")]
    Revision { len: usize },
}

impl UserRow {
    pub fn from_row(key: &[u8], value: &[u8]) -> Result<Self, AuthRowError> {
        let row = Self::decode(value)?;
        if row.name == key { Ok(row) } else { Err(AuthRowError::Name { row: key.to_vec() }) }
    }

    pub fn has_password(&self) -> bool {
        self.options.is_none_or(|options| !options.no_password)
    }

    pub fn has_role(&self, role: &str) -> bool {
        self.roles.binary_search_by(|own| own.as_str().cmp(role)).is_ok()
    }
}

impl RoleRow {
    pub fn from_row(key: &[u8], value: &[u8]) -> Result<Self, AuthRowError> {
        let row = Self::decode(value)?;
        if row.name == key { Ok(row) } else { Err(AuthRowError::Name { row: key.to_vec() }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As found in the database of etcd 3.7.3: a user with a password has options that say nothing.
    #[test]
    fn rows_are_those_of_etcd() {
        let user = UserRow {
            name: b"u".to_vec(),
            password: b"h".to_vec(),
            roles: vec!["r".into()],
            options: Some(UserOptions::default()),
        };
        assert_eq!(user.encode_to_vec(), b"\x0a\x01u\x12\x01h\x1a\x01r\x22\x00");
        let permission = Permission { kind: Permission::READ_WRITE, key: "k".into(), range_end: "\0".into() };
        let role = RoleRow { name: b"r".to_vec(), permissions: vec![permission] };
        assert_eq!(role.encode_to_vec(), b"\x0a\x01r\x12\x08\x08\x02\x12\x01k\x1a\x01\x00");
        assert_eq!(RoleRow::from_row(b"r", &role.encode_to_vec()).expect("own row"), role);
        assert!(matches!(RoleRow::from_row(b"s", &role.encode_to_vec()), Err(AuthRowError::Name { .. })));
    }

    #[test]
    fn a_hash_is_not_shown() {
        let user = UserRow { name: b"u".to_vec(), password: b"secret".to_vec(), ..UserRow::default() };
        assert!(!format!("{user:?}").contains("secret") && !format!("{user:?}").contains("115"));
    }
}

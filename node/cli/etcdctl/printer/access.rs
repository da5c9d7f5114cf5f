//! Answers about authentication, users and roles, and others that hold no more than a header.

use super::fields::Fields;
use super::json::Json;
use super::{Answer, Text, Wire};
use crate::cli::etcdctl::range;
use keelstone_proto::authpb::{Permission, permission::Type};
use keelstone_proto::etcdserverpb::{
    AuthRoleGetResponse, AuthRoleListResponse, AuthStatusResponse, AuthUserGetResponse, AuthUserListResponse,
    ResponseHeader,
};
use prost::Message;

/// An answer that says no more than that it was done: the line that does is the command's.
#[derive(Debug)]
pub struct Named<'a, R> {
    pub line: String,
    pub header: Option<&'a ResponseHeader>,
    pub response: &'a R,
}

impl<R: Json + Message> Answer for Named<'_, R> {
    fn simple(&self, out: &mut Text) {
        out.line(&self.line);
    }

    fn message(&self) -> Option<&dyn Wire> {
        Some(self.response)
    }

    fn fields(&self, out: &mut Fields) -> bool {
        out.header(self.header);
        true
    }
}

/// A role and what it permits.
#[derive(Debug)]
pub struct Permitted(pub String, pub AuthRoleGetResponse);

impl Answer for Permitted {
    fn simple(&self, out: &mut Text) {
        let Permitted(role, response) = self;
        out.line(format!("Role {role}"));
        let is_unlimited = role == "root" && response.perm.is_empty();
        for (title, alone) in [("KV Read:", Type::Read), ("KV Write:", Type::Write)] {
            out.line(title);
            if is_unlimited {
                out.line("\t[, <open ended>");
            }
            for permission in &response.perm {
                if permission.perm_type() == alone || permission.perm_type() == Type::Readwrite {
                    out.line(keys(permission));
                }
            }
        }
    }

    fn message(&self) -> Option<&dyn Wire> {
        Some(&self.1)
    }

    fn fields(&self, out: &mut Fields) -> bool {
        out.header(self.1.header.as_ref());
        for permission in &self.1.perm {
            // Two blanks, in etcdctl as well.
            out.plain("PermType", format_args!(" {}", permission.perm_type().as_str_name()));
            out.quoted("Key", &permission.key);
            out.quoted("RangeEnd", &permission.range_end);
        }
        true
    }
}

/// The keys of a permission: one, or a range.
fn keys(permission: &Permission) -> Vec<u8> {
    let (key, end) = (permission.key.as_ref(), permission.range_end.as_ref());
    let mut line = b"\t".to_vec();
    if end.is_empty() {
        line.extend_from_slice(key);
        return line;
    }
    line.push(b'[');
    line.extend_from_slice(key);
    if end == b"\0" {
        line.extend_from_slice(b", <open ended>");
    } else {
        line.extend([&b", "[..], end, b")"].concat());
    }
    if !key.is_empty() && range::prefix_end(key) == end {
        line.extend([&b" (prefix "[..], key, b")"].concat());
    }
    line
}

impl Answer for AuthRoleListResponse {
    fn simple(&self, out: &mut Text) {
        self.roles.iter().for_each(|role| out.line(role));
    }

    fn message(&self) -> Option<&dyn Wire> {
        Some(self)
    }

    fn fields(&self, out: &mut Fields) -> bool {
        out.header(self.header.as_ref());
        let roles: String =
            self.roles.iter().map(|role| format!(" {}", crate::cli::etcdctl::go::quote(role.as_bytes()))).collect();
        out.text(&format!("\"Roles\" :{roles}\n"));
        true
    }
}

/// A user's name and roles.
impl Answer for (&str, AuthUserGetResponse) {
    fn simple(&self, out: &mut Text) {
        let roles: String = self.1.roles.iter().map(|role| format!(" {role}")).collect();
        out.line(format!("User: {}\nRoles:{roles}", self.0));
    }

    fn message(&self) -> Option<&dyn Wire> {
        Some(&self.1)
    }
}

impl Answer for AuthUserListResponse {
    fn simple(&self, out: &mut Text) {
        self.users.iter().for_each(|user| out.line(user));
    }

    fn message(&self) -> Option<&dyn Wire> {
        Some(self)
    }
}

impl Answer for AuthStatusResponse {
    fn simple(&self, out: &mut Text) {
        out.line(format!("Authentication Status: {}", self.enabled));
        out.line(format!("AuthRevision: {}", self.auth_revision));
    }

    fn message(&self) -> Option<&dyn Wire> {
        Some(self)
    }
}

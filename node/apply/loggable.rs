//! Requests as etcd's log lines show them: Go's text form of the messages, with the size of a value in place of the
//! value (etcd `api/etcdserverpb/raft_internal_stringer.go`). Keys are shown, values and passwords never.
//!
//! Go has two text forms, and etcd's lines mix them: messages that hide a value are written in the older one, all
//! others in the newer.

use keelstone_proto::etcdserverpb as pb;
use keelstone_proto::etcdserverpb::compare::TargetUnion;
use keelstone_proto::etcdserverpb::request_op::Request;
use keelstone_proto::membershippb;
use std::fmt::{Display, Write};

/// What a line shows of one request at most. (etcd has no bound; a key may be as long as a request.)
const MAX_LEN: usize = 16 * 1024;

/// A log entry.
pub fn entry(entry: &pb::InternalRaftRequest) -> String {
    let mut id = Fields::new(Form::Newer);
    if let Some(header) = &entry.header {
        id.number("ID", header.id).text("username", &header.username).number("auth_revision", header.auth_revision);
    }
    let header = id.out;
    let text = match entry {
        pb::InternalRaftRequest { lease_grant: Some(grant), .. } => {
            format!("header:<{header}> lease_grant:<ttl:{}-second id:{:016x}>", grant.ttl, grant.id)
        }
        pb::InternalRaftRequest { lease_revoke: Some(revoke), .. } => {
            format!("header:<{header}> lease_revoke:<id:{:016x}>", revoke.id)
        }
        pb::InternalRaftRequest { authenticate: Some(request), .. } => {
            format!("header:<{header}> authenticate:<name:{}>", request.name)
        }
        pb::InternalRaftRequest { auth_user_add: Some(request), .. } => {
            format!("header:<{header}> auth_user_add:<name:{}>", request.name)
        }
        pb::InternalRaftRequest { auth_user_change_password: Some(request), .. } => {
            format!("header:<{header}> auth_user_change_password:<name:{}>", request.name)
        }
        pb::InternalRaftRequest { put: Some(request), .. } => {
            format!("header:<{header}> put:<{}>", put_fields(request))
        }
        pb::InternalRaftRequest { txn: Some(request), .. } => {
            format!("header:<{header}> txn:<{}>", txn_fields(request))
        }
        other => {
            let mut fields = Fields::new(Form::Newer);
            fields.message("header", &header);
            add_command(&mut fields, other);
            fields.out
        }
    };
    shortened(text)
}

pub fn range(request: &pb::RangeRequest) -> String {
    shortened(range_fields(request))
}

pub fn put(request: &pb::PutRequest) -> String {
    shortened(put_fields(request))
}

pub fn delete_range(request: &pb::DeleteRangeRequest) -> String {
    shortened(delete_fields(request))
}

pub fn txn(request: &pb::TxnRequest) -> String {
    shortened(txn_fields(request))
}

fn shortened(mut text: String) -> String {
    if text.len() > MAX_LEN {
        text.truncate(text.floor_char_boundary(MAX_LEN));
        text.push_str("...");
    }
    text
}

/// Commands without anything to hide.
fn add_command(fields: &mut Fields, entry: &pb::InternalRaftRequest) {
    if let Some(request) = &entry.range {
        fields.message("range", &range_fields(request));
    } else if let Some(request) = &entry.delete_range {
        fields.message("delete_range", &delete_fields(request));
    } else if let Some(request) = &entry.compaction {
        let mut inner = Fields::new(Form::Newer);
        inner.number("revision", request.revision).flag("physical", request.physical);
        fields.message("compaction", &inner.out);
    } else if let Some(request) = &entry.alarm {
        let mut inner = Fields::new(Form::Newer);
        inner.choice("action", request.action, request.action().as_str_name()).number("memberID", request.member_id);
        inner.choice("alarm", request.alarm, request.alarm().as_str_name());
        fields.message("alarm", &inner.out);
    } else if let Some(request) = &entry.lease_checkpoint {
        let mut inner = Fields::new(Form::Newer);
        for checkpoint in &request.checkpoints {
            let mut one = Fields::new(Form::Newer);
            one.number("ID", checkpoint.id).number("remaining_TTL", checkpoint.remaining_ttl);
            inner.message("checkpoints", &one.out);
        }
        fields.message("lease_checkpoint", &inner.out);
    } else if !add_auth_command(fields, entry) {
        add_cluster_command(fields, entry);
    }
}

/// False if it is none of access control. Those with a password, or its hash, have forms of their own.
fn add_auth_command(fields: &mut Fields, entry: &pb::InternalRaftRequest) -> bool {
    let mut inner = Fields::new(Form::Newer);
    let name = match entry {
        pb::InternalRaftRequest { auth_enable: Some(_), .. } => "auth_enable",
        pb::InternalRaftRequest { auth_disable: Some(_), .. } => "auth_disable",
        pb::InternalRaftRequest { auth_status: Some(_), .. } => "auth_status",
        pb::InternalRaftRequest { auth_user_list: Some(_), .. } => "auth_user_list",
        pb::InternalRaftRequest { auth_role_list: Some(_), .. } => "auth_role_list",
        pb::InternalRaftRequest { auth_user_delete: Some(request), .. } => {
            inner.text("name", &request.name);
            "auth_user_delete"
        }
        pb::InternalRaftRequest { auth_user_get: Some(request), .. } => {
            inner.text("name", &request.name);
            "auth_user_get"
        }
        pb::InternalRaftRequest { auth_user_grant_role: Some(request), .. } => {
            inner.text("user", &request.user).text("role", &request.role);
            "auth_user_grant_role"
        }
        pb::InternalRaftRequest { auth_user_revoke_role: Some(request), .. } => {
            inner.text("name", &request.name).text("role", &request.role);
            "auth_user_revoke_role"
        }
        pb::InternalRaftRequest { auth_role_add: Some(request), .. } => {
            inner.text("name", &request.name);
            "auth_role_add"
        }
        pb::InternalRaftRequest { auth_role_delete: Some(request), .. } => {
            inner.text("role", &request.role);
            "auth_role_delete"
        }
        pb::InternalRaftRequest { auth_role_get: Some(request), .. } => {
            inner.text("role", &request.role);
            "auth_role_get"
        }
        pb::InternalRaftRequest { auth_role_grant_permission: Some(request), .. } => {
            inner.text("name", &request.name);
            if let Some(permission) = &request.perm {
                let mut shown = Fields::new(Form::Newer);
                shown
                    .choice("permType", permission.perm_type, permission.perm_type().as_str_name())
                    .bytes("key", &permission.key)
                    .bytes("range_end", &permission.range_end);
                inner.message("perm", &shown.out);
            }
            "auth_role_grant_permission"
        }
        pb::InternalRaftRequest { auth_role_revoke_permission: Some(request), .. } => {
            inner.text("role", &request.role).bytes("key", &request.key).bytes("range_end", &request.range_end);
            "auth_role_revoke_permission"
        }
        _ => return false,
    };
    fields.message(name, &inner.out);
    true
}

fn add_cluster_command(fields: &mut Fields, entry: &pb::InternalRaftRequest) {
    let mut inner = Fields::new(Form::Newer);
    if let Some(membershippb::ClusterVersionSetRequest { ver }) = &entry.cluster_version_set {
        fields.message("cluster_version_set", &inner.text("ver", ver).out);
    } else if let Some(request) = &entry.cluster_member_attr_set {
        inner.number("member_ID", request.member_id);
        if let Some(attributes) = &request.member_attributes {
            let mut shown = Fields::new(Form::Newer);
            shown.text("name", &attributes.name);
            for url in &attributes.client_urls {
                shown.text("client_urls", url);
            }
            inner.message("member_attributes", &shown.out);
        }
        fields.message("cluster_member_attr_set", &inner.out);
    } else if let Some(request) = &entry.downgrade_info_set {
        inner.flag("enabled", request.enabled).text("ver", &request.ver);
        fields.message("downgrade_info_set", &inner.out);
    }
}

fn range_fields(request: &pb::RangeRequest) -> String {
    let mut fields = Fields::new(Form::Newer);
    fields
        .bytes("key", &request.key)
        .bytes("range_end", &request.range_end)
        .number("limit", request.limit)
        .number("revision", request.revision)
        .choice("sort_order", request.sort_order, request.sort_order().as_str_name())
        .choice("sort_target", request.sort_target, request.sort_target().as_str_name())
        .flag("serializable", request.serializable)
        .flag("keys_only", request.keys_only)
        .flag("count_only", request.count_only)
        .number("min_mod_revision", request.min_mod_revision)
        .number("max_mod_revision", request.max_mod_revision)
        .number("min_create_revision", request.min_create_revision)
        .number("max_create_revision", request.max_create_revision);
    fields.out
}

fn put_fields(request: &pb::PutRequest) -> String {
    let mut fields = Fields::new(Form::Older);
    fields
        .bytes("key", &request.key)
        .number("value_size", request.value.len() as u64)
        .number("lease", request.lease)
        .flag("prev_kv", request.prev_kv)
        .flag("ignore_value", request.ignore_value)
        .flag("ignore_lease", request.ignore_lease);
    fields.out
}

fn delete_fields(request: &pb::DeleteRangeRequest) -> String {
    let mut fields = Fields::new(Form::Newer);
    fields.bytes("key", &request.key).bytes("range_end", &request.range_end).flag("prev_kv", request.prev_kv);
    fields.out
}

fn txn_fields(request: &pb::TxnRequest) -> String {
    let compare: Vec<_> = request.compare.iter().map(compare_fields).collect();
    let ops = |ops: &[pb::RequestOp]| ops.iter().map(op_fields).collect::<Vec<_>>().join(" ");
    format!("compare:<{}> success:<{}> failure:<{}>", compare.join(" "), ops(&request.success), ops(&request.failure))
}

fn compare_fields(compare: &pb::Compare) -> String {
    let is_of_value = matches!(compare.target_union, Some(TargetUnion::Value(_)));
    let mut fields = Fields::new(if is_of_value { Form::Older } else { Form::Newer });
    fields
        .choice("result", compare.result, compare.result().as_str_name())
        .choice("target", compare.target, compare.target().as_str_name())
        .bytes("key", &compare.key);
    match &compare.target_union {
        Some(TargetUnion::Value(value)) => drop(fields.number("value_size", value.len() as u64)),
        // One of a choice is shown even if it is zero.
        Some(TargetUnion::Version(version)) => fields.raw("version", &format!(":{version}")),
        Some(TargetUnion::CreateRevision(revision)) => fields.raw("create_revision", &format!(":{revision}")),
        Some(TargetUnion::ModRevision(revision)) => fields.raw("mod_revision", &format!(":{revision}")),
        Some(TargetUnion::Lease(lease)) => fields.raw("lease", &format!(":{lease}")),
        None => {}
    }
    fields.bytes("range_end", &compare.range_end);
    fields.out
}

fn op_fields(op: &pb::RequestOp) -> String {
    match &op.request {
        Some(Request::RequestPut(request)) => format!("request_put:<{}>", put_fields(request)),
        Some(Request::RequestTxn(request)) => format!("request_txn:<{}>", txn_fields(request)),
        Some(Request::RequestRange(request)) => format!("request_range:{{{}}}", range_fields(request)),
        Some(Request::RequestDeleteRange(request)) => format!("request_delete_range:{{{}}}", delete_fields(request)),
        None => String::new(),
    }
}

/// Go's text forms of a message.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// `CompactTextString` of golang/protobuf: a blank after each field, bytes outside ASCII in octal.
    Older,
    /// `prototext`: blanks between fields (one or two, as a build of Go happens to have it), text as UTF-8.
    Newer,
}

/// Fields of a message; those with their default are left out.
struct Fields {
    form: Form,
    out: String,
}

impl Fields {
    fn new(form: Form) -> Self {
        Self { form, out: String::new() }
    }

    /// `value` begins with a colon.
    fn raw(&mut self, name: &str, value: &str) {
        if self.form == Form::Newer && !self.out.is_empty() {
            self.out.push(' ');
        }
        self.out.push_str(name);
        self.out.push_str(value);
        if self.form == Form::Older {
            self.out.push(' ');
        }
    }

    fn number<N: Default + PartialEq + Display>(&mut self, name: &str, value: N) -> &mut Self {
        if value != N::default() {
            self.raw(name, &format!(":{value}"));
        }
        self
    }

    fn flag(&mut self, name: &str, value: bool) -> &mut Self {
        self.number(name, value)
    }

    fn choice(&mut self, name: &str, number: i32, word: &str) -> &mut Self {
        if number != 0 {
            self.raw(name, &format!(":{word}"));
        }
        self
    }

    fn text(&mut self, name: &str, value: &str) -> &mut Self {
        self.bytes(name, value.as_bytes())
    }

    fn bytes(&mut self, name: &str, value: &[u8]) -> &mut Self {
        if !value.is_empty() {
            let quoted = match self.form {
                Form::Older => quoted_in_octal(value),
                Form::Newer => quoted(value),
            };
            self.raw(name, &format!(":\"{quoted}\""));
        }
        self
    }

    fn message(&mut self, name: &str, fields: &str) {
        self.raw(name, &format!(":{{{fields}}}"));
    }
}

fn quoted_in_octal(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for byte in bytes {
        match byte {
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            b'"' | b'\\' => out.extend(['\\', char::from(*byte)]),
            0x20..=0x7e => out.push(char::from(*byte)),
            _ => write!(out, "\\{byte:03o}").expect("writing to a String does not fail"),
        }
    }
    out
}

fn quoted(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for char in chunk.valid().chars() {
            match char {
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                '"' | '\\' => out.extend(['\\', char]),
                '\0'..='\x1f' | '\x7f' => {
                    write!(out, "\\x{:02x}", u32::from(char)).expect("writing to a String does not fail");
                }
                '\u{80}'..='\u{9f}' => {
                    write!(out, "\\u{:04x}", u32::from(char)).expect("writing to a String does not fail");
                }
                char => out.push(char),
            }
        }
        for byte in chunk.invalid() {
            write!(out, "\\x{byte:02x}").expect("writing to a String does not fail");
        }
    }
    out
}

#[cfg(test)]
#[path = "loggable_tests.rs"]
mod tests;

//! JSON as Go's `encoding/json` writes etcd's messages: the field names of the `.proto` files, zero values left out,
//! bytes in base64, 64-bit integers as numbers, enums as numbers.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use keelstone_proto::authpb::Permission;
use keelstone_proto::etcdserverpb::response_op::Response;
use keelstone_proto::etcdserverpb::*;
use keelstone_proto::mvccpb::{Event, KeyValue};

/// What is written as an object.
pub trait Json {
    fn members(&self, object: &mut Object);
}

/// The object of a message.
pub fn write(message: &impl Json) -> String {
    let mut object = Object::default();
    message.members(&mut object);
    object.end()
}

/// The array of messages.
pub fn write_list<T: Json>(messages: &[T]) -> String {
    format!("[{}]", messages.iter().map(write).collect::<Vec<_>>().join(","))
}

/// Members of an object, in the order of the calls.
#[derive(Debug, Default)]
pub struct Object(String);

impl Object {
    /// A member whose value is JSON already.
    pub fn always(&mut self, name: &str, value: &str) -> &mut Self {
        if !self.0.is_empty() {
            self.0.push(',');
        }
        self.0.push_str(&string(name));
        self.0.push(':');
        self.0.push_str(value);
        self
    }

    pub fn always_text(&mut self, name: &str, value: &str) -> &mut Self {
        self.always(name, &string(value))
    }

    fn unless(&mut self, is_zero: bool, name: &str, value: impl FnOnce() -> String) -> &mut Self {
        if is_zero { self } else { self.always(name, &value()) }
    }

    pub fn int(&mut self, name: &str, value: i64) -> &mut Self {
        self.unless(value == 0, name, || value.to_string())
    }

    pub fn uint(&mut self, name: &str, value: u64) -> &mut Self {
        self.unless(value == 0, name, || value.to_string())
    }

    pub fn switch(&mut self, name: &str, value: bool) -> &mut Self {
        self.unless(!value, name, || "true".to_owned())
    }

    pub fn text(&mut self, name: &str, value: &str) -> &mut Self {
        self.unless(value.is_empty(), name, || string(value))
    }

    pub fn bytes(&mut self, name: &str, value: &[u8]) -> &mut Self {
        self.unless(value.is_empty(), name, || bytes(value))
    }

    pub fn object<T: Json>(&mut self, name: &str, value: Option<&T>) -> &mut Self {
        self.unless(value.is_none(), name, || value.map(write).unwrap_or_default())
    }

    pub fn list<T: Json>(&mut self, name: &str, values: &[T]) -> &mut Self {
        self.unless(values.is_empty(), name, || write_list(values))
    }

    pub fn texts(&mut self, name: &str, values: &[String]) -> &mut Self {
        self.unless(values.is_empty(), name, || {
            format!("[{}]", values.iter().map(|value| string(value)).collect::<Vec<_>>().join(","))
        })
    }

    pub fn end(self) -> String {
        format!("{{{}}}", self.0)
    }
}

/// A string, with what HTML would take for markup escaped as Go does.
pub fn string(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\0'..='\u{1f}' => {
                out.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            _ => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Bytes as a string in base64.
pub fn bytes(value: &[u8]) -> String {
    format!("\"{}\"", STANDARD.encode(value))
}

/// A response that the client hands on with the header's members among its own.
pub fn with_header(header: Option<&ResponseHeader>) -> Object {
    let mut object = Object::default();
    if let Some(header) = header {
        header.members(&mut object);
    }
    object
}

/// Declares the members of messages in the order of their fields.
macro_rules! messages {
    ($($message:ty { $($kind:ident $name:literal = |$value:ident| $field:expr;)* })*) => {$(
        impl Json for $message {
            fn members(&self, object: &mut Object) {
                $(let $value = self; object.$kind($name, $field);)*
                let _: &mut Object = object;
            }
        }
    )*};
}

messages! {
    ResponseHeader {
        uint "cluster_id" = |m| m.cluster_id;
        uint "member_id" = |m| m.member_id;
        int "revision" = |m| m.revision;
        uint "raft_term" = |m| m.raft_term;
    }
    KeyValue {
        bytes "key" = |m| &m.key;
        int "create_revision" = |m| m.create_revision;
        int "mod_revision" = |m| m.mod_revision;
        int "version" = |m| m.version;
        bytes "value" = |m| &m.value;
        int "lease" = |m| m.lease;
    }
    Event {
        int "type" = |m| m.r#type.into();
        object "kv" = |m| m.kv.as_ref();
        object "prev_kv" = |m| m.prev_kv.as_ref();
    }
    RangeResponse {
        object "header" = |m| m.header.as_ref();
        list "kvs" = |m| &m.kvs;
        switch "more" = |m| m.more;
        int "count" = |m| m.count;
    }
    PutResponse {
        object "header" = |m| m.header.as_ref();
        object "prev_kv" = |m| m.prev_kv.as_ref();
    }
    DeleteRangeResponse {
        object "header" = |m| m.header.as_ref();
        int "deleted" = |m| m.deleted;
        list "prev_kvs" = |m| &m.prev_kvs;
    }
    TxnResponse {
        object "header" = |m| m.header.as_ref();
        switch "succeeded" = |m| m.succeeded;
        list "responses" = |m| &m.responses;
    }
    LeaseRevokeResponse {
        object "header" = |m| m.header.as_ref();
    }
    Member {
        uint "ID" = |m| m.id;
        text "name" = |m| &m.name;
        texts "peerURLs" = |m| &m.peer_urls;
        texts "clientURLs" = |m| &m.client_urls;
        switch "isLearner" = |m| m.is_learner;
    }
    MemberAddResponse {
        object "header" = |m| m.header.as_ref();
        object "member" = |m| m.member.as_ref();
        list "members" = |m| &m.members;
    }
    MemberRemoveResponse {
        object "header" = |m| m.header.as_ref();
        list "members" = |m| &m.members;
    }
    MemberUpdateResponse {
        object "header" = |m| m.header.as_ref();
        list "members" = |m| &m.members;
    }
    MemberPromoteResponse {
        object "header" = |m| m.header.as_ref();
        list "members" = |m| &m.members;
    }
    MemberListResponse {
        object "header" = |m| m.header.as_ref();
        list "members" = |m| &m.members;
    }
    DowngradeInfo {
        switch "enabled" = |m| m.enabled;
        text "targetVersion" = |m| &m.target_version;
    }
    StatusResponse {
        object "header" = |m| m.header.as_ref();
        text "version" = |m| &m.version;
        int "dbSize" = |m| m.db_size;
        uint "leader" = |m| m.leader;
        uint "raftIndex" = |m| m.raft_index;
        uint "raftTerm" = |m| m.raft_term;
        uint "raftAppliedIndex" = |m| m.raft_applied_index;
        texts "errors" = |m| &m.errors;
        int "dbSizeInUse" = |m| m.db_size_in_use;
        switch "isLearner" = |m| m.is_learner;
        text "storageVersion" = |m| &m.storage_version;
        int "dbSizeQuota" = |m| m.db_size_quota;
        object "downgradeInfo" = |m| m.downgrade_info.as_ref();
    }
    HashKvResponse {
        object "header" = |m| m.header.as_ref();
        uint "hash" = |m| m.hash.into();
        int "compact_revision" = |m| m.compact_revision;
        int "hash_revision" = |m| m.hash_revision;
    }
    AlarmMember {
        uint "memberID" = |m| m.member_id;
        int "alarm" = |m| m.alarm.into();
    }
    AlarmResponse {
        object "header" = |m| m.header.as_ref();
        list "alarms" = |m| &m.alarms;
    }
    MoveLeaderResponse {
        object "header" = |m| m.header.as_ref();
    }
    DowngradeResponse {
        object "header" = |m| m.header.as_ref();
        text "version" = |m| &m.version;
    }
    AuthStatusResponse {
        object "header" = |m| m.header.as_ref();
        switch "enabled" = |m| m.enabled;
        uint "authRevision" = |m| m.auth_revision;
    }
    Permission {
        int "permType" = |m| m.perm_type.into();
        bytes "key" = |m| &m.key;
        bytes "range_end" = |m| &m.range_end;
    }
    AuthRoleAddResponse { object "header" = |m| m.header.as_ref(); }
    AuthRoleDeleteResponse { object "header" = |m| m.header.as_ref(); }
    AuthRoleGrantPermissionResponse { object "header" = |m| m.header.as_ref(); }
    AuthRoleRevokePermissionResponse { object "header" = |m| m.header.as_ref(); }
    AuthRoleGetResponse {
        object "header" = |m| m.header.as_ref();
        list "perm" = |m| &m.perm;
    }
    AuthRoleListResponse {
        object "header" = |m| m.header.as_ref();
        texts "roles" = |m| &m.roles;
    }
    AuthUserAddResponse { object "header" = |m| m.header.as_ref(); }
    AuthUserDeleteResponse { object "header" = |m| m.header.as_ref(); }
    AuthUserChangePasswordResponse { object "header" = |m| m.header.as_ref(); }
    AuthUserGrantRoleResponse { object "header" = |m| m.header.as_ref(); }
    AuthUserRevokeRoleResponse { object "header" = |m| m.header.as_ref(); }
    AuthUserGetResponse {
        object "header" = |m| m.header.as_ref();
        texts "roles" = |m| &m.roles;
    }
    AuthUserListResponse {
        object "header" = |m| m.header.as_ref();
        texts "users" = |m| &m.users;
    }
}

impl Json for ResponseOp {
    fn members(&self, object: &mut Object) {
        let mut inner = Object::default();
        match &self.response {
            Some(Response::ResponseRange(response)) => inner.object("response_range", Some(response)),
            Some(Response::ResponsePut(response)) => inner.object("response_put", Some(response)),
            Some(Response::ResponseDeleteRange(response)) => inner.object("response_delete_range", Some(response)),
            Some(Response::ResponseTxn(response)) => inner.object("response_txn", Some(response)),
            None => &mut inner,
        };
        object.always("Response", &inner.end());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_values_are_left_out_and_markup_is_escaped() {
        let pair = KeyValue { key: "a".into(), version: 1, ..KeyValue::default() };
        assert_eq!(write(&pair), r#"{"key":"YQ==","version":1}"#);
        assert_eq!(string("<a&\"b\"\n\u{1}\u{2028}>"), r#""\u003ca\u0026\"b\"\n\u0001\u2028\u003e""#);
    }
}

//! Answers about leases. In etcd's client they are structs of their own with the header inlined: so is their JSON,
//! and their protobuf form holds the header alone.

use super::fields::Fields;
use super::json::with_header;
use super::{Answer, Text};
use keelstone_proto::etcdserverpb::{
    LeaseGrantResponse, LeaseKeepAliveResponse, LeaseLeasesResponse, LeaseTimeToLiveResponse, ResponseHeader,
};
use prost::Message;

/// What etcd's client makes of a lease's message.
fn header_alone(header: Option<&ResponseHeader>) -> Option<Vec<u8>> {
    Some(header.map(Message::encode_to_vec).unwrap_or_default())
}

impl Answer for LeaseGrantResponse {
    fn simple(&self, out: &mut Text) {
        out.line(format!("lease {:016x} granted with TTL({}s)", self.id, self.ttl));
    }

    fn json(&self, _: bool) -> String {
        let mut object = with_header(self.header.as_ref());
        object.always("ID", &self.id.to_string()).always("TTL", &self.ttl.to_string());
        object.always_text("Error", &self.error);
        object.end()
    }

    fn protobuf(&self) -> Option<Vec<u8>> {
        header_alone(self.header.as_ref())
    }

    fn fields(&self, out: &mut Fields) -> bool {
        out.header(self.header.as_ref());
        out.lease("ID", self.id);
        out.plain("TTL", self.ttl);
        true
    }
}

impl Answer for LeaseKeepAliveResponse {
    fn simple(&self, out: &mut Text) {
        out.line(format!("lease {:016x} keepalived with TTL({})", self.id, self.ttl));
    }

    fn json(&self, _: bool) -> String {
        let mut object = with_header(self.header.as_ref());
        object.always("ID", &self.id.to_string()).always("TTL", &self.ttl.to_string());
        object.end()
    }

    fn protobuf(&self) -> Option<Vec<u8>> {
        header_alone(self.header.as_ref())
    }

    fn fields(&self, out: &mut Fields) -> bool {
        out.header(self.header.as_ref());
        out.lease("ID", self.id);
        out.plain("TTL", self.ttl);
        true
    }
}

/// With keys or without is the request's choice; `None` is printed for a list that was not asked for.
impl Answer for (LeaseTimeToLiveResponse, bool) {
    fn simple(&self, out: &mut Text) {
        let (lease, with_keys) = self;
        if lease.granted_ttl == 0 && lease.ttl == -1 {
            return out.line(format!("lease {:016x} already expired", lease.id));
        }
        let mut line =
            format!("lease {:016x} granted with TTL({}s), remaining({}s)", lease.id, lease.granted_ttl, lease.ttl)
                .into_bytes();
        if *with_keys {
            line.extend_from_slice(b", attached keys([");
            line.extend_from_slice(&lease.keys.join(&b' '));
            line.extend_from_slice(b"])");
        }
        out.line(line);
    }

    fn json(&self, _: bool) -> String {
        let (lease, _) = self;
        let keys: Vec<String> = lease.keys.iter().map(|key| super::json::bytes(key)).collect();
        let keys = if keys.is_empty() { "null".to_owned() } else { format!("[{}]", keys.join(",")) };
        let mut object = with_header(lease.header.as_ref());
        object.always("id", &lease.id.to_string()).always("ttl", &lease.ttl.to_string());
        object.always("granted-ttl", &lease.granted_ttl.to_string()).always("keys", &keys);
        object.end()
    }

    fn protobuf(&self) -> Option<Vec<u8>> {
        header_alone(self.0.header.as_ref())
    }

    fn fields(&self, out: &mut Fields) -> bool {
        let (lease, _) = self;
        out.header(lease.header.as_ref());
        out.lease("ID", lease.id);
        out.plain("TTL", lease.ttl);
        out.plain("GrantedTTL", lease.granted_ttl);
        lease.keys.iter().for_each(|key| out.quoted("Key", key));
        true
    }
}

impl Answer for LeaseLeasesResponse {
    fn simple(&self, out: &mut Text) {
        out.line(format!("found {} leases", self.leases.len()));
        self.leases.iter().for_each(|lease| out.line(format!("{:016x}", lease.id)));
    }

    fn json(&self, _: bool) -> String {
        let leases: Vec<String> = self.leases.iter().map(|lease| format!("{{\"id\":{}}}", lease.id)).collect();
        let mut object = with_header(self.header.as_ref());
        object.always("leases", &format!("[{}]", leases.join(",")));
        object.end()
    }

    fn protobuf(&self) -> Option<Vec<u8>> {
        header_alone(self.header.as_ref())
    }

    fn fields(&self, out: &mut Fields) -> bool {
        out.header(self.header.as_ref());
        self.leases.iter().for_each(|lease| out.lease("ID", lease.id));
        true
    }
}

//! Answers about members and endpoints.

use super::fields::Fields;
use super::json::{self, Json, Object};
use super::{Answer, Text};
use crate::cli::etcdctl::go;
use crate::cli::table::Table;
use crate::types::HumanBytes;
use keelstone_proto::etcdserverpb::{
    HashKvResponse, Member, MemberAddResponse, MemberListResponse, ResponseHeader, StatusResponse,
};
use prost::Message;

/// A header with its ids in hexadecimal, as `--hex` wants it in JSON.
struct HexHeader<'a>(&'a ResponseHeader);

impl Json for HexHeader<'_> {
    fn members(&self, object: &mut Object) {
        object.always_text("cluster_id", &format!("{:x}", self.0.cluster_id));
        object.always_text("member_id", &format!("{:x}", self.0.member_id));
        object.int("revision", self.0.revision).uint("raft_term", self.0.raft_term);
    }
}

/// As [`HexHeader`].
struct HexMember<'a>(&'a Member);

impl Json for HexMember<'_> {
    fn members(&self, object: &mut Object) {
        let member = self.0;
        object.always_text("ID", &format!("{:x}", member.id)).text("name", &member.name);
        object.texts("peerURLs", &member.peer_urls).texts("clientURLs", &member.client_urls);
        object.switch("isLearner", member.is_learner);
    }
}

fn hex_json(header: Option<&ResponseHeader>, member: Option<&Member>, members: &[Member]) -> String {
    let mut object = Object::default();
    object.always("header", &header.map_or("null".to_owned(), |header| json::write(&HexHeader(header))));
    if let Some(member) = member {
        object.always("member", &json::write(&HexMember(member)));
    }
    object.always("members", &json::write_list(&members.iter().map(HexMember).collect::<Vec<_>>()));
    object.end()
}

/// A change of a member, which the answer does not name: what was done, to whom, and the answer.
#[derive(Debug)]
pub struct Changed<'a, R> {
    /// `removed from`.
    pub done: &'static str,
    pub member: u64,
    pub header: Option<&'a ResponseHeader>,
    pub members: &'a [Member],
    pub response: &'a R,
}

impl<R: Json + Message> Answer for Changed<'_, R> {
    fn simple(&self, out: &mut Text) {
        let cluster = self.header.map_or(0, |header| header.cluster_id);
        out.line(format!("Member {:16x} {} cluster {cluster:16x}", self.member, self.done));
    }

    fn json(&self, hex: bool) -> String {
        if hex { hex_json(self.header, None, self.members) } else { json::write(self.response) }
    }

    fn protobuf(&self) -> Option<Vec<u8>> {
        Some(self.response.encode_to_vec())
    }
}

impl Answer for MemberAddResponse {
    fn simple(&self, out: &mut Text) {
        let member = self.member.clone().unwrap_or_default();
        let cluster = self.header.map_or(0, |header| header.cluster_id);
        let role = if member.is_learner { " as learner " } else { " " };
        out.line(format!("Member {:16x} added{role}to cluster {cluster:16x}", member.id));
    }

    fn json(&self, hex: bool) -> String {
        if hex { hex_json(self.header.as_ref(), self.member.as_ref(), &self.members) } else { json::write(self) }
    }

    fn protobuf(&self) -> Option<Vec<u8>> {
        Some(self.encode_to_vec())
    }
}

impl Answer for MemberListResponse {
    fn simple(&self, out: &mut Text) {
        out.raw(&members(self).lines());
    }

    fn json(&self, hex: bool) -> String {
        if hex { hex_json(self.header.as_ref(), None, &self.members) } else { json::write(self) }
    }

    fn protobuf(&self) -> Option<Vec<u8>> {
        Some(self.encode_to_vec())
    }

    fn fields(&self, out: &mut Fields) -> bool {
        out.header(self.header.as_ref());
        for member in &self.members {
            out.id("ID", member.id);
            out.quoted("Name", member.name.as_bytes());
            member.peer_urls.iter().for_each(|url| out.quoted("PeerURL", url.as_bytes()));
            member.client_urls.iter().for_each(|url| out.quoted("ClientURL", url.as_bytes()));
            out.plain("IsLearner", member.is_learner);
            out.blank();
        }
        true
    }

    fn table(&self) -> Option<Table> {
        Some(members(self))
    }
}

fn members(list: &MemberListResponse) -> Table {
    let row = |member: &Member| {
        let status = if member.name.is_empty() { "unstarted" } else { "started" };
        vec![
            format!("{:x}", member.id),
            status.to_owned(),
            member.name.clone(),
            member.peer_urls.join(","),
            member.client_urls.join(","),
            member.is_learner.to_string(),
        ]
    };
    Table {
        titles: vec!["ID", "Status", "Name", "Peer Addrs", "Client Addrs", "Is Learner"],
        rows: list.members.iter().map(row).collect(),
    }
}

/// Whether an endpoint serves, and how long the question took.
#[derive(Debug)]
pub struct Health {
    pub endpoint: String,
    pub healthy: bool,
    /// As Go prints it; empty if nothing was asked.
    pub took: String,
    pub error: String,
}

impl Json for Health {
    fn members(&self, object: &mut Object) {
        object.always_text("endpoint", &self.endpoint).always("health", &self.healthy.to_string());
        object.always_text("took", &self.took).text("error", &self.error);
    }
}

/// A list that is nil in Go when it is empty.
fn nil_or_list<T: Json>(items: &[T]) -> String {
    if items.is_empty() { "null".to_owned() } else { json::write_list(items) }
}

impl Answer for Vec<Health> {
    fn simple(&self, out: &mut Text) {
        for health in self {
            let endpoint = &health.endpoint;
            if health.error.is_empty() {
                let took = &health.took;
                out.line(format!("{endpoint} is healthy: successfully committed proposal: took = {took}"));
            } else {
                out.complain(format!("{endpoint} is unhealthy: failed to commit proposal: {}", health.error));
            }
        }
    }

    fn json(&self, _: bool) -> String {
        nil_or_list(self)
    }

    fn fields(&self, out: &mut Fields) -> bool {
        for health in self {
            out.quoted("Endpoint", health.endpoint.as_bytes());
            out.plain("Health", health.healthy);
            out.plain("Took", &health.took);
            out.plain("Error", &health.error);
            out.blank();
        }
        true
    }

    fn table(&self) -> Option<Table> {
        let row = |health: &Health| {
            vec![health.endpoint.clone(), health.healthy.to_string(), health.took.clone(), health.error.clone()]
        };
        Some(Table { titles: vec!["endpoint", "health", "took", "error"], rows: self.iter().map(row).collect() })
    }
}

/// An endpoint and its status.
#[derive(Debug)]
pub struct State(pub String, pub StatusResponse);

impl Json for State {
    fn members(&self, object: &mut Object) {
        object.always_text("Endpoint", &self.0).object("Status", Some(&self.1));
    }
}

impl Answer for Vec<State> {
    fn simple(&self, out: &mut Text) {
        out.raw(&states(self).lines());
    }

    fn json(&self, _: bool) -> String {
        nil_or_list(self)
    }

    fn fields(&self, out: &mut Fields) -> bool {
        for State(endpoint, status) in self {
            let downgrade = status.downgrade_info.clone().unwrap_or_default();
            out.header(status.header.as_ref());
            out.quoted("Version", status.version.as_bytes());
            out.quoted("StorageVersion", status.storage_version.as_bytes());
            out.plain("DBSize", status.db_size);
            out.plain("DBSizeInUse", status.db_size_in_use);
            out.plain("DBSizeQuota", status.db_size_quota);
            out.plain("Leader", status.leader);
            out.plain("IsLearner", status.is_learner);
            out.plain("RaftIndex", status.raft_index);
            out.plain("RaftAppliedIndex", status.raft_applied_index);
            out.plain("Errors", go::list(&status.errors));
            out.quoted("Endpoint", endpoint.as_bytes());
            out.quoted("DowngradeTargetVersion", downgrade.target_version.as_bytes());
            out.plain("DowngradeEnabled", downgrade.enabled);
            out.blank();
        }
        true
    }

    fn table(&self) -> Option<Table> {
        Some(states(self))
    }
}

fn states(list: &[State]) -> Table {
    let size = |bytes: i64| HumanBytes(u64::try_from(bytes).unwrap_or(0)).to_string();
    let row = |State(endpoint, status): &State| {
        let member = status.header.map_or(0, |header| header.member_id);
        let downgrade = status.downgrade_info.clone().unwrap_or_default();
        // A server that tells no size has nothing that could be unused.
        let in_use = (status.db_size_in_use * 100).checked_div(status.db_size).unwrap_or(100);
        vec![
            endpoint.clone(),
            format!("{member:x}"),
            status.version.clone(),
            status.storage_version.clone(),
            size(status.db_size),
            size(status.db_size_in_use),
            format!("{}%", 100 - in_use),
            size(status.db_size_quota),
            (status.leader == member).to_string(),
            status.is_learner.to_string(),
            status.raft_term.to_string(),
            status.raft_index.to_string(),
            status.raft_applied_index.to_string(),
            status.errors.join(", "),
            downgrade.target_version,
            downgrade.enabled.to_string(),
        ]
    };
    let titles = vec![
        "endpoint",
        "ID",
        "version",
        "storage version",
        "db size",
        "in use",
        "percentage not in use",
        "quota",
        "is leader",
        "is learner",
        "raft term",
        "raft index",
        "raft applied index",
        "errors",
        "downgrade target version",
        "downgrade enabled",
    ];
    Table { titles, rows: list.iter().map(row).collect() }
}

/// An endpoint and the hash of its keys.
#[derive(Debug)]
pub struct Hashed(pub String, pub HashKvResponse);

impl Json for Hashed {
    fn members(&self, object: &mut Object) {
        object.always_text("Endpoint", &self.0).object("HashKV", Some(&self.1));
    }
}

impl Answer for Vec<Hashed> {
    fn simple(&self, out: &mut Text) {
        out.raw(&hashes(self).lines());
    }

    fn json(&self, _: bool) -> String {
        nil_or_list(self)
    }

    fn fields(&self, out: &mut Fields) -> bool {
        for Hashed(endpoint, hash) in self {
            out.header(hash.header.as_ref());
            out.quoted("Endpoint", endpoint.as_bytes());
            out.plain("Hash", hash.hash);
            out.plain("HashRevision", hash.hash_revision);
            out.blank();
        }
        true
    }

    fn table(&self) -> Option<Table> {
        Some(hashes(self))
    }
}

fn hashes(list: &[Hashed]) -> Table {
    let row =
        |Hashed(endpoint, hash): &Hashed| vec![endpoint.clone(), hash.hash.to_string(), hash.hash_revision.to_string()];
    Table { titles: vec!["endpoint", "hash", "hash_revision"], rows: list.iter().map(row).collect() }
}

//! What is equal. Nothing is left out of a comparison but what must differ between two clusters, and that only
//! where it has its cluster's own value.

use keelstone_harness::proto::etcdserverpb::*;
use std::fmt::{self, Debug};
use tonic::Status;

/// Where two servers parted.
#[derive(Debug)]
pub struct Difference {
    /// What was asked or watched.
    pub subject: String,
    pub etcd: String,
    pub ours: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\netcd: {}\nours: {}", self.subject, self.etcd, self.ours)
    }
}

/// Fails unless both are the same; else gives one of them.
pub fn same<T: PartialEq + Debug>(subject: &impl Debug, [etcd, ours]: [T; 2]) -> Result<T, Difference> {
    if etcd == ours {
        return Ok(etcd);
    }
    let [etcd, ours] = where_they_part([format!("{etcd:#?}"), format!("{ours:#?}")]);
    Err(Difference { subject: shorten(&format!("{subject:?}"), SUBJECT_CHARS), etcd, ours })
}

/// Lines before the first and after the last that differ, for orientation.
const CONTEXT_LINES: usize = 8;
/// More lines in between are no help.
const MAX_LINES: usize = 60;
const LINE_CHARS: usize = 160;
const SUBJECT_CHARS: usize = 4000;

fn where_they_part(texts: [String; 2]) -> [String; 2] {
    let lines = texts.each_ref().map(|text| text.lines().collect::<Vec<_>>());
    let [etcd, ours] = &lines;
    let before = etcd.iter().zip(ours).take_while(|(a, b)| a == b).count();
    let room = etcd.len().min(ours.len()) - before;
    let after = etcd.iter().rev().zip(ours.iter().rev()).take(room).take_while(|(a, b)| a == b).count();
    lines.each_ref().map(|lines| {
        let (first, last) =
            (before.saturating_sub(CONTEXT_LINES), (lines.len() - after + CONTEXT_LINES).min(lines.len()));
        let shown: Vec<String> =
            lines[first..last].iter().take(MAX_LINES).map(|line| shorten(line, LINE_CHARS)).collect();
        format!("(from line {} of {})\n{}", first + 1, lines.len(), shown.join("\n"))
    })
}

/// Cuts long runs of one character, and then the rest.
pub fn shorten(text: &str, chars: usize) -> String {
    let mut short = String::new();
    for run in text.as_bytes().chunk_by(|a, b| a == b) {
        match run {
            [byte, ..] if run.len() > 20 && byte.is_ascii_alphanumeric() => {
                short.push_str(&format!("{}*{}", char::from(*byte), run.len()));
            }
            _ => short.push_str(&String::from_utf8_lossy(run)),
        }
    }
    match short.char_indices().nth(chars) {
        Some((end, _)) => format!("{}…", &short[..end]),
        None => short,
    }
}

/// What differs between clusters that are otherwise equal.
#[derive(Debug, Clone, Copy, Default)]
pub struct Identity {
    pub cluster: u64,
    pub member: u64,
    pub term: u64,
}

/// Stands for a value of [`Identity`].
const OWN: u64 = 1;

fn hide(value: &mut u64, own: u64) {
    if *value == own {
        *value = OWN;
    }
}

impl Identity {
    pub fn hide_in_header(&self, header: &mut ResponseHeader) {
        hide(&mut header.cluster_id, self.cluster);
        hide(&mut header.member_id, self.member);
        hide(&mut header.raft_term, self.term);
    }

    pub fn hide_member(&self, id: &mut u64) {
        hide(id, self.member);
    }

    fn hide_in_text(&self, text: &str) -> String {
        text.replace(&self.member.to_string(), "OWN")
    }
}

/// A reply that can be compared with that of another cluster.
pub trait Reply: PartialEq + Debug {
    fn header(&mut self) -> Option<&mut ResponseHeader>;

    /// Puts what is the server's own aside.
    fn hide(&mut self, identity: &Identity) {
        if let Some(header) = self.header() {
            identity.hide_in_header(header);
        }
    }

    fn revision(&mut self) -> i64 {
        self.header().map_or(0, |header| header.revision)
    }
}

macro_rules! replies {
    ($($reply:ty),* $(,)?) => {
        $(impl Reply for $reply {
            fn header(&mut self) -> Option<&mut ResponseHeader> {
                self.header.as_mut()
            }
        })*
    };
}

replies! {
    RangeResponse, PutResponse, DeleteRangeResponse, TxnResponse, CompactionResponse, LeaseGrantResponse,
    LeaseRevokeResponse, LeaseKeepAliveResponse, LeaseLeasesResponse, HashKvResponse, AuthStatusResponse, WatchResponse,
    AuthEnableResponse, AuthDisableResponse, AuthUserAddResponse, AuthUserDeleteResponse, AuthUserGetResponse,
    AuthUserListResponse, AuthUserChangePasswordResponse, AuthUserGrantRoleResponse, AuthUserRevokeRoleResponse,
    AuthRoleAddResponse, AuthRoleDeleteResponse, AuthRoleGetResponse, AuthRoleListResponse,
    AuthRoleGrantPermissionResponse, AuthRoleRevokePermissionResponse,
}

impl Reply for keelstone_harness::proto::health::HealthCheckResponse {
    fn header(&mut self) -> Option<&mut ResponseHeader> {
        None
    }
}

impl Reply for LeaseTimeToLiveResponse {
    fn header(&mut self) -> Option<&mut ResponseHeader> {
        self.header.as_mut()
    }

    /// etcd gives the keys in the order of a Go map: in none.
    fn hide(&mut self, identity: &Identity) {
        if let Some(header) = &mut self.header {
            identity.hide_in_header(header);
        }
        self.keys.sort();
    }
}

impl Reply for AlarmResponse {
    fn header(&mut self) -> Option<&mut ResponseHeader> {
        self.header.as_mut()
    }

    /// etcd gives alarms in the order of a Go map too.
    fn hide(&mut self, identity: &Identity) {
        if let Some(header) = &mut self.header {
            identity.hide_in_header(header);
        }
        for alarm in &mut self.alarms {
            identity.hide_member(&mut alarm.member_id);
        }
        self.alarms.sort_by_key(|alarm| (alarm.alarm, alarm.member_id));
    }
}

impl Reply for MemberListResponse {
    fn header(&mut self) -> Option<&mut ResponseHeader> {
        self.header.as_mut()
    }

    /// Ports are free ones, and so each server's own.
    fn hide(&mut self, identity: &Identity) {
        if let Some(header) = &mut self.header {
            identity.hide_in_header(header);
        }
        for member in &mut self.members {
            identity.hide_member(&mut member.id);
            for url in member.client_urls.iter_mut().chain(&mut member.peer_urls) {
                url.truncate(url.rfind(':').map_or(url.len(), |colon| colon + 1));
            }
        }
    }
}

impl Reply for StatusResponse {
    fn header(&mut self) -> Option<&mut ResponseHeader> {
        self.header.as_mut()
    }

    /// How large the file is, and how many entries it took to elect a leader and to record a version, are the
    /// server's own business. What is fixed about these numbers is checked before they are dropped.
    fn hide(&mut self, identity: &Identity) {
        if let Some(header) = &mut self.header {
            identity.hide_in_header(header);
        }
        identity.hide_member(&mut self.leader);
        hide(&mut self.raft_term, identity.term);
        let is_sound = self.db_size_in_use > 0
            && self.db_size >= self.db_size_in_use
            && self.raft_applied_index > 0
            && self.raft_index >= self.raft_applied_index;
        if is_sound {
            (self.db_size, self.db_size_in_use, self.raft_index, self.raft_applied_index) = (0, 0, 0, 0);
        }
        // Written a moment after a cluster's first start; see `Run::look_back`.
        self.storage_version.clear();
        for error in &mut self.errors {
            // Go prints messages with one space or two between fields, by the build, so that nobody relies on it.
            *error = identity.hide_in_text(error).replace("  ", " ");
        }
        self.errors.sort();
    }
}

/// An answer, ready to be compared: a status counts by its code and its text.
pub type Answer<A> = Result<A, (tonic::Code, String)>;

pub fn answer<A: Reply>(reply: Result<A, Status>, identity: &Identity) -> Answer<A> {
    match reply {
        Ok(mut reply) => {
            reply.hide(identity);
            Ok(reply)
        }
        Err(status) => Err((status.code(), status.message().to_owned())),
    }
}

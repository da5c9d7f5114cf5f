//! The fields form: `"Name" : value`, a line each.

use crate::cli::etcdctl::go;
use keelstone_proto::etcdserverpb::ResponseHeader;
use keelstone_proto::mvccpb::KeyValue;
use std::fmt::Display;

/// Lines so far.
#[derive(Debug)]
pub struct Fields {
    out: String,
    pub hex: bool,
}

impl Fields {
    pub fn new(hex: bool) -> Self {
        Self { out: String::new(), hex }
    }

    pub fn end(self) -> Vec<u8> {
        self.out.into_bytes()
    }

    pub fn plain(&mut self, name: &str, value: impl Display) {
        self.out.push_str(&format!("\"{name}\" : {value}\n"));
    }

    pub fn quoted(&mut self, name: &str, value: &[u8]) {
        self.plain(name, go::quote(value));
    }

    /// An id of a cluster or member: decimal, or with `--hex` hexadecimal.
    pub fn id(&mut self, name: &str, id: u64) {
        if self.hex { self.plain(name, format_args!("{id:x}")) } else { self.plain(name, id) }
    }

    /// As [`Self::id`], of a lease: with its leading zeros.
    pub fn lease(&mut self, name: &str, id: i64) {
        if self.hex { self.plain(name, format_args!("{id:016x}")) } else { self.plain(name, id) }
    }

    pub fn blank(&mut self) {
        self.out.push('\n');
    }

    pub fn text(&mut self, text: &str) {
        self.out.push_str(text);
    }

    /// A header that is missing is printed as one of zeros. Some answers have no revision.
    pub fn header(&mut self, header: Option<&ResponseHeader>) {
        let header = header.copied().unwrap_or_default();
        self.id("ClusterID", header.cluster_id);
        self.id("MemberID", header.member_id);
        if header.revision > 0 {
            self.plain("Revision", header.revision);
        }
        self.plain("RaftTerm", header.raft_term);
    }

    /// A pair whose names begin with `prefix`.
    pub fn pair(&mut self, prefix: &str, pair: &KeyValue) {
        self.quoted(&format!("{prefix}Key"), &pair.key);
        self.plain(&format!("{prefix}CreateRevision"), pair.create_revision);
        self.plain(&format!("{prefix}ModRevision"), pair.mod_revision);
        self.plain(&format!("{prefix}Version"), pair.version);
        self.quoted(&format!("{prefix}Value"), &pair.value);
        self.lease(&format!("{prefix}Lease"), pair.lease);
    }
}

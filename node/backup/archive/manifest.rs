//! What is known of one backup: a JSON file beside its object. It is written in one form only, and sealed by a SHA-256 over
//! itself without the seal, so that a changed byte is seen, whichever it is.

use crate::backup::destination::{Destination, Existing, Failure};
use crate::clock::timestamp;
use crate::types::{ClusterId, LogPosition, MemberId};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fmt::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Of the files that this build writes; a manifest of a later one is refused.
const FORMAT: u32 = 1;
/// Larger files are no manifests.
const MAX_BYTES: usize = 64 << 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Full,
    Delta,
}

impl Kind {
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Full => "full",
            Kind::Delta => "delta",
        }
    }

    pub(super) fn extension(self) -> &'static str {
        match self {
            Kind::Full => "db",
            Kind::Delta => "log",
        }
    }
}

/// A state: what was applied, and the revision that it has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    pub index: u64,
    pub term: u64,
    pub revision: i64,
}

impl Place {
    pub fn position(&self) -> LogPosition {
        LogPosition { term: self.term, index: self.index }
    }
}

/// A manifest by name and seal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    pub name: String,
    pub seal: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    pub format: u32,
    pub name: String,
    pub kind: Kind,
    /// Both in hexadecimal, as etcd prints them.
    pub cluster_id: String,
    pub member_id: String,
    /// When it was begun.
    pub created: String,
    pub created_unix_millis: u64,
    /// Of Keelstone.
    pub version: String,
    /// The state that a segment goes on from; of a full one the same as `to`.
    pub from: Place,
    pub to: Place,
    /// At `to`; -1 if nothing was compacted.
    pub compact_revision: i64,
    /// At `to`. Segments have it now and then: it costs a look at every row.
    pub hash_kv: Option<u32>,
    /// Shorter leases are raised to it when entries are applied; it follows from the election timeout.
    pub lease_min_ttl_secs: i64,
    /// Rows of a full one, entries of a segment.
    pub count: u64,
    pub object: String,
    pub bytes: u64,
    pub sha256: String,
    /// The segment before, or the full one that a chain begins with.
    pub follows: Option<Link>,
    /// SHA-256 of this file with an empty seal.
    pub seal: String,
}

/// Why a file is no manifest.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    #[error(transparent)]
    Read(#[from] Failure),
    #[error("{key}: no manifest: {source}")]
    Json { key: String, source: serde_json::Error },
    #[error("{key}: format {format} is newer than this build knows ({FORMAT})")]
    Format { key: String, format: u32 },
    #[error("{key}: its bytes do not match its seal")]
    Seal { key: String },
    #[error("{key}: it is the manifest of {name}")]
    Name { key: String, name: String },
}

/// Where all of a cluster lies.
pub fn prefix(cluster: ClusterId) -> String {
    format!("{cluster}/")
}

/// The name of a backup that is begun now: in the order of time, and nobody else's.
pub fn name(kind: Kind, created: SystemTime, number: u64, member: MemberId) -> String {
    let stamp: String = timestamp(created).chars().filter(|c| !matches!(c, '-' | ':')).collect();
    format!("{stamp}-{}-{number}-{member}", kind.as_str())
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a String does not fail");
        text
    })
}

impl Manifest {
    pub const FORMAT: u32 = FORMAT;

    pub fn key(&self) -> String {
        format!("{}/{}.json", self.cluster_id, self.name)
    }

    pub fn link(&self) -> Link {
        Link { name: self.name.clone(), seal: self.seal.clone() }
    }

    pub fn created(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.created_unix_millis)
    }

    /// As it stands at the destination.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec_pretty(self).expect("texts and numbers");
        bytes.push(b'\n');
        bytes
    }

    fn computed_seal(&self) -> String {
        hex(&Sha256::digest(Self { seal: String::new(), ..self.clone() }.encode()))
    }

    /// Seals and stores it: from then on there is a backup.
    ///
    /// # Errors
    /// It is not there.
    pub fn publish(mut self, destination: &dyn Destination) -> Result<Self, Failure> {
        self.seal = self.computed_seal();
        destination.put(&self.key(), &self.encode(), Existing::Refuse)?;
        Ok(self)
    }

    /// # Errors
    /// It is not what was written, or of a later build.
    pub fn read(destination: &dyn Destination, key: &str) -> Result<Self, Unreadable> {
        Self::parse(&destination.read_all(key, MAX_BYTES)?, key)
    }

    /// As it was sent by a member, which has read it.
    ///
    /// # Errors
    /// It is of a later build, or none.
    pub fn sent(bytes: &[u8]) -> Result<Self, Unreadable> {
        let json = |source| Unreadable::Json { key: "sent manifest".to_owned(), source };
        let manifest: Self = serde_json::from_slice(bytes).map_err(json)?;
        Self::parse(bytes, &manifest.key())
    }

    fn parse(bytes: &[u8], key: &str) -> Result<Self, Unreadable> {
        #[derive(Deserialize)]
        struct Head {
            format: u32,
        }
        let json = |source| Unreadable::Json { key: key.to_owned(), source };
        let Head { format } = serde_json::from_slice(bytes).map_err(json)?;
        if format > FORMAT {
            return Err(Unreadable::Format { key: key.to_owned(), format });
        }
        let manifest: Self = serde_json::from_slice(bytes).map_err(json)?;
        if manifest.encode() != bytes || manifest.computed_seal() != manifest.seal {
            return Err(Unreadable::Seal { key: key.to_owned() });
        }
        if manifest.key() != key {
            return Err(Unreadable::Name { key: key.to_owned(), name: manifest.name });
        }
        Ok(manifest)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::backup::destination::Folder;
    use crate::disk::MemoryDisk;
    use std::sync::Arc;

    /// A full backup of that revision, so many hours after the epoch.
    pub fn full(revision: i64, hours: u64) -> Manifest {
        let created = UNIX_EPOCH + Duration::from_secs(hours * 3600);
        let place = Place { index: revision.unsigned_abs() + 10, term: 2, revision };
        let name = name(Kind::Full, created, revision.unsigned_abs(), MemberId(0xa));
        Manifest {
            format: FORMAT,
            kind: Kind::Full,
            cluster_id: "c1".to_owned(),
            member_id: "a".to_owned(),
            created: timestamp(created),
            created_unix_millis: hours * 3_600_000,
            version: "0".to_owned(),
            from: place,
            to: place,
            compact_revision: -1,
            hash_kv: Some(7),
            lease_min_ttl_secs: 2,
            count: 1,
            object: format!("c1/{name}.db"),
            bytes: 1,
            sha256: String::new(),
            follows: None,
            seal: String::new(),
            name,
        }
    }

    #[test]
    fn every_changed_byte_of_a_manifest_is_seen() {
        let folder = Folder::new(Arc::new(MemoryDisk::new()), "b".into());
        let destination: &dyn Destination = &folder;
        let written = full(5, 1).publish(destination).unwrap();
        assert_eq!(written.name, "19700101T010000.000000Z-full-5-a");
        let key = written.key();
        assert_eq!(Manifest::read(destination, &key).unwrap(), written);
        let bytes = destination.read_all(&key, MAX_BYTES).unwrap();
        for at in 0..bytes.len() {
            for bit in [1, 0x20] {
                let mut changed = bytes.clone();
                changed[at] ^= bit;
                destination.put(&key, &changed, Existing::Replace).unwrap();
                Manifest::read(destination, &key).expect_err("a changed byte");
            }
        }
        destination.put(&key, &bytes[..bytes.len() - 1], Existing::Replace).unwrap();
        Manifest::read(destination, &key).expect_err("a cut");
        destination.put("c1/other.json", &bytes, Existing::Replace).unwrap();
        assert!(matches!(Manifest::read(destination, "c1/other.json"), Err(Unreadable::Name { .. })));
    }

    #[test]
    fn a_manifest_of_a_later_build_is_told_from_a_damaged_one() {
        let folder = Folder::new(Arc::new(MemoryDisk::new()), "b".into());
        folder.put("c1/x.json", br#"{"format": 2, "more": true}"#, Existing::Refuse).unwrap();
        assert!(matches!(Manifest::read(&folder, "c1/x.json"), Err(Unreadable::Format { format: 2, .. })));
    }
}

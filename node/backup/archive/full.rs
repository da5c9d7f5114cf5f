//! Takes a full backup: a pinned version goes to the destination piece by piece, is read back and opened there, and then gets
//! its manifest.

use super::ArchiveError;
use super::check::check;
use super::manifest::{Kind, Manifest, Place, hex, name};
use super::stop::Stop;
use crate::backup::destination::{Destination, Failure, Object, Uploading};
use crate::backup::save::Save;
use crate::clock::timestamp;
use crate::storage::Version;
use crate::types::{ClusterId, MemberId};
use sha2::{Digest, Sha256};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// Who takes a backup, when, and of which state.
#[derive(Clone, Copy, Debug)]
pub struct Taken {
    pub cluster: ClusterId,
    pub member: MemberId,
    pub created: SystemTime,
    pub at: Place,
    pub compact_revision: i64,
    pub hash_kv: Option<u32>,
    /// What the member that took it raises shorter leases to.
    pub lease_min_ttl_secs: i64,
}

impl Taken {
    /// What both kinds of manifest say. Object, size, digest and link are left to be filled in.
    pub(super) fn manifest(&self, kind: Kind, name: String, from: Place, count: u64) -> Manifest {
        let millis = self.created.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        Manifest {
            format: Manifest::FORMAT,
            object: format!("{}/{name}.{}", self.cluster, kind.extension()),
            name,
            kind,
            cluster_id: self.cluster.to_string(),
            member_id: self.member.to_string(),
            created: timestamp(self.created),
            created_unix_millis: u64::try_from(millis).unwrap_or(u64::MAX),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            from,
            to: self.at,
            compact_revision: self.compact_revision,
            hash_kv: self.hash_kv,
            lease_min_ttl_secs: self.lease_min_ttl_secs,
            count,
            bytes: 0,
            sha256: String::new(),
            follows: None,
            seal: String::new(),
        }
    }
}

/// Stores `version`, which `taken` describes. Blocks for as long as that takes; memory is a few pieces.
///
/// # Errors
/// There is no new backup then, and nothing of it is left unless the destination fails at that too.
pub fn store(
    destination: &Arc<dyn Destination>,
    version: &Version,
    taken: &Taken,
    stop: &Stop,
) -> Result<Manifest, ArchiveError> {
    let name = name(Kind::Full, taken.created, taken.at.revision.unsigned_abs(), taken.member);
    let mut manifest = taken.manifest(Kind::Full, name, taken.at, 0);
    let mut save = Save::plan(version)?;
    let mut upload = Uploading::begin(destination, &manifest.object)?;
    let stored = match send(&mut save, &mut upload, stop) {
        Ok(sha256) => upload.complete().map(|Object { bytes, .. }| (bytes, sha256)).map_err(ArchiveError::from),
        Err(error) => {
            abandon(upload.abort());
            Err(error)
        }
    };
    (manifest.bytes, manifest.sha256) = stored?;
    let checked = check(destination, &manifest, stop);
    if let Ok(count) = &checked {
        manifest.count = *count;
    }
    let object = manifest.object.clone();
    let published = checked.map_err(ArchiveError::from).and_then(|_| Ok(manifest.publish(destination.as_ref())?));
    if published.is_err() {
        abandon(destination.delete_all(&[object]));
    }
    published
}

fn send(save: &mut Save, upload: &mut Uploading, stop: &Stop) -> Result<String, ArchiveError> {
    let mut digest = Sha256::new();
    while !save.is_finished() {
        stop.check()?;
        for blob in save.next_blobs()? {
            digest.update(&blob.bytes);
            upload.write(&blob.bytes)?;
        }
    }
    Ok(hex(&digest.finalize()))
}

/// What is left without a manifest is no backup, and the next sweep takes it.
pub(super) fn abandon(cleaned: Result<(), Failure>) {
    if let Err(error) = cleaned {
        tracing::warn!(%error, "what is left of a failed backup could not be removed yet");
    }
}

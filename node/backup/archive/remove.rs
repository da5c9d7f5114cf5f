//! Takes backups away, and what never became one.

use super::catalogue::Catalogue;
use super::check::check;
use super::manifest::{Kind, Manifest, name, prefix};
use super::stop::{Stop, Stopped};
use crate::backup::destination::{Destination, Failure};
use crate::types::{ClusterId, MemberId};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Others may still be at work on what is younger.
const LEFTOVER_AGE: Duration = Duration::from_secs(86_400);

/// Deletes backups: manifests first, so that a crash in between leaves objects that count for nothing.
///
/// # Errors
/// The first deletion that failed.
pub fn forget(destination: &dyn Destination, backups: &[Manifest]) -> Result<(), Failure> {
    destination.delete_all(&backups.iter().map(Manifest::key).collect::<Vec<_>>())?;
    destination.delete_all(&backups.iter().map(|backup| backup.object.clone()).collect::<Vec<_>>())
}

/// Whether something is to happen, or only to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forget {
    DryRun,
    ForGood,
}

/// Why nothing is forgotten.
#[derive(Debug, thiserror::Error)]
pub enum ForgetError {
    #[error("no full backup would be left that can be read back whole; make and verify another one first")]
    LastGood,
    #[error(transparent)]
    Delete(#[from] Failure),
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// As [`forget`], if a full backup is left that is sound. Reads one whole to see it.
///
/// # Errors
/// `LastGood`, or the first deletion that failed.
pub fn forget_safely(
    destination: &Arc<dyn Destination>,
    catalogue: &Catalogue,
    unwanted: &[Manifest],
    what: Forget,
    stop: &Stop,
) -> Result<(), ForgetError> {
    let is_wanted = |full: &&Manifest| unwanted.iter().all(|unwanted| unwanted.name != full.name);
    let takes_full = unwanted.iter().any(|backup| backup.kind == Kind::Full);
    let mut left = catalogue.fulls.iter().rev().filter(is_wanted);
    if takes_full && !left.any(|full| check(destination, full, stop).is_ok()) {
        stop.check()?;
        return Err(ForgetError::LastGood);
    }
    match what {
        Forget::DryRun => Ok(()),
        Forget::ForGood => Ok(forget(destination.as_ref(), unwanted)?),
    }
}

/// Removes halves: uploads that were not completed and objects without a manifest. Those of `member`, which must not be
/// writing, and those of others that are older than a day. Returns what was removed.
///
/// # Errors
/// The destination cannot be listed, or a deletion failed.
pub fn sweep(
    destination: &dyn Destination,
    cluster: ClusterId,
    member: MemberId,
    now: SystemTime,
) -> Result<Vec<String>, Failure> {
    let prefix = prefix(cluster);
    let limit = name(Kind::Full, now.checked_sub(LEFTOVER_AGE).unwrap_or(now), 0, member);
    let is_leftover = |key: &str| {
        let Some((backup, _)) = key.strip_prefix(&prefix).and_then(|name| name.rsplit_once('.')) else { return false };
        let is_own = backup.rsplit_once('-').is_some_and(|(_, writer)| *writer == member.to_string());
        // Names begin with the time.
        is_own || *backup < *limit
    };
    let mut removed = Vec::new();
    for upload in destination.list_uploads(&prefix)? {
        if is_leftover(&upload.key) {
            destination.abort_upload(&upload.token)?;
            removed.push(upload.key);
        }
    }
    let objects = destination.list_all(&prefix)?;
    let stem = |key: &str| key.rsplit_once('.').map(|(stem, _)| stem.to_owned());
    let published: HashSet<String> =
        objects.iter().filter(|object| object.key.ends_with(".json")).filter_map(|object| stem(&object.key)).collect();
    let halves = objects.into_iter().map(|object| object.key).filter(|key| {
        let is_object = [Kind::Full, Kind::Delta].iter().any(|kind| key.ends_with(&format!(".{}", kind.extension())));
        is_object && is_leftover(key) && stem(key).is_some_and(|stem| !published.contains(&stem))
    });
    let halves: Vec<String> = halves.collect();
    destination.delete_all(&halves)?;
    removed.extend(halves);
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use super::super::manifest::tests::full;
    use super::*;
    use crate::backup::destination::{Existing, Folder, Object};
    use crate::disk::MemoryDisk;
    use std::sync::Arc;
    use std::time::UNIX_EPOCH;

    #[test]
    fn halves_are_swept_and_whole_backups_and_those_of_others_at_work_are_not() {
        let folder = Folder::new(Arc::new(MemoryDisk::new()), "b".into());
        let destination: &dyn Destination = &folder;
        let (own, other, now) = (MemberId(0xa), MemberId(0xb), UNIX_EPOCH + Duration::from_secs(100 * 3600));
        let whole = full(5, 99).publish(destination).unwrap();
        destination.put(&whole.object, b"x", Existing::Refuse).unwrap();
        let at = |hours: u64, member| {
            format!("c1/{}.db", name(Kind::Full, UNIX_EPOCH + Duration::from_secs(hours * 3600), 7, member))
        };
        for key in [at(98, own), at(98, other), at(2, other)] {
            destination.put(&key, b"x", Existing::Refuse).unwrap();
        }
        for key in [at(97, own), at(97, other), at(1, other)] {
            destination.begin_upload(&key).unwrap();
        }
        destination.put("c1/notes.txt", b"of the operator", Existing::Refuse).unwrap();
        let removed = sweep(destination, ClusterId(0xc1), own, now).unwrap();
        assert_eq!(removed, [at(1, other), at(97, own), at(2, other), at(98, own)]);
        let keys = |objects: Vec<Object>| objects.into_iter().map(|object| object.key).collect::<Vec<_>>();
        let left = keys(destination.list_all("").unwrap());
        assert_eq!(left, [at(98, other), whole.object.clone(), whole.key(), "c1/notes.txt".to_owned()]);
        forget(destination, &[whole]).unwrap();
        assert_eq!(keys(destination.list_all("").unwrap()), [at(98, other), "c1/notes.txt".to_owned()]);
    }
}

//! `etcdutl migrate`: sets what a state file says of its own version, by the steps of etcd 3.7
//! (`server/storage/schema`). A server that starts on it brings it back to the version of its cluster.
//!
//! etcd also asks whether an older version could read the log. No other version reads ours.

use super::{EXIT_BAD_ARGS, EXIT_ERROR, Failure, Outcome};
use crate::cli::etcdctl::flags::{Flag, Values};
use crate::cluster::ClusterVersion;
use crate::server::offline::Offline;
use crate::storage::{Durability, StorageError};
use std::path::Path;

pub const FLAGS: &[Flag] = &[
    Flag::text("data-dir", "Path to the data directory; no server may use it."),
    Flag::text("target-version", "Version to migrate to, at least 3.5, as X.Y: 3.6 for example."),
    Flag::switch("force", "Set the version although the migration failed. Not recommended."),
];

/// What a file without a row is (etcd `UnsafeDetectSchemaVersion`), and the least that there is.
const LEAST: ClusterVersion = ClusterVersion { minor: 5, ..ClusterVersion::V3_6 };

pub fn run(values: &Values) -> Outcome {
    super::require(values, &["data-dir", "target-version"])?;
    let target = target(values.text("target-version")).map_err(|text| Failure::new(EXIT_BAD_ARGS, text))?;
    let failed = |error: anyhow::Error| Failure::new(EXIT_ERROR, format!("{error:#}"));
    let offline = Offline::open(Path::new(values.text("data-dir")), values.duration("timeout")).map_err(failed)?;
    let current = current(&offline)?;
    let write = |version| write(&offline, version).map_err(|error| failed(error.into()));
    super::logged(|| {
        if current == target {
            tracing::info!("storage-version" = target.major_minor(), "storage version up-to-date");
            return Ok(String::new());
        }
        match check(current, target) {
            Ok(()) => {
                for step in steps(current, target) {
                    write(step)?;
                    tracing::info!("new-storage-version" = %step, "updated storage version");
                }
            }
            Err(text) if !values.switch("force") => return Err(Failure::new(EXIT_ERROR, text)),
            Err(text) => {
                tracing::info!(error = text, "normal migrate failed, trying with force");
                write(target)?;
                tracing::warn!("storage-version" = target.major_minor(), "forcefully set storage version");
            }
        }
        Ok(String::new())
    })?
}

/// From minor to minor.
fn steps(current: ClusterVersion, target: ClusterVersion) -> Vec<ClusterVersion> {
    let at = |minor| ClusterVersion { minor, ..target };
    if current.minor < target.minor {
        (current.minor + 1..=target.minor).map(at).collect()
    } else {
        (target.minor..current.minor).rev().map(at).collect()
    }
}

/// Texts are etcdutl's.
fn target(text: &str) -> Result<ClusterVersion, String> {
    let Some((major, minor)) = text.split_once('.').filter(|(_, minor)| !minor.contains('.')) else {
        return Err(format!("wrong target version format, expected \"X.Y\", got {text:?}"));
    };
    let number = |text: &str| -> Result<u64, String> {
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        let parsed = text.parse::<u64>().ok().filter(|number| digits && i64::try_from(*number).is_ok());
        parsed.ok_or_else(|| {
            let why = if digits && !text.is_empty() { "value out of range" } else { "invalid syntax" };
            format!("failed to parse target version: strconv.ParseInt: parsing {text:?}: {why}")
        })
    };
    let target = ClusterVersion { major: number(major)?, minor: number(minor)?, patch: 0 };
    if target < LEAST {
        return Err(format!("target version {:?} not supported. Minimal \"3.5\"", target.major_minor()));
    }
    Ok(target)
}

fn current(offline: &Offline) -> Result<ClusterVersion, Failure> {
    let failed = |text: String| Failure::new(EXIT_ERROR, text);
    let meta = offline.storage.version().and_then(|version| version.meta());
    let meta = meta.map_err(|error| failed(error.to_string()))?;
    match meta.storage_version {
        Some(row) => ClusterVersion::parse(&row).map_err(|error| failed(error.to_string())),
        None if meta.applied.term > 0 => Ok(LEAST),
        None => Err(failed("missing term information".to_owned())),
    }
}

/// Whether there is a way from one version to the other: from minor to minor, as far as etcd 3.7 knows them.
fn check(current: ClusterVersion, target: ClusterVersion) -> Result<(), String> {
    if current.major != target.major {
        return Err("cannot create migration plan: changing major storage version is not supported".to_owned());
    }
    let newest = ClusterVersion::own().minor;
    // The step up to a version needs that one to be known, the step down from one needs it too.
    let unknown = match current.minor.cmp(&target.minor) {
        std::cmp::Ordering::Less => (target.minor > newest).then(|| newest.max(current.minor) + 1),
        _ => (current.minor > newest).then_some(current.minor),
    };
    match unknown {
        None => Ok(()),
        Some(minor) => {
            let version = ClusterVersion { minor, ..target };
            Err(format!("cannot create migration plan: version {:?} is not supported", version.to_string()))
        }
    }
}

fn write(offline: &Offline, target: ClusterVersion) -> Result<(), StorageError> {
    let mut batch = offline.storage.begin()?;
    batch.set_storage_version(target.storage_row().as_deref());
    batch.commit(Durability::Durable)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Texts of etcdutl 3.7.3.
    #[test]
    fn a_target_is_a_version_of_two_numbers_from_3_5_on() {
        assert_eq!(target("3.6").map(|version| version.to_string()), Ok("3.6.0".to_owned()));
        for (text, why) in [
            ("3", "wrong target version format, expected \"X.Y\", got \"3\""),
            ("3.6.0", "wrong target version format, expected \"X.Y\", got \"3.6.0\""),
            ("a.b", "failed to parse target version: strconv.ParseInt: parsing \"a\": invalid syntax"),
            ("3.", "failed to parse target version: strconv.ParseInt: parsing \"\": invalid syntax"),
            ("3.4", "target version \"3.4\" not supported. Minimal \"3.5\""),
        ] {
            assert_eq!(target(text), Err(why.to_owned()), "{text}");
        }
    }

    #[test]
    fn there_is_a_way_between_the_versions_that_are_known() {
        let v = |text: &str| ClusterVersion::parse(text).expect(text);
        assert_eq!(check(v("3.7.0"), v("3.5.0")), Ok(()));
        assert_eq!(check(v("3.5.0"), v("3.7.0")), Ok(()));
        let unknown =
            |version: &str| Err(format!("cannot create migration plan: version {version:?} is not supported"));
        assert_eq!(check(v("3.5.0"), v("3.9.0")), unknown("3.8.0"));
        assert_eq!(check(v("3.9.0"), v("3.6.0")), unknown("3.9.0"));
        assert!(check(v("3.7.0"), v("4.0.0")).is_err());
    }
}

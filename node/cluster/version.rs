//! The version that all members speak, and the record of a downgrade (both in the `cluster` table).

use super::json::to_go_json;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A semantic version without build data. Printed and stored as `3.7.0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClusterVersion {
    pub major: u64,
    pub minor: u64,
    pub patch: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a version of three numbers")]
pub struct VersionError(pub String);

impl ClusterVersion {
    pub const KEY: &'static [u8] = b"clusterVersion";

    /// What a cluster has while not all of its members are known (etcd's MinClusterVersion).
    pub const MIN: ClusterVersion = ClusterVersion { major: 3, minor: 0, patch: 0 };

    /// The first version whose schema has `storageVersion`.
    pub const V3_6: ClusterVersion = ClusterVersion { major: 3, minor: 6, patch: 0 };

    pub fn parse(text: &str) -> Result<Self, VersionError> {
        let mut numbers = text.split('.').map(str::parse::<u64>);
        match (numbers.next(), numbers.next(), numbers.next(), numbers.next()) {
            (Some(Ok(major)), Some(Ok(minor)), Some(Ok(patch)), None) => Ok(Self { major, minor, patch }),
            _ => Err(VersionError(text.to_owned())),
        }
    }

    /// As [`Self::parse`], of a text that may name a pre-release and a build (`3.8.0-alpha.0+git`), which do not count.
    ///
    /// # Errors
    /// It is no semantic version.
    pub fn parse_release(text: &str) -> Result<Self, VersionError> {
        let (rest, build) = text.split_once('+').unwrap_or((text, ""));
        let (numbers, pre_release) = rest.split_once('-').unwrap_or((rest, ""));
        let is_identifier = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte));
        // Rust's parser takes a sign before the number, and etcd's numbers are signed.
        let are_numbers = numbers.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        match Self::parse(numbers) {
            Ok(version)
                if are_numbers
                    && [build, pre_release].into_iter().all(is_identifier)
                    && [version.major, version.minor, version.patch].iter().all(|n| i64::try_from(*n).is_ok()) =>
            {
                Ok(version)
            }
            _ => Err(VersionError(text.to_owned())),
        }
    }

    /// The version of a cluster that is named by a client, as `3.6` or in full; of it only major and minor count.
    ///
    /// # Errors
    /// It is neither.
    pub fn parse_target(text: &str) -> Result<Self, VersionError> {
        let version = Self::parse_release(text).or_else(|_| Self::parse_release(&format!("{text}.0")))?;
        Ok(version.without_patch())
    }

    /// Reads the row's value.
    pub fn from_row(value: &[u8]) -> Result<Self, VersionError> {
        Self::parse(&String::from_utf8_lossy(value))
    }

    /// The version of etcd that this build is.
    pub fn own() -> Self {
        Self::parse(crate::ETCD_VERSION).expect("three numbers")
    }

    #[must_use]
    pub fn without_patch(self) -> Self {
        Self { patch: 0, ..self }
    }

    /// The minor version before, without patch. None before the first.
    pub fn one_below(self) -> Option<Self> {
        Some(Self { minor: self.minor.checked_sub(1)?, patch: 0, ..self })
    }

    /// As etcd tells it to clients: `3.7`.
    pub fn major_minor(self) -> String {
        format!("{}.{}", self.major, self.minor)
    }

    /// The value of the row `storageVersion` while the cluster has this version: the schema follows it. None: no row.
    pub fn storage_row(self) -> Option<String> {
        (self >= Self::V3_6).then(|| self.without_patch().to_string())
    }
}

impl fmt::Display for ClusterVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// Whether the cluster is on its way to a lower version, and to which (text such as `3.6.0`, else empty).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Downgrade {
    #[serde(rename = "target-version")]
    pub target_version: String,
    pub enabled: bool,
}

impl Downgrade {
    pub const KEY: &'static [u8] = b"downgrade";

    pub fn to_row(&self) -> Vec<u8> {
        to_go_json(self)
    }

    pub fn from_row(value: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(value)
    }

    /// Where the cluster is to go. None if it is not.
    pub fn target(&self) -> Option<ClusterVersion> {
        // Apply takes only what is a version.
        self.enabled.then(|| ClusterVersion::parse_release(&self.target_version).ok()).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_by_number() {
        let parse = |text| ClusterVersion::parse(text).expect(text);
        assert!(parse("3.10.0") > parse("3.9.1"));
        assert_eq!(parse("3.7.0").to_string(), "3.7.0");
        assert!(ClusterVersion::parse("3.7").is_err() && ClusterVersion::parse("3.7.0-rc").is_err());
    }

    #[test]
    fn a_client_names_a_version_with_or_without_patch() {
        for (text, version) in [
            ("3.6", "3.6.0"),
            ("3.6.0", "3.6.0"),
            ("3.6.9", "3.6.0"),
            ("03.6", "3.6.0"),
            ("3.6.0-rc.1+git", "3.6.0"),
            ("3.6.0-", "3.6.0"),
        ] {
            assert_eq!(ClusterVersion::parse_target(text).map(|version| version.to_string()), Ok(version.to_owned()));
        }
        for text in
            ["", "3", "v3.6", "3.6.0.0", "3.6-rc", "-3.6", "3.-6", "3.6.0-a_b", "3.9223372036854775808.0", " 3.6"]
        {
            assert!(ClusterVersion::parse_target(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_downgrade_row_is_that_of_etcd() {
        let downgrade = Downgrade { target_version: "3.6.0".into(), enabled: true };
        assert_eq!(downgrade.to_row(), br#"{"target-version":"3.6.0","enabled":true}"#);
        assert_eq!(Downgrade::from_row(&downgrade.to_row()).expect("own row"), downgrade);
    }
}

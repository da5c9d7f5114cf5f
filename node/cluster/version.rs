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

    /// The first version whose schema has `storageVersion`.
    pub const V3_6: ClusterVersion = ClusterVersion { major: 3, minor: 6, patch: 0 };

    pub fn parse(text: &str) -> Result<Self, VersionError> {
        let mut numbers = text.split('.').map(str::parse::<u64>);
        match (numbers.next(), numbers.next(), numbers.next(), numbers.next()) {
            (Some(Ok(major)), Some(Ok(minor)), Some(Ok(patch)), None) => Ok(Self { major, minor, patch }),
            _ => Err(VersionError(text.to_owned())),
        }
    }

    /// Reads the row's value.
    pub fn from_row(value: &[u8]) -> Result<Self, VersionError> {
        Self::parse(&String::from_utf8_lossy(value))
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
    fn the_downgrade_row_is_that_of_etcd() {
        let downgrade = Downgrade { target_version: "3.6.0".into(), enabled: true };
        assert_eq!(downgrade.to_row(), br#"{"target-version":"3.6.0","enabled":true}"#);
        assert_eq!(Downgrade::from_row(&downgrade.to_row()).expect("own row"), downgrade);
    }
}

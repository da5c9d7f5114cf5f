//! What an author says of a plugin: `plugin.toml`, which travels inside the package. It asks; an operator's [`Grant`] gives.
//!
//! [`Grant`]: crate::Grant

use crate::settings::Setting;
use crate::units::Size;
use serde::{Deserialize, Deserializer, de};
use std::collections::BTreeMap;
use std::fmt;

/// The package of the contract that this host speaks, in `plugins/wit`.
pub const ABI: Abi = Abi { major: 0, minor: 1 };

const MAX_NAME_BYTES: usize = 48;

/// `plugin.toml`. A key that is not known is an error.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Manifest {
    pub plugin: About,
    #[serde(default)]
    pub settings: BTreeMap<String, Setting>,
    #[serde(default)]
    pub asks: Asks,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct About {
    pub name: Name,
    pub version: semver::Version,
    pub world: World,
    /// What it was built against: `"0.1"`.
    pub abi: Abi,
    #[serde(default)]
    pub description: String,
    #[serde(default)]
    pub license: String,
    #[serde(default)]
    pub homepage: String,
}

/// What the plugin cannot work without.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Asks {
    /// For all memories of an instance together.
    pub memory: Option<Size>,
    /// Names of secrets.
    #[serde(default)]
    pub secrets: Vec<String>,
    /// It reads keys; which ones only the operator can know.
    #[serde(default)]
    pub kv_read: bool,
    /// It speaks to servers over HTTP; to which only the operator can know.
    #[serde(default)]
    pub http: bool,
}

/// `[a-z0-9-]`, at most 48 bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name(String);

impl Name {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if name.is_empty() || name.len() > MAX_NAME_BYTES || !name.bytes().all(is_plain) {
            return Err(de::Error::custom(format!("{name:?} is no name: 1 to {MAX_NAME_BYTES} of a-z, 0-9 and -")));
        }
        Ok(Self(name))
    }
}

/// Major and minor number of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abi {
    pub major: u64,
    pub minor: u64,
}

impl fmt::Display for Abi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl<'de> Deserialize<'de> for Abi {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let numbers = text.split_once('.').and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
        let (major, minor) =
            numbers.ok_or_else(|| de::Error::custom(format!("{text:?} is no version like \"0.1\"")))?;
        Ok(Self { major, minor })
    }
}

/// What a plugin is for.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "kebab-case")]
pub enum World {
    AdmissionCheck,
    BackupDestination,
    RestoreHook,
}

impl World {
    pub fn name(self) -> &'static str {
        match self {
            Self::AdmissionCheck => "admission-check",
            Self::BackupDestination => "backup-destination",
            Self::RestoreHook => "restore-hook",
        }
    }
}

impl fmt::Display for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// `plugin.toml` cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("read the manifest: {message}")]
pub struct ManifestError {
    /// With the line.
    pub message: String,
}

impl Manifest {
    /// # Errors
    /// What is wrong, and where.
    pub fn parse(text: &str) -> Result<Self, ManifestError> {
        toml::from_str(text).map_err(|error| ManifestError { message: error.to_string() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = "[plugin]\nname = 'key-policy'\nversion = '1.4.0'\nworld = 'admission-check'\nabi = '0.1'\n\
                         [settings.max-bytes]\ntype = 'integer'\ndefault = 10\n\
                         [asks]\nmemory = '8MiB'\nkv-read = true\n";

    #[test]
    fn a_manifest_is_read_whole() {
        let manifest = Manifest::parse(WHOLE).unwrap();
        assert_eq!((manifest.plugin.name.as_str(), manifest.plugin.world), ("key-policy", World::AdmissionCheck));
        assert_eq!(manifest.plugin.abi, ABI);
        assert_eq!(manifest.asks.memory, Some(Size(8 << 20)));
        assert!(manifest.asks.kv_read && !manifest.asks.http && manifest.settings.contains_key("max-bytes"));
    }

    #[test]
    fn what_is_not_known_is_an_error_that_says_where() {
        for (from, to, says) in [
            ("kv-read", "kv-write", "unknown field `kv-write`"),
            ("key-policy", "Key Policy", "is no name"),
            ("'0.1'", "'one'", "is no version"),
            ("admission-check", "admission", "unknown variant `admission`"),
            ("'8MiB'", "8", "invalid type"),
            ("1.4.0", "1.4", "version"),
        ] {
            let message = Manifest::parse(&WHOLE.replace(from, to)).unwrap_err().message;
            assert!(message.contains(says), "{message}");
        }
    }
}

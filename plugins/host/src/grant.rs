//! What an operator gives a plugin: a file of his own, apart from the package. Nothing is granted that is not written here.

use crate::breaker::Trip;
use crate::http::Origin;
use crate::limits::Given;
use crate::manifest::{ManifestError, Name};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// A use of a plugin.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Grant {
    pub plugin: Name,
    /// Of the package, in hexadecimal: only these bytes.
    pub sha256: Option<String>,
    #[serde(default)]
    pub settings: BTreeMap<String, Value>,
    #[serde(default)]
    pub grants: Grants,
    #[serde(default)]
    pub limits: Given,
    #[serde(default)]
    pub breaker: Trip,
    /// For checks.
    pub admission: Option<Binding>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Grants {
    /// Prefixes of keys that it may read.
    #[serde(default)]
    pub kv_read: Vec<String>,
    /// Names, each with the file that holds the secret.
    #[serde(default)]
    pub secrets: BTreeMap<String, PathBuf>,
    /// Servers that it may speak to.
    #[serde(default)]
    pub http: Vec<Origin>,
}

/// Which writes are shown to a check, and what its answers do.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Binding {
    /// Keys that begin with one of these.
    pub prefixes: Vec<String>,
    /// But not with one of these.
    #[serde(default)]
    pub exclude: Vec<String>,
    #[serde(default)]
    pub enforce: Enforce,
    #[serde(default)]
    pub on_failure: OnFailure,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Enforce {
    /// What the check denies is refused.
    #[default]
    Deny,
    /// It is counted and logged, and happens.
    Warn,
}

/// What becomes of a write that could not be checked.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum OnFailure {
    #[default]
    Refuse,
    Allow,
}

impl Grant {
    /// # Errors
    /// What is wrong, and where.
    pub fn parse(text: &str) -> Result<Self, ManifestError> {
        toml::from_str(text).map_err(|error| ManifestError { message: error.to_string() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_written_is_not_granted() {
        let grant = Grant::parse("plugin = 'p'").unwrap();
        assert_eq!((grant.grants, grant.admission, grant.limits), (Grants::default(), None, Given::default()));
        let grant = Grant::parse(
            "plugin = 'p'\n[grants]\nkv-read = ['/policy/']\nsecrets = { token = '/etc/token' }\n\
             [[grants.http]]\norigin = 'https://*.example.org:8443'\n[limits]\ntime = '5ms'\nuses = 10\n\
             [admission]\nprefixes = ['/team/']\nenforce = 'warn'\n",
        )
        .unwrap();
        assert_eq!(grant.grants.http.len(), 1);
        let binding = grant.admission.unwrap();
        assert_eq!((binding.enforce, binding.on_failure), (Enforce::Warn, OnFailure::Refuse));
        for wrong in ["[grants]\nkvread = []", "[limits]\ntime = 5", "[[grants.http]]\norigin = 'ftp://x'", "[grant]"] {
            assert!(Grant::parse(&format!("plugin = 'p'\n{wrong}")).is_err(), "{wrong}");
        }
    }
}

//! Refuses keys that are not named as the settings say, and values that are too large. Deletes are let through: what is badly
//! named must not be there for ever.

use keelstone_plugin::admission::{Check, Put, Request, Verdict, Write};
use keelstone_plugin::{Problem, deny, settings};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct KeyPolicy {
    prefixes: Vec<String>,
    segment: Segment,
    max_key_bytes: usize,
    max_value_bytes: usize,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Segment {
    Any,
    /// `[a-z0-9.-]`, not empty.
    LowerCase,
}

impl Check for KeyPolicy {
    fn start(given: &str) -> Result<Self, Vec<Problem>> {
        let policy: Self = settings(given)?;
        let is_bad = |prefix: &&String| !prefix.starts_with('/') || !prefix.ends_with('/');
        let problem = |prefix: &String| Problem {
            setting: "prefixes".to_owned(),
            message: format!("{prefix:?} does not begin and end with a slash"),
        };
        let problems: Vec<Problem> = policy.prefixes.iter().filter(is_bad).map(problem).collect();
        if problems.is_empty() { Ok(policy) } else { Err(problems) }
    }

    fn check(&self, request: &Request) -> Verdict {
        let puts = request.writes.iter().filter_map(|write| match write {
            Write::Put(put) => Some(put),
            Write::Delete(_) => None,
        });
        puts.filter_map(|put| self.fault(put)).next().unwrap_or(Verdict::Allow)
    }
}

impl KeyPolicy {
    fn fault(&self, put: &Put) -> Option<Verdict> {
        let key = String::from_utf8_lossy(&put.key);
        if put.key.len() > self.max_key_bytes {
            return Some(deny("key-too-long", format!("{key}: keys are at most {} bytes", self.max_key_bytes)));
        }
        let is_below = |prefix: &String| put.key.starts_with(prefix.as_bytes());
        if !self.prefixes.is_empty() && !self.prefixes.iter().any(is_below) {
            return Some(deny("bad-prefix", format!("{key}: keys begin with {}", self.prefixes.join(" or "))));
        }
        if let Segment::LowerCase = self.segment
            && !key.trim_start_matches('/').split('/').all(is_lower_case)
        {
            return Some(deny("bad-name", format!("{key}: names are made of a-z, 0-9, dots and dashes")));
        }
        let value_bytes = put.value.as_ref().map_or(0, Vec::len);
        if value_bytes > self.max_value_bytes {
            return Some(deny("value-too-large", format!("{key}: values are at most {} bytes", self.max_value_bytes)));
        }
        None
    }
}

fn is_lower_case(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'-');
    !name.is_empty() && name.bytes().all(is_plain)
}

keelstone_plugin::admission_check!(KeyPolicy);

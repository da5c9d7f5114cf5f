//! `ETCD_*` variables (etcd `pkg/flags`): each sets the flag of its name, unless it is empty; together with that
//! flag on the command line it is an error; one that names no flag is noted.

use super::notice::Notice;
use super::table::{FLAGS, Flag, Section};
use super::values::Values;

/// Why the environment is refused; texts are etcd's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvError {
    #[error("invalid value {value:?} for {name}: {why}")]
    Value { name: String, value: String, why: String },
    /// etcd ends the process on the spot.
    #[error(
        "conflicting environment variable is shadowed by corresponding command-line flag \
         (either unset environment variable or disable flag))"
    )]
    Conflict { name: String },
}

/// The variables of a process. Names that are no UTF-8 are nobody's flags and left out by the caller.
pub type Env = Vec<(String, String)>;

/// The value of a variable; none if it is not there or empty.
pub fn lookup<'a>(env: &'a Env, name: &str) -> Option<&'a str> {
    let (_, value) = env.iter().find(|(variable, _)| variable == name)?;
    Some(value.as_str()).filter(|value| !value.is_empty())
}

/// Sets what the command line left open. Of several bad values the last by name is reported, as in etcd.
pub fn apply(values: &mut Values, env: &Env, notices: &mut Vec<Notice>) -> Result<(), EnvError> {
    if let Some(value) = lookup(env, "ETCD_VERSION") {
        notices.push(Notice::VersionVariable { value: value.to_owned() });
    }
    let mut flags: Vec<&'static Flag> = FLAGS.iter().filter(|flag| flag.section != Section::FileOnly).collect();
    flags.sort_by_key(|flag| flag.name);
    let on_command_line: Vec<String> =
        flags.iter().filter(|flag| values.is_set(flag.name)).map(|flag| flag.env_name()).collect();
    let mut used = Vec::new();
    let mut refused = None;
    for flag in flags {
        let name = flag.env_name();
        // etcd takes ETCD_VERSION out of its environment, lest it means --version.
        if on_command_line.contains(&name) || name == "ETCD_VERSION" {
            continue;
        }
        let Some(value) = lookup(env, &name) else { continue };
        match values.set(flag, value) {
            Ok(()) => notices.push(Notice::VariableUsed { name: name.clone(), value: value.to_owned() }),
            Err(why) => refused = Some(EnvError::Value { name: name.clone(), value: value.to_owned(), why }),
        }
        used.push(name);
    }
    for (name, _) in env {
        if used.contains(name) || name == "ETCD_VERSION" {
            continue;
        }
        if on_command_line.contains(name) {
            return Err(EnvError::Conflict { name: name.clone() });
        }
        if name.starts_with("ETCD_") {
            notices.push(Notice::VariableUnknown { name: name.clone() });
        }
    }
    refused.map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(env: &[(&str, &str)]) -> (Result<Values, EnvError>, Vec<Notice>) {
        let env = env.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        let mut values = Values::defaults();
        values.set(Flag::find("name").unwrap(), "cli").unwrap();
        let mut notices = Vec::new();
        let result = apply(&mut values, &env, &mut notices);
        (result.map(|()| values), notices)
    }

    #[test]
    fn a_variable_sets_its_flag_and_counts_as_set() {
        let (values, notices) = applied(&[("ETCD_LISTEN_CLIENT_URLS", "http://127.0.0.1:1"), ("ETCD_WAL_DIR", "")]);
        let values = values.unwrap();
        assert_eq!(values.urls("listen-client-urls")[0].as_str(), "http://127.0.0.1:1");
        assert!(values.is_set("listen-client-urls") && !values.is_set("wal-dir"));
        assert!(matches!(&notices[0], Notice::VariableUsed { name, .. } if name == "ETCD_LISTEN_CLIENT_URLS"));
        assert!(matches!(&notices[1], Notice::VariableUnknown { name } if name == "ETCD_WAL_DIR"), "as in etcd");
    }

    #[test]
    fn a_variable_beside_its_flag_is_refused_even_if_empty() {
        for value in ["x", ""] {
            let (values, _) = applied(&[("ETCD_NAME", value)]);
            assert_eq!(values.unwrap_err(), EnvError::Conflict { name: "ETCD_NAME".to_owned() });
        }
    }

    #[test]
    fn the_last_bad_value_by_name_is_reported() {
        let (values, _) = applied(&[("ETCD_PRE_VOTE", "foo"), ("ETCD_HEARTBEAT_INTERVAL", "foo")]);
        assert_eq!(values.unwrap_err().to_string(), "invalid value \"foo\" for ETCD_PRE_VOTE: parse error");
    }

    #[test]
    fn unknown_variables_and_etcd_version_are_noted() {
        let (values, notices) =
            applied(&[("ETCD_UNSUPPORTED_ARCH", "arm"), ("ETCD_VERSION", "true"), ("ETCDCTL_API", "3")]);
        assert!(!values.unwrap().bool("version"));
        assert_eq!(notices.len(), 2);
    }
}

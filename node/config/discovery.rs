//! Where a member that begins learns of the others, if it is not told: records of DNS, or a registry in another cluster.

use super::values::Values;
use crate::net::tls::Secure;
use std::time::Duration;

/// What is asked at the first start in place of `--initial-cluster`. Only one of them can be set.
#[derive(Clone, Debug)]
pub enum Discovery {
    /// `--discovery-srv`
    Srv(Srv),
    /// `--discovery-endpoints`
    Service(Box<Service>),
}

/// A domain whose SRV records name the members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Srv {
    pub domain: String,
    /// Stands behind the names of the services; may be empty.
    pub suffix: String,
}

/// A cluster that keeps the registry.
#[derive(Clone, Debug)]
pub struct Service {
    pub endpoints: Vec<String>,
    /// Names the new cluster there. Part of what its ids are made of.
    pub token: String,
    /// Zero: as long as it takes.
    pub dial_timeout: Duration,
    /// For one request; zero is over at once, as in etcd.
    pub request_timeout: Duration,
    /// Zero: connections are not tested.
    pub keepalive_time: Duration,
    pub keepalive_timeout: Duration,
    /// In bytes; what is not above zero is etcd's default.
    pub max_request_bytes: i64,
    pub max_receive_bytes: i64,
    pub secure: Secure,
    /// Name and password; without both nobody is authenticated.
    pub user: Option<(String, String)>,
    pub auth_token: String,
}

/// `values` has passed the checks of flags that exclude each other.
pub fn read(values: &Values) -> Option<Discovery> {
    let text = |flag: &str| values.text(flag).to_owned();
    let endpoints = values.words("discovery-endpoints").to_vec();
    if endpoints.is_empty() {
        let domain = Some(text("discovery-srv")).filter(|domain| !domain.is_empty())?;
        return Some(Discovery::Srv(Srv { domain, suffix: text("discovery-srv-name") }));
    }
    Some(Discovery::Service(Box::new(Service {
        endpoints,
        token: text("discovery-token"),
        dial_timeout: values.duration("discovery-dial-timeout").or_zero(),
        request_timeout: values.duration("discovery-request-timeout").or_zero(),
        keepalive_time: values.duration("discovery-keepalive-time").or_zero(),
        keepalive_timeout: values.duration("discovery-keepalive-timeout").or_zero(),
        max_request_bytes: values.int("discovery-config.client.max-request-bytes"),
        max_receive_bytes: values.int("discovery-config.client.max-recv-bytes"),
        secure: Secure {
            cert: text("discovery-cert"),
            key: text("discovery-key"),
            cacert: text("discovery-cacert"),
            server_name: text("discovery-config.client.secure.server-name"),
            insecure_transport: values.bool("discovery-insecure-transport"),
            insecure_skip_verify: values.bool("discovery-insecure-skip-tls-verify"),
        },
        user: user(values.text("discovery-user"), values.text("discovery-password")),
        auth_token: text("discovery-config.client.auth.token"),
    })))
}

/// A name that brings its password is split, as etcd's help says; etcd itself takes all of it for the name, finds no
/// password, and asks as nobody.
fn user(name: &str, password: &str) -> Option<(String, String)> {
    let (name, password) = if password.is_empty() { name.split_once(':')? } else { (name, password) };
    (!name.is_empty() && !password.is_empty()).then(|| (name.to_owned(), password.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_may_bring_the_password() {
        let pair = |name: &str, password: &str| Some((name.to_owned(), password.to_owned()));
        for (name, password, expected) in [
            ("a", "b", pair("a", "b")),
            ("a:b", "", pair("a", "b")),
            ("a:b:c", "", pair("a", "b:c")),
            ("a:b", "c", pair("a:b", "c")),
            ("a", "", None),
            ("", "b", None),
            (":b", "", None),
        ] {
            assert_eq!(user(name, password), expected, "{name:?} {password:?}");
        }
    }
}

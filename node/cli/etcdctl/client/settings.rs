//! What a client is told by flags and environment, checked.

use super::endpoint::Endpoint;
use super::tls;
use crate::cli::etcdctl::Call;
use crate::cli::etcdctl::failure::{self, Failure};
use crate::cli::etcdctl::flags::Values;
use crate::cli::etcdctl::password;
use crate::cli::not_built;
use crate::net::Reach;
use std::time::Duration;

/// Two MiB, as the server's limit with what gRPC adds.
const MAX_REQUEST: usize = 2 << 20;
/// What Go calls `math.MaxInt32`.
const MAX_RECEIVE: usize = 0x7fff_ffff;

/// Name and password.
pub type User = (String, String);

/// How to reach a cluster, and as whom.
#[derive(Clone, Debug)]
pub struct Settings {
    pub endpoints: Vec<Endpoint>,
    /// Zero: as long as it takes.
    pub dial_timeout: Duration,
    /// Zero: connections are not tested.
    pub keepalive_time: Duration,
    pub keepalive_timeout: Duration,
    pub max_request_bytes: usize,
    pub max_receive_bytes: usize,
    pub user: Option<User>,
    pub token: Option<String>,
    pub reach: Reach,
}

impl Settings {
    /// # Errors
    /// If a flag asks for what is not built, or contradicts another.
    pub fn from_call(call: &Call) -> Result<Self, Failure> {
        let values = &call.values;
        if !values.text("discovery-srv").is_empty() {
            let text = "--discovery-srv: discovery by SRV records is not built yet in Keelstone's etcdctl; name the --endpoints";
            return Err(Failure::new(not_built::EXIT_NOT_BUILT, text));
        }
        for flag in ["cert", "key", "cacert"] {
            if values.is_set(flag) && values.text(flag).is_empty() {
                return Err(Failure::args(format_args!("empty string is passed to --{flag} option")));
            }
        }
        let (user, token) = credentials(values)?;
        let mut settings = Self::to_endpoints(values, &values.list("endpoints"))?;
        (settings.user, settings.token) = (user, token);
        Ok(settings)
    }

    /// For these endpoints and nobody in particular, all else as the flags say.
    pub fn to_endpoints(values: &Values, endpoints: &[String]) -> Result<Self, Failure> {
        let asked = tls::asked_for(values)?;
        let parse = |given: &String| Endpoint::parse(given, asked.is_some());
        let mut named: Vec<&String> = endpoints.iter().filter(|endpoint| !endpoint.is_empty()).collect();
        let local = "127.0.0.1:2379".to_owned();
        if named.is_empty() {
            named.push(&local);
        }
        let bytes = |flag: &str, default: usize| {
            usize::try_from(values.int(flag)).ok().filter(|&bytes| bytes > 0).unwrap_or(default)
        };
        let endpoints: Vec<Endpoint> = named.into_iter().map(parse).collect();
        let settings = Self {
            reach: tls::reach(asked, &endpoints)?,
            endpoints,
            dial_timeout: values.duration("dial-timeout"),
            keepalive_time: values.duration("keepalive-time"),
            keepalive_timeout: values.duration("keepalive-timeout"),
            max_request_bytes: bytes("max-request-bytes", MAX_REQUEST),
            max_receive_bytes: bytes("max-recv-bytes", MAX_RECEIVE),
            user: None,
            token: None,
        };
        let (sent, received) = (values.int("max-request-bytes"), values.int("max-recv-bytes"));
        if received > 0 && sent > received {
            return Err(Failure::new(
                failure::BAD_CONNECTION,
                format_args!(
                    "gRPC message recv limit ({received} bytes) must be greater than send limit ({sent} bytes)"
                ),
            ));
        }
        Ok(settings)
    }

    /// The same with one endpoint.
    ///
    /// # Errors
    /// If it asks for TLS, and that needs what this machine does not have.
    pub fn to_one(&self, endpoint: &str) -> Result<Self, Failure> {
        let endpoints = vec![Endpoint::parse(endpoint, self.reach.tls.is_some())];
        let reach = if self.reach.tls.is_some() { self.reach.clone() } else { tls::reach(None, &endpoints)? };
        Ok(Self { endpoints, reach, ..self.clone() })
    }

    /// As they were given.
    pub fn given(&self) -> Vec<String> {
        self.endpoints.iter().map(|endpoint| endpoint.given.clone()).collect()
    }

    /// How log lines name the cluster.
    pub fn target(&self) -> String {
        format!("etcd-endpoints:///{}", self.endpoints.first().map_or("", |endpoint| &endpoint.given))
    }
}

/// User and token; a password that is missing is asked for.
fn credentials(values: &Values) -> Result<(Option<User>, Option<String>), Failure> {
    let (user, token) = (values.text("user"), values.text("auth-jwt-token"));
    if !token.is_empty() {
        return Ok((None, Some(token.to_owned())));
    }
    let user = split_user(user, values.text("password"), "Password: ")?;
    // Without a password etcd's client does not authenticate at all.
    Ok((user.filter(|(_, password)| !password.is_empty()), None))
}

/// `name[:password]`, with the password from elsewhere or asked for. `None` without a name.
///
/// # Errors
/// If the password cannot be asked for.
pub fn split_user(user: &str, password: &str, prompt: &str) -> Result<Option<User>, Failure> {
    if user.is_empty() {
        return Ok(None);
    }
    if !password.is_empty() {
        return Ok(Some((user.to_owned(), password.to_owned())));
    }
    match user.split_once(':') {
        Some((name, password)) => Ok(Some((name.to_owned(), password.to_owned()))),
        None => Ok(Some((user.to_owned(), ask_password(prompt)?))),
    }
}

/// # Errors
/// If neither a terminal nor stdin gives one.
pub fn ask_password(prompt: &str) -> Result<String, Failure> {
    password::ask(prompt).map_err(Failure::error)
}

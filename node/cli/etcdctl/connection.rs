//! Which cluster to reach, how and as whom, by flags and environment (etcd `etcdctl/ctlv3/command/global.go`).

use super::failure::{BAD_CONNECTION, Failure};
use super::flags::Values;
use super::log::Logger;
use super::{Call, discover, password};
use crate::client::{Client, Settings, User};
use crate::net::tls::{Secure, TlsError};
use std::sync::Arc;

/// A file of TLS cannot be used.
impl From<TlsError> for Failure {
    fn from(error: TlsError) -> Self {
        Failure::args(error)
    }
}

/// A client whose lines on stderr have etcd's usual name.
///
/// # Errors
/// If the user is refused, or nobody answers within the time for connecting.
pub async fn open(settings: Settings) -> Result<Client, Failure> {
    let client = Client::new(settings, Arc::new(Logger::named("etcd-client"))).await;
    client.map_err(|error| Failure::new(BAD_CONNECTION, error))
}

/// # Errors
/// If a flag contradicts another, or no SRV records are found.
pub async fn settings(call: &Call) -> Result<Settings, Failure> {
    let values = &call.values;
    let mut endpoints = discover::endpoints(values).await?;
    if endpoints.is_empty() {
        endpoints = values.list("endpoints");
    }
    for flag in ["cert", "key", "cacert"] {
        if values.is_set(flag) && values.text(flag).is_empty() {
            return Err(Failure::args(format_args!("empty string is passed to --{flag} option")));
        }
    }
    let (user, token) = credentials(values)?;
    // Certificates of members that were found are for the domain that was asked.
    let domain = if values.switch("insecure-discovery") { "" } else { values.text("discovery-srv") };
    let mut settings = to_servers(values, &endpoints, domain)?;
    (settings.user, settings.token) = (user, token);
    Ok(settings)
}

fn to_servers(values: &Values, endpoints: &[String], server_name: &str) -> Result<Settings, Failure> {
    let text = |flag: &str| values.text(flag).to_owned();
    let asked = Secure {
        cert: text("cert"),
        key: text("key"),
        cacert: text("cacert"),
        server_name: server_name.to_owned(),
        insecure_transport: values.switch("insecure-transport"),
        insecure_skip_verify: values.switch("insecure-skip-tls-verify"),
    };
    to_secured(values, endpoints, &asked)
}

/// For these endpoints and nobody in particular, behind TLS as it is `asked` for, all else as the flags say.
///
/// # Errors
/// If a flag contradicts another, or a file cannot be used.
pub fn to_secured(values: &Values, endpoints: &[String], asked: &Secure) -> Result<Settings, Failure> {
    let mut named: Vec<String> = endpoints.iter().filter(|endpoint| !endpoint.is_empty()).cloned().collect();
    if named.is_empty() {
        named.push("127.0.0.1:2379".to_owned());
    }
    let mut settings = Settings::new(&named, asked.settings()?)?;
    settings.dial_timeout = values.duration("dial-timeout");
    settings.keepalive_time = values.duration("keepalive-time");
    settings.keepalive_timeout = values.duration("keepalive-timeout");
    let limited = settings.limit(values.int("max-request-bytes"), values.int("max-recv-bytes"));
    limited.map_err(|text| Failure::new(BAD_CONNECTION, text))?;
    Ok(settings)
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

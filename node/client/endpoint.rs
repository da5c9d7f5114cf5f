//! Addresses of members: `host:port`, `http://host:port`, `unix://path`, the same with an `s` for TLS; without a port it is 2379.

use super::Settings;
use crate::config::go_io_error;
use crate::net::{Address, Target, host_of};
use std::error::Error;
use std::time::Duration;
use tonic::transport::{Channel, Endpoint as Http};

const DEFAULT_PORT: &str = "2379";

/// A shorter one is refused by servers that mind being asked too often.
const MIN_KEEPALIVE: Duration = Duration::from_secs(10);

/// An endpoint as it was given, and what that means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub given: String,
    target: Target,
}

impl Endpoint {
    /// One that does not say is behind TLS if `is_secure`.
    pub fn parse(given: &str, is_secure: bool) -> Self {
        let (scheme, rest) = given.split_once(':').unwrap_or(("", given));
        let (is_unix, is_secure) = match scheme {
            "unix" => (true, is_secure),
            "unixs" => (true, true),
            "http" => (false, false),
            "https" => (false, true),
            _ => (false, is_secure),
        };
        let rest = if is_unix || given.starts_with("http") && given.contains("://") { rest } else { given };
        let rest = rest.strip_prefix("//").unwrap_or(rest);
        let target = if is_unix {
            // etcd's clients look for a server of that name.
            let name = rest.rsplit('/').next().unwrap_or_default().split(':').next().unwrap_or_default();
            Target { address: Address::Unix(rest.into()), host: name.to_owned(), is_secure }
        } else {
            let authority = with_port(rest.split('/').next().unwrap_or_default());
            let host = host_of(&authority).to_owned();
            Target { address: Address::Tcp(authority), host, is_secure }
        };
        Self { given: given.to_owned(), target }
    }

    pub fn is_secure(&self) -> bool {
        self.target.is_secure
    }

    /// `Err` is the reason as grpc-go tells it.
    pub async fn connect(&self, settings: &Settings) -> Result<Channel, String> {
        let authority = match &self.target.address {
            Address::Tcp(address) => address.as_str(),
            Address::Unix(_) => "localhost",
        };
        let http = Http::from_shared(format!("http://{authority}")).map_err(|error| refused(&error.to_string()))?;
        let mut http = http.user_agent("keelstone").map_err(|error| refused(&error.to_string()))?;
        if !settings.keepalive_time.is_zero() {
            http = http
                .http2_keep_alive_interval(settings.keepalive_time.max(MIN_KEEPALIVE))
                .keep_alive_timeout(settings.keepalive_timeout);
        }
        // One attempt must not hold up the others.
        let http = http.connect_timeout(settings.dial_timeout.max(Duration::from_secs(1)));
        let connected = http.connect_with_connector(settings.reach.connector_to(self.target.clone())).await;
        connected.map_err(|error| match innermost(&error) {
            Innermost::Tls(why) => {
                format!("connection error: desc = \"transport: authentication handshake failed: {why}\"")
            }
            Innermost::Dial(why) => {
                let network = if matches!(self.target.address, Address::Tcp(_)) { "tcp" } else { "unix" };
                refused(&format!("dial {network} {}: {why}", self.target.address))
            }
        })
    }
}

fn refused(why: &str) -> String {
    format!("connection error: desc = \"transport: Error while dialing: {why}\"")
}

/// The port is what follows the last colon, unless that belongs to an IPv6 address.
fn with_port(host: &str) -> String {
    let is_bare_v6 = host.matches(':').count() > 1 && !host.starts_with('[');
    let has_port = !is_bare_v6 && host.rsplit(']').next().is_some_and(|end| end.contains(':'));
    match (has_port, is_bare_v6) {
        (true, _) => host.to_owned(),
        (false, true) => format!("[{host}]:{DEFAULT_PORT}"),
        (false, false) => format!("{host}:{DEFAULT_PORT}"),
    }
}

/// An error and what caused it, in one line.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// Why there is no connection.
enum Innermost {
    /// Nobody was reached. In Go's words.
    Dial(String),
    /// The other side was.
    Tls(String),
}

fn innermost(error: &(dyn Error + 'static)) -> Innermost {
    let mut error = error;
    loop {
        if let Some(error) = error.downcast_ref::<rustls::Error>() {
            return Innermost::Tls(error.to_string());
        }
        // An I/O error hides what it wraps from `source`.
        let wrapped = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        match wrapped.map(|wrapped| wrapped as &(dyn Error + 'static)).or_else(|| error.source()) {
            Some(source) => error = source,
            None => break,
        }
    }
    Innermost::Dial(match error.downcast_ref::<std::io::Error>() {
        Some(error) if error.kind() == std::io::ErrorKind::TimedOut => "i/o timeout".to_owned(),
        Some(error) => format!("connect: {}", go_io_error(error)),
        None => error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_may_lack_scheme_and_port() {
        let tcp = |authority: &str| Address::Tcp(authority.to_owned());
        for (given, address, is_secure) in [
            ("127.0.0.1:1", tcp("127.0.0.1:1"), false),
            ("http://host:1/", tcp("host:1"), false),
            ("http://host", tcp("host:2379"), false),
            ("https://host", tcp("host:2379"), true),
            ("host", tcp("host:2379"), false),
            ("[::1]", tcp("[::1]:2379"), false),
            ("::1", tcp("[::1]:2379"), false),
            ("[::1]:5", tcp("[::1]:5"), false),
            ("unix:///run/x", Address::Unix("/run/x".into()), false),
            ("unix://x:0", Address::Unix("x:0".into()), false),
            ("unix:x", Address::Unix("x".into()), false),
            ("unixs://x:0", Address::Unix("x:0".into()), true),
            ("httpd:1", tcp("httpd:1"), false),
        ] {
            let target = Endpoint::parse(given, false).target;
            assert_eq!((target.address, target.is_secure), (address, is_secure), "{given}");
        }
        assert!(Endpoint::parse("host", true).is_secure());
        assert!(!Endpoint::parse("http://host", true).is_secure());
    }
}

//! Addresses of members: `host:port`, `http://host:port`, `unix://path`; without a port it is 2379.

use super::Settings;
use crate::config::go_io_error;
use crate::net::{Connecting, Connection, Dial};
use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;
use tokio::net::{TcpStream, UnixStream};
use tonic::transport::{Channel, Endpoint as Target};

const DEFAULT_PORT: &str = "2379";

/// A shorter one is refused by servers that mind being asked too often.
const MIN_KEEPALIVE: Duration = Duration::from_secs(10);

/// Where a connection goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wire {
    /// `host:port`
    Tcp(String),
    Unix(PathBuf),
}

/// An endpoint as it was given, and what that means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub given: String,
    wire: Wire,
}

impl Endpoint {
    /// # Errors
    /// If it asks for TLS: the answer is the scheme.
    pub fn parse(given: &str) -> Result<Self, &'static str> {
        let wire = if let Some(path) = given.strip_prefix("unix:") {
            Wire::Unix(path.strip_prefix("//").unwrap_or(path).into())
        } else if given.starts_with("unixs:") {
            return Err("unixs");
        } else if given.starts_with("https://") {
            return Err("https");
        } else {
            let host = given.strip_prefix("http://").unwrap_or(given);
            let host = host.split('/').next().unwrap_or_default();
            Wire::Tcp(with_port(host))
        };
        Ok(Self { given: given.to_owned(), wire })
    }

    /// `Err` is the reason as grpc-go tells it.
    pub async fn connect(&self, settings: &Settings) -> Result<Channel, String> {
        let authority = match &self.wire {
            Wire::Tcp(address) => address.as_str(),
            Wire::Unix(_) => "localhost",
        };
        let target = Target::from_shared(format!("http://{authority}")).map_err(|error| refused(&error.to_string()))?;
        let mut target = target.user_agent("etcdctl").map_err(|error| refused(&error.to_string()))?;
        if !settings.keepalive_time.is_zero() {
            target = target
                .http2_keep_alive_interval(settings.keepalive_time.max(MIN_KEEPALIVE))
                .keep_alive_timeout(settings.keepalive_timeout);
        }
        // One attempt must not hold up the others.
        let target = target.connect_timeout(settings.dial_timeout.max(Duration::from_secs(1)));
        let connected = target.connect_with_connector(super::connector(self.wire.clone())).await;
        connected.map_err(|error| {
            let network = if matches!(self.wire, Wire::Tcp(_)) { "tcp" } else { "unix" };
            let address = match &self.wire {
                Wire::Tcp(address) => address.clone(),
                Wire::Unix(path) => path.display().to_string(),
            };
            refused(&format!("dial {network} {address}: {}", cause(&error)))
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

/// The innermost cause; one of the system's in Go's words.
fn cause(error: &(dyn Error + 'static)) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    match error.downcast_ref::<std::io::Error>() {
        Some(error) if error.kind() == std::io::ErrorKind::TimedOut => "i/o timeout".to_owned(),
        Some(error) => format!("connect: {}", go_io_error(error)),
        None => error.to_string(),
    }
}

impl Dial for Wire {
    fn dial(&self, _: &str) -> Connecting {
        let wire = self.clone();
        Box::pin(async move {
            Ok(match wire {
                Wire::Tcp(address) => {
                    let stream = TcpStream::connect(address).await?;
                    stream.set_nodelay(true)?;
                    Box::new(stream) as Connection
                }
                Wire::Unix(path) => Box::new(UnixStream::connect(path).await?),
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_may_lack_scheme_and_port() {
        for (given, wire) in [
            ("127.0.0.1:1", Wire::Tcp("127.0.0.1:1".to_owned())),
            ("http://host:1/", Wire::Tcp("host:1".to_owned())),
            ("http://host", Wire::Tcp("host:2379".to_owned())),
            ("host", Wire::Tcp("host:2379".to_owned())),
            ("[::1]", Wire::Tcp("[::1]:2379".to_owned())),
            ("::1", Wire::Tcp("[::1]:2379".to_owned())),
            ("[::1]:5", Wire::Tcp("[::1]:5".to_owned())),
            ("unix:///run/x", Wire::Unix("/run/x".into())),
            ("unix://x:0", Wire::Unix("x:0".into())),
            ("unix:x", Wire::Unix("x".into())),
        ] {
            assert_eq!(Endpoint::parse(given).map(|endpoint| endpoint.wire), Ok(wire), "{given}");
        }
        assert_eq!(Endpoint::parse("https://host"), Err("https"));
        assert_eq!(Endpoint::parse("unixs://x"), Err("unixs"));
    }
}

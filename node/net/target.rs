//! Where a connection goes, and whether behind TLS.

use std::fmt;
use std::path::PathBuf;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// `host:port`
    Tcp(String),
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(authority) => f.write_str(authority),
            Address::Unix(path) => path.display().fmt(f),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    pub address: Address,
    /// The host that a certificate must name.
    pub host: String,
    pub is_secure: bool,
}

/// A URL that is none of `http`, `https`, `unix` and `unixs`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}: URL scheme must be http, https, unix, or unixs")]
pub struct UnknownScheme(pub String);

impl Target {
    /// Reads a URL. A path behind a host and port is passed over.
    ///
    /// # Errors
    /// Of its scheme.
    pub fn parse(url: &str) -> Result<Self, UnknownScheme> {
        let (scheme, rest) = url.split_once(':').ok_or_else(|| UnknownScheme(url.to_owned()))?;
        let rest = rest.strip_prefix("//").unwrap_or(rest);
        let authority = rest.split('/').next().unwrap_or_default();
        let (is_unix, is_secure) = match scheme {
            "http" => (false, false),
            "https" => (false, true),
            "unix" => (true, false),
            "unixs" => (true, true),
            _ => return Err(UnknownScheme(url.to_owned())),
        };
        let address = if is_unix { Address::Unix(rest.into()) } else { Address::Tcp(authority.to_owned()) };
        Ok(Self { address, host: host_of(authority).to_owned(), is_secure })
    }
}

/// Without port and brackets.
pub fn host_of(authority: &str) -> &str {
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => host,
        _ => authority,
    };
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_an_address_and_a_host() {
        let tcp = |authority: &str| Address::Tcp(authority.to_owned());
        for (url, address, host, is_secure) in [
            ("http://10.0.0.1:2380", tcp("10.0.0.1:2380"), "10.0.0.1", false),
            ("https://a.example:2380/", tcp("a.example:2380"), "a.example", true),
            ("https://[::1]:2380", tcp("[::1]:2380"), "::1", true),
            ("https://[::1]", tcp("[::1]"), "::1", true),
            ("unix://localhost:5", Address::Unix("localhost:5".into()), "localhost", false),
            ("unixs:///run/x", Address::Unix("/run/x".into()), "", true),
            ("unix:x", Address::Unix("x".into()), "x", false),
        ] {
            let expected = Target { address, host: host.to_owned(), is_secure };
            assert_eq!(Target::parse(url), Ok(expected), "{url}");
        }
        assert!(Target::parse("ftp://x").is_err());
        assert!(Target::parse("x").is_err());
    }
}

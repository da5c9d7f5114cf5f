//! URLs as etcd's flags take them: `http`, `https`, `unix` and `unixs`, read by the rules of Go's `net/url` with
//! its error texts, since operators and etcd's own tests see them. Not a general URL type.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

/// How a listener or a peer is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scheme {
    Http,
    Https,
    Unix,
    Unixs,
}

impl Scheme {
    /// True if the connection is wrapped in TLS.
    pub fn is_secure(self) -> bool {
        matches!(self, Scheme::Https | Scheme::Unixs)
    }

    pub fn is_unix(self) -> bool {
        matches!(self, Scheme::Unix | Scheme::Unixs)
    }

    fn text(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
            Scheme::Unix => "unix",
            Scheme::Unixs => "unixs",
        }
    }
}

/// One checked URL. An `http(s)` URL has a `host:port` (either may be empty) and no path; a `unix(s)` one names
/// a socket by authority and path. Ordered and printed by its text, as etcd sorts its lists.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Url {
    scheme: Scheme,
    /// `host:port` as written; for unix sockets what stands between `//` and the path, often empty.
    authority: String,
    path: String,
    /// Invariant: the whole URL as Go prints it; it decides order and equality of lists.
    text: String,
}

/// Why a text is no URL for etcd; the texts are etcd's and Go's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    #[error("parse {url:?}: {reason}")]
    Syntax { url: String, reason: String },
    #[error("URL scheme must be http, https, unix, or unixs: {0}")]
    Scheme(String),
    #[error("URL address does not have the form \"host:port\": {0}")]
    HostPort(String),
    #[error("URL must not contain a path: {0}")]
    Path(String),
}

impl Url {
    /// Reads one URL; white space around it is dropped.
    pub fn parse(text: &str) -> Result<Url, UrlError> {
        let text = text.trim();
        let syntax = |reason: String| UrlError::Syntax { url: text.to_owned(), reason };
        if text.bytes().any(|byte| byte < b' ' || byte == 0x7f) {
            return Err(syntax("net/url: invalid control character in URL".to_owned()));
        }
        let (scheme, rest) = split_scheme(text).map_err(|reason| syntax(reason.to_owned()))?;
        // A query or fragment takes no part in reaching a socket; it is kept in the text only.
        let bare = rest.split(['?', '#']).next().unwrap_or_default();
        if scheme.is_empty() && bare.split('/').next().is_some_and(|segment| segment.contains(':')) {
            return Err(syntax("first path segment in URL cannot contain colon".to_owned()));
        }
        let (authority, path) = match bare.strip_prefix("//") {
            Some(after) => after.split_at(after.find('/').unwrap_or(after.len())),
            None => ("", bare),
        };
        let scheme = match scheme.as_str() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            "unix" => Scheme::Unix,
            "unixs" => Scheme::Unixs,
            _ => return Err(UrlError::Scheme(text.to_owned())),
        };
        let tcp = !scheme.is_unix();
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        check_authority(host, tcp).map_err(syntax)?;
        if tcp && split_host_port(host).is_err() {
            return Err(UrlError::HostPort(text.to_owned()));
        }
        // "http:foo" is an opaque URL to Go: no host, so it was refused above; a unix path may be opaque.
        if tcp && !path.is_empty() {
            return Err(UrlError::Path(text.to_owned()));
        }
        Ok(Url { scheme, authority: host.to_owned(), path: path.to_owned(), text: format!("{}:{rest}", scheme.text()) })
    }

    /// Reads a comma-separated list: at least one URL, sorted by text, as etcd keeps lists. Repetitions stay.
    pub fn parse_list(text: &str) -> Result<Vec<Url>, UrlError> {
        let mut urls = text.split(',').map(Url::parse).collect::<Result<Vec<_>, _>>()?;
        urls.sort();
        Ok(urls)
    }

    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// `host:port` as written in the URL.
    pub fn host_port(&self) -> &str {
        &self.authority
    }

    /// The host without brackets; empty for `http://:2379`.
    pub fn host(&self) -> &str {
        split_host_port(&self.authority).map_or("", |(host, _)| host)
    }

    /// The port's digits; may be empty.
    pub fn port(&self) -> &str {
        split_host_port(&self.authority).map_or("", |(_, port)| port)
    }

    /// Where a unix URL's socket lies: authority and path together, as etcd binds it.
    pub fn socket_path(&self) -> String {
        format!("{}{}", self.authority, self.path)
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The same scheme at another host; an IPv6 address is put in brackets.
    pub fn with_host(&self, host: &str, port: &str) -> Url {
        let authority = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        let text = format!("{}://{authority}", self.scheme.text());
        Url { scheme: self.scheme, authority, path: String::new(), text }
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl PartialOrd for Url {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Url {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.text.cmp(&other.text)
    }
}

/// Joins URLs with commas, as etcd prints lists.
pub fn join(urls: &[Url]) -> String {
    urls.iter().map(Url::as_str).collect::<Vec<_>>().join(",")
}

/// A listener needs an IP or `localhost`. The error is etcd's text. Unix sockets pass.
pub(super) fn check_bind(url: &Url) -> Result<(), String> {
    if url.scheme.is_unix() {
        return Ok(());
    }
    let (host, _) = split_host_port(&url.authority)?;
    match host {
        "localhost" => Ok(()),
        host if host.parse::<IpAddr>().is_ok() => Ok(()),
        _ => Err(ListenUrlError::NotAnIp(url.clone()).to_string()),
    }
}

/// An advertised URL must name a host. The error is etcd's text. Unix sockets pass.
pub(super) fn check_host(url: &Url) -> Result<(), String> {
    if url.scheme.is_unix() {
        return Ok(());
    }
    match split_host_port(&url.authority)? {
        ("", _) => Err(format!("unexpected empty host ({url})")),
        _ => Ok(()),
    }
}

/// What is bound for a URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenAddress {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ListenAddress::Tcp(address) => address.fmt(f),
            ListenAddress::Unix(path) => path.display().fmt(f),
        }
    }
}

/// A URL to listen on, with the address it stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenUrl {
    url: Url,
    address: ListenAddress,
}

/// Why a URL cannot be listened on; texts are etcd's and Go's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ListenUrlError {
    #[error("expected IP in URL for binding ({0})")]
    NotAnIp(Url),
    #[error("listen tcp: address {0}: invalid port")]
    Port(String),
}

impl ListenUrl {
    /// Accepts an IP or `localhost` (IPv4 loopback, which Go picks too); names are refused, since what they
    /// stand for can change.
    pub fn new(url: Url) -> Result<ListenUrl, ListenUrlError> {
        if url.scheme.is_unix() {
            let address = ListenAddress::Unix(url.socket_path().into());
            return Ok(ListenUrl { url, address });
        }
        let ip = match url.host() {
            "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
            host => match host.parse() {
                Ok(ip) => ip,
                Err(_) => return Err(ListenUrlError::NotAnIp(url)),
            },
        };
        let port = match url.port() {
            "" => 0,
            digits => digits.parse().map_err(|_| ListenUrlError::Port(digits.to_owned()))?,
        };
        Ok(ListenUrl { url, address: ListenAddress::Tcp(SocketAddr::new(ip, port)) })
    }

    pub fn url(&self) -> &Url {
        &self.url
    }

    /// The address to bind. Go binds `0.0.0.0` as dual-stack `[::]`; this is the address as written.
    pub fn address(&self) -> &ListenAddress {
        &self.address
    }
}

impl fmt::Display for ListenUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.url.fmt(f)
    }
}

/// Splits off a scheme, lower-cased; empty if there is none (Go `getScheme`).
fn split_scheme(text: &str) -> Result<(String, &str), &'static str> {
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' => {}
            b'0'..=b'9' | b'+' | b'-' | b'.' if at > 0 => {}
            b':' if at == 0 => return Err("missing protocol scheme"),
            b':' => return Ok((text[..at].to_ascii_lowercase(), &text[at + 1..])),
            _ => break,
        }
    }
    Ok((String::new(), text))
}

/// Go's checks of a URL's host: a valid port of digits, brackets around IPv6 only, no strange characters.
fn check_authority(host: &str, tcp: bool) -> Result<(), String> {
    let bad_port = |port: &str| {
        let digits = port.strip_prefix(':');
        !port.is_empty() && !digits.is_some_and(|digits| digits.bytes().all(|b| b.is_ascii_digit()))
    };
    match host.rfind('[') {
        Some(0) => {
            let close = host.rfind(']').ok_or("missing ']' in host")?;
            if bad_port(&host[close + 1..]) {
                return Err(format!("invalid port {:?} after host", &host[close + 1..]));
            }
            let inside = host[1..close].split("%25").next().unwrap_or_default();
            if inside.parse::<std::net::Ipv6Addr>().is_err() {
                return Err("invalid IP-literal".to_owned());
            }
        }
        Some(_) => return Err("invalid IP-literal".to_owned()),
        None => {
            let colon = if tcp { host.find(':') } else { host.rfind(':') };
            if let Some(colon) = colon.filter(|&colon| bad_port(&host[colon..])) {
                return Err(format!("invalid port {:?} after host", &host[colon..]));
            }
        }
    }
    match host.chars().find(|&c| matches!(c, ' ' | '"' | '<' | '>' | '\\' | '^' | '`' | '{' | '|' | '}')) {
        Some('"' | '<' | '>') | None => Ok(()),
        Some(c) => Err(format!("invalid character {:?} in host name", c.to_string())),
    }
}

/// Splits `host:port`, dropping the brackets of an IPv6 host (Go `net.SplitHostPort`); the error is Go's text.
pub fn split_host_port(text: &str) -> Result<(&str, &str), String> {
    let fail = |why: &str| Err(format!("address {text}: {why}"));
    let Some(colon) = text.rfind(':') else { return fail("missing port in address") };
    let (host, rest) = if text.starts_with('[') {
        let Some(close) = text.find(']') else { return fail("missing ']' in address") };
        if close + 1 != colon {
            let why = if text[close + 1..].starts_with(':') { "too many colons" } else { "missing port" };
            return fail(&format!("{why} in address"));
        }
        (&text[1..close], &text[close + 1..])
    } else {
        if text[..colon].contains(':') {
            return fail("too many colons in address");
        }
        (&text[..colon], text)
    };
    match (host.contains('[') || rest.contains('['), rest.contains(']')) {
        (true, _) => fail("unexpected '[' in address"),
        (_, true) => fail("unexpected ']' in address"),
        _ => Ok((host, &text[colon + 1..])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_print_as_written_with_a_lower_case_scheme() {
        for (given, printed) in [
            ("http://127.0.0.1:2379", "http://127.0.0.1:2379"),
            (" HTTPS://[::1]:2379 ", "https://[::1]:2379"),
            ("unix:///run/etcd.sock", "unix:///run/etcd.sock"),
            ("unix://localhost:2379", "unix://localhost:2379"),
        ] {
            assert_eq!(Url::parse(given).unwrap().as_str(), printed);
        }
        assert_eq!(Url::parse("unix:///run/x").unwrap().socket_path(), "/run/x");
        assert_eq!(Url::parse("unix://localhost:2379").unwrap().socket_path(), "localhost:2379");
    }

    /// Expected texts were recorded from etcd 3.7.3 (Go 1.26).
    #[test]
    fn a_refused_url_says_why_in_etcds_words() {
        for (given, said) in [
            ("foo", "URL scheme must be http, https, unix, or unixs: foo"),
            ("ftp://a:1", "URL scheme must be http, https, unix, or unixs: ftp://a:1"),
            ("http://a", "URL address does not have the form \"host:port\": http://a"),
            ("http:a", "URL address does not have the form \"host:port\": http:a"),
            ("http://a:1/x", "URL must not contain a path: http://a:1/x"),
            ("http://a:1/", "URL must not contain a path: http://a:1/"),
            ("http://a b:1", "parse \"http://a b:1\": invalid character \" \" in host name"),
            ("http://a:x", "parse \"http://a:x\": invalid port \":x\" after host"),
            ("http://1.1.1.1:1:2", "parse \"http://1.1.1.1:1:2\": invalid port \":1:2\" after host"),
            ("127.0.0.1:2379", "parse \"127.0.0.1:2379\": first path segment in URL cannot contain colon"),
            ("://a", "parse \"://a\": missing protocol scheme"),
            ("", "URL scheme must be http, https, unix, or unixs: "),
        ] {
            assert_eq!(Url::parse(given).unwrap_err().to_string(), said, "{given}");
        }
    }

    #[test]
    fn a_list_is_sorted() {
        let urls = Url::parse_list("http://b:2, http://a:1").unwrap();
        assert_eq!(join(&urls), "http://a:1,http://b:2");
    }

    #[test]
    fn listening_needs_an_ip_or_localhost() {
        let listen = |text: &str| ListenUrl::new(Url::parse(text).unwrap());
        assert_eq!(listen("http://localhost:2379").unwrap().address().to_string(), "127.0.0.1:2379");
        assert_eq!(listen("http://[::]:2379").unwrap().address().to_string(), "[::]:2379");
        assert_eq!(listen("http://a:1").unwrap_err().to_string(), "expected IP in URL for binding (http://a:1)");
        assert_eq!(listen("http://:1").unwrap_err().to_string(), "expected IP in URL for binding (http://:1)");
        assert_eq!(
            listen("http://127.0.0.1:70000").unwrap_err().to_string(),
            "listen tcp: address 70000: invalid port"
        );
    }
}

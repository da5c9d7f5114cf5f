//! Where a plugin may speak to, as an operator writes it: scheme, name and port.

use super::address;
use http::{Uri, uri::Scheme};
use serde::{Deserialize, Deserializer, de};
use std::net::IpAddr;

/// `https://s3.example.org`, `https://*.example.org:8443`: a star stands for one or more names at the front.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    is_https: bool,
    /// Lower case. Of a pattern with a star, what follows it: `.example.org`.
    host: String,
    is_suffix: bool,
    port: u16,
    /// It may be at a private address or on this machine.
    private: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    origin: String,
    #[serde(default)]
    private: bool,
}

/// Where a request wants to go.
pub(super) struct Target {
    is_https: bool,
    /// Lower case, without a dot at the end.
    host: String,
    pub port: u16,
}

impl Target {
    pub fn of(uri: &Uri) -> Option<Self> {
        let authority = uri.authority()?;
        // Names with a user before them have misled many a reader.
        if authority.as_str().contains('@') {
            return None;
        }
        let is_https = match uri.scheme()? {
            scheme if *scheme == Scheme::HTTPS => true,
            scheme if *scheme == Scheme::HTTP => false,
            _ => return None,
        };
        let host = authority.host().to_ascii_lowercase();
        let host = host.strip_suffix('.').map(str::to_owned).unwrap_or(host);
        let port = match authority.port() {
            Some(port) => port.as_str().parse().ok()?,
            // A colon with no number, or one that is too large, is not the scheme's.
            None if authority.as_str().len() > authority.host().len() => return None,
            None if is_https => 443,
            None => 80,
        };
        (!host.is_empty()).then_some(Self { is_https, host, port })
    }

    /// Without the brackets of an IPv6 address.
    pub fn bare_host(&self) -> &str {
        self.host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(&self.host)
    }
}

impl Origin {
    fn parse(written: Written) -> Option<Self> {
        let is_suffix = written.origin.contains("://*.");
        let plain = written.origin.replacen("://*.", "://", 1);
        let uri: Uri = plain.parse().ok()?;
        let is_bare = uri.path_and_query().is_none_or(|path| path.as_str() == "/" && !plain.ends_with('/'));
        let target = Target::of(&uri).filter(|target| is_bare && !target.host.contains('*'))?;
        let host = if is_suffix { format!(".{}", target.host) } else { target.host };
        Some(Self { is_https: target.is_https, host, is_suffix, port: target.port, private: written.private })
    }

    /// The name is on the list.
    pub(super) fn covers(&self, target: &Target) -> bool {
        let is_host = match self.is_suffix {
            true => target.host.len() > self.host.len() && target.host.ends_with(&self.host),
            false => target.host == self.host,
        };
        is_host && self.is_https == target.is_https && self.port == target.port
    }

    /// And this is an address at which it may be.
    pub(super) fn allows(&self, target: &Target, found: IpAddr) -> bool {
        match address::reach(found) {
            address::Reach::Public => true,
            address::Reach::Private => self.private,
            // Credentials of machines are handed out there; no name may lead to it.
            address::Reach::LinkLocal => self.private && target.bare_host().parse() == Ok(found),
            address::Reach::Nowhere => false,
        }
    }
}

impl<'de> Deserialize<'de> for Origin {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let written = Written::deserialize(deserializer)?;
        let text = written.origin.clone();
        let wanted = "like \"https://s3.example.org\" or \"https://*.example.org:8443\"";
        Self::parse(written).ok_or_else(|| de::Error::custom(format!("{text:?} is no origin {wanted}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(text: &str, private: bool) -> Option<Origin> {
        Origin::parse(Written { origin: text.to_owned(), private })
    }

    fn target(uri: &str) -> Option<Target> {
        Target::of(&uri.parse().ok()?)
    }

    #[test]
    fn a_name_is_covered_with_its_scheme_and_port_only() {
        let covers = |text: &str, uri: &str| origin(text, false).unwrap().covers(&target(uri).unwrap());
        assert!(covers("https://s3.example.org", "https://S3.Example.org:443/bucket/key?x=1"));
        assert!(covers("https://s3.example.org", "https://s3.example.org./"));
        assert!(covers("https://*.example.org:8443", "https://a.b.example.org:8443/"));
        assert!(covers("http://[::1]:9000", "http://[::1]:9000/"));
        for (text, uri) in [
            ("https://s3.example.org", "http://s3.example.org:443/"),
            ("https://s3.example.org", "https://s3.example.org:8443/"),
            ("https://s3.example.org", "https://xs3.example.org/"),
            ("https://s3.example.org", "https://s3.example.org.evil.net/"),
            ("https://*.example.org", "https://example.org/"),
            ("https://*.example.org", "https://evilexample.org/"),
        ] {
            assert!(!covers(text, uri), "{text} {uri}");
        }
    }

    #[test]
    fn what_is_no_origin_is_refused() {
        for text in [
            "s3.example.org",
            "ftp://s3.example.org",
            "https://",
            "https://s3.example.org/path",
            "https://s3.example.org/",
            "https://user@s3.example.org",
            "https://*",
            "https://a.*.org",
            "https://s3.example.org:99999",
            "https://s3.example.org:",
        ] {
            assert!(origin(text, false).is_none(), "{text}");
        }
        assert!(target("https://user:pass@s3.example.org/").is_none());
        assert!(target("/path").is_none());
    }

    #[test]
    fn addresses_that_are_not_public_need_a_grant() {
        let allows = |text: &str, private: bool, uri: &str, found: &str| {
            origin(text, private).unwrap().allows(&target(uri).unwrap(), found.parse().unwrap())
        };
        let (text, uri) = ("https://minio.lan", "https://minio.lan/");
        assert!(allows(text, false, uri, "93.184.215.14"));
        for found in ["127.0.0.1", "10.1.2.3", "::1", "fd00::1", "::ffff:192.168.0.1", "64:ff9b::a00:1", "100.64.0.1"] {
            assert!(!allows(text, false, uri, found), "{found}");
            assert!(allows(text, true, uri, found), "{found}");
        }
        for found in ["169.254.169.254", "::ffff:169.254.169.254", "fe80::1", "0.0.0.0", "255.255.255.255", "ff02::1"] {
            assert!(!allows(text, true, uri, found), "{found}");
        }
        assert!(allows("http://169.254.169.254", true, "http://169.254.169.254/", "169.254.169.254"));
        assert!(!allows("http://0.0.0.0", true, "http://0.0.0.0/", "0.0.0.0"));
    }
}

//! Peer URLs, checked as etcd checks them (`client/pkg/types/urls.go`), and the map of `--initial-cluster`.
//! They are kept as text: ids are hashes of that text.

use super::ids::member_id;
use super::member::Member;
use crate::types::MemberId;
use std::collections::BTreeMap;

/// At least one URL, sorted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerUrls(Vec<String>);

/// Why a URL is not that of a member. The texts are etcd's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    #[error("no valid URLs given")]
    None,
    #[error("parse \"{0}\": first path segment in URL cannot contain colon")]
    Syntax(String),
    #[error("URL scheme must be http, https, unix, or unixs: {0}")]
    Scheme(String),
    #[error("URL address does not have the form \"host:port\": {0}")]
    Address(String),
    #[error("URL must not contain a path: {0}")]
    Path(String),
}

impl PeerUrls {
    pub fn parse<S: AsRef<str>>(urls: impl IntoIterator<Item = S>) -> Result<Self, UrlError> {
        let mut urls = urls.into_iter().map(|url| parse_one(url.as_ref().trim())).collect::<Result<Vec<_>, _>>()?;
        if urls.is_empty() {
            return Err(UrlError::None);
        }
        urls.sort_unstable();
        Ok(Self(urls))
    }

    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    pub fn into_vec(self) -> Vec<String> {
        self.0
    }
}

/// Checks one URL and answers its text with the scheme in lower case, as Go prints a parsed URL.
fn parse_one(url: &str) -> Result<String, UrlError> {
    if url.chars().any(|char| char.is_ascii_control() || char == ' ') {
        return Err(UrlError::Syntax(url.to_owned()));
    }
    let (scheme, rest) = url.split_once("://").ok_or_else(|| UrlError::Scheme(url.to_owned()))?;
    let scheme = scheme.to_ascii_lowercase();
    match scheme.as_str() {
        "unix" | "unixs" => {}
        "http" | "https" => {
            let authority_len = rest.find(['/', '?', '#']).unwrap_or(rest.len());
            let (authority, tail) = rest.split_at(authority_len);
            if !is_host_and_port(authority) {
                return Err(UrlError::Address(url.to_owned()));
            }
            if tail.starts_with('/') {
                return Err(UrlError::Path(url.to_owned()));
            }
        }
        _ => return Err(UrlError::Scheme(url.to_owned())),
    }
    Ok(format!("{scheme}://{rest}"))
}

/// `host:port` or `[ipv6]:port`. The host may be empty, the port is digits.
fn is_host_and_port(authority: &str) -> bool {
    let Some((host, port)) = authority.rsplit_once(':') else { return false };
    let host_is_plain = match host.strip_prefix('[') {
        Some(bracketed) => bracketed.strip_suffix(']').is_some_and(|inner| !inner.contains(['[', ']'])),
        None => !host.contains([':', '[', ']']),
    };
    host_is_plain && port.bytes().all(|byte| byte.is_ascii_digit())
}

/// What `--initial-cluster` says: names and their peer URLs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InitialCluster(BTreeMap<String, PeerUrls>);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InitialClusterError {
    #[error("member {name:?} of the initial cluster")]
    Url { name: String, source: UrlError },
    #[error("member exists with identical ID {0}")]
    SameId(MemberId),
    #[error("cannot use 0 as member id")]
    ZeroId,
}

impl InitialCluster {
    /// Reads `name=url,name=url,...`; a name may come more than once, empty parts and blanks around a part are skipped.
    pub fn parse(text: &str) -> Result<Self, InitialClusterError> {
        let mut urls_of = BTreeMap::<&str, Vec<&str>>::new();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (name, url) = part.split_once('=').unwrap_or((part, ""));
            urls_of.entry(name).or_default().push(url);
        }
        let checked = urls_of.into_iter().map(|(name, urls)| match PeerUrls::parse(urls) {
            Ok(urls) => Ok((name.to_owned(), urls)),
            Err(source) => Err(InitialClusterError::Url { name: name.to_owned(), source }),
        });
        Ok(Self(checked.collect::<Result<_, _>>()?))
    }

    pub fn peer_urls(&self, name: &str) -> Option<&PeerUrls> {
        self.0.get(name)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &PeerUrls)> {
        self.0.iter().map(|(name, urls)| (name.as_str(), urls))
    }

    /// The members with their ids in a new cluster of this token, sorted by id, all voters.
    pub fn members(&self, token: &str) -> Result<Vec<Member>, InitialClusterError> {
        let mut members: Vec<Member> = Vec::with_capacity(self.0.len());
        for (name, urls) in &self.0 {
            let id = member_id(urls, token, None);
            if id == MemberId(0) {
                return Err(InitialClusterError::ZeroId);
            }
            members.push(Member { name: name.clone(), ..Member::new(id, urls.clone()) });
        }
        members.sort_unstable_by_key(|member| member.id);
        match members.windows(2).find(|pair| pair[0].id == pair[1].id) {
            Some(pair) => Err(InitialClusterError::SameId(pair[0].id)),
            None => Ok(members),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_trimmed_and_sorted() {
        let urls = PeerUrls::parse([" http://b:1", "HTTPS://a:2"]).expect("valid");
        assert_eq!(urls.into_vec(), ["http://b:1", "https://a:2"]);
    }

    #[test]
    fn urls_that_etcd_refuses_are_refused() {
        let refused = |url: &str| PeerUrls::parse([url]).expect_err(url);
        assert_eq!(refused("localhost:2380"), UrlError::Scheme("localhost:2380".into()));
        assert_eq!(refused("ftp://a:1"), UrlError::Scheme("ftp://a:1".into()));
        assert_eq!(refused("http://a"), UrlError::Address("http://a".into()));
        assert_eq!(refused("http://a:x"), UrlError::Address("http://a:x".into()));
        assert_eq!(refused("http://::1:2380"), UrlError::Address("http://::1:2380".into()));
        assert_eq!(refused("http://a:1/"), UrlError::Path("http://a:1/".into()));
        assert_eq!(PeerUrls::parse([] as [&str; 0]), Err(UrlError::None));
    }

    #[test]
    fn ipv6_and_unix_sockets_are_fine() {
        for url in ["http://[::1]:2380", "unix://localhost:m0", "unixs:///run/a.sock", "http://:2380"] {
            assert!(PeerUrls::parse([url]).is_ok(), "{url}");
        }
    }

    #[test]
    fn a_name_without_url_is_an_error() {
        let error = InitialCluster::parse("a=http://a:1,b").expect_err("no url");
        assert!(matches!(error, InitialClusterError::Url { name, .. } if name == "b"));
    }

    #[test]
    fn a_blank_behind_a_comma_is_forgiven() {
        let cluster = InitialCluster::parse("a=http://a:1, b=http://b:1 ,\tb=http://b:2").expect("parses");
        assert_eq!(cluster, InitialCluster::parse("a=http://a:1,b=http://b:1,b=http://b:2").expect("parses"));
    }

    #[test]
    fn two_names_with_the_same_urls_have_the_same_id() {
        let cluster = InitialCluster::parse("a=http://a:1,b=http://a:1").expect("parses");
        assert!(matches!(cluster.members("t"), Err(InitialClusterError::SameId(_))));
    }
}

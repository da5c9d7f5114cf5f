//! The first start of a cluster: `--initial-cluster` and what must hold before a member may create its log
//! (etcd `server/config` `VerifyBootstrap`). A member that has a log reads none of it.

use super::discovery::Discovery;
use super::url::{Url, UrlError, join};
use std::collections::{BTreeMap, BTreeSet};

/// `--initial-cluster-state`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClusterState {
    New,
    /// Join a cluster that lists this member already.
    Existing,
}

impl ClusterState {
    /// As the flag spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            ClusterState::New => "new",
            ClusterState::Existing => "existing",
        }
    }
}

/// How the cluster comes to be.
#[derive(Clone, Debug)]
pub struct Bootstrap {
    /// As given: a member that has a log does not read it, and must start although it is wrong. Of one that is to find
    /// the others in a registry, itself alone.
    pub initial_cluster: String,
    /// Part of what member and cluster ids are made of.
    pub token: String,
    pub state: ClusterState,
    /// What to ask at the first start, in place of `initial_cluster`.
    pub discovery: Option<Discovery>,
    /// Go on alone with the data that is there, without the other members.
    pub force_new_cluster: bool,
}

/// Peer URLs by member name.
pub type PeerUrls = BTreeMap<String, Vec<Url>>;

/// Why a new member must not start; the texts are etcd's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BootstrapError {
    #[error("error setting up initial cluster: {0}")]
    Url(#[from] UrlError),
    #[error("couldn't find local name {0:?} in the initial cluster configuration")]
    NoLocalMember(String),
    #[error("--initial-cluster has {missing} but missing from --initial-advertise-peer-urls={advertised} ({why})")]
    NotAdvertised { missing: String, advertised: String, why: String },
    #[error("--initial-advertise-peer-urls has {missing} but missing from --initial-cluster={advertised}")]
    NotInCluster { missing: String, advertised: String },
    #[error("initial cluster {0} has duplicate url")]
    DuplicateUrl(String),
    #[error("initial cluster unset and no discovery endpoints found")]
    Unset,
}

impl Bootstrap {
    /// The members that the cluster starts with, checked: this one is among them, with exactly the peer URLs that
    /// it advertises, and no URL occurs twice.
    ///
    /// Where names and addresses are mixed etcd resolves both and compares addresses. `resolve` does that: it
    /// gives the URL with its host replaced by an address, or says why not. It is called only if texts differ.
    pub fn members(
        &self,
        name: &str,
        advertise_peer: &[Url],
        resolve: &dyn Fn(&Url) -> Result<Url, String>,
    ) -> Result<PeerUrls, BootstrapError> {
        let members = parse_members(&self.initial_cluster)?;
        let local = members.get(name).ok_or_else(|| BootstrapError::NoLocalMember(name.to_owned()))?;
        check_advertised(name, local, advertise_peer, resolve)?;
        let mut seen = BTreeSet::new();
        if !members.values().flatten().all(|url| seen.insert(url)) {
            return Err(BootstrapError::DuplicateUrl(print_members(&members)));
        }
        Ok(members)
    }
}

/// Reads `name=url,name=url,…`. A name without `=` has an empty URL, which is refused; empty parts are skipped. A blank
/// behind a comma is no part of a name, as etcd has it.
pub fn parse_members(text: &str) -> Result<PeerUrls, UrlError> {
    let mut members = PeerUrls::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (name, url) = part.split_once('=').unwrap_or((part, ""));
        members.entry(name.to_owned()).or_default().push(Url::parse(url)?);
    }
    for urls in members.values_mut() {
        urls.sort();
    }
    Ok(members)
}

/// The text that [`parse_members`] reads, sorted.
pub fn print_members(members: &PeerUrls) -> String {
    let pairs = members.iter().flat_map(|(name, urls)| urls.iter().map(move |url| format!("{name}={url}")));
    let mut pairs: Vec<_> = pairs.collect();
    pairs.sort();
    pairs.join(",")
}

fn check_advertised(
    name: &str,
    in_cluster: &[Url],
    advertised: &[Url],
    resolve: &dyn Fn(&Url) -> Result<Url, String>,
) -> Result<(), BootstrapError> {
    let Err(why) = same_urls(advertised, in_cluster, resolve) else { return Ok(()) };
    let missing = |from: &[Url], what: &[Url]| -> Vec<String> {
        let set: BTreeSet<_> = what.iter().filter(|url| !from.contains(url)).collect();
        set.into_iter().map(Url::to_string).collect()
    };
    let not_advertised = missing(advertised, in_cluster);
    if !not_advertised.is_empty() {
        let named: Vec<_> = not_advertised.iter().map(|url| format!("{name}={url}")).collect();
        return Err(BootstrapError::NotAdvertised { missing: named.join(","), advertised: join(advertised), why });
    }
    let advertised_as_members = print_members(&PeerUrls::from([(name.to_owned(), advertised.to_vec())]));
    let not_in_cluster = missing(in_cluster, advertised).join(",");
    Err(BootstrapError::NotInCluster { missing: not_in_cluster, advertised: advertised_as_members })
}

/// Compares two sorted lists of URLs, by text and then by address.
///
/// # Errors
/// Why they differ, in etcd's words.
pub fn same_urls(a: &[Url], b: &[Url], resolve: &dyn Fn(&Url) -> Result<Url, String>) -> Result<(), String> {
    if a.len() != b.len() {
        return Err(format!("len({}) != len({})", quote_list(a), quote_list(b)));
    }
    if a == b {
        return Ok(());
    }
    let resolve_all = |urls: &[Url]| -> Result<Vec<Url>, String> {
        // etcd takes `localhost` and sockets as they are.
        let as_it_is = |url: &Url| url.host() == "localhost" || url.scheme().is_unix();
        let resolve = |url: &Url| if as_it_is(url) { Ok(url.clone()) } else { resolve(url) };
        let mut urls = urls.iter().map(resolve).collect::<Result<Vec<_>, _>>()?;
        urls.sort();
        Ok(urls)
    };
    let (a, b) = (resolve_all(a)?, resolve_all(b)?);
    match a.iter().zip(&b).find(|(a, b)| a != b) {
        None => Ok(()),
        Some((a, b)) => Err(format!("resolved urls: {:?} != {:?}", a.as_str(), b.as_str())),
    }
}

/// A list as Go's `%q` prints it.
fn quote_list(urls: &[Url]) -> String {
    let quoted: Vec<_> = urls.iter().map(|url| format!("{:?}", url.as_str())).collect();
    format!("[{}]", quoted.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(cluster: &str, advertised: &str) -> Result<PeerUrls, String> {
        let bootstrap = Bootstrap {
            initial_cluster: cluster.to_owned(),
            token: "t".to_owned(),
            state: ClusterState::New,
            discovery: None,
            force_new_cluster: false,
        };
        let resolve = |url: &Url| match url.host() {
            "a.example" => Ok(url.with_host("10.0.0.1", url.port())),
            "nowhere" => Err("failed to resolve".to_owned()),
            _ => Ok(url.clone()),
        };
        let advertised = Url::parse_list(advertised).unwrap();
        bootstrap.members("m1", &advertised, &resolve).map_err(|error| error.to_string())
    }

    #[test]
    fn members_may_have_several_urls() {
        let got =
            members("m1=http://1.1.1.1:2,m2=http://3.3.3.3:1,m1=http://1.1.1.1:1", "http://1.1.1.1:1,http://1.1.1.1:2");
        assert_eq!(print_members(&got.unwrap()), "m1=http://1.1.1.1:1,m1=http://1.1.1.1:2,m2=http://3.3.3.3:1");
    }

    #[test]
    fn a_name_equals_its_address() {
        assert!(members("m1=http://10.0.0.1:1", "http://a.example:1").is_ok());
    }

    /// Texts recorded from etcd 3.7.3.
    #[test]
    fn a_cluster_that_does_not_fit_is_refused_in_etcds_words() {
        for (cluster, advertised, said) in [
            (
                "m2=http://1.1.1.1:1",
                "http://1.1.1.1:1",
                "couldn't find local name \"m1\" in the initial cluster configuration",
            ),
            (
                "m1=http://1.1.1.1:1,m2=http://1.1.1.1:1",
                "http://1.1.1.1:1",
                "initial cluster m1=http://1.1.1.1:1,m2=http://1.1.1.1:1 has duplicate url",
            ),
            (
                "m1=http://1.1.1.1:1",
                "http://1.1.1.1:2",
                "--initial-cluster has m1=http://1.1.1.1:1 but missing from \
                 --initial-advertise-peer-urls=http://1.1.1.1:2 \
                 (resolved urls: \"http://1.1.1.1:2\" != \"http://1.1.1.1:1\")",
            ),
            (
                "m1=http://1.1.1.1:1",
                "http://1.1.1.1:1,http://1.1.1.1:2",
                "--initial-advertise-peer-urls has http://1.1.1.1:2 but missing from \
                 --initial-cluster=m1=http://1.1.1.1:1,m1=http://1.1.1.1:2",
            ),
            (
                "m1",
                "http://1.1.1.1:1",
                "error setting up initial cluster: URL scheme must be http, https, unix, or unixs: ",
            ),
        ] {
            assert_eq!(members(cluster, advertised).unwrap_err(), said);
        }
    }
}

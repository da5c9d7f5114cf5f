//! The initial cluster by SRV records (etcd `client/pkg/srv` `GetCluster` and `embed.Config.GetDNSClusterNames`). A member knows itself
//! among the records by the address of a peer URL that it advertises; the others have numbers for names until they say theirs.

use crate::config::Url;
use crate::config::bootstrap::parse_members;
use crate::config::discovery::Srv;
use crate::logging::Strings;
use crate::net::dns::{self, Service};
use anyhow::bail;
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// The members as `--initial-cluster` would name them, this one by its name.
///
/// # Errors
/// DNS knows none of them, or not this one.
pub async fn cluster(srv: &Srv, name: &str, advertised: &[Url]) -> anyhow::Result<String> {
    let suffix = if srv.suffix.is_empty() { String::new() } else { format!("-{}", srv.suffix) };
    let mut members = Vec::new();
    let mut errors = Vec::new();
    for (scheme, service) in [("https", "etcd-server-ssl"), ("http", "etcd-server")] {
        let named = format!("{service}{suffix}");
        let found = found(scheme, &named, &srv.domain, name, advertised).await;
        let error = found.as_ref().err().cloned();
        members.extend(found.unwrap_or_default());
        tracing::info!(
            "service-scheme" = scheme,
            "service-name" = named,
            "server-name" = name,
            "discovery-srv" = srv.domain,
            "advertise-peer-urls" = Strings::new(advertised).field(),
            "found-cluster" = Strings::new(&members).field(),
            error,
            "get cluster for {service} SRV"
        );
        errors.extend(error);
    }
    let error = errors.join("\n");
    if !error.is_empty() {
        tracing::warn!(error, "failed to resolve during SRV discovery");
        if members.is_empty() {
            bail!(error);
        }
    }
    for member in &members {
        tracing::info!(node = member, "got bootstrap from DNS for etcd-server");
    }
    let cluster = members.join(",");
    if !parse_members(&cluster)?.contains_key(name) {
        bail!("cannot find local etcd member {name:?} in SRV records");
    }
    Ok(cluster)
}

/// What the records of one service say. Those of hosts without an address are left out.
async fn found(
    scheme: &str,
    service: &str,
    domain: &str,
    name: &str,
    advertised: &[Url],
) -> Result<Vec<String>, String> {
    let mut own = BTreeMap::new();
    for url in advertised {
        own.insert(dns::address(url.host_port()).await?, url);
    }
    let wrong = |why: String| format!("error querying DNS SRV records for _{service} {why}");
    let records = dns::services(service, domain).await.map_err(|error| wrong(error.to_string()))?;
    let mut at = Vec::new();
    for record in records {
        let address = dns::address(&record.host_port()).await;
        at.push((record, address));
    }
    members(scheme, service, name, &own, at).map_err(wrong)
}

/// `name=url` of each record with an address. One that is this member's address under another scheme is left out.
///
/// # Errors
/// None is left; says what was wrong with the last one.
fn members(
    scheme: &str,
    service: &str,
    name: &str,
    own: &BTreeMap<SocketAddr, &Url>,
    records: Vec<(Service, Result<SocketAddr, String>)>,
) -> Result<Vec<String>, String> {
    let (mut members, mut others, mut last_error) = (Vec::new(), 0, None);
    for (record, address) in records {
        let url = format!("{scheme}://{}:{}", record.target.trim_end_matches('.'), record.port);
        match address.map(|address| own.get(&address)) {
            Err(error) => last_error = Some(error),
            Ok(Some(own)) if own.as_str().split(':').next() != Some(scheme) => {
                last_error = Some(format!(
                    "bootstrap at {url} from DNS for {service} has scheme mismatch with expected peer {own}"
                ));
            }
            Ok(Some(_)) => members.push(format!("{name}={url}")),
            Ok(None) => {
                members.push(format!("{others}={url}"));
                others += 1;
            }
        }
    }
    match last_error {
        Some(error) if members.is_empty() => Err(error),
        _ => Ok(members),
    }
}

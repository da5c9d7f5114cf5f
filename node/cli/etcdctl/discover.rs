//! `--discovery-srv`: the members that DNS names (etcd `client/pkg/srv` `GetClient`).

use super::failure::Failure;
use super::flags::Values;
use crate::net::dns::services;

/// The endpoints by the SRV records of `_etcd-client-ssl._tcp` and `_etcd-client._tcp` in the domain. Empty without a domain, or
/// if none is left.
///
/// # Errors
/// Neither is known to DNS.
pub async fn endpoints(values: &Values) -> Result<Vec<String>, Failure> {
    let (domain, name) = (values.text("discovery-srv"), values.text("discovery-srv-name"));
    if domain.is_empty() {
        return Ok(Vec::new());
    }
    let suffix = if name.is_empty() { String::new() } else { format!("-{name}") };
    let secure = services(&format!("etcd-client-ssl{suffix}"), domain).await;
    let clear = services(&format!("etcd-client{suffix}"), domain).await;
    if let (Err(secure), Err(clear)) = (&secure, &clear) {
        return Err(Failure::error(format_args!("dns lookup errors: {secure} and {clear}")));
    }
    let mut endpoints: Vec<String> =
        secure.into_iter().flatten().map(|service| format!("https://{}", service.host_port())).collect();
    for service in clear.into_iter().flatten() {
        let endpoint = format!("http://{}", service.host_port());
        if values.switch("insecure-discovery") {
            endpoints.push(endpoint);
        } else {
            eprintln!("ignoring discovered insecure endpoint {endpoint:?}");
        }
    }
    Ok(endpoints)
}

//! Whom a certificate names.

use super::files::without_zeros;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::ParsedCertificate;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// What is read of a certificate that a client or peer has shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// Empty if there is none.
    pub common_name: String,
    pub dns_names: Vec<String>,
    pub ip_addresses: Vec<IpAddr>,
}

impl Names {
    /// Empty of what cannot be read.
    pub fn of(certificate: &CertificateDer<'_>) -> Self {
        let Ok((_, certificate)) = X509Certificate::from_der(certificate) else { return Self::default() };
        // Go takes the last one.
        let common_name = certificate.subject().iter_common_name().last();
        let common_name = common_name.and_then(|name| name.as_str().ok()).unwrap_or_default().to_owned();
        let mut names = Self { common_name, ..Self::default() };
        let alternatives = certificate.subject_alternative_name().ok().flatten();
        for name in alternatives.iter().flat_map(|alternatives| &alternatives.value.general_names) {
            match name {
                GeneralName::DNSName(name) => names.dns_names.push((*name).to_owned()),
                GeneralName::IPAddress(bytes) => names.ip_addresses.extend(ip_address(bytes)),
                _ => {}
            }
        }
        names
    }

    /// Go's `checkCertSAN` of etcd: a certificate with names must have one that stands for the address it comes from.
    ///
    /// # Errors
    /// None does; says which there are.
    pub async fn check_address(&self, certificate: &CertificateDer<'_>, from: IpAddr) -> Result<(), String> {
        if self.dns_names.is_empty() && self.ip_addresses.is_empty() {
            return Ok(());
        }
        if !self.ip_addresses.is_empty() {
            if is_valid_for(certificate, &from.to_string()) {
                return Ok(());
            }
            if self.dns_names.is_empty() {
                let valid: Vec<String> = self.ip_addresses.iter().map(ToString::to_string).collect();
                return Err(format!("x509: certificate is valid for {}, not {from}", valid.join(", ")));
            }
        }
        let names = self.dns_names.clone();
        let looked_up = tokio::task::spawn_blocking(move || stands_for(&names, from)).await;
        match looked_up.expect("looking up a name does not panic") {
            Ok(true) => Ok(()),
            Ok(false) => {
                Err(format!("tls: {:?} does not match any of DNSNames {:?}", from.to_string(), self.dns_names))
            }
            Err(why) => {
                Err(format!("tls: {:?} does not match any of DNSNames {:?} ({why})", from.to_string(), self.dns_names))
            }
        }
    }
}

fn ip_address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(|bytes| IpAddr::V4(Ipv4Addr::from(bytes)));
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(|bytes| IpAddr::V6(Ipv6Addr::from(bytes)))).ok()
}

/// Whether a certificate is for `host`, a name or an address.
pub(super) fn is_valid_for(certificate: &CertificateDer<'_>, host: &str) -> bool {
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let (Ok(parsed), Ok(name)) = (ParsedCertificate::try_from(certificate), ServerName::try_from(host)) else {
        return false;
    };
    rustls::client::verify_server_name(&parsed, &name).is_ok()
}

/// Whether one of `names` stands for `address`, by what the resolver says of the address and of each name. Blocks.
///
/// # Errors
/// None does as far as is known, and the resolver failed at one.
fn stands_for(names: &[String], address: IpAddr) -> Result<bool, std::io::Error> {
    let (wildcards, exact): (Vec<&String>, Vec<&String>) = names.iter().partition(|name| name.starts_with("*."));
    let mut failed = None;
    match dns_lookup::lookup_addr(&address) {
        Ok(found) => {
            let found = found.trim_end_matches('.');
            if wildcards.iter().any(|name| found.ends_with(&name[1..])) || exact.iter().any(|name| *name == found) {
                return Ok(true);
            }
        }
        Err(error) => failed = Some(error),
    }
    for name in exact {
        match dns_lookup::lookup_host(name).map(|found| found.into_iter().any(|found| found == address)) {
            Ok(true) => return Ok(true),
            Ok(false) => {}
            Err(error) => failed = Some(error),
        }
    }
    failed.map_or(Ok(false), Err)
}

/// The serial number, as [`super::files::revoked_serials`] has them.
pub(super) fn serial(certificate: &CertificateDer<'_>) -> Option<Vec<u8>> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    Some(without_zeros(certificate.raw_serial()).to_vec())
}

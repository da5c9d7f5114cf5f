//! What is said of TLS: certificates, who is believed, versions and suites.

use super::check::SettingsError;
use super::settings::Urls;
use super::url::ListenUrl;
use super::values::Values;
use crate::net::tls::{Allowed, KeyPair, Protocol, SelfSigned, ServerSettings, Version};
use std::path::{Path, PathBuf};

/// TLS of all listeners and of calls to peers.
#[derive(Clone, Debug)]
pub struct Security {
    pub client: Side,
    pub peer: Side,
    pub protocol: Protocol,
}

/// Of those who connect to one kind of listeners.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Side {
    pub certificate: Certificate,
    /// Shown when this member connects, in place of that which its listeners show.
    pub client_pair: Option<KeyPair>,
    pub trusted_ca: Option<PathBuf>,
    pub client_cert_auth: bool,
    pub allowed: Allowed,
    pub revocations: Option<PathBuf>,
    /// A certificate's names need not fit the address that it comes from. Listeners for clients never ask that; those for
    /// metrics do, as in etcd.
    pub skips_address_check: bool,
}

/// What listeners show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Certificate {
    /// Nothing: there is no TLS.
    None,
    Files(KeyPair),
    /// It makes one at its first start.
    SelfSigned(SelfSigned),
}

impl Side {
    /// For listeners that show `shown`.
    pub fn server(&self, shown: KeyPair, checks_address: bool, protocol: &Protocol) -> ServerSettings {
        ServerSettings {
            shown,
            trusted_ca: self.trusted_ca.clone(),
            client_cert_auth: self.client_cert_auth,
            allowed: self.allowed.clone(),
            revocations: self.revocations.clone(),
            checks_address,
            protocol: protocol.clone(),
        }
    }

    pub fn has_certificate(&self) -> bool {
        self.certificate != Certificate::None
    }

    /// As etcd prints what it begins with.
    pub fn printed(&self) -> String {
        let path = |path: Option<&PathBuf>| path.map_or_else(String::new, |path| path.display().to_string());
        let pair = |pair: Option<&KeyPair>| (path(pair.map(|pair| &pair.cert)), path(pair.map(|pair| &pair.key)));
        let found;
        let shown = match &self.certificate {
            Certificate::None => None,
            Certificate::Files(pair) => Some(pair),
            Certificate::SelfSigned(SelfSigned { folder, .. }) => {
                found = KeyPair { cert: folder.join("cert.pem"), key: folder.join("key.pem") };
                Some(&found)
            }
        };
        let ((cert, key), (client_cert, client_key)) = (pair(shown), pair(self.client_pair.as_ref()));
        format!(
            "cert = {cert}, key = {key}, client-cert={client_cert}, client-key={client_key}, trusted-ca = {}, client-cert-auth = {}, crl-file = {}",
            path(self.trusted_ca.as_ref()),
            self.client_cert_auth,
            path(self.revocations.as_ref()),
        )
    }
}

/// Reads what was said.
///
/// # Errors
/// It contradicts itself, in etcd's words.
pub fn read(values: &Values, data_dir: &Path) -> Result<Security, SettingsError> {
    let version = |flag: &str, default: Version| match values.text(flag) {
        "" => Ok(default),
        "TLS1.2" => Ok(Version::Tls12),
        "TLS1.3" => Ok(Version::Tls13),
        other => Err(SettingsError::TlsVersion(other.to_owned())),
    };
    let protocol = Protocol {
        min: version("tls-min-version", Version::Tls12)?,
        max: version("tls-max-version", Version::Tls13)?,
        cipher_suites: values.words("cipher-suites").to_vec(),
    };
    if protocol.min > protocol.max {
        return Err(SettingsError::TlsVersionOrder {
            min: values.text("tls-min-version").to_owned(),
            max: values.text("tls-max-version").to_owned(),
        });
    }
    if protocol.min == Version::Tls13 && !protocol.cipher_suites.is_empty() {
        return Err(SettingsError::CiphersOfTls13);
    }
    protocol.unspoken().map_err(|error| SettingsError::CipherSuites(error.to_string()))?;
    let years = values.uint("self-signed-cert-validity");
    let made = |kind: &str, urls: &[&str]| {
        let hosts = urls.iter().flat_map(|flag| values.urls(flag)).map(|url| url.host().to_owned()).collect();
        SelfSigned { folder: data_dir.join("fixtures").join(kind), hosts, years }
    };
    let for_clients = ["listen-client-urls", "listen-client-http-urls", "listen-metrics-urls"];
    let is_secure = for_clients.iter().flat_map(|flag| values.urls(flag)).any(|url| url.scheme().is_secure());
    let client_certificate = match certificate(values, "", "auto-tls", || made("client", &for_clients[..2])) {
        // What nobody is shown is not looked at, as in etcd.
        Err(SettingsError::HalfPair(..)) if !is_secure => Certificate::None,
        other => other?,
    };
    let client = Side {
        allowed: allowed(values, "client-transport-security.allowed-cn", "client-cert-allowed-hostname")?,
        revocations: path(values, "client-crl-file"),
        skips_address_check: values.bool("client-transport-security.skip-client-san-verification"),
        ..side(values, "", client_certificate)?
    };
    let peer_certificate = certificate(values, "peer-", "peer-auto-tls", || made("peer", &["listen-peer-urls"]))?;
    let peer = Side {
        allowed: allowed(values, "peer-cert-allowed-cn", "peer-cert-allowed-hostname")?,
        revocations: path(values, "peer-crl-file"),
        skips_address_check: values.bool("peer-skip-client-san-verification"),
        ..side(values, "peer-", peer_certificate)?
    };
    Ok(Security { client, peer, protocol })
}

/// # Errors
/// A URL asks for TLS, and there is no certificate.
pub fn check_urls(security: &Security, urls: &Urls) -> Result<(), SettingsError> {
    let secure = |urls: &[ListenUrl]| urls.iter().map(ListenUrl::url).find(|url| url.scheme().is_secure()).cloned();
    if !security.peer.has_certificate()
        && let Some(url) = secure(&urls.listen_peer)
    {
        return Err(SettingsError::NoPeerCertificate(url.host_port().to_owned()));
    }
    if !security.client.has_certificate() {
        if let Some(url) = secure(&urls.listen_client).or_else(|| secure(&urls.listen_client_http)) {
            return Err(SettingsError::NoCertificate(url));
        }
        if secure(&urls.listen_metrics).is_some() {
            return Err(SettingsError::NoMetricsCertificate);
        }
    }
    for http in &urls.listen_client_http {
        if urls.listen_client.iter().any(|url| url.address() == http.address()) {
            return Err(SettingsError::HttpOnClientUrl(http.url().clone()));
        }
    }
    Ok(())
}

/// What flags of the same name, but for `prefix`, say.
fn side(values: &Values, prefix: &str, certificate: Certificate) -> Result<Side, SettingsError> {
    let flag = |name: &str| format!("{prefix}{name}");
    let (cert, key) = (flag("client-cert-file"), flag("client-key-file"));
    Ok(Side {
        certificate,
        client_pair: pair(values, &cert, &key, SettingsError::HalfClientPair)?,
        trusted_ca: path(values, &flag("trusted-ca-file")),
        client_cert_auth: values.bool(&flag("client-cert-auth")),
        allowed: Allowed::All,
        revocations: None,
        skips_address_check: false,
    })
}

fn allowed(values: &Values, cns: &str, hostnames: &str) -> Result<Allowed, SettingsError> {
    match (values.words(cns).to_vec(), values.words(hostnames).to_vec()) {
        (cns, hostnames) if !cns.is_empty() && !hostnames.is_empty() => {
            Err(SettingsError::TwoKindsOfNames { cns, hostnames })
        }
        (cns, _) if !cns.is_empty() => Ok(Allowed::CommonNames(cns)),
        (_, hostnames) if !hostnames.is_empty() => Ok(Allowed::Hostnames(hostnames)),
        _ => Ok(Allowed::All),
    }
}

fn path(values: &Values, flag: &str) -> Option<PathBuf> {
    Some(values.text(flag)).filter(|path| !path.is_empty()).map(PathBuf::from)
}

fn pair(
    values: &Values,
    cert: &str,
    key: &str,
    half: impl Fn(String, String) -> SettingsError,
) -> Result<Option<KeyPair>, SettingsError> {
    match (path(values, cert), path(values, key)) {
        (Some(cert), Some(key)) => Ok(Some(KeyPair { cert, key })),
        (None, None) => Ok(None),
        (_, _) => Err(half(values.text(key).to_owned(), values.text(cert).to_owned())),
    }
}

fn certificate(
    values: &Values,
    prefix: &str,
    auto: &str,
    made: impl FnOnce() -> SelfSigned,
) -> Result<Certificate, SettingsError> {
    let given = pair(values, &format!("{prefix}cert-file"), &format!("{prefix}key-file"), SettingsError::HalfPair)?;
    Ok(match given {
        Some(pair) => Certificate::Files(pair),
        None if values.bool(auto) => Certificate::SelfSigned(made()),
        None => Certificate::None,
    })
}

//! TLS as the listeners and the calls to peers use it, made of what was said in the settings.

use crate::config::security::{Certificate, Security, Side};
use crate::config::{ListenUrl, Settings};
use crate::net::tls::{self, ClientSettings, Door, Entrance, KeyPair, Tls, Trust};
use anyhow::Context;
use std::sync::Arc;

/// What connections pass through. None: nothing was said of TLS on that side.
#[derive(Clone, Debug, Default)]
pub struct Secured {
    client: Option<Arc<Door>>,
    /// As `client`; a certificate must fit the address that it comes from.
    metrics: Option<Arc<Door>>,
    peer: Option<Arc<Door>>,
    to_peers: Option<ClientSettings>,
}

impl Secured {
    /// Reads the files, and makes certificates where none were given and some are asked for.
    ///
    /// # Errors
    /// Files that cannot be used.
    pub fn open(settings: &Settings) -> anyhow::Result<Self> {
        let Security { client, peer, protocol } = &settings.security;
        for suite in protocol.unspoken()? {
            tracing::warn!(suite, "this TLS cipher suite is not safe enough for Keelstone; it is left out");
        }
        let urls = &settings.urls;
        warn_of_clear_urls(client, "client", urls.listen_client.iter().chain(&urls.listen_client_http));
        warn_of_clear_urls(peer, "peer", urls.listen_peer.iter());
        let mut secured = Self::default();
        let door = |side: &Side, pair: &KeyPair, checks_address| -> anyhow::Result<_> {
            Ok(Some(Arc::new(Door::new(side.server(pair.clone(), checks_address, protocol))?)))
        };
        let for_clients = urls.listen_client.iter().chain(&urls.listen_client_http).chain(&urls.listen_metrics);
        let is_secure = for_clients.clone().any(|url| url.url().scheme().is_secure());
        if let Some(pair) = shown(client).context("client TLS")?.filter(|_| is_secure) {
            tracing::info!(
                "tls-info" = client.printed(),
                "cipher-suites" = ?protocol.cipher_suites,
                "starting with client TLS"
            );
            secured.client = door(client, &pair, false).context("client TLS")?;
            secured.metrics = door(client, &pair, !client.skips_address_check).context("client TLS")?;
        }
        if let Some(pair) = shown(peer).context("peer TLS")? {
            tracing::info!(
                "tls-info" = peer.printed(),
                "cipher-suites" = ?protocol.cipher_suites,
                "starting with peer TLS"
            );
            secured.peer = door(peer, &pair, !peer.skips_address_check).context("peer TLS")?;
            let trust = match (&peer.certificate, &peer.trusted_ca) {
                (Certificate::SelfSigned(_), _) => Trust::Anybody,
                (_, Some(path)) => Trust::Authorities(path.clone()),
                (_, None) => Trust::System,
            };
            let settings = ClientSettings {
                shown: Some(peer.client_pair.clone().unwrap_or(pair)),
                trust,
                server_name: None,
                allowed: peer.allowed.clone(),
                protocol: protocol.clone(),
            };
            secured.to_peers = Some(settings);
        }
        Ok(secured)
    }

    /// The way to other members, whose certificates are for `server_name`, or else for their hosts.
    ///
    /// # Errors
    /// Files that cannot be used.
    pub fn to_peers(&self, server_name: Option<String>) -> anyhow::Result<Option<Arc<Tls>>> {
        let Some(settings) = &self.to_peers else { return Ok(None) };
        let tls = Tls::new(ClientSettings { server_name, ..settings.clone() }).context("peer TLS")?;
        Ok(Some(Arc::new(tls)))
    }

    /// Of a listener for clients that was made for `urls`, all on one address.
    pub fn client_entrance(&self, urls: &[ListenUrl]) -> Entrance {
        entrance(self.client.as_ref(), urls)
    }

    pub fn metrics_entrance(&self, urls: &[ListenUrl]) -> Entrance {
        entrance(self.metrics.as_ref(), urls)
    }

    pub fn peer_entrance(&self, urls: &[ListenUrl]) -> Entrance {
        entrance(self.peer.as_ref(), urls)
    }
}

fn entrance(door: Option<&Arc<Door>>, urls: &[ListenUrl]) -> Entrance {
    let is_secure = |url: &ListenUrl| url.url().scheme().is_secure();
    let door = || Arc::clone(door.expect("settings with a secure URL have a certificate"));
    match (urls.iter().any(is_secure), urls.iter().all(is_secure)) {
        (false, _) => Entrance::Clear,
        (true, true) => Entrance::Tls(door()),
        (true, false) => Entrance::Either(door()),
    }
}

fn shown(side: &Side) -> Result<Option<KeyPair>, tls::TlsError> {
    match &side.certificate {
        Certificate::None => Ok(None),
        Certificate::Files(pair) => Ok(Some(pair.clone())),
        Certificate::SelfSigned(wanted) => tls::make_or_find(wanted).map(Some),
    }
}

/// Certificates mean nothing beside such a URL.
fn warn_of_clear_urls<'u>(side: &Side, kind: &str, urls: impl Iterator<Item = &'u ListenUrl>) {
    for url in urls.filter(|url| !url.url().scheme().is_secure()) {
        if side.has_certificate() {
            tracing::warn!(url = %url, "{kind} URL: scheme is http or unix while key and cert files are present; ignoring key and cert files");
        }
        if side.client_cert_auth {
            tracing::warn!(url = %url, "{kind} URL: scheme is http or unix while client certificates are asked for; ignoring client cert auth for this URL");
        }
    }
}

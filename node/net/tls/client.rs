//! The way out: a connection that was made becomes one that nobody else can read, to a server that is who it says.

use super::files::{Authorities, KeyPair, Reloading};
use super::verify::{Allowed, OfAnybody, OfServers};
use super::{Protocol, TlsError, in_time};
use crate::net::Connection;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use tokio_rustls::TlsConnector;

/// Which servers are believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Those whose certificates the system's authorities have signed.
    System,
    /// Those whose certificates the authorities in this file have signed.
    Authorities(PathBuf),
    /// All: nobody knows who it is.
    Anybody,
}

/// What a client is told.
#[derive(Clone, Debug)]
pub struct ClientSettings {
    /// Shown to a server that asks.
    pub shown: Option<KeyPair>,
    pub trust: Trust,
    /// The name that servers' certificates must hold, and that they are asked for. None: that of the host that is called.
    pub server_name: Option<String>,
    /// Which of the servers that are believed are called. With [`Trust::Anybody`] all are.
    pub allowed: Allowed,
    pub protocol: Protocol,
}

/// TLS as a client speaks it.
#[derive(Debug)]
pub struct Tls {
    config: Reloading<ClientConfig>,
    server_name: Option<String>,
}

impl Tls {
    /// # Errors
    /// The files cannot be used.
    pub fn new(settings: ClientSettings) -> Result<Self, TlsError> {
        let mut files: Vec<PathBuf> =
            settings.shown.iter().flat_map(|pair| [pair.cert.clone(), pair.key.clone()]).collect();
        if let Trust::Authorities(path) = &settings.trust {
            files.push(path.clone());
        }
        let server_name = settings.server_name.clone();
        Ok(Self { config: Reloading::new(files, move || make(&settings))?, server_name })
    }

    /// Shakes hands over `connection` with the server on `host`.
    ///
    /// # Errors
    /// It is not who it should be, or it does not take this client, or it speaks no TLS.
    pub async fn shake_hands(&self, connection: Connection, host: &str) -> io::Result<Connection> {
        let name = ServerName::try_from(self.server_name.as_deref().unwrap_or(host).to_owned());
        let name = name.map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let shaking = TlsConnector::from(self.config.current()).connect(name, connection);
        Ok(Box::new(in_time(shaking).await??))
    }
}

fn make(settings: &ClientSettings) -> Result<ClientConfig, TlsError> {
    let provider = Arc::new(settings.protocol.provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider));
    let builder = builder.with_protocol_versions(&settings.protocol.versions())?.dangerous();
    let builder = match &settings.trust {
        Trust::Anybody => builder.with_custom_certificate_verifier(Arc::new(OfAnybody { provider })),
        Trust::System | Trust::Authorities(_) => {
            let path = if let Trust::Authorities(path) = &settings.trust { Some(path.as_path()) } else { None };
            let verifier = OfServers::new(Authorities::read(path)?, settings.allowed.clone(), provider)?;
            builder.with_custom_certificate_verifier(Arc::new(verifier))
        }
    };
    let mut config = match &settings.shown {
        None => builder.with_no_client_auth(),
        Some(pair) => {
            let (chain, key) = pair.read()?;
            let with_pair = builder.with_client_auth_cert(chain, key);
            with_pair.map_err(|source| TlsError::KeyPair { pair: pair.clone(), source })?
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

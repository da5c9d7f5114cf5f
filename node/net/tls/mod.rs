//! TLS: one way in for every listener, and one way out to peers and servers (D12). Rules and words are etcd's
//! (`client/pkg/transport`), the protocol is rustls'. Files are looked at again at each handshake, so that certificates,
//! authorities and revocations change without a restart and without harm to a connection that stands.

mod ciphers;
mod client;
mod entrance;
mod files;
mod names;
mod secure;
mod self_signed;
mod verify;
mod words;

pub use ciphers::{Protocol, Version};
pub use client::{ClientSettings, Tls, Trust};
pub use entrance::{Door, Entered, Entrance, Rejected};
pub use files::KeyPair;
pub use names::Names;
pub use secure::Secure;
pub use self_signed::{SelfSigned, make_or_find};
pub use verify::Allowed;

use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// How long a handshake may take (etcd `tlsHandshakeTimeout`).
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// # Errors
/// `TimedOut`: it takes too long.
async fn in_time<T>(shaking: impl Future<Output = T>) -> io::Result<T> {
    let shaken = tokio::time::timeout(HANDSHAKE_TIMEOUT, shaking).await;
    shaken.map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "no TLS handshake within 10s"))
}

/// What listeners of one kind, for clients or for peers, are told.
#[derive(Clone, Debug)]
pub struct ServerSettings {
    pub shown: KeyPair,
    /// Who signs the certificates of those who connect. None: the system's authorities, if a certificate is asked for.
    pub trusted_ca: Option<PathBuf>,
    /// Who connects must show a certificate; so it is with [`Self::trusted_ca`] too, as in etcd.
    pub client_cert_auth: bool,
    pub allowed: Allowed,
    pub revocations: Option<PathBuf>,
    /// The names of a certificate must fit the address that it comes from.
    pub checks_address: bool,
    pub protocol: Protocol,
}

/// Why there is no TLS with the files and names that were given.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("open {}: {source}", .path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{}: no PEM file that can be read: {source}", .path.display())]
    Pem { path: PathBuf, source: rustls::pki_types::pem::Error },
    #[error("{}: there is no certificate in it", .path.display())]
    NoCertificate { path: PathBuf },
    #[error("{}: a certificate in it cannot be used: {source}", .path.display())]
    Authority { path: PathBuf, source: rustls::Error },
    #[error("{}: no list of revoked certificates: {reason}", .path.display())]
    Revocations { path: PathBuf, reason: String },
    #[error("KeyFile and CertFile must both be present[key: {key}, cert: {cert}]")]
    HalfPair { cert: String, key: String },
    #[error("certificate {} and key {} do not fit: {source}", .pair.cert.display(), .pair.key.display())]
    KeyPair { pair: KeyPair, source: rustls::Error },
    #[error("there is no authority to verify certificates by: {0}")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
    #[error(transparent)]
    Protocol(#[from] rustls::Error),
    #[error("unexpected TLS cipher suite {0:?}")]
    UnknownCipherSuite(String),
    #[error("none of the TLS cipher suites {0} is safe enough for Keelstone")]
    NoCipherSuite(String),
    #[error("make a certificate in {}: {source}", .path.display())]
    SelfSigned { path: PathBuf, source: Box<dyn std::error::Error + Send + Sync> },
}

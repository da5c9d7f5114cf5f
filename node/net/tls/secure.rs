//! TLS to a cluster of etcd's as flags ask for it (etcd `client/v3/config.go` `newTLSConfig`).

use super::{Allowed, ClientSettings, KeyPair, Protocol, TlsError, Trust};

/// What was said. Empty texts were not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Secure {
    pub cert: String,
    pub key: String,
    pub cacert: String,
    /// Which name servers' certificates must hold, whatever their address.
    pub server_name: String,
    /// TLS is spoken only if something else here asks for it.
    pub insecure_transport: bool,
    pub insecure_skip_verify: bool,
}

impl Secure {
    /// None if nothing asks for TLS.
    ///
    /// # Errors
    /// A certificate without its key, or a key without its certificate.
    pub fn settings(&self) -> Result<Option<ClientSettings>, TlsError> {
        let Self { cert, key, cacert, server_name, insecure_transport, insecure_skip_verify } = self;
        let is_asked = [cert, key, cacert, server_name].iter().any(|text| !text.is_empty());
        if !is_asked && !insecure_skip_verify && *insecure_transport {
            return Ok(None);
        }
        if cert.is_empty() != key.is_empty() {
            return Err(TlsError::HalfPair { cert: cert.clone(), key: key.clone() });
        }
        Ok(Some(ClientSettings {
            shown: (!cert.is_empty()).then(|| KeyPair { cert: cert.into(), key: key.into() }),
            trust: match cacert.as_str() {
                _ if *insecure_skip_verify => Trust::Anybody,
                "" => Trust::System,
                path => Trust::Authorities(path.into()),
            },
            server_name: Some(server_name.clone()).filter(|name| !name.is_empty()),
            allowed: Allowed::All,
            protocol: Protocol::default(),
        }))
    }
}

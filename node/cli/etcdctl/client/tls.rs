//! TLS as the flags ask for it (etcd `client/v3/config.go`).

use super::endpoint::Endpoint;
use crate::cli::etcdctl::failure::Failure;
use crate::cli::etcdctl::flags::Values;
use crate::net::tls::{Allowed, ClientSettings, KeyPair, Protocol, Tls, Trust};
use crate::net::{Reach, Sockets};
use std::sync::Arc;

/// None if no flag asks for it.
///
/// # Errors
/// A certificate without its key, or a key without its certificate.
pub fn asked_for(values: &Values) -> Result<Option<ClientSettings>, Failure> {
    let (cert, key, cacert) = (values.text("cert"), values.text("key"), values.text("cacert"));
    let skips_verify = values.switch("insecure-skip-tls-verify");
    let is_asked = !(cert.is_empty() && key.is_empty() && cacert.is_empty());
    if !is_asked && !skips_verify && values.switch("insecure-transport") {
        return Ok(None);
    }
    if cert.is_empty() != key.is_empty() {
        return Err(Failure::args(format_args!("KeyFile and CertFile must both be present[key: {key}, cert: {cert}]")));
    }
    Ok(Some(ClientSettings {
        shown: (!cert.is_empty()).then(|| KeyPair { cert: cert.into(), key: key.into() }),
        trust: match cacert {
            _ if skips_verify => Trust::Anybody,
            "" => Trust::System,
            path => Trust::Authorities(path.into()),
        },
        allowed: Allowed::All,
        protocol: Protocol::default(),
    }))
}

/// The way to `endpoints`: behind TLS as it was asked for, or as the system has it where an endpoint alone asks.
///
/// # Errors
/// Files that cannot be used.
pub fn reach(asked: Option<ClientSettings>, endpoints: &[Endpoint]) -> Result<Reach, Failure> {
    let by_url = || {
        let (shown, trust) = (None, Trust::System);
        ClientSettings { shown, trust, allowed: Allowed::All, protocol: Protocol::default() }
    };
    let settings = asked.or_else(|| endpoints.iter().any(Endpoint::is_secure).then(by_url));
    let tls = settings.map(Tls::new).transpose().map_err(Failure::args)?;
    Ok(Reach { dial: Arc::new(Sockets::default()), tls: tls.map(Arc::new) })
}

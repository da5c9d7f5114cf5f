//! Whether a certificate that the other side shows is to be believed. The chains are the library's to judge; here stands
//! what Go and etcd do beyond that.

use super::files::Authorities;
use super::names::{Names, is_valid_for};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use std::sync::Arc;
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::time::ASN1Time;

/// Which of the certificates that an authority has signed are taken (`--peer-cert-allowed-cn` and its like).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Allowed {
    #[default]
    All,
    CommonNames(Vec<String>),
    Hostnames(Vec<String>),
}

impl Allowed {
    /// # Errors
    /// [`NOT_ALLOWED`].
    fn check(&self, certificate: &CertificateDer<'_>) -> Result<(), Error> {
        let is_allowed = match self {
            Allowed::All => true,
            Allowed::CommonNames(names) => names.contains(&Names::of(certificate).common_name),
            Allowed::Hostnames(names) => names.iter().any(|name| is_valid_for(certificate, name)),
        };
        if is_allowed { Ok(()) } else { Err(NOT_ALLOWED) }
    }
}

/// A certificate that an authority has signed, but none of [`Allowed`]. The library itself never says it without the
/// names, and tells the other side `bad certificate`, as Go does.
pub(super) const NOT_ALLOWED: Error = Error::InvalidCertificate(CertificateError::NotValidForName);

/// What a certificate is shown for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Server,
    Client,
}

/// Go believes a certificate that is itself in the list of authorities, which webpki refuses if it is marked as an
/// authority. Many a small cluster lives with one such certificate for everything.
fn is_authority_itself(certificate: &CertificateDer<'_>, authorities: &Authorities, role: Role, now: UnixTime) -> bool {
    if !authorities.certificates.contains(certificate) {
        return false;
    }
    let Ok((_, parsed)) = X509Certificate::from_der(certificate) else { return false };
    let is_meant_for_it = parsed.extended_key_usage().is_ok_and(|usage| {
        usage.is_none_or(|usage| {
            let role_is_there = if role == Role::Server { usage.value.server_auth } else { usage.value.client_auth };
            usage.value.any || role_is_there
        })
    });
    let now = i64::try_from(now.as_secs()).ok().and_then(|now| ASN1Time::from_timestamp(now).ok());
    is_meant_for_it && now.is_some_and(|now| parsed.validity().is_valid_at(now))
}

/// What both traits ask in the same words: that the key of a shown certificate has signed the handshake.
macro_rules! signatures_by_provider {
    () => {
        fn verify_tls12_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            signed: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            verify_tls12_signature(message, cert, signed, &self.provider.signature_verification_algorithms)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            signed: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            verify_tls13_signature(message, cert, signed, &self.provider.signature_verification_algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.provider.signature_verification_algorithms.supported_schemes()
        }
    };
}

/// The certificates of clients.
#[derive(Debug)]
pub(super) struct OfClients {
    chains: Arc<dyn ClientCertVerifier>,
    authorities: Authorities,
    allowed: Allowed,
    provider: Arc<CryptoProvider>,
}

impl OfClients {
    pub fn new(
        authorities: Authorities,
        allowed: Allowed,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, VerifierBuilderError> {
        let builder =
            WebPkiClientVerifier::builder_with_provider(Arc::clone(&authorities.roots), Arc::clone(&provider));
        Ok(Self { chains: builder.build()?, authorities, allowed, provider })
    }
}

impl ClientCertVerifier for OfClients {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chains.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.chains.verify_client_cert(end_entity, intermediates, now).or_else(|error| {
            let is_itself = is_authority_itself(end_entity, &self.authorities, Role::Client, now);
            if is_itself { Ok(ClientCertVerified::assertion()) } else { Err(error) }
        })?;
        self.allowed.check(end_entity)?;
        Ok(verified)
    }

    signatures_by_provider!();
}

/// The certificates of servers.
#[derive(Debug)]
pub(super) struct OfServers {
    chains: Arc<WebPkiServerVerifier>,
    authorities: Authorities,
    allowed: Allowed,
    provider: Arc<CryptoProvider>,
}

impl OfServers {
    pub fn new(
        authorities: Authorities,
        allowed: Allowed,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, VerifierBuilderError> {
        let builder =
            WebPkiServerVerifier::builder_with_provider(Arc::clone(&authorities.roots), Arc::clone(&provider));
        Ok(Self { chains: builder.build()?, authorities, allowed, provider })
    }
}

impl ServerCertVerifier for OfServers {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = self.chains.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        let verified = verified.or_else(|error| {
            let is_itself = is_authority_itself(end_entity, &self.authorities, Role::Server, now)
                && is_valid_for(end_entity, &server_name.to_str());
            if is_itself { Ok(ServerCertVerified::assertion()) } else { Err(error) }
        })?;
        self.allowed.check(end_entity)?;
        Ok(verified)
    }

    signatures_by_provider!();
}

/// Believes any server: certificates that members have made for themselves, or a client that was told so.
#[derive(Debug)]
pub(super) struct OfAnybody {
    pub provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for OfAnybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    signatures_by_provider!();
}

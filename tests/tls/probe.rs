//! A client that shakes hands, and says how that went.

use crate::certs::Pair;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    CipherSuite, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme, SupportedProtocolVersion,
};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Far beyond the time that a server gives a handshake.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is shown and spoken.
#[derive(Clone, Debug, Default)]
pub struct Probe {
    /// None: any server is believed.
    authority: Option<std::path::PathBuf>,
    shown: Option<Pair>,
    version: Option<&'static SupportedProtocolVersion>,
    suite: Option<CipherSuite>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The server spoke to it behind TLS.
    Served,
    Refused,
}

impl Probe {
    pub fn trusting(mut self, authority: &Path) -> Self {
        self.authority = Some(authority.to_owned());
        self
    }

    pub fn showing(mut self, pair: &Pair) -> Self {
        self.shown = Some(pair.clone());
        self
    }

    pub fn speaking(mut self, version: &'static SupportedProtocolVersion) -> Self {
        self.version = Some(version);
        self
    }

    pub fn offering(mut self, suite: CipherSuite) -> Self {
        self.suite = Some(suite);
        self
    }

    pub fn config(&self) -> ClientConfig {
        let mut provider = aws_lc_rs::default_provider();
        if let Some(only) = self.suite {
            provider.cipher_suites.retain(|suite| suite.suite() == only);
        }
        let provider = Arc::new(provider);
        let versions = match (self.version, self.suite) {
            (Some(version), _) => vec![version],
            (None, Some(_)) => vec![&rustls::version::TLS12],
            (None, None) => rustls::ALL_VERSIONS.to_vec(),
        };
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider));
        let builder = builder.with_protocol_versions(&versions).expect("a version and a suite that fit");
        let builder = match &self.authority {
            Some(path) => {
                let mut roots = RootCertStore::empty();
                for certificate in certificates(path) {
                    roots.add(certificate).expect("an authority");
                }
                builder.with_root_certificates(roots)
            }
            None => builder.dangerous().with_custom_certificate_verifier(Arc::new(BelievesAnybody(provider))),
        };
        match &self.shown {
            None => builder.with_no_client_auth(),
            Some(pair) => {
                let key = PrivateKeyDer::from_pem_file(&pair.key).expect("a key");
                builder.with_client_auth_cert(certificates(&pair.cert), key).expect("a key that fits its certificate")
            }
        }
    }

    /// # Errors
    /// The server does not answer, or is not believed.
    pub async fn connect(&self, port: u16, protocol: &str) -> io::Result<TlsStream<TcpStream>> {
        let mut config = self.config();
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        let name = ServerName::try_from("127.0.0.1").expect("an address");
        TlsConnector::from(Arc::new(config)).connect(name, stream).await
    }

    /// Says hello in HTTP/2, and whether the server says anything. In TLS 1.3 a client learns only so what became of its
    /// certificate.
    pub async fn outcome(&self, port: u16) -> Outcome {
        let talk = async {
            let mut stream = self.connect(port, "h2").await?;
            // The preface and empty settings.
            stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await?;
            stream.flush().await?;
            let mut byte = [0];
            stream.read_exact(&mut byte).await
        };
        match tokio::time::timeout(PATIENCE, talk).await.expect("a server answers, or closes the connection") {
            Ok(_) => Outcome::Served,
            Err(_) => Outcome::Refused,
        }
    }

    /// A page over HTTP/1.1.
    ///
    /// # Errors
    /// As [`Self::connect`].
    pub async fn get(&self, port: u16, path: &str) -> io::Result<String> {
        let mut stream = self.connect(port, "http/1.1").await?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut page = String::new();
        match stream.read_to_string(&mut page).await {
            // Not every server says farewell.
            Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => Err(error),
            _ => Ok(page),
        }
    }
}

pub fn certificates(path: &Path) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_file_iter(path).expect("a file").collect::<Result<_, _>>().expect("certificates")
}

#[derive(Debug)]
struct BelievesAnybody(Arc<CryptoProvider>);

impl ServerCertVerifier for BelievesAnybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

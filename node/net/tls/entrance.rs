//! The way in: a connection as it was accepted becomes one that can be served, in the clear or behind a handshake.

use super::files::{Authorities, Reloading, revoked_serials};
use super::names::{self, Names};
use super::verify::OfClients;
use super::{ServerSettings, TlsError, in_time, words};
use crate::net::Connection;
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use std::collections::HashSet;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// The first byte of a TLS connection: a record of the handshake.
const HANDSHAKE: u8 = 22;

/// What a listener does with a connection before it is served. Cheap to clone.
#[derive(Clone, Debug)]
pub enum Entrance {
    Clear,
    Tls(Arc<Door>),
    /// One port for both: who begins with a handshake gets it.
    Either(Arc<Door>),
}

/// A connection that can be served.
pub struct Entered {
    pub connection: Connection,
    pub is_secure: bool,
    /// Whom the certificate names that the other side has shown, verified.
    pub names: Option<Arc<Names>>,
}

impl std::fmt::Debug for Entered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entered")
            .field("is_secure", &self.is_secure)
            .field("names", &self.names)
            .finish_non_exhaustive()
    }
}

/// Why a connection was not taken.
#[derive(Debug)]
pub struct Rejected {
    pub reason: String,
    /// What name the client has asked for; may be empty.
    pub server_name: String,
    pub names: Option<Arc<Names>>,
    /// It left without a word, as a probe of the port does.
    pub has_left: bool,
}

impl Rejected {
    fn of(error: &io::Error) -> Self {
        let has_left = error.kind() == io::ErrorKind::UnexpectedEof;
        Self { reason: words::said(error), server_name: String::new(), names: None, has_left }
    }

    /// Says so in etcd's words.
    pub fn log(&self, endpoint: &'static str, from: Option<SocketAddr>) {
        let from = from.map_or_else(String::new, |from| from.to_string());
        let unknown = Names::default();
        let names = self.names.as_deref().unwrap_or(&unknown);
        let Self { reason, server_name, .. } = self;
        macro_rules! line {
            ($level:ident) => {
                if self.names.is_some() {
                    tracing::$level!(
                        "remote-addr" = from,
                        "server-name" = server_name,
                        "ip-addresses" = ?names.ip_addresses,
                        "dns-names" = ?names.dns_names,
                        error = reason,
                        "rejected connection on {endpoint} endpoint"
                    )
                } else {
                    tracing::$level!(
                        "remote-addr" = from,
                        "server-name" = server_name,
                        error = reason,
                        "rejected connection on {endpoint} endpoint"
                    )
                }
            };
        }
        if self.has_left { line!(debug) } else { line!(warn) }
    }
}

impl Entrance {
    /// Takes a connection, by a handshake if there is to be one.
    ///
    /// # Errors
    /// It is to be dropped.
    pub async fn enter(&self, connection: Connection, from: Option<SocketAddr>) -> Result<Entered, Rejected> {
        let door = match self {
            Entrance::Clear => return Ok(Entered { connection, is_secure: false, names: None }),
            Entrance::Tls(door) | Entrance::Either(door) => door,
        };
        let takes_clear = matches!(self, Entrance::Either(_));
        let entering = async {
            let connection = match takes_clear {
                false => connection,
                true => {
                    let begun = Begun::read(connection).await.map_err(|error| Rejected::of(&error))?;
                    let is_clear = begun.first != Some(HANDSHAKE);
                    let connection: Connection = Box::new(begun);
                    if is_clear {
                        return Ok(Entered { connection, is_secure: false, names: None });
                    }
                    connection
                }
            };
            door.shake_hands(connection, from).await
        };
        in_time(entering).await.unwrap_or_else(|error| Err(Rejected::of(&error)))
    }
}

/// TLS as a listener speaks it.
#[derive(Debug)]
pub struct Door {
    settings: Reloading<Made>,
    checks_address: bool,
}

#[derive(Debug)]
struct Made {
    config: Arc<ServerConfig>,
    /// Serial numbers.
    revoked: HashSet<Vec<u8>>,
}

impl Door {
    /// # Errors
    /// The files cannot be used.
    pub fn new(settings: ServerSettings) -> Result<Self, TlsError> {
        let checks_address = settings.checks_address;
        let mut files = vec![settings.shown.cert.clone(), settings.shown.key.clone()];
        files.extend(settings.trusted_ca.iter().chain(&settings.revocations).cloned());
        Ok(Self { settings: Reloading::new(files, move || Made::read(&settings))?, checks_address })
    }

    async fn shake_hands(&self, connection: Connection, from: Option<SocketAddr>) -> Result<Entered, Rejected> {
        let made = self.settings.current();
        let accepted = TlsAcceptor::from(Arc::clone(&made.config)).accept(connection).into_fallible().await;
        let stream = accepted.map_err(|(error, _)| Rejected::of(&error))?;
        let shown = Shown::on(&stream);
        match self.check(&made, &shown, from).await {
            Ok(()) => Ok(Entered { connection: Box::new(stream), is_secure: true, names: shown.names }),
            Err(reason) => {
                let (server_name, names) = (shown.server_name, shown.names);
                Err(Rejected { reason, server_name, names, has_left: false })
            }
        }
    }

    async fn check(&self, made: &Made, shown: &Shown, from: Option<SocketAddr>) -> Result<(), String> {
        if self.checks_address
            && let (Some(names), Some(first), Some(from)) = (&shown.names, shown.certificates.first(), from)
        {
            names.check_address(first, from.ip().to_canonical()).await?;
        }
        for serial in shown.certificates.iter().filter_map(names::serial) {
            if made.revoked.contains(&serial) {
                let digits: String = serial.iter().map(|byte| format!("{byte:02x}")).collect();
                return Err(format!("transport: certificate serial {digits} revoked"));
            }
        }
        Ok(())
    }
}

/// What the other side has shown in a handshake.
struct Shown {
    certificates: Vec<CertificateDer<'static>>,
    names: Option<Arc<Names>>,
    server_name: String,
}

impl Shown {
    fn on(stream: &TlsStream<Connection>) -> Self {
        let (_, session) = stream.get_ref();
        let certificates: Vec<_> = session
            .peer_certificates()
            .unwrap_or_default()
            .iter()
            .map(|certificate| certificate.clone().into_owned())
            .collect();
        let server_name = session.server_name().unwrap_or_default().to_owned();
        Self { names: certificates.first().map(Names::of).map(Arc::new), certificates, server_name }
    }
}

impl Made {
    fn read(settings: &ServerSettings) -> Result<Self, TlsError> {
        let ServerSettings { shown, trusted_ca, client_cert_auth, allowed, revocations, protocol, .. } = settings;
        let provider = Arc::new(protocol.provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
        let builder = builder.with_protocol_versions(&protocol.versions())?;
        let builder = if *client_cert_auth || trusted_ca.is_some() {
            let authorities = Authorities::read(trusted_ca.as_deref())?;
            builder.with_client_cert_verifier(Arc::new(OfClients::new(authorities, allowed.clone(), provider)?))
        } else {
            builder.with_no_client_auth()
        };
        let (chain, key) = shown.read()?;
        let config = builder.with_single_cert(chain, key);
        let mut config = config.map_err(|source| TlsError::KeyPair { pair: shown.clone(), source })?;
        // What rustls would refuse and Go lets pass: a client of pages that speaks nothing newer.
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let revoked = revocations.as_deref().map(revoked_serials).transpose()?.unwrap_or_default();
        Ok(Self { config: Arc::new(config), revoked })
    }
}

/// A connection of which the first byte was read, and is read again.
struct Begun {
    connection: Connection,
    /// None once it is handed over.
    first: Option<u8>,
}

impl Begun {
    async fn read(mut connection: Connection) -> io::Result<Self> {
        let mut byte = [0];
        let first = (connection.read(&mut byte).await? == 1).then_some(byte[0]);
        Ok(Self { connection, first })
    }
}

impl AsyncRead for Begun {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if buffer.remaining() > 0
            && let Some(first) = self.first.take()
        {
            buffer.put_slice(&[first]);
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.connection).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Begun {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.connection).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.connection).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.connection.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_shutdown(cx)
    }
}

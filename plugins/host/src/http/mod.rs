//! The way out for plugins that were granted servers: `wasi:http`, held to the operator's list. A request goes to one of the
//! addresses that were looked at, on a connection of its own, and where an answer points to is not followed.

mod address;
mod body;
mod origin;
#[cfg(test)]
mod tests;

pub use origin::Origin;

use crate::limits::MAX_CONNECTIONS;
use crate::stats::Stats;
use body::Counted;
use http::{Request, Response, Uri, header, uri::Scheme};
use http_body_util::BodyExt as _;
use hyper::client::conn::http1;
use origin::Target;
use rustls::pki_types::ServerName;
use std::future::Future;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::AcqRel, Ordering::Relaxed};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use wasmtime_wasi_http::io::TokioIo;
use wasmtime_wasi_http::p2::bindings::http::types::ErrorCode;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

/// Bytes of the head of a response.
const MAX_HEAD_BYTES: usize = 64 << 10;
const MAX_HEADERS: usize = 128;
/// What a guest gets that asks for more, or for none.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
const FIRST_BYTE_TIMEOUT: Duration = Duration::from_secs(120);

type Io = Box<dyn Future<Output = Result<(), Error>> + Send>;

/// What a plugin may do, and what it did.
#[derive(Clone, Debug)]
pub(crate) struct Egress {
    pub origins: Arc<[Origin]>,
    /// Without it no server is spoken to over TLS.
    pub tls: Option<Arc<rustls::ClientConfig>>,
    pub max_response_bytes: u64,
    pub open: Arc<AtomicUsize>,
    pub stats: Arc<Stats>,
}

/// One of the connections that a plugin may have open.
struct Connection(Arc<AtomicUsize>);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.fetch_sub(1, AcqRel);
    }
}

impl Egress {
    fn connection(&self) -> Result<Arc<Connection>, Error> {
        let counted = self.open.fetch_update(AcqRel, Relaxed, |open| (open < MAX_CONNECTIONS).then_some(open + 1));
        counted.map(|_| Arc::new(Connection(Arc::clone(&self.open)))).map_err(|_| Error::ConnectionLimitReached)
    }

    /// Addresses that may be connected to, for a server that is on the list.
    async fn addresses(&self, uri: &Uri, connection: &Arc<Connection>) -> Result<Vec<SocketAddr>, Error> {
        let target = Target::of(uri).ok_or(Error::HttpRequestUriInvalid)?;
        let granted = self.origins.iter().filter(|origin| origin.covers(&target)).collect::<Vec<_>>();
        if granted.is_empty() {
            return Err(self.denied(Error::HttpRequestDenied));
        }
        // A look-up goes on when nobody waits for it any more, and counts as a connection until it ends.
        let (name, of_lookup) = ((target.bare_host().to_owned(), target.port), Arc::clone(connection));
        let lookup = tokio::task::spawn_blocking(move || {
            let found = name.to_socket_addrs().map(Vec::from_iter);
            drop(of_lookup);
            found
        });
        let unknown = || Error::DnsError { rcode: None, info_code: None };
        let found = lookup.await.map_err(|_| unknown())?.map_err(|_| unknown())?;
        if found.is_empty() {
            return Err(Error::DestinationNotFound);
        }
        let may = |address: &SocketAddr| granted.iter().any(|origin| origin.allows(&target, address.ip()));
        let addresses: Vec<SocketAddr> = found.into_iter().filter(may).collect();
        if addresses.is_empty() { Err(self.denied(Error::DestinationIpProhibited)) } else { Ok(addresses) }
    }

    fn denied(&self, error: Error) -> Error {
        self.stats.http_denied.fetch_add(1, Relaxed);
        error
    }

    async fn send(
        self,
        mut request: Request<WasiBody>,
        options: RequestOptions,
    ) -> Result<(Response<WasiBody>, Io), Error> {
        let connection = self.connection()?;
        if matches!(*request.method(), http::Method::CONNECT | http::Method::TRACE) {
            return Err(self.denied(Error::HttpRequestMethodInvalid));
        }
        let addresses = self.addresses(request.uri(), &connection).await?;
        let connect = options.connect_timeout.map_or(CONNECT_TIMEOUT, |wanted| wanted.min(CONNECT_TIMEOUT));
        let stream = tokio::time::timeout(connect, self.connect(request.uri(), &addresses));
        let stream = stream.await.map_err(|_| Error::ConnectionTimeout)??;
        let mut client = http1::Builder::new();
        client.max_buf_size(MAX_HEAD_BYTES).max_headers(MAX_HEADERS);
        let (mut sender, driver) = client.handshake(TokioIo::new(stream)).await?;
        // Servers are told the path only; the head has said which of them is meant.
        let path = request.uri().path_and_query().cloned();
        let path = path.filter(|path| path.as_str().starts_with('/'));
        *request.uri_mut() = path.map_or_else(|| Uri::from_static("/"), Uri::from);
        request.headers_mut().insert(header::CONNECTION, header::HeaderValue::from_static("close"));
        self.stats.http_requests.fetch_add(1, Relaxed);
        let stats = Arc::clone(&self.stats);
        let request = request.map(|body| Counted::sent(body, stats).boxed_unsync());
        let first_byte = options.first_byte_timeout.map_or(FIRST_BYTE_TIMEOUT, |wanted| wanted.min(FIRST_BYTE_TIMEOUT));
        let mut driver = Box::pin(driver);
        let answer = tokio::time::timeout(first_byte, sender.send_request(request));
        tokio::pin!(answer);
        // The driver moves the bytes; until there is an answer it is driven here.
        let (response, driver) = tokio::select! {
            answer = &mut answer => (answer, Some(driver)),
            ended = &mut driver => {
                ended?;
                (answer.await, None)
            }
        };
        let response = response.map_err(|_| Error::HttpResponseTimeout)??;
        let (max, stats) = (self.max_response_bytes, Arc::clone(&self.stats));
        let response =
            response.map(|body| Counted::received(body.map_err(Error::from).boxed_unsync(), stats, max).boxed_unsync());
        let io = async move {
            let _open = connection;
            match driver {
                Some(driver) => driver.await.map_err(Error::from),
                None => Ok(()),
            }
        };
        Ok((response, Box::new(io)))
    }

    async fn connect(&self, uri: &Uri, addresses: &[SocketAddr]) -> Result<Box<dyn Stream>, Error> {
        let mut last = Error::DestinationNotFound;
        for address in addresses {
            match TcpStream::connect(address).await {
                Ok(stream) => return self.over_tls(uri, stream).await,
                Err(error) => last = Error::Connect(error),
            }
        }
        Err(last)
    }

    async fn over_tls(&self, uri: &Uri, stream: TcpStream) -> Result<Box<dyn Stream>, Error> {
        if uri.scheme() != Some(&Scheme::HTTPS) {
            return Ok(Box::new(stream));
        }
        let target = Target::of(uri).ok_or(Error::HttpRequestUriInvalid)?;
        let config = self.tls.clone().ok_or(Error::ConfigurationError)?;
        let name = ServerName::try_from(target.bare_host().to_owned()).map_err(|_| Error::HttpRequestUriInvalid)?;
        let stream = TlsConnector::from(config).connect(name, stream).await.map_err(Error::Tls)?;
        Ok(Box::new(stream))
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

impl WasiHttpHooks for Egress {
    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _: Io,
    ) -> Box<dyn Future<Output = Result<(Response<WasiBody>, Io), Error>> + Send> {
        Box::new(self.clone().send(request, options.unwrap_or_default()))
    }

    // The guest is told; the node's log is not a guest's to write to.
    fn p2_error_from_hyper(&mut self, error: &hyper::Error) -> ErrorCode {
        if error.is_timeout() { ErrorCode::ConnectionReadTimeout } else { ErrorCode::HttpProtocolError }
    }

    fn p2_error_from_connect(&mut self, error: &std::io::Error) -> ErrorCode {
        match error.kind() {
            std::io::ErrorKind::TimedOut => ErrorCode::ConnectionTimeout,
            _ => ErrorCode::ConnectionRefused,
        }
    }

    fn p2_error_from_tls(&mut self, error: &std::io::Error) -> ErrorCode {
        let is_certificate = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>());
        match is_certificate {
            Some(rustls::Error::InvalidCertificate(_)) => ErrorCode::TlsCertificateError,
            _ => ErrorCode::TlsProtocolError,
        }
    }
}

//! tonic's way to a [`Dial`].

use super::tls::Tls;
use super::{Connection, Dial, Target, UnknownScheme};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use http::Uri;
use hyper_util::rt::TokioIo;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tower_service::Service;

/// How others are reached.
#[derive(Clone, Debug)]
pub struct Reach {
    pub dial: Arc<dyn Dial>,
    /// None: nobody is reached behind TLS.
    pub tls: Option<Arc<Tls>>,
}

impl Reach {
    /// A way to whichever of `urls` answers first.
    ///
    /// # Errors
    /// One cannot be read.
    pub fn connector<U: AsRef<str>>(&self, urls: &[U]) -> Result<Connector, UnknownScheme> {
        let targets = urls.iter().map(|url| Target::parse(url.as_ref())).collect::<Result<Vec<_>, _>>()?;
        Ok(Connector { targets: targets.into(), reach: self.clone() })
    }

    /// A way to `target`.
    pub fn connector_to(&self, target: Target) -> Connector {
        Connector { targets: [target].into(), reach: self.clone() }
    }
}

/// Connects to whichever of some targets takes it first, be the URI what it may.
#[derive(Clone, Debug)]
pub struct Connector {
    targets: Arc<[Target]>,
    reach: Reach,
}

async fn connect(target: &Target, reach: &Reach) -> io::Result<Connection> {
    let connection = reach.dial.dial(&target.address).await?;
    match (target.is_secure, &reach.tls) {
        (false, _) => Ok(connection),
        (true, Some(tls)) => tls.shake_hands(connection, &target.host).await,
        (true, None) => {
            let why =
                format!("{}: nothing is said of TLS here: which certificates to show and to believe", target.address);
            Err(io::Error::new(io::ErrorKind::InvalidInput, why))
        }
    }
}

async fn connect_first(targets: &[Target], reach: &Reach) -> io::Result<Connection> {
    let mut attempts: FuturesUnordered<_> = targets.iter().map(|target| connect(target, reach)).collect();
    let mut failed = io::Error::new(io::ErrorKind::InvalidInput, "there is no address");
    while let Some(attempt) = attempts.next().await {
        match attempt {
            Ok(connection) => return Ok(connection),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Connection>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let Self { targets, reach } = self.clone();
        Box::pin(async move { Ok(TokioIo::new(connect_first(&targets, &reach).await?)) })
    }
}

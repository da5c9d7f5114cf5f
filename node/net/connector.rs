//! tonic's way to a [`Dial`].

use super::{Connection, Dial};
use http::Uri;
use hyper_util::rt::TokioIo;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tower_service::Service;

/// Connects to the authority of a URI.
#[derive(Clone, Debug)]
pub struct Connector(pub Arc<dyn Dial>);

impl Service<Uri> for Connector {
    type Response = TokioIo<Connection>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let dialing = self.0.dial(uri.authority().map_or("", |authority| authority.as_str()));
        Box::pin(async move { Ok(TokioIo::new(dialing.await?)) })
    }
}

//! The sockets of a process.

use super::{Accepting, Address, Connecting, Connection, Dial, Listen};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

/// How a process connects.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sockets;

impl Dial for Sockets {
    fn dial(&self, to: &Address) -> Connecting {
        let to = to.clone();
        Box::pin(async move {
            Ok(match to {
                Address::Tcp(authority) => {
                    let stream = TcpStream::connect(authority).await?;
                    stream.set_nodelay(true)?;
                    Box::new(stream) as Connection
                }
                Address::Unix(path) => Box::new(UnixStream::connect(path).await?),
            })
        })
    }
}

/// # Errors
/// The address cannot be bound.
pub async fn listen_tcp(address: SocketAddr) -> io::Result<Box<dyn Listen>> {
    Ok(Box::new(TcpListener::bind(address).await?))
}

/// What was left at `path`, as by a process that was killed, is replaced (etcd `NewUnixListener`).
///
/// # Errors
/// The path cannot be bound.
pub fn listen_unix(path: &Path) -> io::Result<Box<dyn Listen>> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    Ok(Box::new(UnixSocket { listener: UnixListener::bind(path)?, path: path.to_owned() }))
}

impl Listen for TcpListener {
    fn accept(&mut self) -> Accepting<'_> {
        Box::pin(async move {
            let (stream, from) = TcpListener::accept(self).await?;
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "connection without nodelay");
            }
            Ok((Box::new(stream) as Connection, Some(from)))
        })
    }
}

/// Its file goes with it.
#[derive(Debug)]
struct UnixSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl Listen for UnixSocket {
    fn accept(&mut self) -> Accepting<'_> {
        Box::pin(async move {
            let (stream, _) = self.listener.accept().await?;
            Ok((Box::new(stream) as Connection, None))
        })
    }
}

impl Drop for UnixSocket {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::debug!(path = %self.path.display(), %error, "socket file was not removed");
        }
    }
}

//! The sockets of a process.

use super::{Accepting, Address, Connecting, Connection, Dial, Listen};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixListener, UnixStream};

/// How a process connects.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sockets {
    /// The address that connections come from. None: as the system has it.
    pub from: Option<IpAddr>,
}

impl Dial for Sockets {
    fn dial(&self, to: &Address) -> Connecting {
        let (from, to) = (self.from, to.clone());
        Box::pin(async move {
            Ok(match to {
                Address::Tcp(authority) => {
                    let stream = match from {
                        None => TcpStream::connect(authority).await?,
                        Some(from) => connect_from(from, authority).await?,
                    };
                    stream.set_nodelay(true)?;
                    Box::new(stream) as Connection
                }
                Address::Unix(path) => Box::new(UnixStream::connect(path).await?),
            })
        })
    }
}

/// Tries the addresses of `authority` that are of the same family, as Go does.
async fn connect_from(from: IpAddr, authority: String) -> io::Result<TcpStream> {
    let mut failed = io::Error::new(io::ErrorKind::AddrNotAvailable, format!("{authority}: no suitable address"));
    for address in tokio::net::lookup_host(authority).await?.filter(|address| address.is_ipv4() == from.is_ipv4()) {
        let socket = if from.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.bind(SocketAddr::new(from, 0))?;
        match socket.connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => failed = error,
        }
    }
    Err(failed)
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[tokio::test]
    async fn calls_come_from_the_address_that_was_given() {
        let mut listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let to = listener.local_addr().expect("bound").to_string();
        let from = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
        let call = Sockets { from: Some(from) }.dial(&Address::Tcp(to));
        let (accepted, called) = tokio::join!(Listen::accept(&mut listener), call);
        assert_eq!(accepted.expect("accept").1.map(|address| address.ip()), Some(from));
        called.map(|_| ()).expect("connect");
        let other = Sockets { from: Some(from) }.dial(&Address::Tcp("[::1]:1".to_owned())).await;
        assert_eq!(other.map(|_| ()).expect_err("no way").to_string(), "[::1]:1: no suitable address");
    }
}

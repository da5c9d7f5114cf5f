//! Connections as arguments: a process listens and connects over TCP, a simulated cluster over a network of its own
//! that delays, cuts and forgets (DESIGN D14). Knows nothing of what is said on them.

mod connector;
pub mod dns;
mod gathered;
mod pings;
mod sockets;
mod target;
pub mod tls;

pub use connector::{Connector, Reach};
pub use gathered::Gathered;
pub use pings::{OpenCall, OpenCalls, PingLimit, PingRules};
pub use sockets::{Sockets, listen_tcp, listen_unix};
pub use target::{Address, Target, UnknownScheme, host_of};

use std::fmt::Debug;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use tokio::io::{AsyncRead, AsyncWrite};

/// A connection, whatever carries it.
pub type Connection = Box<dyn Carrier>;

pub trait Carrier: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Carrier for T {}

pub type Connecting = Pin<Box<dyn Future<Output = io::Result<Connection>> + Send>>;

/// A connection, and where it comes from if that has an address.
pub type Accepted = (Connection, Option<SocketAddr>);
pub type Accepting<'a> = Pin<Box<dyn Future<Output = io::Result<Accepted>> + Send + 'a>>;

/// Where connections come in. Dropping it refuses those to come.
pub trait Listen: Debug + Send {
    /// The next connection.
    fn accept(&mut self) -> Accepting<'_>;
}

/// How connections go out.
pub trait Dial: Debug + Send + Sync {
    /// Connects.
    fn dial(&self, to: &Address) -> Connecting;
}

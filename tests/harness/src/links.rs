//! The network between the members: a TCP proxy in front of each member's peer port.
//!
//! A member dials its peers at their advertised URL, which is the proxy's; the proxy asks the kernel which
//! member the connection comes from, and so every pair of members has two flows, one for each direction
//! of bytes, whoever dialled. Bytes of a cut flow are held, not dropped: that is what a cut cable looks like
//! to TCP, which sends again once the cable is back.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

const CHUNK_BYTES: usize = 64 * 1024;

/// What happens to bytes on their way from one member to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    Pass,
    /// Accepted and held, without a word to the sender.
    Blackhole,
    /// Connections are closed, new ones too.
    Refuse,
    /// Every chunk arrives this much later.
    Delay(Duration),
}

/// Index of a member in its cluster.
type Place = usize;

#[derive(Debug)]
struct Shared {
    flows: HashMap<(Place, Place), watch::Sender<Flow>>,
    /// Whether what others dialled to a member is held, both ways.
    held_calls: Vec<watch::Sender<bool>>,
    /// Process ids of the running members, to tell who dials.
    pids: Mutex<Vec<Option<u32>>>,
}

/// All flows between the members of one cluster.
#[derive(Debug)]
pub(crate) struct Links {
    shared: Arc<Shared>,
    listeners: Vec<JoinHandle<()>>,
}

impl Links {
    /// Listens at `fronts[i]` and passes on to `backs[i]`, a member's each; listens nowhere if there are no fronts. To be
    /// called within a runtime.
    pub async fn start(fronts: &[u16], backs: &[u16]) -> Self {
        let count = backs.len();
        let pairs = (0..count).flat_map(|from| (0..count).map(move |to| (from, to)));
        let flows = pairs.map(|pair| (pair, watch::Sender::new(Flow::Pass))).collect();
        let held_calls = (0..count).map(|_| watch::Sender::new(false)).collect();
        let shared = Arc::new(Shared { flows, held_calls, pids: Mutex::new(vec![None; count]) });
        let mut listeners = Vec::new();
        for (to, (&front, &back)) in fronts.iter().zip(backs).enumerate() {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, front)).await.expect("listen on a free port");
            listeners.push(tokio::spawn(accept(shared.clone(), listener, to, back)));
        }
        Self { shared, listeners }
    }

    pub fn set_pid(&self, place: Place, pid: Option<u32>) {
        let mut pids = self.shared.pids.lock().expect("no panic while holding the pids");
        // A member that was added later has no links.
        if let Some(slot) = pids.get_mut(place) {
            *slot = pid;
        }
    }

    pub fn hold_calls(&self, to: Place, held: bool) {
        self.shared.held_calls[to].send_replace(held);
    }

    pub fn set(&self, from: Place, to: Place, flow: Flow) {
        self.shared.flows[&(from, to)].send_replace(flow);
    }
}

impl Drop for Links {
    fn drop(&mut self) {
        for listener in &self.listeners {
            listener.abort();
        }
    }
}

async fn accept(shared: Arc<Shared>, listener: TcpListener, to: Place, back: u16) {
    while let Ok((near, source)) = listener.accept().await {
        tokio::spawn(carry(shared.clone(), near, source, to, back));
    }
}

/// Carries one connection that some member dialled to member `to`, until it ends or is refused.
async fn carry(shared: Arc<Shared>, near: TcpStream, source: SocketAddr, to: Place, back: u16) {
    let pids = shared.pids.lock().expect("no panic while holding the pids").clone();
    // A dialler that died in between has no place; its connection is worth nothing.
    let Ok(front) = near.local_addr() else { return };
    let Some(inode) = inode_of(source.port(), front.port()) else { return };
    let Some(from) = pids.iter().position(|pid| pid.is_some_and(|pid| owns_socket(pid, inode))) else { return };
    let (forth_flow, back_flow) = (&shared.flows[&(from, to)], &shared.flows[&(to, from)]);
    if *forth_flow.borrow() == Flow::Refuse || *back_flow.borrow() == Flow::Refuse {
        return;
    }
    let Ok(far) = TcpStream::connect((Ipv4Addr::LOCALHOST, back)).await else { return };
    if near.set_nodelay(true).and_then(|()| far.set_nodelay(true)).is_err() {
        return;
    }
    let (near_read, near_write) = near.into_split();
    let (far_read, far_write) = far.into_split();
    let held = &shared.held_calls[to];
    tokio::join!(
        pump(near_read, far_write, held.subscribe(), forth_flow.subscribe(), back_flow.subscribe()),
        pump(far_read, near_write, held.subscribe(), back_flow.subscribe(), forth_flow.subscribe()),
    );
}

/// Moves bytes one way as `flow` says. Ends when either direction is refused, so that both sides see it.
async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut held: watch::Receiver<bool>,
    mut flow: watch::Receiver<Flow>,
    mut other: watch::Receiver<Flow>,
) {
    let mut refused = flow.clone();
    let copy = async {
        let mut buffer = vec![0; CHUNK_BYTES];
        loop {
            let count = match from.read(&mut buffer).await {
                Ok(0) | Err(_) => break,
                Ok(count) => count,
            };
            let delay = match *flow.borrow() {
                Flow::Delay(delay) => Some(delay),
                Flow::Pass | Flow::Blackhole | Flow::Refuse => None,
            };
            if let Some(delay) = delay {
                tokio::time::sleep(delay).await;
            }
            let passes = flow.wait_for(|flow| !matches!(flow, Flow::Blackhole)).await.is_ok();
            let open = passes && held.wait_for(|held| !held).await.is_ok();
            if !open || to.write_all(&buffer[..count]).await.is_err() {
                break;
            }
        }
        // A closed connection is news too, and does not cross a cut cable.
        flow.clone().wait_for(|flow| !matches!(flow, Flow::Blackhole)).await.is_ok()
    };
    tokio::select! {
        _ = copy => {}
        _ = refused.wait_for(|flow| *flow == Flow::Refuse) => {}
        _ = other.wait_for(|flow| *flow == Flow::Refuse) => {}
    }
}

/// Whether process `pid` holds the socket with this inode.
fn owns_socket(pid: u32, inode: u64) -> bool {
    let wanted = format!("socket:[{inode}]");
    let Ok(descriptors) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    descriptors.flatten().any(|entry| std::fs::read_link(entry.path()).is_ok_and(|link| link == Path::new(&wanted)))
}

/// Finds the dialler's socket in `/proc/net/tcp`, whose columns are number, local and remote address in hex,
/// state, five of no interest here, inode.
fn inode_of(local_port: u16, remote_port: u16) -> Option<u64> {
    let (local_end, remote_end) = (format!(":{local_port:04X}"), format!(":{remote_port:04X}"));
    ["/proc/net/tcp", "/proc/net/tcp6"].iter().find_map(|path| {
        let table = std::fs::read_to_string(path).ok()?;
        table.lines().skip(1).find_map(|line| {
            let columns: Vec<&str> = line.split_whitespace().collect();
            let found = columns.get(1)?.ends_with(&local_end) && columns.get(2)?.ends_with(&remote_end);
            if found { columns.get(9)?.parse().ok() } else { None }
        })
    })
}

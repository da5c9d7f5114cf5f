//! Ports of our own on loopback. They lie below the range from which the kernel takes the source ports
//! of outgoing connections, so that a member that is down for a while finds its port free again.

use std::fs::{File, OpenOptions};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::Mutex;

const FIRST: u16 = 21_000;
const LAST: u16 = 31_999;

struct Allocated {
    next: u16,
    /// Locks that keep other test processes on this machine off our ports; held until we exit.
    claims: Vec<File>,
}

static ALLOCATED: Mutex<Allocated> = Mutex::new(Allocated { next: 0, claims: Vec::new() });

/// A port that no other test process uses and that was free a moment ago; never given out twice.
///
/// # Panics
/// If all ports are taken.
pub fn free_port() -> u16 {
    let mut allocated = ALLOCATED.lock().expect("no panic while ports are handed out");
    let span = LAST - FIRST + 1;
    if allocated.next == 0 {
        // Processes start at different places, so that they seldom meet.
        allocated.next = FIRST + (std::process::id() as u16).wrapping_mul(97) % span;
    }
    for _ in 0..span {
        let port = allocated.next;
        allocated.next = if port == LAST { FIRST } else { port + 1 };
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_err() {
            continue;
        }
        if let Some(claim) = claim(port) {
            allocated.claims.push(claim);
            return port;
        }
    }
    panic!("no free port between {FIRST} and {LAST}");
}

fn claim(port: u16) -> Option<File> {
    let folder = std::env::temp_dir().join("keelstone-test-ports");
    std::fs::create_dir_all(&folder).ok()?;
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(folder.join(port.to_string())).ok()?;
    file.try_lock().ok()?;
    Some(file)
}

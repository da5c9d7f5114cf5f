//! The address that others reach this machine by: the one that its default route sends from (etcd
//! `pkg/netutil.GetDefaultHost` reads the routing table over netlink; asking a socket gives the same answer).

use std::net::UdpSocket;

/// The source address of the default route, IPv4 before IPv6. No packet is sent: connecting a UDP socket only
/// looks up the route. The addresses asked for are reserved for documentation, so no route of its own covers them.
pub fn find() -> Result<String, String> {
    source_for("0.0.0.0:0", "192.0.2.1:9")
        .or_else(|_| source_for("[::]:0", "[2001:db8::1]:9"))
        .map_err(|_| "could not find default route".to_owned())
}

fn source_for(bind: &str, target: &str) -> std::io::Result<String> {
    let socket = UdpSocket::bind(bind)?;
    socket.connect(target)?;
    Ok(socket.local_addr()?.ip().to_string())
}

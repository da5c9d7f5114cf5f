//! What kind of place an address is. Written out, since the standard library's own answers are not stable yet.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    Public,
    /// This machine, or networks that are not routed on the internet.
    Private,
    /// Of this link, where clouds keep their metadata services too.
    LinkLocal,
    /// No one server is there.
    Nowhere,
}

pub(super) fn reach(address: IpAddr) -> Reach {
    match address {
        IpAddr::V4(address) => reach_v4(address),
        IpAddr::V6(address) => embedded(address).map_or_else(|| reach_v6(address), reach_v4),
    }
}

/// The IPv4 address at which packets to this one arrive: mapped, compatible, NAT64, 6to4.
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let last = |high: u16, low: u16| Some(Ipv4Addr::from(u32::from(high) << 16 | u32::from(low)));
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => None,
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] | [0, 0, 0, 0, 0xffff, 0, high, low] => last(high, low),
        [0x64, 0xff9b, 0 | 1, _, _, _, high, low] => last(high, low),
        [0x2002, high, low, ..] => last(high, low),
        _ => None,
    }
}

fn reach_v4(address: Ipv4Addr) -> Reach {
    match address.octets() {
        [0, ..] | [224..=255, ..] => Reach::Nowhere,
        // Documentation, and anycast relays that are no more.
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] | [192, 88, 99, _] => Reach::Nowhere,
        [169, 254, ..] => Reach::LinkLocal,
        [10, ..] | [127, ..] | [192, 168, ..] | [172, 16..=31, ..] => Reach::Private,
        // Carriers, protocol assignments, benchmarks.
        [100, 64..=127, ..] | [192, 0, 0, _] | [198, 18 | 19, ..] => Reach::Private,
        _ => Reach::Public,
    }
}

fn reach_v6(address: Ipv6Addr) -> Reach {
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 1] => Reach::Private,
        // Where one cloud has its metadata service, within the private range.
        [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254] | [0xfe80..=0xfebf, ..] => Reach::LinkLocal,
        [0xfc00..=0xfdff, ..] | [0xfec0..=0xfeff, ..] => Reach::Private,
        // Documentation.
        [0x2001, 0xdb8, ..] | [0x3fff, 0..=0x0fff, ..] => Reach::Nowhere,
        [0x2000..=0x3fff, ..] => Reach::Public,
        _ => Reach::Nowhere,
    }
}

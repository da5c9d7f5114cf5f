//! Leases: ids from a few, times far apart, so that none ends by itself and their order by time is known.

use super::keys;
use crate::operation::Operation;
use crate::world::{LEASE_IDS, World};
use keelstone_harness::Random;
use keelstone_harness::proto::etcdserverpb::{LeaseGrantRequest, LeaseRevokeRequest, LeaseTimeToLiveRequest};

/// Further apart than any run is long.
const TTLS_SECS: [i64; 5] = [10_000, 20_000, 30_000, 1_000_000, 9_000_000_000];

pub fn operation(random: &mut Random, world: &World) -> Operation {
    match random.below(100) {
        0..=24 => Operation::Grant(LeaseGrantRequest { id: id(random, world, 20), ttl: *random.pick(&TTLS_SECS) }),
        25..=29 => Operation::GrantAndRevoke(short_grant(random, world)),
        30..=44 => Operation::Revoke(LeaseRevokeRequest { id: id(random, world, 80) }),
        45..=64 => Operation::TimeToLive(LeaseTimeToLiveRequest { id: id(random, world, 80), keys: random.chance(60) }),
        65..=89 => Operation::KeepAlive { id: id(random, world, 80) },
        90 if random.chance(10) => {
            Operation::Expire { keys: (0..random.below(4)).map(|_| keys::key(random)).collect() }
        }
        _ => Operation::Leases,
    }
}

/// Mostly one that lives in `percent` of 100 cases, if any does; else any, and seldom none.
fn id(random: &mut Random, world: &World, percent: u64) -> i64 {
    if random.chance(percent) && !world.leases.is_empty() {
        return *random.pick(&world.leases.keys().copied().collect::<Vec<_>>());
    }
    if random.chance(2) { 0 } else { *random.pick(&LEASE_IDS) }
}

/// A lease that would not stay, or would have an id of the server's choice.
fn short_grant(random: &mut Random, world: &World) -> LeaseGrantRequest {
    let ttl = *random.pick(&[0, 1, 2, -1, i64::MIN, 9_000_000_001, i64::MAX, 10_000]);
    LeaseGrantRequest { id: if random.chance(70) { 0 } else { id(random, world, 20) }, ttl }
}

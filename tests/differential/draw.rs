//! Which operation comes next. A step is drawn from its own seed and from the world as both servers know it, so a
//! history with some steps left out still makes sense.

pub mod keys;
pub mod kv;
mod lease;
mod malformed;
pub mod txn;
mod watch;

pub use watch::STREAMS;

use crate::operation::{Operation, Step};
use crate::streams::StreamPair;
use crate::wire::Metadata;
use crate::world::{Whose, World};
use keelstone_harness::Random;
use keelstone_harness::proto::etcdserverpb::{HashKvRequest, MemberListRequest};

/// Operations that are drawn, and how often in a thousand or so.
const WEIGHTS: &[(Kind, u64)] = &[
    (Kind::Range, 250),
    (Kind::RangeStream, 40),
    (Kind::Put, 200),
    (Kind::DeleteRange, 60),
    (Kind::Txn, 220),
    (Kind::Compact, 15),
    (Kind::HashKv, 15),
    (Kind::Lease, 90),
    (Kind::Watch, 50),
    (Kind::Alarm, 6),
    (Kind::Server, 15),
    (Kind::Malformed, 15),
    (Kind::TooLarge, 4),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Range,
    RangeStream,
    Put,
    DeleteRange,
    Txn,
    Compact,
    HashKv,
    Lease,
    Watch,
    Alarm,
    /// What a server says of itself.
    Server,
    Malformed,
    TooLarge,
}

fn weighted<T: Copy>(random: &mut Random, weights: &[(T, u64)]) -> T {
    let mut left = random.below(weights.iter().map(|(_, weight)| weight).sum());
    for &(kind, weight) in weights {
        match left.checked_sub(weight) {
            Some(rest) => left = rest,
            None => return kind,
        }
    }
    unreachable!("less is left than all weights together")
}

/// The step of a seed.
pub fn step(seed: u64, world: &World, streams: &[StreamPair]) -> Step {
    let random = &mut Random::new(seed);
    let mut metadata = match random.below(100) {
        0..=3 => Metadata::HasLeader,
        4 => Metadata::Token,
        5 => Metadata::ClientVersion,
        6 if random.chance(30) => Metadata::BrokenClientVersion,
        _ => Metadata::Nothing,
    };
    let operation = operation(random, world, streams);
    if metadata == Metadata::BrokenClientVersion && is_broken(&operation, world) {
        // Which of two faults is named differs: we look at metadata before we read the message (README, "How it
        // differs from etcd").
        metadata = Metadata::Nothing;
    }
    Step { operation, metadata }
}

/// A message that is refused before it is understood.
fn is_broken(operation: &Operation, world: &World) -> bool {
    match operation {
        Operation::Raw { .. } => true,
        Operation::Put(request) => request.value.len() > world.max_request_bytes,
        _ => false,
    }
}

fn operation(random: &mut Random, world: &World, streams: &[StreamPair]) -> Operation {
    // Little works while an alarm is raised, so it is soon taken back.
    if let Some(&(alarm, member)) = world.alarms.first()
        && random.chance(20)
    {
        return Operation::Alarm { action: 2, member, alarm };
    }
    match weighted(random, WEIGHTS) {
        Kind::Range => Operation::Range(kv::range(random, world)),
        Kind::RangeStream => Operation::RangeStream(kv::range_stream(random, world)),
        Kind::Put => Operation::Put(kv::put(random, world)),
        Kind::DeleteRange => Operation::DeleteRange(kv::delete_range(random)),
        Kind::Txn => Operation::Txn(txn::txn(random, world)),
        Kind::Compact => Operation::Compact(kv::compact(random, world)),
        Kind::HashKv => Operation::HashKv(HashKvRequest { revision: keys::revision(random, world) }),
        Kind::Lease => lease::operation(random, world),
        Kind::Watch => watch::operation(random, world, streams),
        Kind::Alarm => alarm(random),
        Kind::Server => server(random),
        Kind::Malformed => malformed::operation(random, world),
        Kind::TooLarge => Operation::Put(kv::too_large(random, world)),
    }
}

fn alarm(random: &mut Random) -> Operation {
    let member = *random.pick(&[Whose::Nobody, Whose::Own, Whose::Own, Whose::Another]);
    // No action beyond these: by its source, etcd 3.7.3 follows a nil pointer at one that it does not know.
    let action = *random.pick(&[0, 0, 1, 2]);
    Operation::Alarm { action, member, alarm: *random.pick(&[0, 1, 1, 2]) }
}

fn server(random: &mut Random) -> Operation {
    match random.below(5) {
        0 if random.chance(20) => Operation::Restart,
        0 => Operation::MemberList(MemberListRequest { linearizable: random.chance(50) }),
        1 => Operation::AuthStatus,
        2 => Operation::Health { service: (*random.pick(&["", "", "etcdserverpb.KV", "nothing"])).to_owned() },
        _ => Operation::Status,
    }
}

//! Watchers. Those with a start in the future have a stream of their own: while there is one, a stream tells no
//! progress, and so there is no telling when all was told.

use super::keys::{interval, kept_revision};
use crate::operation::Operation;
use crate::streams::StreamPair;
use crate::world::World;
use keelstone_harness::Random;
use keelstone_harness::proto::etcdserverpb::WatchCreateRequest;

/// How many streams there are; the last is for watchers of the future.
pub const STREAMS: usize = 3;

const MAX_WATCHERS: usize = 6;

pub fn operation(random: &mut Random, world: &World, streams: &[StreamPair]) -> Operation {
    let stream = random.below(STREAMS as u64) as usize;
    let watchers = &streams[stream].watchers;
    let cancel = |random: &mut Random| {
        let ids: Vec<i64> = watchers.keys().copied().collect();
        let id = if random.chance(90) && !ids.is_empty() { *random.pick(&ids) } else { random.below(9).cast_signed() };
        Operation::CancelWatch { stream, id }
    };
    match random.below(100) {
        _ if watchers.len() > MAX_WATCHERS => cancel(random),
        0..=34 => {
            let create = (0..=random.below(3)).map(|_| create(random, world, stream == STREAMS - 1)).collect();
            Operation::Watch { stream, create, settle: random.chance(40) }
        }
        35..=54 => cancel(random),
        55..=58 => Operation::EmptyWatchRequest { stream },
        59..=61 => Operation::ReopenStream { stream },
        _ => Operation::Settle { stream },
    }
}

fn create(random: &mut Random, world: &World, is_for_the_future: bool) -> WatchCreateRequest {
    let (key, range_end) = interval(random);
    WatchCreateRequest {
        key,
        range_end,
        start_revision: if is_for_the_future { future(random, world) } else { past(random, world) },
        progress_notify: random.chance(10),
        filters: if random.chance(25) { vec![*random.pick(&[0, 1, 7])] } else { Vec::new() },
        prev_kv: random.chance(50),
        watch_id: if random.chance(20) { random.below(8).cast_signed() } else { 0 },
        fragment: random.chance(30),
    }
}

fn past(random: &mut Random, world: &World) -> i64 {
    match random.below(100) {
        0..=59 => 0,
        60..=84 => kept_revision(random, world),
        85..=88 => world.compacted.max(0),
        89..=92 => (world.compacted - 1).max(0),
        93..=94 => 1,
        95 => -1,
        96 => i64::MIN,
        _ => world.revision,
    }
}

fn future(random: &mut Random, world: &World) -> i64 {
    if random.chance(30) { 0 } else { world.revision + 1 + random.below(30).cast_signed() }
}

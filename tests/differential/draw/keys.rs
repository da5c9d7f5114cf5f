//! Few keys, so that operations meet; intervals in all forms; revisions on both sides of every boundary.

use crate::world::World;
use bytes::Bytes;
use keelstone_harness::{Random, prefix_end};

/// Some are prefixes of others, or differ in a zero byte at their end, and the outermost are there.
const KEYS: [&[u8]; 18] = [
    b"\0",
    b"\0\0",
    b"a",
    b"a\0",
    b"aa",
    b"aab",
    b"ab",
    b"b",
    b"b\xff",
    b"c",
    b"ca",
    b"d",
    b"e",
    b"f",
    b"f\0",
    b"g",
    b"\xff",
    b"\xff\xff",
];

/// Few too, so that some are equal.
const VALUES: [&[u8]; 6] = [b"v1", b"v2", b"v3", b"v4", b"v5", b"\0\xff"];

pub fn key(random: &mut Random) -> Bytes {
    Bytes::from_static(random.pick::<&[u8]>(&KEYS))
}

/// A key and a range end.
pub fn interval(random: &mut Random) -> (Bytes, Bytes) {
    let start = key(random);
    let end = match random.below(100) {
        0..=34 => Bytes::new(),
        35..=54 => key(random),
        55..=69 => prefix_end(&start),
        70..=79 => Bytes::from_static(b"\0"),
        80..=94 => return (Bytes::from_static(b"\0"), Bytes::from_static(b"\0")),
        95..=96 => start.clone(),
        97 => return (Bytes::new(), Bytes::new()),
        98 => return (Bytes::new(), Bytes::from_static(b"\0")),
        _ => Bytes::from_static(b"\xff\xff\xff"),
    };
    (start, end)
}

fn between(random: &mut Random, first: i64, last: i64) -> i64 {
    first + random.below(last.abs_diff(first) + 1).cast_signed()
}

/// A revision that is there.
pub fn kept_revision(random: &mut Random, world: &World) -> i64 {
    let oldest = world.compacted.max(1);
    // Most stay near the end, where keys are as they were a moment ago.
    let oldest = if random.chance(70) { oldest.max(world.revision - 20) } else { oldest };
    between(random, oldest, world.revision)
}

/// Any revision, or what stands for none.
pub fn revision(random: &mut Random, world: &World) -> i64 {
    match random.below(100) {
        0..=54 => 0,
        55..=74 => kept_revision(random, world),
        75..=78 => world.revision,
        79..=82 => world.revision + 1,
        83 => world.revision + 1000,
        84 => i64::MAX,
        85..=88 => world.compacted,
        89..=92 => world.compacted - 1,
        93..=94 => between(random, 1, world.revision),
        95..=96 => -1,
        97 => -2,
        98 => i64::MIN,
        _ => 1,
    }
}

/// A bound of a filter by revision.
pub fn bound(random: &mut Random, world: &World) -> i64 {
    if random.chance(5) { -1 } else { between(random, 0, world.revision + 1) }
}

pub fn value(random: &mut Random, world: &World) -> Bytes {
    match random.below(100) {
        0..=9 => Bytes::new(),
        10..=89 => Bytes::from_static(random.pick::<&[u8]>(&VALUES)),
        90..=96 => format!("value {}", random.below(1000)).into(),
        _ => {
            let room = world.max_request_bytes.saturating_sub(300).min(8192) as u64;
            vec![b'x'; random.below(room) as usize].into()
        }
    }
}

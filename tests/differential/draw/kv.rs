//! Single operations on keys.

use super::keys::{bound, interval, kept_revision, key, revision, value};
use crate::world::{LEASE_IDS, World};
use keelstone_harness::Random;
use keelstone_harness::proto::etcdserverpb::{CompactionRequest, DeleteRangeRequest, PutRequest, RangeRequest};

/// What a gRPC message may be larger than a request.
const GRPC_OVERHEAD_BYTES: usize = 512 * 1024;

pub fn range(random: &mut Random, world: &World) -> RangeRequest {
    let (key, range_end) = interval(random);
    let mut request = RangeRequest {
        key,
        range_end,
        limit: limit(random),
        revision: revision(random, world),
        sort_order: weird_or(random, &[0, 0, 1, 2]),
        sort_target: weird_or(random, &[0, 0, 1, 2, 3, 4]),
        serializable: random.chance(30),
        keys_only: random.chance(20),
        count_only: random.chance(10),
        ..Default::default()
    };
    if random.chance(20) {
        let mut maybe = || if random.chance(40) { bound(random, world) } else { 0 };
        request.min_mod_revision = maybe();
        request.max_mod_revision = maybe();
        request.min_create_revision = maybe();
        request.max_create_revision = maybe();
    }
    request
}

/// Mostly one that can be streamed.
pub fn range_stream(random: &mut Random, world: &World) -> RangeRequest {
    let request = range(random, world);
    if random.chance(15) {
        return request;
    }
    RangeRequest {
        key: request.key,
        range_end: request.range_end,
        limit: request.limit,
        revision: request.revision,
        sort_order: i32::from(random.chance(20)),
        serializable: request.serializable,
        keys_only: request.keys_only,
        count_only: request.count_only,
        ..Default::default()
    }
}

fn limit(random: &mut Random) -> i64 {
    match random.below(100) {
        0..=49 => 0,
        50..=95 => 1 + random.below(16).cast_signed(),
        96 => -1,
        97 => i64::MAX,
        98 => i64::MIN,
        _ => 1 << 32,
    }
}

/// Seldom a number that is none of the enum's.
fn weird_or(random: &mut Random, known: &[i32]) -> i32 {
    if random.chance(2) { *random.pick(&[-1, 3, 5, 7, i32::MAX]) } else { *random.pick(known) }
}

pub fn put(random: &mut Random, world: &World) -> PutRequest {
    let mut request = PutRequest { prev_kv: random.chance(30), lease: lease(random, world), ..Default::default() };
    if !random.chance(1) {
        request.key = key(random);
    }
    match random.below(20) {
        0 | 1 => request.ignore_value = true,
        2 => request.ignore_lease = true,
        _ => {}
    }
    // Seldom both at once, or with what they exclude.
    if !request.ignore_value || random.chance(10) {
        request.value = value(random, world);
    }
    if request.ignore_lease && random.chance(90) {
        request.lease = 0;
    }
    request
}

/// Mostly none, else one that lives, if any does.
fn lease(random: &mut Random, world: &World) -> i64 {
    match random.below(100) {
        0..=74 => 0,
        75..=96 if !world.leases.is_empty() => *random.pick(&world.leases.keys().copied().collect::<Vec<_>>()),
        _ => *random.pick(&LEASE_IDS),
    }
}

/// Above one limit or the other, and clearly: how long a log entry is depends on the id that the server gives it.
pub fn too_large(random: &mut Random, world: &World) -> PutRequest {
    let room = world.max_request_bytes;
    let length = *random.pick(&[room + 100, room + 100, room + GRPC_OVERHEAD_BYTES + 100]);
    PutRequest { key: key(random), value: vec![b'y'; length].into(), ..Default::default() }
}

pub fn delete_range(random: &mut Random) -> DeleteRangeRequest {
    let (key, range_end) = interval(random);
    // All keys at once not too often, so that there are some.
    let range_end = if random.chance(50) { Default::default() } else { range_end };
    DeleteRangeRequest { key, range_end, prev_kv: random.chance(40) }
}

pub fn compact(random: &mut Random, world: &World) -> CompactionRequest {
    let revision = if random.chance(60) { kept_revision(random, world) } else { revision(random, world) };
    CompactionRequest { revision, physical: random.chance(40) }
}

//! Messages that are damaged, and paths that lead nowhere. Calls that write get no damage that one side may overlook.

use super::kv;
use crate::operation::Operation;
use crate::wire::Path;
use crate::world::World;
use keelstone_harness::Random;
use keelstone_harness::proto::health::HealthCheckRequest;
use prost::Message;

const NOWHERE: [Path; 4] =
    ["/etcdserverpb.KV/Nothing", "/etcdserverpb.Nothing/Range", "/nothing/Range", "/etcdserverpb.KV/range"];

pub fn operation(random: &mut Random, world: &World) -> Operation {
    let (path, message) = match random.below(4) {
        0 => (*random.pick(&NOWHERE), kv::range(random, world).encode_to_vec()),
        1 => {
            let message = kv::put(random, world).encode_to_vec();
            let message = damage_plainly(random, message).into();
            return Operation::Raw { path: "/etcdserverpb.KV/Put", message };
        }
        2 => ("/grpc.health.v1.Health/Check", HealthCheckRequest { service: "etcd".to_owned() }.encode_to_vec()),
        _ => ("/etcdserverpb.KV/Range", kv::range(random, world).encode_to_vec()),
    };
    Operation::Raw { path, message: damage(random, message).into() }
}

/// Cut short, or with a field that nobody knows.
fn damage_plainly(random: &mut Random, mut message: Vec<u8>) -> Vec<u8> {
    if random.chance(50) {
        message.truncate(random.below(message.len() as u64 + 1) as usize);
    } else {
        message.extend_from_slice(&[0xf8, 0x3f, 0x05]);
    }
    message
}

/// With a byte changed, or nothing but noise, or as above.
fn damage(random: &mut Random, mut message: Vec<u8>) -> Vec<u8> {
    match random.below(4) {
        0 if !message.is_empty() => {
            let at = random.below(message.len() as u64) as usize;
            message[at] = random.draw() as u8;
            message
        }
        1 => (0..random.below(20)).map(|_| random.draw() as u8).collect(),
        _ => damage_plainly(random, message),
    }
}

//! Messages from nothing: of a type's fields each is there or not, with edges for numbers and a few keys that meet.

use super::bytes;
use keelstone_harness::Random;
use keelstone_harness::proto::FILE_DESCRIPTOR_SET;
use prost::Message;
use prost::bytes::Bytes;
use prost_reflect::{DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, Value};
use std::sync::OnceLock;

const MAX_DEPTH: usize = 4;

/// All messages and services that there are.
pub fn descriptors() -> &'static DescriptorPool {
    static POOL: OnceLock<DescriptorPool> = OnceLock::new();
    POOL.get_or_init(|| DescriptorPool::decode(FILE_DESCRIPTOR_SET).expect("our own descriptors"))
}

/// An encoded message of this type.
///
/// # Panics
/// If there is no such type.
pub fn message(full_name: &str, random: &mut Random) -> Vec<u8> {
    let descriptor = descriptors().get_message_by_name(full_name);
    fill(&descriptor.unwrap_or_else(|| panic!("no message {full_name}")), random, 0).encode_to_vec()
}

fn fill(descriptor: &MessageDescriptor, random: &mut Random, depth: usize) -> DynamicMessage {
    let mut message = DynamicMessage::new(descriptor.clone());
    // Deeper ones have fewer fields, else a request would not end.
    let share = [60, 50, 35, 20, 10].get(depth).copied().unwrap_or(0);
    for field in descriptor.fields() {
        if !random.chance(share) || (depth >= MAX_DEPTH && matches!(field.kind(), Kind::Message(_))) {
            continue;
        }
        let value = if field.is_list() {
            Value::List((0..random.below(4)).map(|_| scalar(&field, random, depth)).collect())
        } else {
            scalar(&field, random, depth)
        };
        message.set_field(&field, value);
    }
    message
}

fn scalar(field: &FieldDescriptor, random: &mut Random, depth: usize) -> Value {
    match field.kind() {
        Kind::Message(descriptor) => Value::Message(fill(&descriptor, random, depth + 1)),
        Kind::Bool => Value::Bool(random.chance(50)),
        Kind::Enum(kind) if random.chance(90) => {
            let values: Vec<i32> = kind.values().map(|value| value.number()).collect();
            Value::EnumNumber(*random.pick(&values))
        }
        Kind::Enum(_) => Value::EnumNumber(bytes::number(random) as i32),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Value::I32(bytes::number(random) as i32),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Value::I64(bytes::number(random).cast_signed()),
        Kind::Uint32 | Kind::Fixed32 => Value::U32(bytes::number(random) as u32),
        Kind::Uint64 | Kind::Fixed64 => Value::U64(bytes::number(random)),
        Kind::Float => Value::F32(random.draw() as f32),
        Kind::Double => Value::F64(random.draw() as f64),
        Kind::String => Value::String(String::from_utf8_lossy(&key(random)).into_owned()),
        Kind::Bytes => Value::Bytes(Bytes::from(key(random))),
    }
}

/// Few and short, so that requests meet on the same keys.
fn key(random: &mut Random) -> Vec<u8> {
    match random.below(4) {
        0 => bytes::word(random),
        _ => vec![b'a' + random.below(5) as u8; 1 + random.below(2) as usize],
    }
}

//! Messages as trees. Whatever reads as protobuf is changed as such, without knowing its type: numbers become edges, fields
//! go, come twice, move, or are taken from another input; lengths stay right, so that what is inside is reached.

use super::bytes;
use keelstone_harness::Random;

const MAX_DEPTH: usize = 12;
const MAX_FIELD: u64 = 1 << 20;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    pub number: u64,
    pub value: Value,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Number(u64),
    Fixed64([u8; 8]),
    Fixed32([u8; 4]),
    Bytes(Vec<u8>),
    /// Bytes that read as a message.
    Message(Vec<Field>),
}

/// Makes a new input from one that exists and another to take from.
pub fn mutate(input: &[u8], donor: Option<&[u8]>, random: &mut Random) -> Vec<u8> {
    let donor = donor.unwrap_or_default();
    let mut bytes = input.to_vec();
    for _ in 0..=random.below(4) {
        match parse(&bytes) {
            Some(mut fields) if !random.chance(10) => {
                let taken = parse(donor).unwrap_or_default();
                mutate_fields(&mut fields, &taken, random, 0);
                bytes = encode(&fields);
            }
            _ => bytes::mutate(&mut bytes, donor, random),
        }
    }
    bytes
}

fn mutate_fields(fields: &mut Vec<Field>, donor: &[Field], random: &mut Random, depth: usize) {
    let at = random.below(fields.len() as u64 + 1) as usize;
    if let Some(Field { value: Value::Message(inner), .. }) = fields.get_mut(at)
        && depth < MAX_DEPTH
        && random.chance(75)
    {
        let taken = match random.chance(30).then(|| pick(donor, random)).flatten() {
            Some(Field { value: Value::Message(taken), .. }) => taken,
            _ => donor,
        };
        return mutate_fields(inner, taken, random, depth + 1);
    }
    match random.below(10) {
        0 if at < fields.len() => drop(fields.remove(at)),
        1 if at < fields.len() => {
            let copy = fields[at].clone();
            let to = random.below(fields.len() as u64 + 1) as usize;
            fields.insert(to, copy);
        }
        2 if at < fields.len() => {
            let other = random.below(fields.len() as u64) as usize;
            fields.swap(at, other);
        }
        3 if at < fields.len() => fields[at].number = 1 + random.below(20),
        4 => fields.insert(at, Field { number: 1 + random.below(12), value: value(random) }),
        5 => {
            if let Some(taken) = pick_deep(donor, random) {
                fields.insert(at, taken.clone());
            }
        }
        6 if at < fields.len() => {
            if let Some(taken) = pick_deep(donor, random) {
                fields[at].value = taken.value.clone();
            }
        }
        _ if at < fields.len() => mutate_value(&mut fields[at].value, random),
        _ => {}
    }
}

fn mutate_value(old: &mut Value, random: &mut Random) {
    match old {
        Value::Number(number) => {
            *number = match random.below(4) {
                0 => number.wrapping_add(1),
                1 => number.wrapping_sub(1),
                _ => bytes::number(random),
            }
        }
        Value::Fixed64(fixed) => *fixed = bytes::number(random).to_le_bytes(),
        Value::Fixed32(fixed) => *fixed = (bytes::number(random) as u32).to_le_bytes(),
        Value::Bytes(content) if random.chance(60) => bytes::mutate(content, &[], random),
        Value::Bytes(content) => *content = bytes::word(random),
        Value::Message(fields) => {
            let mut content = encode(fields);
            bytes::mutate(&mut content, &[], random);
            *old = Value::Bytes(content);
        }
    }
}

fn value(random: &mut Random) -> Value {
    match random.below(8) {
        0 => Value::Fixed64(bytes::number(random).to_le_bytes()),
        1 => Value::Fixed32((bytes::number(random) as u32).to_le_bytes()),
        2..=4 => Value::Bytes(bytes::word(random)),
        _ => Value::Number(bytes::number(random)),
    }
}

fn pick<'f>(fields: &'f [Field], random: &mut Random) -> Option<&'f Field> {
    (!fields.is_empty()).then(|| random.pick(fields))
}

/// Any field of a tree.
fn pick_deep<'f>(mut fields: &'f [Field], random: &mut Random) -> Option<&'f Field> {
    loop {
        let field = pick(fields, random)?;
        match &field.value {
            Value::Message(inner) if !inner.is_empty() && random.chance(60) => fields = inner,
            _ => return Some(field),
        }
    }
}

/// The fields, if all of the bytes read as fields.
pub fn parse(bytes: &[u8]) -> Option<Vec<Field>> {
    parse_at(bytes, 0)
}

fn parse_at(mut rest: &[u8], depth: usize) -> Option<Vec<Field>> {
    let mut fields = Vec::new();
    while !rest.is_empty() {
        let key = take_varint(&mut rest)?;
        let number = Some(key >> 3).filter(|number| (1..=MAX_FIELD).contains(number))?;
        let value = match key & 7 {
            0 => Value::Number(take_varint(&mut rest)?),
            1 => Value::Fixed64(take(&mut rest, 8)?.try_into().ok()?),
            2 => {
                let len = usize::try_from(take_varint(&mut rest)?).ok()?;
                let content = take(&mut rest, len)?;
                let inner = if content.is_empty() || depth >= MAX_DEPTH { None } else { parse_at(content, depth + 1) };
                inner.map_or_else(|| Value::Bytes(content.to_vec()), Value::Message)
            }
            5 => Value::Fixed32(take(&mut rest, 4)?.try_into().ok()?),
            _ => return None,
        };
        fields.push(Field { number, value });
    }
    Some(fields)
}

fn take<'b>(rest: &mut &'b [u8], len: usize) -> Option<&'b [u8]> {
    let (taken, after) = rest.split_at_checked(len)?;
    *rest = after;
    Some(taken)
}

fn take_varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let byte = *take(rest, 1)?.first()?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

pub fn encode(fields: &[Field]) -> Vec<u8> {
    let mut out = Vec::new();
    for field in fields {
        let mut key = |wire_type: u64| put_varint(&mut out, field.number << 3 | wire_type);
        match &field.value {
            Value::Number(number) => {
                key(0);
                put_varint(&mut out, *number);
            }
            Value::Fixed64(fixed) => {
                key(1);
                out.extend(fixed);
            }
            Value::Fixed32(fixed) => {
                key(5);
                out.extend(fixed);
            }
            Value::Bytes(content) => {
                key(2);
                put_bytes(&mut out, content);
            }
            Value::Message(inner) => {
                key(2);
                put_bytes(&mut out, &encode(inner));
            }
        }
    }
    out
}

fn put_bytes(out: &mut Vec<u8>, content: &[u8]) {
    put_varint(out, content.len() as u64);
    out.extend(content);
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_a_tree_and_back() {
        let message = b"\x08\x96\x01\x12\x07\x0a\x03foo\x10\x02\x1d\x01\x02\x03\x04\x22\x03\xff\xff\xff";
        let fields = parse(message).expect("a message");
        assert!(matches!(&fields[1].value, Value::Message(inner) if inner.len() == 2));
        assert_eq!(encode(&fields), message);
        assert_eq!(parse(b"\x08"), None);
        assert_eq!(parse(b"\x0a\x05abc"), None);
    }

    #[test]
    fn the_same_seed_gives_the_same_input() {
        let message = b"\x08\x96\x01\x12\x07\x0a\x03foo\x10\x02";
        let made = |seed| {
            let mut random = Random::new(seed);
            (0..50).map(|_| mutate(message, Some(b"\x08\x01"), &mut random)).collect::<Vec<_>>()
        };
        assert_eq!(made(7), made(7));
        assert_ne!(made(7), made(8));
    }
}

//! Changes of plain bytes, for what is no message or should stop being one.

use keelstone_harness::Random;

/// Numbers at which code goes wrong.
pub const EDGES: [u64; 26] = [
    0,
    1,
    2,
    3,
    7,
    8,
    9,
    100,
    127,
    128,
    255,
    256,
    511,
    512,
    0x7fff,
    0xffff,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x1_0000_0000,
    1 << 56,
    0x7fff_ffff_ffff_fffe,
    0x7fff_ffff_ffff_ffff,
    0x8000_0000_0000_0000,
    0xffff_ffff_ffff_fffe,
    u64::MAX,
];

/// An edge, or near one, or anything.
pub fn number(random: &mut Random) -> u64 {
    match random.below(8) {
        0..=4 => *random.pick(&EDGES),
        5 => random.pick(&EDGES).wrapping_add(random.below(5)).wrapping_sub(2),
        6 => random.below(64),
        _ => random.draw() >> random.below(64),
    }
}

/// Words that parsers of keys, paths, numbers and texts stumble over.
const WORDS: [&[u8]; 16] = [
    b"",
    b"\0",
    b"\xff",
    b"\xff\xff\xff\xff\xff\xff\xff\xff",
    b"\0\0\0\0\0\0\0\0",
    b"a",
    b"-1",
    b"9223372036854775807",
    b"18446744073709551616",
    b"\xc3\x28",
    b"\xed\xa0\x80",
    b"{\"id\":1}",
    b"null",
    b"%00",
    b"\r\n",
    b"\xe2\x80\xa8",
];

pub fn word(random: &mut Random) -> Vec<u8> {
    match random.below(12) {
        0 => vec![random.draw() as u8; 1 << random.below(13)],
        1 => (0..random.below(24)).map(|_| random.draw() as u8).collect(),
        _ => random.pick(&WORDS).to_vec(),
    }
}

/// Changes `bytes` in one place.
pub fn mutate(bytes: &mut Vec<u8>, donor: &[u8], random: &mut Random) {
    let at = random.below(bytes.len() as u64 + 1) as usize;
    match random.below(9) {
        0 | 1 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
        2 if at < bytes.len() => bytes[at] = number(random) as u8,
        3 => {
            let end = (at + 1 + random.below(16) as usize).min(bytes.len());
            bytes.drain(at.min(end)..end);
        }
        4 => {
            let end = (at + 1 + random.below(32) as usize).min(bytes.len());
            let copied = bytes[at.min(end)..end].to_vec();
            bytes.splice(at..at, copied);
        }
        5 => {
            let word = word(random);
            bytes.splice(at..at, word);
        }
        6 => write_number(bytes, at, random),
        7 => bytes.truncate(at),
        _ => {
            let from = random.below(donor.len() as u64 + 1) as usize;
            bytes.truncate(at);
            bytes.extend_from_slice(&donor[from..]);
        }
    }
}

fn write_number(bytes: &mut [u8], at: usize, random: &mut Random) {
    let (value, width) = (number(random), 1 << random.below(4));
    let little = value.to_le_bytes();
    let field = if random.chance(50) { little } else { value.to_be_bytes() };
    let field = if field == little { &field[..width] } else { &field[8 - width..] };
    for (to, from) in bytes.iter_mut().skip(at).zip(field) {
        *to = *from;
    }
}

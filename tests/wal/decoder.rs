//! etcd's WAL format from its description alone: own checksum, own protobuf, no code of the node.

use std::collections::BTreeMap;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecodedEntry {
    pub kind: u64,
    pub term: u64,
    pub index: u64,
    pub data: Vec<u8>,
}

#[derive(Debug, Default)]
pub struct Decoded {
    pub metadata: Vec<u8>,
    pub term: u64,
    pub vote: u64,
    pub commit: u64,
    /// (index, term) of the newest snapshot record that the commit index covers.
    pub snapshot: (u64, u64),
    /// As etcd reads them from that snapshot on.
    pub entries: Vec<DecodedEntry>,
    /// Offset and type of every record of each file.
    pub records: Vec<Vec<(usize, u64)>>,
}

/// CRC-32C bit by bit.
fn crc(mut crc: u32, data: &[u8]) -> u32 {
    crc = !crc;
    for &byte in data {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
        }
    }
    !crc
}

type Message = BTreeMap<u64, (u64, Vec<u8>)>;

fn varint(bytes: &[u8], at: &mut usize) -> u64 {
    let (mut value, mut shift) = (0, 0);
    loop {
        let byte = bytes[*at];
        *at += 1;
        value |= u64::from(byte & 0x7f) << shift;
        shift += 7;
        if byte < 0x80 {
            return value;
        }
    }
}

fn message(bytes: &[u8]) -> Message {
    let (mut fields, mut at) = (Message::new(), 0);
    while at < bytes.len() {
        let key = varint(bytes, &mut at);
        let value = varint(bytes, &mut at);
        let mut data = Vec::new();
        if key & 7 == 2 {
            data = bytes[at..at + value as usize].to_vec();
            at += value as usize;
        }
        fields.insert(key >> 3, (value, data));
    }
    fields
}

fn number(message: &Message, field: u64) -> u64 {
    message.get(&field).map_or(0, |(value, _)| *value)
}

fn data(message: &Message, field: u64) -> Vec<u8> {
    message.get(&field).map_or(Vec::new(), |(_, data)| data.clone())
}

/// Reads segments in order; an error says what is wrong.
pub fn decode(files: &[Vec<u8>]) -> Result<Decoded, String> {
    let mut decoded = Decoded::default();
    let mut running: Option<u32> = None;
    let mut all_entries = Vec::new();
    let mut snapshots = Vec::new();
    for (number_of_file, bytes) in files.iter().enumerate() {
        let mut at = 0;
        decoded.records.push(Vec::new());
        while at + 8 <= bytes.len() {
            let frame = u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
            if frame == 0 {
                break;
            }
            let len = (frame & 0x00ff_ffff_ffff_ffff) as usize;
            let padding = if frame >> 63 == 1 { (frame >> 56 & 7) as usize } else { 0 };
            let end = at + 8 + len;
            let record = message(bytes.get(at + 8..end).ok_or(format!("{number_of_file}@{at}: too long"))?);
            let (kind, body) = (number(&record, 1), data(&record, 3));
            let stored = u32::try_from(number(&record, 2)).unwrap();
            decoded.records[number_of_file].push((at, kind));
            if kind == 4 {
                if running.is_some_and(|running| running != stored) {
                    return Err(format!("{number_of_file}@{at}: chain"));
                }
                running = Some(stored);
            } else {
                let sum = crc(running.ok_or("no seed")?, &body);
                if sum != stored {
                    return Err(format!("{number_of_file}@{at}: checksum"));
                }
                running = Some(sum);
            }
            let fields = message(&body);
            match kind {
                1 => decoded.metadata = body,
                2 => all_entries.push(DecodedEntry {
                    kind: number(&fields, 1),
                    term: number(&fields, 2),
                    index: number(&fields, 3),
                    data: data(&fields, 4),
                }),
                3 => {
                    (decoded.term, decoded.vote) = (number(&fields, 1), number(&fields, 2));
                    decoded.commit = number(&fields, 3);
                }
                4 => {}
                5 => snapshots.push((number(&fields, 1), number(&fields, 2))),
                other => return Err(format!("type {other}")),
            }
            assert!(bytes[end..end + padding].iter().all(|&byte| byte == 0) && (len + padding).is_multiple_of(8));
            at = end + padding;
        }
        assert!(bytes[at..].iter().all(|&byte| byte == 0), "bytes behind the end of file {number_of_file}");
    }
    let commit = decoded.commit;
    decoded.snapshot = snapshots.into_iter().rfind(|(index, _)| *index <= commit).ok_or("no snapshot record")?;
    for entry in all_entries {
        let Some(place) = entry.index.checked_sub(decoded.snapshot.0 + 1) else { continue };
        if place as usize > decoded.entries.len() {
            return Err(format!("gap before entry {}", entry.index));
        }
        decoded.entries.truncate(place as usize);
        decoded.entries.push(entry);
    }
    Ok(decoded)
}

//! One record of the log, byte for byte as etcd writes it (`server/storage/wal/encoder.go`):
//!
//! ```text
//! u64 LE  low 56 bits: length of the record; top byte 0x80|n: n zero bytes follow it (to a multiple of 8)
//! Record  protobuf {1 type, 2 crc, 3 data}; crc = CRC-32C over the data of all records so far
//! 0..7    zero bytes
//! ```

use bytes::Bytes;
use keelstone_proto::walpb;
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint};

/// What a record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Metadata = 1,
    Entry = 2,
    State = 3,
    /// Begins a file: the running checksum of the one before.
    Crc = 4,
    Snapshot = 5,
}

impl Kind {
    fn from_number(number: i64) -> Option<Kind> {
        [Kind::Metadata, Kind::Entry, Kind::State, Kind::Crc, Kind::Snapshot]
            .into_iter()
            .find(|kind| *kind as i64 == number)
    }
}

pub const FRAME_BYTES: usize = 8;
/// A longer record is nonsense: no request comes near it (etcd's own reader takes at most this share of a file).
const MAX_RECORD_BYTES: u64 = 512 * 1024 * 1024;

/// Appends records to a buffer and carries the running checksum.
#[derive(Debug)]
pub struct Encoder {
    crc: u32,
    buffer: Vec<u8>,
}

impl Encoder {
    pub fn new(crc: u32) -> Self {
        Self { crc, buffer: Vec::new() }
    }

    pub fn crc(&self) -> u32 {
        self.crc
    }

    pub fn len(&self) -> usize {
        self.buffer.len()
    }

    pub fn bytes(&self) -> &[u8] {
        &self.buffer
    }

    pub fn clear(&mut self) {
        self.buffer.clear();
        // One huge request must not keep its memory.
        self.buffer.shrink_to(4 * 1024 * 1024);
    }

    /// The record that begins a file.
    pub fn crc_record(&mut self) {
        self.frame(Kind::Crc, None);
    }

    pub fn record(&mut self, kind: Kind, data: &[u8]) {
        self.crc = crc32c::crc32c_append(self.crc, data);
        self.frame(kind, Some(data));
    }

    fn frame(&mut self, kind: Kind, data: Option<&[u8]>) {
        let mut length = 2 + encoded_len_varint(kind as u64) + encoded_len_varint(u64::from(self.crc));
        if let Some(data) = data {
            length += 1 + encoded_len_varint(data.len() as u64) + data.len();
        }
        let padding = (8 - length % 8) % 8;
        let mut field = length as u64;
        if padding > 0 {
            field |= (0x80 | padding as u64) << 56;
        }
        self.buffer.extend_from_slice(&field.to_le_bytes());
        encode_key(1, WireType::Varint, &mut self.buffer);
        encode_varint(kind as u64, &mut self.buffer);
        encode_key(2, WireType::Varint, &mut self.buffer);
        encode_varint(u64::from(self.crc), &mut self.buffer);
        if let Some(data) = data {
            encode_key(3, WireType::LengthDelimited, &mut self.buffer);
            encode_varint(data.len() as u64, &mut self.buffer);
            self.buffer.extend_from_slice(data);
        }
        self.buffer.resize(self.buffer.len() + padding, 0);
    }
}

/// A record as found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub kind: Kind,
    /// The checksum that the record carries.
    pub crc: u32,
    pub data: Bytes,
    /// Length with frame and padding.
    pub total_bytes: usize,
}

/// Why there is no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoRecord {
    /// A zero length, or the end of the file: all was read.
    End,
    /// Cut off by a crash: longer than the file, or with a sector that was never written.
    Torn,
    /// Anything else: what was written is not what is read.
    Corrupt,
}

/// Reads the record at the start of `rest`, which lies at `offset` in its file. `crc` is the running checksum
/// before it.
pub fn read(rest: &[u8], offset: u64, crc: u32) -> Result<Found, NoRecord> {
    let Some((frame, body)) = rest.split_first_chunk::<FRAME_BYTES>() else {
        return Err(if rest.is_empty() { NoRecord::End } else { NoRecord::Torn });
    };
    let field = u64::from_le_bytes(*frame);
    if field == 0 {
        return Err(NoRecord::End);
    }
    let length = field & 0x00ff_ffff_ffff_ffff;
    let padding = if field >> 63 == 1 { (field >> 56) & 0x7 } else { 0 };
    if length > MAX_RECORD_BYTES || length + padding > body.len() as u64 {
        return Err(NoRecord::Torn);
    }
    let (record, padded) = (&body[..length as usize], &body[..(length + padding) as usize]);
    let broken = || if has_unwritten_sector(padded, offset + FRAME_BYTES as u64) { NoRecord::Torn } else { NoRecord::Corrupt };
    let decoded = walpb::Record::decode(record).map_err(|_| broken())?;
    let kind = Kind::from_number(decoded.r#type.unwrap_or_default()).ok_or_else(broken)?;
    let found_crc = decoded.crc.unwrap_or_default();
    let data = decoded.data.unwrap_or_default();
    if kind != Kind::Crc && crc32c::crc32c_append(crc, &data) != found_crc {
        return Err(broken());
    }
    Ok(Found { kind, crc: found_crc, data, total_bytes: FRAME_BYTES + padded.len() })
}

/// A disk writes sectors of 512 bytes whole: one of only zeros inside a record never arrived.
fn has_unwritten_sector(record: &[u8], offset: u64) -> bool {
    const SECTOR: u64 = 512;
    let mut rest = record;
    let mut at = offset;
    while !rest.is_empty() {
        let take = usize::try_from(SECTOR - at % SECTOR).unwrap_or(rest.len()).min(rest.len());
        let (sector, after) = rest.split_at(take);
        if sector.iter().all(|byte| *byte == 0) {
            return true;
        }
        rest = after;
        at += take as u64;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_has_these_bytes() {
        let mut encoder = Encoder::new(0);
        encoder.crc_record();
        encoder.record(Kind::Metadata, &[0x08, 0x01]);
        let crc = crc32c::crc32c(&[0x08, 0x01]);
        assert_eq!(&encoder.bytes()[..16], &[4, 0, 0, 0, 0, 0, 0, 0x84, 8, 4, 16, 0, 0, 0, 0, 0]);
        let found = read(&encoder.bytes()[16..], 16, 0);
        let found = found.expect("just written");
        assert_eq!((found.kind, found.crc, found.data.as_ref()), (Kind::Metadata, crc, &[8_u8, 1][..]));
    }

    #[test]
    fn a_zero_length_ends_the_data() {
        assert_eq!(read(&[0; 64], 0, 0), Err(NoRecord::End));
        assert_eq!(read(&[], 0, 0), Err(NoRecord::End));
    }

    #[test]
    fn a_missing_sector_is_torn_and_a_flipped_bit_is_corrupt() {
        let mut encoder = Encoder::new(7);
        encoder.record(Kind::Entry, &[0x5a; 2_000]);
        let mut torn = encoder.bytes().to_vec();
        torn[512..1024].fill(0);
        assert_eq!(read(&torn, 0, 7), Err(NoRecord::Torn));
        let mut flipped = encoder.bytes().to_vec();
        flipped[700] ^= 1;
        assert_eq!(read(&flipped, 0, 7), Err(NoRecord::Corrupt));
        assert_eq!(read(&encoder.bytes()[..900], 0, 7), Err(NoRecord::Torn));
    }
}

//! Reads records of one segment in order, checking frame, encoding and checksum; nothing from the file is used
//! before it is bounded. The one decoder, for opening the log and for reading old entries back.

use super::encode::{FRAME_BYTES, VOTE_COMMITTED_FIELD, kind};
use super::entry::{Entry, EntryKind, HardState, Identity, MAX_NUMBER};
use super::error::Corruption;
use super::wire::{Fields, Malformed, Value};
use crate::defect::{self, Defect};
use crate::disk::File;
use crate::types::LogPosition;
use bytes::Bytes;
use keelstone_proto::raftpb::ConfState;
use prost::Message;
use std::io;
use std::ops::Range;
use std::sync::Arc;

/// Torn writes are recognised by whole sectors that read as zeros.
const SECTOR_BYTES: u64 = 512;

/// Why there is no next record.
#[derive(Debug)]
pub(crate) enum ReadError {
    Io(io::Error),
    Bad(Bad),
}

/// A record that does not check.
#[derive(Debug)]
pub(crate) struct Bad {
    /// Where its frame begins.
    pub(crate) offset: u64,
    pub(crate) what: Corruption,
    /// It looks as a write that was cut by a power loss does, if nothing was written after it.
    pub(crate) torn: bool,
}

/// A record that checked. Borrows the reader's buffer.
#[derive(Debug)]
pub(crate) struct Record<'a> {
    pub(crate) offset: u64,
    pub(crate) kind: u64,
    pub(crate) data: &'a [u8],
}

/// Position in one segment.
#[derive(Debug)]
pub(crate) struct RecordReader {
    file: Arc<dyn File>,
    /// Nothing is read at or behind this offset.
    end: u64,
    /// What one read fetches, if a record does not need more.
    chunk_bytes: u64,
    buffer: Vec<u8>,
    /// Where in the file `buffer` begins.
    buffer_offset: u64,
    /// Where the next record begins.
    offset: u64,
    /// Running checksum; unknown before the first record that carries one.
    crc: Option<u32>,
}

impl RecordReader {
    /// Reads `[offset, end)`. `crc` is the checksum at the end of the records before, if known.
    pub(crate) fn new(file: Arc<dyn File>, offset: u64, end: u64, crc: Option<u32>, chunk_bytes: u64) -> Self {
        Self { file, end, chunk_bytes, buffer: Vec::new(), buffer_offset: offset, offset, crc }
    }

    /// Behind the last record that checked.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    pub(crate) fn crc(&self) -> Option<u32> {
        self.crc
    }

    /// The next record; `None` at a frame of zero or at the end of the file.
    pub(crate) fn next(&mut self) -> Result<Option<Record<'_>>, ReadError> {
        let offset = self.offset;
        let rest = self.end - offset;
        if rest < FRAME_BYTES {
            let what = Corruption::Length { bytes: FRAME_BYTES, rest };
            return if rest == 0 { Ok(None) } else { Err(ReadError::Bad(Bad { offset, what, torn: true })) };
        }
        let frame = self.fetch(offset, FRAME_BYTES)?;
        let frame = u64::from_le_bytes(self.buffer[frame].try_into().expect("eight bytes were fetched"));
        if frame == 0 {
            return if self.sector_ends_in_zeros(offset)? {
                Ok(None)
            } else {
                Err(ReadError::Bad(Bad { offset, what: Corruption::ZeroFrame, torn: false }))
            };
        }
        let (bytes, padding) = (frame & ((1 << 56) - 1), (frame >> 56) & 7);
        let flag = if padding == 0 { 0 } else { 0x80 | padding };
        if frame >> 56 != flag || (bytes + padding) % 8 != 0 {
            return Err(ReadError::Bad(Bad { offset, what: Corruption::LengthField(frame), torn: false }));
        }
        if bytes + padding > rest - FRAME_BYTES {
            let what = Corruption::Length { bytes: bytes + padding, rest: rest - FRAME_BYTES };
            let torn = !self.is_whole_behind(offset)?;
            return Err(ReadError::Bad(Bad { offset, what, torn }));
        }
        let padded = self.fetch(offset + FRAME_BYTES, bytes + padding)?;
        let unpadded = padded.start..padded.end - usize::try_from(padding).expect("below eight");
        match check(&self.buffer[unpadded.clone()], offset, self.crc) {
            Ok(crc) => self.crc = Some(crc),
            Err(what) => {
                let torn = what != Corruption::NoSeed
                    && has_zero_sector(&self.buffer[padded], offset + FRAME_BYTES)
                    && !self.is_whole_behind(offset)?;
                return Err(ReadError::Bad(Bad { offset, what, torn }));
            }
        }
        self.offset = offset + FRAME_BYTES + bytes + padding;
        let (record, _) = parse_record(&self.buffer[unpadded], offset).expect("it was checked");
        Ok(Some(record))
    }

    /// Whether the log may end at `offset`: sectors are written as a whole, so that one which holds more than this
    /// frame of zero was not torn, the frame was damaged.
    fn sector_ends_in_zeros(&mut self, offset: u64) -> Result<bool, ReadError> {
        let rest = (SECTOR_BYTES - offset % SECTOR_BYTES).min(self.end - offset);
        let rest = self.fetch(offset, rest)?;
        Ok(self.buffer[rest].iter().all(|&byte| byte == 0))
    }

    /// Whether a record checks that stands behind the frame at `offset`, with the length that it has inside. Then
    /// its frame alone is wrong, and no lost sector can be the reason: frame and record's head share one, or the
    /// lost one would read as zeros. etcd does not ask, and cuts off all that follows a frame whose length is too big.
    fn is_whole_behind(&mut self, offset: u64) -> Result<bool, ReadError> {
        let start = offset + FRAME_BYTES;
        let rest = self.fetch(start, self.end - start)?;
        let (mut stored, mut data) = (None, None);
        for field in Fields::of(&self.buffer[rest]).take(3) {
            match field {
                Ok((2, Value::Number(number))) => stored = Some(number),
                Ok((3, Value::Bytes(bytes))) => data = Some(bytes),
                Ok((1, Value::Number(_))) => {}
                _ => return Ok(false),
            }
        }
        Ok(match (stored, data, self.crc) {
            (Some(stored), Some(data), Some(crc)) => stored == u64::from(crc32c::crc32c_append(crc, data)),
            _ => false,
        })
    }

    /// Brings `len` bytes at `offset`, both inside the file, into the buffer; says where there.
    fn fetch(&mut self, offset: u64, len: u64) -> Result<Range<usize>, ReadError> {
        let have = self.buffer_offset..self.buffer_offset + self.buffer.len() as u64;
        if offset < have.start || offset + len > have.end {
            let wanted = len.max(self.chunk_bytes).min(self.end - offset);
            let wanted = usize::try_from(wanted).map_err(|_| ReadError::Io(io::ErrorKind::OutOfMemory.into()))?;
            self.buffer_offset = offset;
            // All of it is read over: what it held need not be zeroed.
            self.buffer.resize(wanted, 0);
            self.file.read_at(offset, &mut self.buffer).map_err(ReadError::Io)?;
        }
        let start = usize::try_from(offset - self.buffer_offset).expect("inside the buffer");
        Ok(start..start + usize::try_from(len).expect("inside the buffer"))
    }
}

/// Whether some sector's share of `bytes`, which begin at `offset` of the file, is all zeros
/// (etcd `decoder.go`, `isTornEntry`).
fn has_zero_sector(bytes: &[u8], offset: u64) -> bool {
    let first = usize::try_from(SECTOR_BYTES - offset % SECTOR_BYTES).expect("at most a sector").min(bytes.len());
    let (head, rest) = bytes.split_at(first);
    let zero = |sector: &[u8]| !sector.is_empty() && sector.iter().all(|&byte| byte == 0);
    zero(head) || rest.chunks(SECTOR_BYTES as usize).any(zero)
}

/// The running checksum behind a record, if it fits to the one before, if that is known.
fn check(record: &[u8], offset: u64, before: Option<u32>) -> Result<u32, Corruption> {
    let (record, stored) = parse_record(record, offset)?;
    match (record.kind, before) {
        (kind::CHECKSUM, Some(computed)) if computed != stored => Err(Corruption::Chain { found: stored, computed }),
        (kind::CHECKSUM, _) => Ok(stored),
        _ if offset == 0 => Err(Corruption::NoSeed),
        (_, Some(before)) => {
            let computed = crc32c::crc32c_append(before, record.data);
            let is_right = computed == stored || defect::on(Defect::TornRecordAccepted);
            if is_right { Ok(stored) } else { Err(Corruption::Checksum { found: stored, computed }) }
        }
        (_, None) => Ok(stored),
    }
}

/// The record and its checksum field.
fn parse_record(bytes: &[u8], offset: u64) -> Result<(Record<'_>, u32), Malformed> {
    let (mut record, mut crc) = (Record { offset, kind: 0, data: &[] }, 0);
    for field in Fields::of(bytes) {
        match field? {
            (1, value) => record.kind = value.number()?,
            (2, value) => crc = u32::try_from(value.number()?).map_err(|_| Malformed)?,
            (3, value) => record.data = value.bytes()?,
            _ => {}
        }
    }
    Ok((record, crc))
}

/// An entry as it stands in a buffer.
#[derive(Debug)]
pub(crate) struct EntryView<'a> {
    pub(crate) term: u64,
    pub(crate) index: u64,
    kind: EntryKind,
    data: &'a [u8],
}

impl<'a> EntryView<'a> {
    pub(crate) fn parse(data: &'a [u8]) -> Result<Self, Corruption> {
        let mut entry = Self { term: 0, index: 0, kind: EntryKind::Normal, data: &[] };
        for field in Fields::of(data) {
            match field? {
                (1, value) => {
                    entry.kind = match value.number()? {
                        0 => EntryKind::Normal,
                        1 => EntryKind::ConfChange,
                        other => return Err(Corruption::EntryType(other)),
                    }
                }
                (2, value) => entry.term = bounded(&value)?,
                (3, value) => entry.index = bounded(&value)?,
                (4, value) => entry.data = value.bytes()?,
                _ => {}
            }
        }
        Ok(entry)
    }

    pub(crate) fn data_len(&self) -> usize {
        self.data.len()
    }

    /// With a copy of the data of its own, so that it does not hold the buffer.
    pub(crate) fn to_entry(&self) -> Entry {
        Entry { term: self.term, index: self.index, kind: self.kind, data: Bytes::copy_from_slice(self.data) }
    }
}

impl From<Malformed> for Corruption {
    fn from(Malformed: Malformed) -> Self {
        Corruption::Malformed
    }
}

/// A term or an index.
fn bounded(value: &Value<'_>) -> Result<u64, Corruption> {
    match value.number()? {
        number if number > MAX_NUMBER => Err(Corruption::TooLarge(number)),
        number => Ok(number),
    }
}

pub(crate) fn parse_hard_state(data: &[u8]) -> Result<HardState, Corruption> {
    let mut state = HardState::default();
    for field in Fields::of(data) {
        match field? {
            (1, value) => state.term = bounded(&value)?,
            (2, value) => state.vote = value.number()?,
            (3, value) => state.commit = bounded(&value)?,
            (VOTE_COMMITTED_FIELD, value) => state.vote_committed = value.number()? != 0,
            _ => {}
        }
    }
    Ok(state)
}

pub(crate) fn parse_metadata(data: &[u8]) -> Result<Identity, Corruption> {
    let mut identity = Identity::default();
    for field in Fields::of(data) {
        match field? {
            (1, value) => identity.node_id = value.number()?,
            (2, value) => identity.cluster_id = value.number()?,
            _ => {}
        }
    }
    Ok(identity)
}

pub(crate) fn parse_snapshot(data: &[u8]) -> Result<(LogPosition, ConfState), Corruption> {
    let (mut position, mut conf_state) = (LogPosition::default(), ConfState::default());
    for field in Fields::of(data) {
        match field? {
            (1, value) => position.index = bounded(&value)?,
            (2, value) => position.term = bounded(&value)?,
            (3, value) => conf_state = ConfState::decode(value.bytes()?).map_err(|_| Corruption::Malformed)?,
            _ => {}
        }
    }
    Ok((position, conf_state))
}

//! A segment of the log: what stands in the WAL, entry by entry, without its frames.
//!
//! ```text
//! "KSSEGMT1"   then for each entry: length (varint), raftpb.Entry
//! ```
//!
//! The digest of the whole is in the manifest; a reader still believes no length.

use super::ArchiveError;
use super::check::{Stored, check};
use super::full::{Taken, abandon};
use super::manifest::{Kind, Link, Manifest, Place, hex, name};
use super::stop::Stop;
use crate::backup::destination::{Destination, Failure, Uploading};
use crate::disk::File;
use crate::types::{ClusterId, LogPosition, MemberId};
use crate::wal;
use bytes::{Buf, Bytes, BytesMut};
use keelstone_proto::raftpb;
use prost::Message;
use sha2::{Digest, Sha256};
use std::io;
use std::sync::Arc;
use std::time::SystemTime;

const MAGIC: &[u8; 8] = b"KSSEGMT1";
const READ_BYTES: usize = 256 << 10;
/// A varint of ten bytes is the longest.
const LENGTH_BYTES: usize = 10;

/// What is wrong with a segment.
#[derive(Debug, thiserror::Error)]
pub enum SegmentError {
    #[error("read at offset {offset}: {source}")]
    Io { offset: u64, source: io::Error },
    #[error("it begins with {found:02x?}")]
    Magic { found: Vec<u8> },
    #[error("entry at offset {offset} does not end within the segment")]
    Truncated { offset: u64 },
    #[error("entry at offset {offset}: {source}")]
    Entry { offset: u64, source: prost::DecodeError },
    #[error("entry {found} where {expected} was due")]
    Order { expected: u64, found: u64 },
    #[error("entry {index} is of term {found}, below that of the one before")]
    Term { index: u64, found: u64 },
    #[error("entry {index} is of kind {found}, which no log holds")]
    Kind { index: u64, found: i32 },
    #[error("it ends with entry {} of term {}, its manifest says {} of {}", .found.index, .found.term, .expected.index, .expected.term)]
    End { expected: LogPosition, found: LogPosition },
}

/// A segment on its way to a destination. Memory is a part of an upload.
#[derive(Debug)]
pub struct SegmentWriter {
    destination: Arc<dyn Destination>,
    upload: Uploading,
    digest: Sha256,
    name: String,
    created: SystemTime,
    from: Place,
    last: LogPosition,
    count: u64,
    bytes: u64,
}

impl SegmentWriter {
    /// Begins one that goes on behind `from`.
    ///
    /// # Errors
    /// The destination does not take it.
    pub fn begin(
        destination: &Arc<dyn Destination>,
        (cluster, member): (ClusterId, MemberId),
        created: SystemTime,
        from: Place,
    ) -> Result<Self, Failure> {
        let name = name(Kind::Delta, created, from.index, member);
        let upload = Uploading::begin(destination, &format!("{cluster}/{name}.{}", Kind::Delta.extension()))?;
        let (digest, last, destination) = (Sha256::new(), from.position(), Arc::clone(destination));
        let mut writer = Self { destination, upload, digest, name, created, from, last, count: 0, bytes: 0 };
        writer.write(MAGIC)?;
        Ok(writer)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.digest.update(bytes);
        self.bytes += bytes.len() as u64;
        self.upload.write(bytes)
    }

    /// # Errors
    /// A part could not be handed over. The writer is of no use any more but for [`Self::abort`].
    pub fn push(&mut self, entry: &wal::Entry) -> Result<(), Failure> {
        let kind = match entry.kind {
            wal::EntryKind::Normal => raftpb::EntryType::EntryNormal,
            wal::EntryKind::ConfChange => raftpb::EntryType::EntryConfChange,
        };
        let record = raftpb::Entry {
            r#type: Some(kind.into()),
            term: Some(entry.term),
            index: Some(entry.index),
            data: (!entry.data.is_empty()).then(|| entry.data.clone()),
        };
        self.write(&record.encode_length_delimited_to_vec())?;
        self.last = LogPosition { term: entry.term, index: entry.index };
        self.count += 1;
        Ok(())
    }

    /// The last entry that is in it.
    pub fn last(&self) -> LogPosition {
        self.last
    }

    pub fn count(&self) -> u64 {
        self.count
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Makes a backup of it, verified. `taken.at` is the state after [`Self::last`].
    ///
    /// # Errors
    /// There is none, and nothing of it is left unless the destination fails at that too.
    pub fn seal(self, taken: &Taken, follows: Option<Link>, stop: &Stop) -> Result<Manifest, ArchiveError> {
        let Self { destination, upload, digest, name, created, from, count, .. } = self;
        let mut manifest = Taken { created, ..*taken }.manifest(Kind::Delta, name, from, count);
        manifest.follows = follows;
        manifest.sha256 = hex(&digest.finalize());
        manifest.bytes = upload.complete()?.bytes;
        let object = manifest.object.clone();
        let checked = check(&destination, &manifest, stop).map_err(ArchiveError::from);
        let published = checked.and_then(|_| Ok(manifest.publish(destination.as_ref())?));
        if published.is_err() {
            abandon(destination.delete_all(&[object]));
        }
        published
    }

    /// Drops it.
    pub fn abort(self) {
        abandon(self.upload.abort());
    }
}

/// The entries of a segment, in order. Ends behind the first error.
#[derive(Debug)]
pub struct Entries {
    file: Stored,
    end: u64,
    offset: u64,
    buffer: BytesMut,
    last: LogPosition,
    expected_end: LogPosition,
    has_ended: bool,
}

impl Entries {
    pub fn open(destination: &Arc<dyn Destination>, manifest: &Manifest) -> Self {
        Self {
            file: Stored::of(destination, manifest),
            end: manifest.bytes,
            offset: 0,
            buffer: BytesMut::new(),
            last: manifest.from.position(),
            expected_end: manifest.to.position(),
            has_ended: false,
        }
    }

    /// Has at least `len` bytes in memory, or all that are left.
    fn fill(&mut self, len: usize) -> Result<(), SegmentError> {
        while self.buffer.len() < len {
            let read_to = self.offset + self.buffer.len() as u64;
            let more = usize::try_from(self.end - read_to).unwrap_or(usize::MAX).min(READ_BYTES);
            if more == 0 {
                return Ok(());
            }
            let old = self.buffer.len();
            self.buffer.resize(old + more, 0);
            let read = self.file.read_at(read_to, &mut self.buffer[old..]);
            read.map_err(|source| SegmentError::Io { offset: read_to, source })?;
        }
        Ok(())
    }

    fn take(&mut self, len: usize) -> Bytes {
        self.offset += len as u64;
        self.buffer.split_to(len).freeze()
    }

    fn entry(&mut self) -> Result<Option<wal::Entry>, SegmentError> {
        if self.offset == 0 {
            self.fill(MAGIC.len())?;
            let len = self.buffer.len().min(MAGIC.len());
            let found = self.take(len);
            if found != MAGIC[..] {
                return Err(SegmentError::Magic { found: found.to_vec() });
            }
        }
        self.fill(LENGTH_BYTES)?;
        if self.buffer.is_empty() {
            let (expected, found) = (self.expected_end, self.last);
            return if expected == found { Ok(None) } else { Err(SegmentError::End { expected, found }) };
        }
        let offset = self.offset;
        let mut head = &self.buffer[..];
        let len = prost::decode_length_delimiter(&mut head).map_err(|source| SegmentError::Entry { offset, source })?;
        let head_len = self.buffer.len() - head.remaining();
        let left = self.end - self.offset;
        if (head_len as u64).saturating_add(len as u64) > left {
            return Err(SegmentError::Truncated { offset });
        }
        self.fill(head_len + len)?;
        self.take(head_len);
        let record = self.take(len);
        let entry = raftpb::Entry::decode(record).map_err(|source| SegmentError::Entry { offset, source })?;
        self.next_in_order(entry).map(Some)
    }

    fn next_in_order(&mut self, entry: raftpb::Entry) -> Result<wal::Entry, SegmentError> {
        let (index, term) = (entry.index(), entry.term());
        if index != self.last.index + 1 {
            return Err(SegmentError::Order { expected: self.last.index + 1, found: index });
        }
        if term < self.last.term {
            return Err(SegmentError::Term { index, found: term });
        }
        // Not by prost's accessor, to which what it does not know is Normal.
        let found = entry.r#type.unwrap_or_default();
        let kind = match raftpb::EntryType::try_from(found) {
            Ok(raftpb::EntryType::EntryNormal) => wal::EntryKind::Normal,
            Ok(raftpb::EntryType::EntryConfChange) => wal::EntryKind::ConfChange,
            Ok(raftpb::EntryType::EntryConfChangeV2) | Err(_) => return Err(SegmentError::Kind { index, found }),
        };
        self.last = LogPosition { term, index };
        Ok(wal::Entry { term, index, kind, data: entry.data.unwrap_or_default() })
    }
}

impl Iterator for Entries {
    type Item = Result<wal::Entry, SegmentError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.has_ended {
            return None;
        }
        let next = self.entry();
        self.has_ended = !matches!(next, Ok(Some(_)));
        next.transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backup::destination::{Existing, Folder};
    use crate::disk::MemoryDisk;

    fn entries() -> Vec<wal::Entry> {
        let entry = |index: u64| wal::Entry {
            term: 2 + index / 8,
            index,
            kind: if index == 6 { wal::EntryKind::ConfChange } else { wal::EntryKind::Normal },
            data: vec![index as u8; (index % 5 * 40) as usize].into(),
        };
        (5..15).map(entry).collect()
    }

    const FROM: Place = Place { index: 4, term: 2, revision: 3 };
    const AT: Place = Place { index: 14, term: 3, revision: 9 };

    /// A segment of [`entries`].
    fn sealed() -> (Arc<dyn Destination>, Manifest) {
        let destination: Arc<dyn Destination> = Arc::new(Folder::new(Arc::new(MemoryDisk::new()), "b".into()));
        let created = SystemTime::UNIX_EPOCH;
        let ids = (ClusterId(1), MemberId(2));
        let mut writer = SegmentWriter::begin(&destination, ids, created, FROM).unwrap();
        entries().iter().for_each(|entry| writer.push(entry).unwrap());
        let (cluster, member) = ids;
        let (compact_revision, hash_kv, lease_min_ttl_secs) = (-1, None, 2);
        let taken = Taken { cluster, member, created, at: AT, compact_revision, hash_kv, lease_min_ttl_secs };
        let sealed = writer.seal(&taken, None, &Stop::default()).unwrap();
        (destination, sealed)
    }

    #[test]
    fn entries_come_back_as_they_were_and_no_byte_of_a_segment_is_believed() {
        let (destination, sealed) = sealed();
        assert_eq!((sealed.count, sealed.from, sealed.to), (10, FROM, AT));
        let read = || Entries::open(&destination, &sealed).collect::<Result<Vec<_>, _>>();
        assert_eq!(read().unwrap(), entries());
        let bytes = destination.read_all(&sealed.object, usize::MAX).unwrap();
        for at in 0..bytes.len() {
            for flip in [1, 0x80] {
                let mut changed = bytes.clone();
                changed[at] ^= flip;
                destination.put(&sealed.object, &changed, Existing::Replace).unwrap();
                // Data is the digest's to judge; all else is seen here.
                if let Ok(read) = read() {
                    assert_eq!(read.len(), entries().len());
                }
            }
        }
        destination.put(&sealed.object, &bytes[..bytes.len() - 1], Existing::Replace).unwrap();
        assert!(matches!(read(), Err(SegmentError::Io { .. })));
    }

    #[test]
    fn an_entry_of_a_kind_that_no_log_holds_is_refused() {
        let (destination, sealed) = sealed();
        let mut bytes = destination.read_all(&sealed.object, usize::MAX).unwrap();
        // Behind the length of the first entry: the tag of its type, and the type.
        assert_eq!(bytes[MAGIC.len() + 1..][..2], [0x08, 0]);
        for kind in [2, 7] {
            bytes[MAGIC.len() + 2] = kind;
            destination.put(&sealed.object, &bytes, Existing::Replace).unwrap();
            let read = Entries::open(&destination, &sealed).next().unwrap();
            let Err(SegmentError::Kind { index: 5, found }) = read else { panic!("{read:?}") };
            assert_eq!(found, i32::from(kind));
        }
    }
}

//! Reads a member's log from its files: a decoder of etcd's WAL format written for the tests, from the
//! format's description alone, so that it shares no mistake with the server's own.
//!
//! ```text
//! file      <sequence, 16 hex>-<first index, 16 hex>.wal
//! frame     length field, u64 little endian: bits 0-55 bytes of the record;
//!           if bit 63 is set, bits 56-58 bytes of padding that follow it
//!           record: protobuf walpb.Record {type, crc, data}; then the padding
//! crc       CRC-32C over the data of all records so far; a record of type 4 opens each file and carries
//!           the value with which the file before ended
//! end       a length field of zero (preallocated space), or the end of the file
//! ```

use crate::proto::etcdserverpb::InternalRaftRequest;
use crate::proto::raftpb::{Entry, EntryType, HardState};
use crate::proto::walpb::{Record, Snapshot};
use anyhow::{Context, bail, ensure};
use prost::Message;
use std::path::{Path, PathBuf};

const METADATA: i64 = 1;
const ENTRY: i64 = 2;
const STATE: i64 = 3;
const CRC: i64 = 4;
const SNAPSHOT: i64 = 5;

/// What the log of one member holds.
#[derive(Debug, Default)]
pub struct WalContent {
    pub files: Vec<PathBuf>,
    pub node_id: u64,
    pub cluster_id: u64,
    /// By index; an entry written again took the place of the older one and of all after it.
    pub entries: Vec<Entry>,
    pub hard_state: Option<HardState>,
    pub snapshots: Vec<Snapshot>,
    /// The snapshot that took the place of all entries before: the member had fallen behind.
    pub restarted_behind: Option<u64>,
}

impl WalContent {
    pub fn first_index(&self) -> Option<u64> {
        self.entries.first().map(Entry::index)
    }

    pub fn last_index(&self) -> Option<u64> {
        self.entries.last().map(Entry::index)
    }

    /// Client requests in the log, with their indexes.
    ///
    /// # Errors
    /// If the data of a normal entry is no request.
    pub fn requests(&self) -> anyhow::Result<Vec<(u64, InternalRaftRequest)>> {
        let normal = self.entries.iter().filter(|entry| entry.r#type() == EntryType::EntryNormal);
        normal
            .filter(|entry| !entry.data().is_empty())
            .map(|entry| {
                let request = InternalRaftRequest::decode(entry.data());
                Ok((entry.index(), request.with_context(|| format!("request of entry {}", entry.index()))?))
            })
            .collect()
    }
}

/// Reads all files of a WAL folder in order.
///
/// # Errors
/// If a file cannot be read, or a name, a frame, a checksum or the order of the entries is not as the format says.
pub fn read(folder: &Path) -> anyhow::Result<WalContent> {
    let mut files = Vec::new();
    for file in std::fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))? {
        let path = file?.path();
        if path.extension().is_some_and(|extension| extension == "wal") {
            files.push(path);
        }
    }
    files.sort();
    ensure!(!files.is_empty(), "no .wal file in {}", folder.display());
    read_files(files.into_iter().map(|path| {
        let bytes = std::fs::read(&path).with_context(|| format!("read {}", path.display()))?;
        Ok((path, bytes))
    }))
}

/// As [`read`], from the names and bytes of the files, in order.
///
/// # Errors
/// As [`read`].
pub fn read_files(files: impl Iterator<Item = anyhow::Result<(PathBuf, Vec<u8>)>>) -> anyhow::Result<WalContent> {
    let mut reader = Reader::default();
    for (number, file) in files.enumerate() {
        let (path, bytes) = file?;
        let (sequence, first_index) = parse_name(&path)?;
        if let Some(before) = reader.sequence {
            ensure!(sequence.checked_sub(1) == Some(before), "{} does not follow number {before}", path.display());
        }
        reader.sequence = Some(sequence);
        reader.file(&bytes, number == 0).with_context(|| format!("in {}", path.display()))?;
        let expected = reader.content.last_index();
        ensure!(
            expected.is_none_or(|last| first_index.saturating_sub(1) <= last),
            "{} begins behind entry {expected:?}",
            path.display()
        );
        reader.content.files.push(path);
    }
    Ok(reader.content)
}

fn parse_name(path: &Path) -> anyhow::Result<(u64, u64)> {
    let stem = path.file_stem().and_then(|stem| stem.to_str()).context("a file name")?;
    let (sequence, index) = stem.split_once('-').with_context(|| format!("{stem} has no dash"))?;
    ensure!(sequence.len() == 16 && index.len() == 16, "{stem} is not two numbers of 16 digits");
    Ok((u64::from_str_radix(sequence, 16)?, u64::from_str_radix(index, 16)?))
}

#[derive(Default)]
struct Reader {
    content: WalContent,
    sequence: Option<u64>,
    crc: u32,
}

impl Reader {
    fn file(&mut self, bytes: &[u8], is_first: bool) -> anyhow::Result<()> {
        let mut rest = bytes;
        let mut number = 0;
        while let Some((length, after)) = rest.split_first_chunk::<8>() {
            let field = u64::from_le_bytes(*length);
            if field == 0 {
                break;
            }
            let record_bytes = usize::try_from(field & 0x00ff_ffff_ffff_ffff)?;
            let padding = if field >> 63 == 1 { usize::try_from(field >> 56 & 7)? } else { 0 };
            ensure!(after.len() >= record_bytes + padding, "record {number} is cut short");
            ensure!((record_bytes + padding) % 8 == 0, "record {number} is not padded to 8 bytes");
            let record = Record::decode(&after[..record_bytes]).with_context(|| format!("record {number}"))?;
            self.record(&record, number, is_first).with_context(|| format!("record {number}"))?;
            rest = &after[record_bytes + padding..];
            number += 1;
        }
        ensure!(number > 0, "no records");
        ensure!(rest.iter().all(|byte| *byte == 0), "something follows the last record");
        Ok(())
    }

    fn record(&mut self, record: &Record, number: usize, is_first_file: bool) -> anyhow::Result<()> {
        let data = record.data();
        ensure!((number == 0) == (record.r#type() == CRC), "the first record, and only that, carries the checksum");
        if record.r#type() == CRC {
            ensure!(is_first_file || self.crc == record.crc(), "the checksum does not continue the file before");
            self.crc = record.crc();
            return Ok(());
        }
        self.crc = crc32c(self.crc, data);
        ensure!(self.crc == record.crc(), "checksum {:08x}, computed {:08x}", record.crc(), self.crc);
        match record.r#type() {
            METADATA => self.metadata(data)?,
            ENTRY => self.entry(Entry::decode(data)?)?,
            STATE => self.content.hard_state = Some(HardState::decode(data)?),
            SNAPSHOT => self.snapshot(Snapshot::decode(data)?),
            other => bail!("unknown type {other}"),
        }
        Ok(())
    }

    fn metadata(&mut self, data: &[u8]) -> anyhow::Result<()> {
        /// etcd's `pb.Metadata`, declared here since the reader trusts no generated name for it.
        #[derive(Clone, PartialEq, Message)]
        struct Metadata {
            #[prost(uint64, tag = "1")]
            node_id: u64,
            #[prost(uint64, tag = "2")]
            cluster_id: u64,
        }
        let found = Metadata::decode(data)?;
        ensure!(found.node_id != 0 && found.cluster_id != 0, "metadata without ids: {found:?}");
        let known = (self.content.node_id, self.content.cluster_id);
        ensure!(known == (0, 0) || known == (found.node_id, found.cluster_id), "another member's file: {found:?}");
        (self.content.node_id, self.content.cluster_id) = (found.node_id, found.cluster_id);
        Ok(())
    }

    fn snapshot(&mut self, snapshot: Snapshot) {
        if self.content.last_index().is_some_and(|last| snapshot.index() > last) {
            self.content.entries.clear();
            self.content.restarted_behind = Some(snapshot.index());
        }
        self.content.snapshots.push(snapshot);
    }

    fn entry(&mut self, entry: Entry) -> anyhow::Result<()> {
        let entries = &mut self.content.entries;
        if let (true, Some(before)) = (entries.is_empty(), self.content.restarted_behind) {
            ensure!(
                entry.index().checked_sub(1) == Some(before),
                "entry {} follows a snapshot at {before}",
                entry.index()
            );
        }
        if let Some(first) = entries.first().map(Entry::index) {
            ensure!(entry.index() >= first, "entry {} before the first one, {first}", entry.index());
            entries.truncate(usize::try_from(entry.index() - first)?);
            if let Some(last) = entries.last() {
                ensure!(entry.index() - 1 == last.index(), "entry {} follows {}", entry.index(), last.index());
                ensure!(entry.term() >= last.term(), "term {} follows {}", entry.term(), last.term());
            }
        }
        entries.push(entry);
        Ok(())
    }
}

/// Castagnoli's polynomial, bit by bit reflected.
fn crc32c(before: u32, data: &[u8]) -> u32 {
    let mut crc = !before;
    for byte in data {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
        }
    }
    !crc
}

/// A record as it stands in a file: a length field, and padding to eight bytes.
pub fn frame(record: &Record) -> Vec<u8> {
    let mut bytes = record.encode_to_vec();
    let padding = (8 - bytes.len() % 8) % 8;
    let mut field = bytes.len() as u64;
    if padding > 0 {
        field |= (0x80 | padding as u64) << 56;
    }
    bytes.resize(bytes.len() + padding, 0);
    [field.to_le_bytes().to_vec(), bytes].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes one file as etcd would, with chained checksums.
    struct Writer {
        crc: u32,
        bytes: Vec<u8>,
    }

    impl Writer {
        fn after(crc: u32) -> Self {
            Self { crc, bytes: frame(&Record { r#type: Some(CRC), crc: Some(crc), data: None }) }
        }

        fn add(&mut self, kind: i64, data: Vec<u8>) {
            self.crc = crc32c(self.crc, &data);
            self.bytes.extend(frame(&Record { r#type: Some(kind), crc: Some(self.crc), data: Some(data.into()) }));
        }

        fn entry(&mut self, index: u64, term: u64) {
            let entry = Entry { r#type: None, term: Some(term), index: Some(index), data: None };
            self.add(ENTRY, entry.encode_to_vec());
        }

        fn save(mut self, folder: &Path, name: &str) -> u32 {
            self.bytes.extend([0; 64]);
            std::fs::write(folder.join(name), self.bytes).expect("write a file");
            self.crc
        }
    }

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().expect("make a folder")
    }

    fn first_file() -> Writer {
        let mut writer = Writer::after(0);
        writer.add(METADATA, vec![8, 1, 16, 2]);
        writer
    }

    #[test]
    fn the_checksum_is_castagnolis() {
        assert_eq!(crc32c(0, b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(crc32c(0, b"1234"), b"56789"), 0xe306_9283);
    }

    #[test]
    fn entries_are_read_over_several_files_and_overwritten_ones_are_gone() {
        let folder = folder();
        let mut writer = first_file();
        for index in 1..=4 {
            writer.entry(index, 1);
        }
        writer.entry(3, 2);
        let crc = writer.save(folder.path(), "0000000000000000-0000000000000000.wal");
        let mut writer = Writer::after(crc);
        writer.entry(4, 2);
        writer.save(folder.path(), "0000000000000001-0000000000000004.wal");
        let content = read(folder.path()).expect("a well-formed log");
        let entries: Vec<_> = content.entries.iter().map(|entry| (entry.index(), entry.term())).collect();
        assert_eq!(entries, [(1, 1), (2, 1), (3, 2), (4, 2)]);
        assert_eq!((content.node_id, content.cluster_id), (1, 2));
    }

    #[test]
    fn a_snapshot_ahead_of_the_entries_restarts_the_log() {
        let snapshot = |index| Snapshot { index: Some(index), term: Some(1), conf_state: None }.encode_to_vec();
        let write = |next: u64| {
            let folder = folder();
            let mut writer = first_file();
            writer.add(SNAPSHOT, snapshot(0));
            writer.entry(1, 1);
            writer.entry(2, 1);
            writer.add(SNAPSHOT, snapshot(2));
            writer.add(SNAPSHOT, snapshot(9));
            writer.entry(next, 1);
            writer.save(folder.path(), "0000000000000000-0000000000000000.wal");
            read(folder.path())
        };
        let content = write(10).expect("a well-formed log");
        assert_eq!((content.first_index(), content.restarted_behind), (Some(10), Some(9)));
        assert!(write(11).is_err());
    }

    #[test]
    fn a_gap_is_refused() {
        let folder = folder();
        let mut writer = first_file();
        writer.entry(1, 1);
        writer.entry(3, 1);
        writer.save(folder.path(), "0000000000000000-0000000000000000.wal");
        assert!(read(folder.path()).is_err());
    }

    #[test]
    fn a_flipped_bit_is_refused() {
        let folder = folder();
        let mut writer = first_file();
        writer.entry(1, 1);
        let last = writer.bytes.len() - 9;
        writer.bytes[last] ^= 1;
        writer.save(folder.path(), "0000000000000000-0000000000000000.wal");
        assert!(read(folder.path()).is_err());
    }

    #[test]
    fn a_missing_file_is_refused() {
        let folder = folder();
        let crc = first_file().save(folder.path(), "0000000000000000-0000000000000000.wal");
        Writer::after(crc).save(folder.path(), "0000000000000002-0000000000000001.wal");
        assert!(read(folder.path()).is_err());
    }

    #[test]
    fn a_checksum_that_does_not_continue_is_refused() {
        let folder = folder();
        let crc = first_file().save(folder.path(), "0000000000000000-0000000000000000.wal");
        Writer::after(crc ^ 1).save(folder.path(), "0000000000000001-0000000000000001.wal");
        assert!(read(folder.path()).is_err());
    }
}

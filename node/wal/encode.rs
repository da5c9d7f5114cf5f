//! Records as etcd writes them (`server/storage/wal/encoder.go`), straight into the write buffer.
//!
//! ```text
//! frame   u64 little endian: bits 0..56 length of the record; with padding, bit 63 and in bits 56..59 its length
//! record  protobuf: 1 type, 2 crc, 3 data            padding  zeros up to 8 bytes, so no frame field is ever torn
//!
//! type 1 metadata   1 node id, 2 cluster id
//!      2 entry      1 type, 2 term, 3 index, 4 data unless empty
//!      3 hard state 1 term, 2 vote, 3 commit, 1000 vote committed (ours) if true
//!      4 checksum   no data; the head of each segment
//!      5 snapshot   1 index, 2 term, 3 conf state unless index is 0
//! ```
//! The crc is CRC-32C over the data of all records so far, through all segments; a checksum record repeats the
//! value. Number fields are written even when zero, as etcd up to 3.6 does (3.7.3 leaves out the type of a normal
//! entry, and reads both).

use super::entry::{Entry, EntryKind, HardState, Identity};
use super::wire::{Sink, Small, varint_len};
use crate::types::LogPosition;
use keelstone_proto::raftpb::ConfState;
use prost::Message;

/// Type numbers of records.
pub(crate) mod kind {
    pub(crate) const METADATA: u64 = 1;
    pub(crate) const ENTRY: u64 = 2;
    pub(crate) const HARD_STATE: u64 = 3;
    pub(crate) const CHECKSUM: u64 = 4;
    pub(crate) const SNAPSHOT: u64 = 5;
}

/// Field of our own in etcd's `HardState`.
pub(crate) const VOTE_COMMITTED_FIELD: u64 = 1000;

/// Bytes of the field before each record.
pub(crate) const FRAME_BYTES: u64 = 8;

/// Appends records to a buffer and keeps the running checksum.
#[derive(Debug)]
pub(crate) struct Encoder {
    crc: u32,
    buffer: Vec<u8>,
}

impl Encoder {
    /// Goes on from a running checksum.
    pub(crate) fn new(crc: u32) -> Self {
        Self { crc, buffer: Vec::new() }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.buffer
    }

    /// Empties the buffer. Gives back memory that an unusually large batch took.
    pub(crate) fn clear(&mut self, keep_bytes: usize) {
        self.buffer.clear();
        self.buffer.shrink_to(keep_bytes);
    }

    pub(crate) fn entry(&mut self, entry: &Entry) {
        let mut head = Small::new();
        head.put_number(
            1,
            match entry.kind {
                EntryKind::Normal => 0,
                EntryKind::ConfChange => 1,
            },
        );
        head.put_number(2, entry.term);
        head.put_number(3, entry.index);
        if !entry.data.is_empty() {
            head.put_length(4, entry.data.len());
        }
        self.record(kind::ENTRY, head.as_slice(), &entry.data);
    }

    pub(crate) fn hard_state(&mut self, state: HardState) {
        let mut data = Small::new();
        data.put_number(1, state.term);
        data.put_number(2, state.vote);
        data.put_number(3, state.commit);
        if state.vote_committed {
            data.put_number(VOTE_COMMITTED_FIELD, 1);
        }
        self.record(kind::HARD_STATE, data.as_slice(), &[]);
    }

    pub(crate) fn metadata(&mut self, identity: Identity) {
        let mut data = Small::new();
        data.put_number(1, identity.node_id);
        data.put_number(2, identity.cluster_id);
        self.record(kind::METADATA, data.as_slice(), &[]);
    }

    pub(crate) fn snapshot(&mut self, position: LogPosition, conf_state: &ConfState) {
        let mut head = Small::new();
        head.put_number(1, position.index);
        head.put_number(2, position.term);
        let mut body = Vec::new();
        if position.index > 0 {
            head.put_length(3, conf_state.encoded_len());
            body = conf_state.encode_to_vec();
        }
        self.record(kind::SNAPSHOT, head.as_slice(), &body);
    }

    pub(crate) fn checksum(&mut self) {
        self.frame(kind::CHECKSUM, None);
    }

    fn record(&mut self, kind: u64, head: &[u8], body: &[u8]) {
        self.crc = crc32c::crc32c_append(crc32c::crc32c_append(self.crc, head), body);
        self.frame(kind, Some((head, body)));
    }

    fn frame(&mut self, kind: u64, data: Option<(&[u8], &[u8])>) {
        let crc = u64::from(self.crc);
        let mut len = 2 + 1 + varint_len(crc);
        if let Some((head, body)) = data {
            let data_len = head.len() + body.len();
            len += 1 + varint_len(data_len as u64) + data_len;
        }
        let padding = len.wrapping_neg() % 8;
        self.buffer.reserve(8 + len + padding);
        let flag = if padding == 0 { 0 } else { 0x80 | padding as u64 };
        self.buffer.put(&(len as u64 | flag << 56).to_le_bytes());
        self.buffer.put_number(1, kind);
        self.buffer.put_number(2, crc);
        if let Some((head, body)) = data {
            self.buffer.put_length(3, head.len() + body.len());
            self.buffer.put(head);
            self.buffer.put(body);
        }
        self.buffer.put(&[0; 8][..padding]);
    }
}

/// What stands at the head of a segment; the first one of a log has an empty snapshot record instead of a state.
pub(crate) fn segment_head(encoder: &mut Encoder, identity: Identity, state: HardState) {
    encoder.checksum();
    encoder.metadata(identity);
    if state != HardState::default() {
        encoder.hard_state(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    /// Frame, record and padding of what `write` adds, as hexadecimal digits.
    fn encoded(encoder: &mut Encoder, write: impl FnOnce(&mut Encoder)) -> String {
        encoder.clear(0);
        write(encoder);
        encoder.bytes().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn each_kind_of_record_has_the_bytes_that_etcd_writes() {
        // The head of `tests/wal/etcd-3.7.3`, and a snapshot record of the same log.
        let identity = Identity { node_id: 0x8e9e_05c5_2164_694d, cluster_id: 0xcdf8_1819_4e3a_8c32 };
        let change = Entry { term: 1, index: 1, kind: EntryKind::ConfChange, data: Bytes::from_static(b"conf") };
        let blank = Entry { term: 2, index: 2, kind: EntryKind::Normal, data: Bytes::new() };
        let voted = HardState { term: 2, vote: identity.node_id, vote_committed: false, commit: 1 };
        let mut log = Encoder::new(0);
        assert_eq!(encoded(&mut log, |log| log.checksum()), "04000000000000840804100000000000");
        assert_eq!(
            encoded(&mut log, |log| log.metadata(identity)),
            "2000000000000000080110bb81c7fc051a1608cdd2918bd2b881cf8e0110b298eaf1948386fccd01"
        );
        assert_eq!(
            encoded(&mut log, |log| log.snapshot(LogPosition::default(), &ConfState::default())),
            "0e0000000000008208051094bbc7ed0e1a04080010000000"
        );
        assert_eq!(
            encoded(&mut log, |log| log.entry(&change)),
            "160000000000008208021085dbf682081a0c0801100118012204636f6e660000"
        );
        assert_eq!(
            encoded(&mut log, |log| log.hard_state(HardState { term: 1, commit: 1, ..HardState::default() })),
            "0f00000000000081080310b4f6c4361a0608011000180100"
        );
        assert_eq!(
            encoded(&mut log, |log| log.hard_state(voted)),
            "1900000000000087080310f1feab9a0a1a0f080210cdd2918bd2b881cf8e01180100000000000000"
        );
        assert_eq!(encoded(&mut log, |log| log.entry(&blank)), "1000000000000000080210addc87a50b1a06080010021802");
    }

    #[test]
    fn our_own_field_stands_last_and_only_when_true() {
        let state = HardState { term: 2, vote: 3, vote_committed: true, commit: 4 };
        let with = encoded(&mut Encoder::new(0), |log| log.hard_state(state));
        let without = encoded(&mut Encoder::new(0), |log| {
            log.hard_state(HardState { vote_committed: false, ..state });
        });
        assert!(with.contains("1a09080210031804c03e01"), "{with}");
        assert!(without.contains("1a06080210031804"), "{without}");
    }

    #[test]
    fn a_snapshot_record_names_the_members() {
        let conf_state = ConfState { voters: vec![1, 2], ..ConfState::default() };
        let record = encoded(&mut Encoder::new(0), |log| log.snapshot(LogPosition { term: 2, index: 5 }, &conf_state));
        assert!(record.contains("1a0a080510021a0408010802"), "{record}");
    }
}

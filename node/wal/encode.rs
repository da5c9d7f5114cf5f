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

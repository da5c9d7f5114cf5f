//! What records carry, in etcd's protobuf messages.

use super::{Entry, EntryKind, HardState, Identity};
use crate::types::LogPosition;
use bytes::Bytes;
use keelstone_proto::{raftpb, walpb};
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint};

/// etcd's WAL metadata (`etcdserverpb.Metadata`): two plain numbers.
#[derive(Clone, PartialEq, prost::Message)]
struct Metadata {
    #[prost(uint64, tag = "1")]
    node_id: u64,
    #[prost(uint64, tag = "2")]
    cluster_id: u64,
}

pub fn identity_to_bytes(identity: Identity) -> Vec<u8> {
    Metadata { node_id: identity.node_id, cluster_id: identity.cluster_id }.encode_to_vec()
}

pub fn identity_from_bytes(data: &[u8]) -> Option<Identity> {
    let metadata = Metadata::decode(data).ok()?;
    Some(Identity { node_id: metadata.node_id, cluster_id: metadata.cluster_id })
}

/// Encodes into `out`, which is cleared. As raft 3.7 does: the type of a normal entry is left out.
pub fn encode_entry(entry: &Entry, out: &mut Vec<u8>) {
    out.clear();
    if entry.kind == EntryKind::ConfChange {
        encode_key(1, WireType::Varint, out);
        encode_varint(raftpb::EntryType::EntryConfChange as u64, out);
    }
    encode_key(2, WireType::Varint, out);
    encode_varint(entry.term, out);
    encode_key(3, WireType::Varint, out);
    encode_varint(entry.index, out);
    if !entry.data.is_empty() {
        encode_key(4, WireType::LengthDelimited, out);
        encode_varint(entry.data.len() as u64, out);
        out.extend_from_slice(&entry.data);
    }
}

/// None if it is no entry, or of a type that etcd does not write into its log.
pub fn entry_from_bytes(data: &Bytes) -> Option<Entry> {
    let entry = raftpb::Entry::decode(data.as_ref()).ok()?;
    let kind = match entry.r#type.unwrap_or_default() {
        kind if kind == raftpb::EntryType::EntryNormal as i32 => EntryKind::Normal,
        kind if kind == raftpb::EntryType::EntryConfChange as i32 => EntryKind::ConfChange,
        _ => return None,
    };
    let data = entry.data.unwrap_or_default();
    Some(Entry { term: entry.term.unwrap_or_default(), index: entry.index.unwrap_or_default(), kind, data })
}

pub fn hard_state_to_bytes(state: HardState) -> Vec<u8> {
    let message = raftpb::HardState {
        term: Some(state.term),
        vote: Some(state.vote),
        commit: Some(state.commit),
        keelstone_vote_committed: state.vote_committed.then_some(true),
    };
    message.encode_to_vec()
}

pub fn hard_state_from_bytes(data: &[u8]) -> Option<HardState> {
    let state = raftpb::HardState::decode(data).ok()?;
    Some(HardState {
        term: state.term.unwrap_or_default(),
        vote: state.vote.unwrap_or_default(),
        vote_committed: state.keelstone_vote_committed.unwrap_or_default(),
        commit: state.commit.unwrap_or_default(),
    })
}

pub fn snapshot_to_bytes(at: LogPosition, conf_state: Option<raftpb::ConfState>) -> Vec<u8> {
    walpb::Snapshot { index: Some(at.index), term: Some(at.term), conf_state }.encode_to_vec()
}

pub fn snapshot_from_bytes(data: &[u8]) -> Option<LogPosition> {
    let snapshot = walpb::Snapshot::decode(data).ok()?;
    Some(LogPosition { term: snapshot.term.unwrap_or_default(), index: snapshot.index.unwrap_or_default() })
}

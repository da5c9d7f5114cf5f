//! etcd's snapshot files, `<term>-<index>.snap`: the members at a snapshot, where the log does not name them (etcd 3.4).
//!
//! A `snappb.snapshot` around a `raftpb.Snapshot`, whose data is etcd's second store as JSON (`server/etcdserver/api/v2store`,
//! `snap/snapshotter.go`).

use crate::cluster::Member;
use crate::disk::Disk;
use crate::server::bootstrap::is_there;
use crate::types::{LogPosition, MemberId};
use anyhow::{Context, bail};
use keelstone_proto::raftpb::{ConfState, Snapshot};
use keelstone_proto::snappb;
use prost::Message;
use serde_json::Value;
use std::path::Path;

/// With keys of the second API such a file can be large; it is read as a whole.
const MAX_BYTES: u64 = 512 << 20;

/// What a snapshot file says of the members.
#[derive(Debug, Default)]
pub(super) struct SnapFile {
    pub(super) conf_state: ConfState,
    pub(super) members: Vec<Member>,
}

impl SnapFile {
    /// Reads the file of the snapshot at `position`; `None` if there is none.
    pub(super) fn read(disk: &dyn Disk, snap_dir: &Path, position: LogPosition) -> anyhow::Result<Option<Self>> {
        let path = snap_dir.join(format!("{:016x}-{:016x}.snap", position.term, position.index));
        if !is_there(disk, &path)? {
            return Ok(None);
        }
        let read = || -> anyhow::Result<Vec<u8>> {
            let file = disk.open_to_read(&path)?;
            let len = file.len()?;
            if len > MAX_BYTES {
                bail!("it has {len} bytes, and {MAX_BYTES} at most are read");
            }
            let mut bytes = vec![0; usize::try_from(len)?];
            file.read_at(0, &mut bytes)?;
            Ok(bytes)
        };
        let bytes = read().with_context(|| format!("read {}", path.display()))?;
        Self::parse(&bytes, position).with_context(|| format!("snapshot file {}", path.display())).map(Some)
    }

    fn parse(bytes: &[u8], position: LogPosition) -> anyhow::Result<Self> {
        let frame = snappb::Snapshot::decode(bytes)?;
        let data = frame.data.unwrap_or_default();
        let computed = crc32c::crc32c(&data);
        if frame.crc != Some(computed) {
            bail!("the checksum is {:08x}, the data has {computed:08x}", frame.crc.unwrap_or_default());
        }
        let snapshot = Snapshot::decode(data)?;
        let metadata = snapshot.metadata.unwrap_or_default();
        let found = (metadata.term.unwrap_or_default(), metadata.index.unwrap_or_default());
        if found != (position.term, position.index) {
            bail!("it holds the snapshot of term {} at index {}", found.0, found.1);
        }
        let store = snapshot.data.unwrap_or_default();
        let members = if store.is_empty() { Vec::new() } else { members_of(&serde_json::from_slice(&store)?) };
        Ok(Self { conf_state: metadata.conf_state.unwrap_or_default(), members })
    }
}

/// The members in the second store. One that cannot be read is as one that is not there.
fn members_of(store: &Value) -> Vec<Member> {
    let members = store.pointer("/Root/Children/0/Children/members/Children").and_then(Value::as_object);
    let member = |(id, node): (&String, &Value)| {
        let id = MemberId(u64::from_str_radix(id, 16).ok()?);
        let fields = |name: &str| -> Option<Value> {
            serde_json::from_str(node.pointer(&format!("/Children/{name}/Value"))?.as_str()?).ok()
        };
        let words = |value: &Value, name: &str| -> Vec<String> {
            let listed = value.get(name).and_then(Value::as_array);
            listed.into_iter().flatten().filter_map(|word| word.as_str().map(str::to_owned)).collect()
        };
        let of_raft = fields("raftAttributes")?;
        let told = fields("attributes").unwrap_or_default();
        Some(Member {
            id,
            peer_urls: words(&of_raft, "peerURLs"),
            is_learner: of_raft.get("isLearner").and_then(Value::as_bool).unwrap_or_default(),
            name: told.get("name").and_then(Value::as_str).unwrap_or_default().to_owned(),
            client_urls: words(&told, "clientURLs"),
        })
    };
    members.into_iter().flatten().filter_map(member).collect()
}

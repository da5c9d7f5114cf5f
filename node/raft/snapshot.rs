//! Snapshots of the state machine: a pinned version of the state on the sender, a finished file on the receiver.
//! Taking one costs a durable commit and no copy; apply goes on meanwhile.

use super::state_files::{ReceivedFile, StateFiles};
use super::types::{self, DecodeError, SnapshotMeta, StoredMembership, TypeConfig};
use crate::apply::{StateSnapshot, Worker};
use crate::storage::Storage;
use crate::threads::Work;
use keelstone_proto::raftpb::ConfState;
use openraft::RaftSnapshotBuilder;
use openraft::type_config::alias::SnapshotOf;
use std::io;
use std::sync::Arc;

/// Rows read at once when a state is copied or sent, in bytes of keys and values, about.
pub const CHUNK_BYTES: usize = 256 * 1024;

/// What openraft passes on, without looking inside.
#[derive(Debug)]
pub enum SnapshotSource {
    /// To send.
    Pinned(StateSnapshot),
    /// To install.
    Received(ReceivedState),
}

/// A state file that is whole and durable, not yet in the place of the old one.
#[derive(Debug)]
pub struct ReceivedState {
    pub file: ReceivedFile,
    pub storage: Storage,
}

impl SnapshotSource {
    /// The state as a file that can take the live one's place; a pinned one is copied beside it.
    ///
    /// # Errors
    /// The pinned state cannot be read, or the copy not be written, or another state is being received.
    pub async fn into_file(self, files: Arc<StateFiles>) -> io::Result<ReceivedState> {
        match self {
            SnapshotSource::Received(received) => Ok(received),
            SnapshotSource::Pinned(state) => {
                let threads = files.threads.clone();
                Ok(threads.run(Work::Read, move || copy(&state, &files)).await.map_err(io::Error::other)??)
            }
        }
    }
}

fn copy(state: &StateSnapshot, files: &StateFiles) -> io::Result<ReceivedState> {
    let Some((file, mut import)) = files.begin_import()? else { return Err(io::ErrorKind::ResourceBusy.into()) };
    for chunk in state.version.export(CHUNK_BYTES) {
        let chunk = files.check("read", files.path(), chunk)?;
        files.check("write", file.path(), import.push(&chunk))?;
    }
    let storage = files.check("write", file.path(), import.finish())?;
    Ok(ReceivedState { file, storage })
}

pub type Snapshot = SnapshotOf<TypeConfig, SnapshotSource>;

/// Takes snapshots through the apply thread.
#[derive(Clone, Debug)]
pub struct SnapshotBuilder {
    worker: Worker,
}

impl SnapshotBuilder {
    pub fn new(worker: Worker) -> Self {
        Self { worker }
    }
}

impl RaftSnapshotBuilder<TypeConfig> for SnapshotBuilder {
    type SnapshotData = SnapshotSource;

    async fn build_snapshot(&mut self) -> Result<Snapshot, io::Error> {
        let state = self.worker.snapshot().await.map_err(io::Error::other)?;
        let meta = meta_of(&state).map_err(io::Error::other)?;
        Ok(Snapshot { meta, snapshot: SnapshotSource::Pinned(state) })
    }
}

fn meta_of(state: &StateSnapshot) -> Result<SnapshotMeta, DecodeError> {
    Ok(SnapshotMeta {
        last_log_id: types::log_id(state.applied),
        last_membership: stored_membership(state.membership.as_ref().map(AsRef::as_ref))?,
    })
}

/// The membership row of the state; none before the first membership entry is applied.
pub fn stored_membership(row: Option<&[u8]>) -> Result<StoredMembership, DecodeError> {
    row.map_or_else(|| Ok(StoredMembership::default()), types::stored_membership_from_bytes)
}

/// The members of the membership row, as a snapshot record of the log names them.
///
/// # Errors
/// The row is not one.
pub fn conf_state(row: Option<&[u8]>) -> Result<ConfState, DecodeError> {
    Ok(types::conf_state(stored_membership(row)?.membership()))
}

//! A snapshot on the wire: one head, chunks of rows, one tail with their count and checksum. Neither side holds
//! more than a few chunks; the receiver writes them to a new state file and installs it only when it is whole.

use super::check;
use super::client::Client;
use super::convert;
use super::server::with_known;
use crate::apply::{self, StateSnapshot};
use crate::raft::Consensus;
use crate::raft::snapshot::{CHUNK_BYTES, ReceivedState, Snapshot, SnapshotSource, stored_membership};
use crate::raft::state_files::{StateFileError, StateFiles};
use crate::raft::types::{self, SnapshotMeta, Vote};
use crate::storage::{Chunk, Import, Storage, StorageError, Table};
use crate::threads::{Stopping, Work};
use crate::types::{LogPosition, MemberId};
use bytes::Bytes;
use keelstone_proto::internal::snapshot_chunk::Part;
use keelstone_proto::internal::{Row, SnapshotChunk, SnapshotHead, SnapshotRows, SnapshotTail};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

/// Chunks that are read ahead of the connection.
const CHUNKS_AHEAD: usize = 4;

/// Sends a snapshot and returns the receiver's vote.
///
/// # Errors
/// The connection's, or `Internal` if the state cannot be read.
pub async fn send_snapshot(
    files: Arc<StateFiles>,
    mut client: Client,
    vote: Vote,
    snapshot: Snapshot,
) -> Result<Vote, Status> {
    let SnapshotSource::Pinned(state) = snapshot.snapshot else {
        return Err(Status::internal("a received snapshot is installed, not sent"));
    };
    let head = SnapshotHead {
        vote: Some(convert::vote_to_proto(&vote)),
        last_applied: convert::log_id_to_proto(snapshot.meta.last_log_id.as_ref()),
        membership: state.membership.clone().unwrap_or_default(),
    };
    tracing::info!(index = state.applied.index, "sending database snapshot");
    let (chunks, receiver) = mpsc::channel(CHUNKS_AHEAD);
    let read = read_state(files, &state, head, chunks);
    let (response, ()) = tokio::join!(client.install_snapshot(ReceiverStream::new(receiver)), read);
    tracing::info!("sent database snapshot");
    let answer = convert::vote_from_proto(response?.into_inner().vote.as_ref())?;
    check::answered(&answer, &vote)?;
    Ok(answer)
}

/// Feeds the connection until all is read or it has gone.
async fn read_state(
    files: Arc<StateFiles>,
    state: &StateSnapshot,
    head: SnapshotHead,
    chunks: mpsc::Sender<SnapshotChunk>,
) {
    let send = async |part: Part| chunks.send(SnapshotChunk { part: Some(part) }).await.is_ok();
    if !send(Part::Head(head)).await {
        return;
    }
    let mut sum = Checksum::default();
    let mut export = state.version.export(CHUNK_BYTES);
    loop {
        let mut reading = export;
        let read = files.threads.run(Work::Read, move || {
            let chunk = reading.next();
            (reading, chunk)
        });
        let Ok((rest, chunk)) = read.await else { return };
        export = rest;
        let Some(chunk) = chunk else { break };
        // Without a tail the receiver discards what it has.
        let Ok(chunk) = files.check("read", files.path(), chunk) else { return };
        sum.add(&chunk);
        let rows = chunk.rows.into_iter().map(|(key, value)| Row { key, value }).collect();
        if !send(Part::Rows(SnapshotRows { table: chunk.table.name().to_owned(), rows })).await {
            return;
        }
    }
    // If the receiver has gone there is nobody to tell.
    send(Part::Tail(SnapshotTail { rows: sum.rows, crc32c: sum.crc })).await;
}

#[derive(Debug, Default)]
struct Checksum {
    rows: u64,
    crc: u32,
}

impl Checksum {
    fn add(&mut self, chunk: &Chunk) {
        for (key, value) in &chunk.rows {
            self.rows += 1;
            self.crc = crc32c::crc32c_append(crc32c::crc32c_append(self.crc, key), value);
        }
    }
}

/// Receives a snapshot into a file beside the state and lets openraft install it. Returns this member's vote.
///
/// # Errors
/// `InvalidArgument` for a stream that is not whole; `Unavailable` if another one is being received, or the node stops.
pub async fn receive_snapshot(
    consensus: &Consensus,
    from: MemberId,
    mut stream: Streaming<SnapshotChunk>,
) -> Result<Vote, Status> {
    let Some(Part::Head(head)) = next(&mut stream).await? else {
        return Err(Status::invalid_argument("snapshot without a head"));
    };
    let vote = convert::vote_from_proto(head.vote.as_ref())?;
    let membership = Some(head.membership.as_ref()).filter(|row| !row.is_empty());
    let meta = SnapshotMeta {
        last_log_id: convert::log_id_from_proto(head.last_applied.as_ref()),
        last_membership: stored_membership(membership).map_err(|error| Status::invalid_argument(error.to_string()))?,
    };
    with_known(consensus, |known| {
        check::snapshot(&vote, meta.last_log_id.as_ref(), &meta.last_membership, from, known)
    })?;
    tracing::info!("remote-peer-id" = %from, "receiving database snapshot");
    let files = consensus.state_files();
    let begun = files.begin_import().map_err(|error| Status::internal(error.to_string()))?;
    let (file, import) = begun.ok_or_else(|| Status::unavailable("busy with a snapshot"))?;
    let storage = write_state(files, file.path(), import, &mut stream).await?;
    let head = (types::position_or_zero(meta.last_log_id.as_ref()), head.membership);
    let checked = files.threads.run(Work::Read, move || {
        check_state(&storage, head)?;
        Ok::<_, Status>(storage)
    });
    let storage = checked.await.map_err(|error| Status::unavailable(error.to_string()))??;
    tracing::info!("remote-peer-id" = %from, path = %file.path().display(), "received and saved database snapshot");
    let snapshot = Snapshot { meta, snapshot: SnapshotSource::Received(ReceivedState { file, storage }) };
    let answer = consensus.raft().install_full_snapshot(vote, snapshot).await;
    Ok(answer.map_err(|error| Status::unavailable(error.to_string()))?.vote)
}

async fn next(stream: &mut Streaming<SnapshotChunk>) -> Result<Option<Part>, Status> {
    match stream.message().await? {
        None => Ok(None),
        Some(SnapshotChunk { part: Some(part) }) => Ok(Some(part)),
        Some(SnapshotChunk { part: None }) => Err(Status::invalid_argument("snapshot message of an unknown kind")),
    }
}

/// What was received can be opened, and is what the head says: installed, anything else would end the process.
fn check_state(storage: &Storage, (last, membership): (LogPosition, Bytes)) -> Result<(), Status> {
    let meta = apply::check_state(storage).map_err(|error| Status::invalid_argument(format!("snapshot: {error}")))?;
    if meta.applied != last || meta.membership.as_deref() != Some(&membership[..]) {
        return Err(Status::invalid_argument("snapshot is another one than its head says"));
    }
    Ok(())
}

async fn write_state(
    files: &StateFiles,
    path: &Path,
    mut import: Import,
    stream: &mut Streaming<SnapshotChunk>,
) -> Result<Storage, Status> {
    let begun = Instant::now();
    let failed = |error: StateFileError| Status::internal(error.to_string());
    let stopping = |error: Stopping| Status::unavailable(error.to_string());
    let mut sum = Checksum::default();
    while let Some(part) = next(stream).await? {
        match part {
            Part::Head(_) => return Err(Status::invalid_argument("snapshot with two heads")),
            Part::Rows(rows) => {
                let unknown = || Status::invalid_argument(format!("snapshot has an unknown table {}", rows.table));
                let table = Table::named(&rows.table).ok_or_else(unknown)?;
                let rows = rows.rows.into_iter().map(|row| (row.key, row.value)).collect();
                let chunk = Chunk { table, rows };
                sum.add(&chunk);
                let mut writing = import;
                let written = files.threads.run(Work::Apply, move || writing.push(&chunk).map(|()| writing)).await;
                import = match written.map_err(stopping)? {
                    // That is the sender's fault, not the disk's.
                    Err(error @ StorageError::Unordered { .. }) => {
                        return Err(Status::invalid_argument(error.to_string()));
                    }
                    written => files.check("write", path, written).map_err(failed)?,
                };
            }
            Part::Tail(tail) if (tail.rows, tail.crc32c) == (sum.rows, sum.crc) => {
                let written = Instant::now();
                let finished = files.threads.run(Work::Apply, move || import.finish()).await;
                let storage = files.check("write", path, finished.map_err(stopping)?).map_err(failed)?;
                files.metrics().observe_received(begun.elapsed(), written.elapsed());
                return Ok(storage);
            }
            Part::Tail(_) => return Err(Status::data_loss("snapshot differs from its checksum")),
        }
    }
    Err(Status::invalid_argument("snapshot without a tail"))
}

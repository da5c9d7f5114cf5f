//! A snapshot on the wire: one head, chunks of rows, one tail with their count and checksum. Neither side holds
//! more than a few chunks; the receiver writes them to a new state file and installs it only when it is whole.

use super::check;
use super::client::Client;
use super::convert;
use super::server::with_known;
use crate::apply::{self, StateSnapshot};
use crate::raft::Consensus;
use crate::raft::snapshot::{CHUNK_BYTES, ReceivedState, Snapshot, SnapshotSource, stored_membership};
use crate::raft::types::{self, SnapshotMeta, Vote};
use crate::storage::{Chunk, Import, Storage, Table};
use crate::types::{LogPosition, MemberId};
use bytes::Bytes;
use keelstone_proto::internal::snapshot_chunk::Part;
use keelstone_proto::internal::{Row, SnapshotChunk, SnapshotHead, SnapshotRows, SnapshotTail};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

/// Chunks between the thread that reads or writes the file and the connection.
const CHUNKS_AHEAD: usize = 4;

/// Sends a snapshot and returns the receiver's vote.
///
/// # Errors
/// The connection's, or `Internal` if the state cannot be read.
pub async fn send_snapshot(mut client: Client, vote: Vote, snapshot: Snapshot) -> Result<Vote, Status> {
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
    let reader = tokio::task::spawn_blocking(move || read_state(&state, head, &chunks));
    let response = client.install_snapshot(ReceiverStream::new(receiver)).await;
    reader.await.map_err(|error| Status::internal(error.to_string()))?;
    tracing::info!("sent database snapshot");
    let answer = convert::vote_from_proto(response?.into_inner().vote.as_ref())?;
    check::term(&answer, vote.leader_id().term)?;
    Ok(answer)
}

/// Feeds the connection until all is read or it has gone.
fn read_state(state: &StateSnapshot, head: SnapshotHead, chunks: &mpsc::Sender<SnapshotChunk>) {
    let send = |part: Part| chunks.blocking_send(SnapshotChunk { part: Some(part) }).is_ok();
    if !send(Part::Head(head)) {
        return;
    }
    let mut sum = Checksum::default();
    for chunk in state.view.version().export(CHUNK_BYTES) {
        let chunk = match chunk {
            Ok(chunk) => chunk,
            Err(error) => {
                // Without a tail the receiver discards what it has.
                tracing::error!(error = %error, "failed to read state for a snapshot");
                return;
            }
        };
        sum.add(&chunk);
        let rows = chunk.rows.into_iter().map(|(key, value)| Row { key, value }).collect();
        if !send(Part::Rows(SnapshotRows { table: chunk.table.name().to_owned(), rows })) {
            return;
        }
    }
    // If the receiver has gone there is nobody to tell.
    send(Part::Tail(SnapshotTail { rows: sum.rows, crc32c: sum.crc }));
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
    let _only_one = consensus.snapshot_slot().try_acquire().map_err(|_| Status::unavailable("busy with a snapshot"))?;
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
    let (path, import) = consensus.state_files().begin_import().map_err(|error| Status::internal(error.to_string()))?;
    let (chunks, queue) = mpsc::channel(CHUNKS_AHEAD);
    let head = (types::position_or_zero(meta.last_log_id.as_ref()), head.membership);
    let writer = tokio::task::spawn_blocking(move || {
        let storage = write_state(import, queue)?;
        check_state(&storage, head)?;
        Ok::<_, Status>(storage)
    });
    while let Some(part) = next(&mut stream).await? {
        if chunks.send(part).await.is_err() {
            break;
        }
    }
    drop(chunks);
    let storage = writer.await.map_err(|error| Status::internal(error.to_string()))??;
    tracing::info!("remote-peer-id" = %from, path = %path.display(), "received and saved database snapshot");
    let snapshot = Snapshot { meta, snapshot: SnapshotSource::Received(ReceivedState { path, storage }) };
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

fn write_state(mut import: Import, mut queue: mpsc::Receiver<Part>) -> Result<Storage, Status> {
    let mut sum = Checksum::default();
    while let Some(part) = queue.blocking_recv() {
        match part {
            Part::Head(_) => return Err(Status::invalid_argument("snapshot with two heads")),
            Part::Rows(rows) => {
                let unknown = || Status::invalid_argument(format!("snapshot has an unknown table {}", rows.table));
                let table = Table::named(&rows.table).ok_or_else(unknown)?;
                let rows = rows.rows.into_iter().map(|row| (row.key, row.value)).collect();
                let chunk = Chunk { table, rows };
                sum.add(&chunk);
                import.push(&chunk).map_err(|error| Status::internal(error.to_string()))?;
            }
            Part::Tail(tail) if (tail.rows, tail.crc32c) == (sum.rows, sum.crc) => {
                return import.finish().map_err(|error| Status::internal(error.to_string()));
            }
            Part::Tail(_) => return Err(Status::data_loss("snapshot differs from its checksum")),
        }
    }
    Err(Status::invalid_argument("snapshot without a tail"))
}

//! Defragmentation without a pause (D11): the state is copied into a file beside the live one while all goes on, and
//! the apply thread changes over when next to nothing is left to copy. One at a time, and never beside a snapshot that
//! is received.
//!
//! A crash leaves the old file or the new one in place, see `apply/moving.rs`; a copy that was not finished is removed
//! at the next start. A copy that fails is given up, and the state is as it was.

use super::consensus::Consensus;
use super::state_files::{ReceivedFile, StateFiles};
use crate::apply::{Move, Stopped, Worker};
use crate::defect::{self, Point};
use crate::storage::{Copy, CopyError, Durability, Stats, Step, Storage, StorageError};
use crate::threads::{Stopping, Work};
use crate::types::HumanBytes;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot, watch};

/// Copied and synced at once. What the log writes meanwhile waits for such a sync, so it must be short.
const SLICE_BYTES: usize = 512 << 10;
/// Kept free on the disk beside the copy.
const RESERVE_BYTES: u64 = 64 << 20;
/// How often the copy may be left behind by what is written before it is given up.
const MAX_ROUNDS: u32 = 200;

/// Requests that may wait.
pub(super) const QUEUE_LEN: usize = 16;

/// Why the state was not defragmented.
#[derive(Debug, thiserror::Error)]
pub enum DefragmentError {
    #[error("defragmenting needs {needed_bytes} bytes for a copy of the state, and the disk has {available_bytes}")]
    NoRoom { needed_bytes: u64, available_bytes: u64 },
    #[error("ask for the room that the disk has: {0}")]
    Disk(#[source] io::Error),
    #[error(transparent)]
    Copy(#[from] CopyError),
    /// Its copy was behind at each of so many looks.
    #[error("the state changes faster than it can be copied")]
    Overtaken,
    #[error("the state was replaced by a snapshot meanwhile")]
    Outdated,
    #[error("too many wait for a defragmentation")]
    QueueFull,
    /// The node is ending.
    #[error("the node is stopping")]
    Stopped,
}

impl From<Stopped> for DefragmentError {
    fn from(_: Stopped) -> Self {
        DefragmentError::Stopped
    }
}

impl From<Stopping> for DefragmentError {
    fn from(_: Stopping) -> Self {
        DefragmentError::Stopped
    }
}

/// Sizes of the state file before and after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shrunk {
    pub before: Stats,
    pub after: Stats,
}

pub(super) type Asked = oneshot::Sender<Result<(), DefragmentError>>;

/// Does what is asked for, one after the other, until consensus ends. A client that leaves does not end it.
pub(super) async fn run(consensus: Consensus, mut queue: mpsc::Receiver<Asked>, active: watch::Sender<bool>) {
    while let Some(asked) = queue.recv().await {
        let (files, worker) = (consensus.state_files(), consensus.worker());
        active.send_replace(true);
        files.metrics().set_defragmenting(true);
        let done = defragment(files, worker).await;
        files.metrics().set_defragmenting(false);
        active.send_replace(false);
        // Whoever asked may have gone.
        drop(asked.send(done.map(|_| ())));
    }
}

/// Copies the state into a new file and lets the member go on in that.
///
/// # Errors
/// The state is as it was: the disk has no room for the copy, or its file failed, or the node is ending.
pub async fn defragment(files: &Arc<StateFiles>, worker: &Worker) -> Result<Shrunk, DefragmentError> {
    let start = Instant::now();
    // What was compacted before need not be copied.
    worker.wait_compacted(worker.state_file().await?.compact_revision).await?;
    let place = Arc::new(files.place_for_copy().await.ok_or(DefragmentError::Stopped)?);
    let storage = worker.state_file().await?.storage;
    let before = storage.stats();
    say_defragmenting(files.path(), before);
    // Rows of a fresh file take a little more than they do in the estimate.
    check_room(files, before.in_use_bytes + before.in_use_bytes / 4)?;
    let (making, made) = (Arc::clone(files), Arc::clone(&place));
    let begun = files.threads.run(Work::Read, move || making.begin_copy(&storage, &made)).await?;
    let moved = match begun {
        Ok(copy) => {
            defect::reach_in_task(Point::DefragBeforeCopy).await;
            copy_and_move(files, worker, Box::new(copy), &place).await
        }
        Err(error) => Err(error.into()),
    };
    if let Err(error) = moved {
        if let Err(error) = files.remove_copy(&place) {
            tracing::error!(path = %place.path().display(), %error, "failed to remove temporary file");
        }
        return Err(match error {
            DefragmentError::Copy(CopyError::Source(error)) => source_failed(files, error),
            other => other,
        });
    }
    let took = start.elapsed();
    files.metrics().observe_defragment(took);
    let after = worker.state_file().await?.storage.stats();
    say_defragmented(files.path(), &Shrunk { before, after }, took);
    Ok(Shrunk { before, after })
}

/// The line with which etcd begins (`server/storage/backend/backend.go`).
pub fn say_defragmenting(path: &Path, before: Stats) {
    tracing::info!(
        path = %path.display(),
        "current-db-size-bytes" = before.total_bytes,
        "current-db-size" = %HumanBytes(before.total_bytes),
        "current-db-size-in-use-bytes" = before.in_use_bytes,
        "current-db-size-in-use" = %HumanBytes(before.in_use_bytes),
        "defragmenting"
    );
}

/// The line with which etcd ends.
pub fn say_defragmented(path: &Path, Shrunk { before, after }: &Shrunk, took: Duration) {
    let diff = |new: u64, old: u64| new.cast_signed() - old.cast_signed();
    tracing::info!(
        path = %path.display(),
        "current-db-size-bytes-diff" = diff(after.total_bytes, before.total_bytes),
        "current-db-size-bytes" = after.total_bytes,
        "current-db-size" = %HumanBytes(after.total_bytes),
        "current-db-size-in-use-bytes-diff" = diff(after.in_use_bytes, before.in_use_bytes),
        "current-db-size-in-use-bytes" = after.in_use_bytes,
        "current-db-size-in-use" = %HumanBytes(after.in_use_bytes),
        took = ?took,
        "finished defragmenting directory"
    );
}

/// The state cannot be read: the node ends.
fn source_failed(files: &StateFiles, error: StorageError) -> DefragmentError {
    // It has been told by now, so that its own error is of no more use.
    drop(files.check("read", files.path(), Err::<(), _>(error)));
    DefragmentError::Stopped
}

/// # Errors
/// `NoRoom` unless the disk can take so many bytes more, and the reserve.
fn check_room(files: &StateFiles, copy_bytes: u64) -> Result<(), DefragmentError> {
    let available_bytes = files.available_bytes().map_err(DefragmentError::Disk)?;
    let needed_bytes = copy_bytes.saturating_add(RESERVE_BYTES);
    if available_bytes < needed_bytes {
        return Err(DefragmentError::NoRoom { needed_bytes, available_bytes });
    }
    Ok(())
}

async fn copy_and_move(
    files: &Arc<StateFiles>,
    worker: &Worker,
    mut copy: Box<Copy>,
    place: &Arc<ReceivedFile>,
) -> Result<(), DefragmentError> {
    loop {
        let step;
        (copy, step) = one_step(files, copy, Durability::Durable).await?;
        if step.is_whole {
            break;
        }
        check_room(files, 0)?;
    }
    for _ in 0..MAX_ROUNDS {
        // What was written during the sync before is made durable while little is written, and then without a sync what
        // was written during that one. So the apply thread is left with what a millisecond brings.
        (copy, _) = one_step(files, copy, Durability::Durable).await?;
        (copy, _) = one_step(files, copy, Durability::Volatile).await?;
        let (renaming, renamed) = (Arc::clone(files), Arc::clone(place));
        let rename = move || {
            defect::reach(Point::DefragBeforeRename);
            renaming.rename_into_place(&renamed).map_err(|error| io::Error::from(error).into())
        };
        match worker.move_to(copy, Box::new(rename)).await? {
            Move::Done { old } => return finish(files, worker, old).await,
            Move::NotYet(behind) => copy = behind,
            Move::Failed(error) => return Err(error.into()),
            Move::Outdated => return Err(DefragmentError::Outdated),
        }
        wait_for_log().await;
    }
    Err(DefragmentError::Overtaken)
}

/// The log may have to sync before the copy can take the state's place.
async fn wait_for_log() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

async fn one_step(
    files: &Arc<StateFiles>,
    mut copy: Box<Copy>,
    durability: Durability,
) -> Result<(Box<Copy>, Step), DefragmentError> {
    let stepped = files.threads.run(Work::Read, move || {
        let step = copy.step(SLICE_BYTES, durability);
        (copy, step)
    });
    let (copy, step) = stepped.await?;
    Ok((copy, step?))
}

/// Makes the name durable, and closes the old file unless somebody reads it: to give back its blocks takes long.
async fn finish(files: &Arc<StateFiles>, worker: &Worker, old: Storage) -> Result<(), DefragmentError> {
    let syncing = Arc::clone(files);
    let synced = files.threads.run(Work::Read, move || syncing.sync_folder()).await?;
    worker.moved(synced.map_err(|error| io::Error::from(error).into())).await?;
    files.threads.run(Work::Read, move || drop(old)).await?;
    Ok(())
}

//! `Maintenance.Snapshot`: the state as a bbolt file, in the messages that etcd sends (`v3rpc/maintenance.go`). It is made as
//! the client takes it, aside from the runtime's thread; between two pieces nothing runs, and a client that leaves ends it.

use super::node::Node;
use super::status::ApiError;
use crate::backup::{Blob, DIGEST_BYTES, Save, SaveError};
use crate::mvcc::ReadError;
use crate::types::HumanBytes;
use futures_util::stream::{BoxStream, iter, try_unfold};
use futures_util::{StreamExt, TryStreamExt};
use keelstone_proto::etcdserverpb as pb;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::AbortHandle;
use tonic::Status;

/// A transfer that takes longer than at this rate is worth a warning, as its state stays pinned meanwhile; but none before
/// [`PATIENCE`] (etcd `storage/backend/backend.go`, Snapshot).
const SLOW_BYTES_PER_SEC: u64 = 100 << 20;
const PATIENCE: Duration = Duration::from_secs(30);

/// What an open stream knows beside the file.
struct Transfer {
    node: Arc<Node>,
    started: Instant,
    total_bytes: u64,
    version: String,
    warner: AbortHandle,
}

/// Pins the state as it is here and now, measures the file and opens the stream. Rows and `consistent_index` are of one
/// commit, so that nothing has to be made durable first.
///
/// # Errors
/// `Stopped` if the state cannot be read or the node is ending; `Raw` if a row has no place in a bbolt file.
pub async fn open(node: &Arc<Node>) -> Result<BoxStream<'static, Result<pb::SnapshotResponse, Status>>, ApiError> {
    let started = Instant::now();
    let state = node.pin().await?;
    let plan = move || {
        let version = state.version.meta()?.storage_version.unwrap_or_default();
        Ok((Save::plan(&state.version)?, version))
    };
    let (save, version) = aside(node, plan).await?;
    let total_bytes = save.total_bytes();
    tracing::info!(
        "total-bytes" = total_bytes,
        size = %HumanBytes(total_bytes),
        "storage-version" = version,
        "sending database snapshot to client"
    );
    let warner = tokio::spawn(warn_when_slow(started, total_bytes)).abort_handle();
    let transfer = Transfer { node: Arc::clone(node), started, total_bytes, version, warner };
    Ok(try_unfold((save, transfer), next).try_flatten().map_err(Status::from).boxed())
}

type Messages = futures_util::stream::Iter<std::vec::IntoIter<Result<pb::SnapshotResponse, ApiError>>>;

async fn next((mut save, transfer): (Save, Transfer)) -> Result<Option<(Messages, (Save, Transfer))>, ApiError> {
    let make = move || save.next_blobs().map(|blobs| (save, blobs));
    let (save, blobs) = aside(&transfer.node, make).await?;
    if blobs.is_empty() {
        transfer.log_end();
        return Ok(None);
    }
    if save.is_finished() {
        tracing::info!(
            "total-bytes" = transfer.total_bytes,
            "checksum-size" = DIGEST_BYTES,
            "sending database sha256 checksum to client"
        );
    }
    let message = |blob: Blob| {
        Ok(pb::SnapshotResponse {
            header: None,
            remaining_bytes: blob.remaining_bytes,
            blob: blob.bytes,
            version: transfer.version.clone(),
        })
    };
    let messages: Vec<_> = blobs.into_iter().map(message).collect();
    Ok(Some((iter(messages), (save, transfer))))
}

async fn aside<T: Send + 'static>(
    node: &Node,
    work: impl FnOnce() -> Result<T, SaveError> + Send + 'static,
) -> Result<T, ApiError> {
    let made = node.read_aside(move || Ok(work())).await?;
    made.map_err(|error| match error {
        SaveError::Storage(error) => node.refuse(ReadError::Storage(error)),
        SaveError::Unwritable(error) => {
            tracing::warn!(%error, "failed to make a database snapshot");
            ApiError::Raw(error.to_string())
        }
    })
}

/// A task of its own until it is aborted: a stream that the client does not read is not polled.
async fn warn_when_slow(started: Instant, total_bytes: u64) {
    let period = PATIENCE.max(Duration::from_secs(total_bytes / SLOW_BYTES_PER_SEC));
    loop {
        tokio::time::sleep(period).await;
        tracing::warn!(
            taking = ?started.elapsed(),
            bytes = total_bytes,
            size = %HumanBytes(total_bytes),
            "snapshotting taking too long to transfer"
        );
    }
}

impl Transfer {
    fn log_end(&self) {
        tracing::info!(
            "total-bytes" = self.total_bytes,
            size = %HumanBytes(self.total_bytes),
            took = ?self.started.elapsed(),
            "storage-version" = self.version,
            "successfully sent database snapshot to client"
        );
    }
}

impl Drop for Transfer {
    fn drop(&mut self) {
        self.warner.abort();
        self.node.metrics.snapshot_seconds.observe(self.started.elapsed().as_secs_f64());
    }
}

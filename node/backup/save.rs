//! A version of the state as the file that an operator keeps, piece by piece: the database, then its SHA-256. What the
//! client does not take is not made, and between two pieces nothing runs.

use super::bolt::{Plan, Unwritable, Writer};
use crate::storage::{Export, StorageError, Table, Version, is_own_row};
use bytes::Bytes;
use sha2::{Digest, Sha256};

/// The database goes out in pieces of this length, as etcd's does (`v3rpc/maintenance.go`, snapshotSendBufferSize).
pub const BLOB_BYTES: usize = 32 * 1024;
/// Rows read at once, in bytes of keys and values, about.
const CHUNK_BYTES: usize = 256 * 1024;

/// Why a state cannot be saved.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// Our tables hold more than etcd's buckets can.
    #[error(transparent)]
    Unwritable(#[from] Unwritable),
}

/// A piece of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blob {
    pub bytes: Bytes,
    /// Bytes of the database that come after it.
    pub remaining_bytes: u64,
}

/// One way over all rows.
#[derive(Debug)]
struct Pass {
    rows: Export,
    writer: Writer,
    /// The tables whose buckets were not yet begun.
    ahead: &'static [Table],
    /// Known at the end.
    plan: Option<Plan>,
}

impl Pass {
    fn new(version: &Version, writer: Writer) -> Self {
        Self { rows: version.export(CHUNK_BYTES), writer, ahead: &Table::ALL, plan: None }
    }

    /// Goes on by some rows.
    fn step(&mut self) -> Result<(), SaveError> {
        let Some(chunk) = self.rows.next().transpose()? else {
            self.begin_buckets(|_| true);
            self.plan = Some(self.writer.finish());
            return Ok(());
        };
        self.begin_buckets(|table| table <= chunk.table);
        for (key, value) in chunk.rows {
            if !is_own_row(chunk.table, &key) {
                self.writer.row(key, value)?;
            }
        }
        Ok(())
    }

    fn begin_buckets(&mut self, is_due: impl Fn(Table) -> bool) {
        while let Some((table, ahead)) = self.ahead.split_first().filter(|(table, _)| is_due(**table)) {
            self.writer.bucket(table.name());
            self.ahead = ahead;
        }
    }
}

/// A file that is being made. It keeps the version until it is dropped.
#[derive(Debug)]
pub struct Save {
    pass: Pass,
    plan: Plan,
    sent_bytes: u64,
    /// Of what was given out; gone with the last piece.
    digest: Option<Sha256>,
}

impl Save {
    /// Reads all rows once to know the length of the file: not for the runtime's thread.
    ///
    /// # Errors
    /// A row cannot be read, or has no place in such a file.
    pub fn plan(version: &Version) -> Result<Self, SaveError> {
        let mut first = Pass::new(version, Writer::new());
        let plan = loop {
            first.step()?;
            first.writer.finished().clear();
            if let Some(plan) = first.plan {
                break plan;
            }
        };
        let pass = Pass::new(version, Writer::planned(&plan));
        Ok(Self { pass, plan, sent_bytes: 0, digest: Some(Sha256::new()) })
    }

    /// Length of the database, without the digest.
    pub fn total_bytes(&self) -> u64 {
        self.plan.bytes()
    }

    /// True once the digest was given out.
    pub fn is_finished(&self) -> bool {
        self.digest.is_none()
    }

    /// The next pieces, a few hundred KiB. The last one is the digest; none follow it.
    ///
    /// # Errors
    /// As [`Save::plan`].
    pub fn next_blobs(&mut self) -> Result<Vec<Blob>, SaveError> {
        let mut blobs = Vec::new();
        while blobs.is_empty()
            && let Some(mut digest) = self.digest.take()
        {
            let has_ended = self.pass.plan.is_some();
            if !has_ended {
                self.pass.step()?;
            }
            while let Some(bytes) = self.cut(has_ended) {
                digest.update(&bytes);
                self.sent_bytes += bytes.len() as u64;
                blobs.push(Blob { bytes, remaining_bytes: self.total_bytes() - self.sent_bytes });
            }
            if has_ended {
                assert_eq!(self.pass.plan, Some(self.plan), "a pinned version is the same when it is read again");
                blobs.push(Blob { bytes: Bytes::copy_from_slice(&digest.finalize()), remaining_bytes: 0 });
            } else {
                self.digest = Some(digest);
            }
        }
        Ok(blobs)
    }

    fn cut(&mut self, is_whole: bool) -> Option<Bytes> {
        let finished = self.pass.writer.finished();
        let len = match finished.len() {
            0 => return None,
            len if len >= BLOB_BYTES => BLOB_BYTES,
            len if is_whole => len,
            _ => return None,
        };
        Some(finished.split_to(len).freeze())
    }
}

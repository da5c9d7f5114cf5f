//! The segments of one log: writing to the last one, cutting, and deleting the oldest.

use super::error::WalError;
use super::metrics::Metrics;
use super::prepare::{Preparer, Spare};
use super::segment::{Segment, SegmentName};
use crate::defect::{self, Defect};
use crate::disk::{Disk, parent_of};
use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// etcd's `warnSyncDuration`.
const SLOW_SYNC: Duration = Duration::from_secs(1);

/// The files, owned by the writer. Invariant: `names` ends with the current segment, sequences have no gap.
#[derive(Debug)]
pub(crate) struct Files {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    names: VecDeque<SegmentName>,
    current: Arc<Segment>,
    segment_bytes: u64,
    preparer: Preparer,
    metrics: Metrics,
}

impl Files {
    /// Goes on behind the last record of `current`, whose rest is zeros.
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        names: VecDeque<SegmentName>,
        current: Arc<Segment>,
        segment_bytes: u64,
        preparer: Preparer,
        metrics: Metrics,
    ) -> Self {
        let dir = parent_of(&current.path).to_owned();
        Self { disk, dir, names, current, segment_bytes, preparer, metrics }
    }

    pub(crate) fn current(&self) -> &Arc<Segment> {
        &self.current
    }

    /// Adds `records` at the end, unsynced.
    pub(crate) fn write(&self, records: &[u8]) -> Result<(), WalError> {
        let (offset, start) = (self.current.end(), Instant::now());
        self.current.file.write_at(offset, records).map_err(self.fail("write"))?;
        self.metrics.write_secs.observe(start.elapsed().as_secs_f64());
        self.metrics.write_bytes.add(records.len() as f64);
        self.current.set_end(offset + records.len() as u64);
        Ok(())
    }

    pub(crate) fn sync(&self) -> Result<(), WalError> {
        let start = Instant::now();
        let synced = self.current.file.sync_data().map_err(self.fail("sync"));
        let took = start.elapsed();
        if took > SLOW_SYNC {
            tracing::warn!(?took, expected_duration = ?SLOW_SYNC, "slow fdatasync");
        }
        self.metrics.fsync_secs.observe(took.as_secs_f64());
        synced
    }

    /// Whether it is time for [`Self::cut`].
    pub(crate) fn is_full(&self) -> bool {
        self.current.end() >= self.segment_bytes
    }

    /// Closes the current segment, which must be synced, and begins the next one with `head`. A crash at any point
    /// leaves the old segment as the last one, whole, or both.
    pub(crate) fn cut(&mut self, first_index: u64, head: &[u8]) -> Result<(), WalError> {
        // It may be longer if it was preallocated by a larger setting.
        self.current.file.set_len(self.current.end()).map_err(self.fail("truncate"))?;
        self.sync()?;

        let last = self.current.name;
        let name = SegmentName { sequence: last.sequence + 1, first_index };
        let path = self.dir.join(name.to_string());
        let Spare { path: spare, file } = self.preparer.take_spare()?;
        // Errors name the file by what it is about to be.
        self.current = Arc::new(Segment::new(name, path.clone(), file, 0));
        self.write(head)?;
        // The name must never show a segment without its head.
        self.sync()?;
        self.disk.rename(&spare, &path).map_err(self.fail("rename to"))?;
        if !defect::on(Defect::SegmentNameNotSynced) {
            self.disk.sync_dir(&self.dir).map_err(self.fail("sync the directory of"))?;
        }
        self.names.push_back(name);
        self.preparer.make_spare();
        tracing::info!(path = %path.display(), "created a new WAL segment");
        Ok(())
    }

    /// Deletes the oldest segments beyond `keep` (0: all stay) of which a log purged up to `index` needs none.
    /// As in etcd (`ReleaseLockTo`) the segment stays in which a reader would begin that starts at `index`.
    pub(crate) fn delete_behind(&mut self, index: u64, keep: usize) -> Result<(), WalError> {
        if keep == 0 || self.names.len() <= keep || self.preparer.is_deleting() {
            return Ok(());
        }
        let mut paths = Vec::new();
        while self.names.len() > keep.max(1) && self.names[1].first_index < index {
            paths.extend(self.names.pop_front().map(|name| self.dir.join(name.to_string())));
        }
        if paths.is_empty() { Ok(()) } else { self.preparer.delete(paths) }
    }

    /// Ends the work in the background.
    pub(crate) fn stop(&mut self) -> Result<(), WalError> {
        self.preparer.stop()
    }

    fn fail(&self, action: &'static str) -> impl FnOnce(std::io::Error) -> WalError {
        let path = self.current.path.clone();
        move |source| WalError::Io { action, path, source }
    }
}

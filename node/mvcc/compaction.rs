//! Forgetting the past in slices between batches (D11). A compaction first marks its revision as scheduled,
//! from when on readers are refused below it; then rows go, in ascending order; then the finished mark is
//! set; then the index is trimmed. A crash anywhere leaves a state from which the same compaction goes on.
//!
//! Per key the last change up to the revision stays, unless it is a tombstone from before (etcd
//! `kvstore_compaction.go`; a tombstone at the very revision stays since #19179).

use super::hash::{KvHasher, is_newest};
use super::key_index::KeyIndex;
use super::revision::{Revision, RowKey, end_of};
use super::store::{FINISHED_KEY, SCHEDULED_KEY};
use super::view::parse_row_key;
use super::write::WriteBatch;
use crate::defect::{self, Defect, Point};
use crate::storage::{Fate, StorageError, Table};
use std::ops::Bound;
use std::time::{Duration, Instant, SystemTime};

/// A slice of the index looks at one leaf in place of this many rows.
const ROWS_PER_LEAF: usize = 4;

/// Compactions that are asked for and not done. At most two: of those that wait, the last does for all.
#[derive(Debug, Default)]
pub(super) struct Compactions {
    running: Option<Running>,
    waiting: Option<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    target: i64,
    /// The compact revision before.
    previous: i64,
    /// False if rows since the one before are already gone, so that a hash would not cover them.
    hashes: bool,
}

#[derive(Debug)]
struct Running {
    target: i64,
    hasher: Option<KvHasher>,
    phase: Phase,
    removed_rows: usize,
    start: Instant,
}

#[derive(Debug)]
enum Phase {
    /// Rows behind this one are to be looked at.
    Rows { after: Option<Vec<u8>> },
    /// Keys from this one on are to be looked at.
    Index { from: Box<[u8]> },
}

/// What a slice got done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// There is nothing to do.
    Idle,
    Running,
    /// The compaction at this revision is done, and all before.
    Finished {
        revision: i64,
    },
}

/// Why a compaction is refused.
#[derive(Debug, thiserror::Error)]
pub enum CompactError {
    #[error("revision is compacted already, up to {compacted}")]
    Compacted { compacted: i64 },
    #[error("revision is in the future, the newest is {current}")]
    FutureRevision { current: i64 },
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl Compactions {
    /// One that an earlier process did not finish.
    pub(super) fn resumed(target: i64, previous: i64) -> Self {
        Self { running: None, waiting: Some(Waiting { target, previous, hashes: false }) }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.running.is_none() && self.waiting.is_none()
    }

    fn schedule(&mut self, target: i64, compacted: i64) {
        let rows_are_done = self.running.as_ref().is_none_or(|running| matches!(running.phase, Phase::Index { .. }));
        let hashes = self.waiting.is_none() && rows_are_done;
        // One that waits has removed nothing yet: the new one does its work too.
        let previous = self.waiting.as_ref().map_or(compacted, |waiting| waiting.previous);
        self.waiting = Some(Waiting { target, previous, hashes });
    }
}

impl WriteBatch<'_> {
    /// Schedules a compaction: from the commit of this batch on nothing below `revision` can be read. The
    /// answer to the client must wait for a durable commit.
    pub fn compact(&mut self, revision: i64) -> Result<(), CompactError> {
        let (compacted, current) = (self.store.compacted, self.store.revision);
        if revision <= compacted {
            return Err(CompactError::Compacted { compacted });
        }
        if revision > current {
            return Err(CompactError::FutureRevision { current });
        }
        self.set_mark(SCHEDULED_KEY, revision);
        self.store.compacted = revision;
        self.store.compactions.schedule(revision, compacted);
        Ok(())
    }

    /// Goes on with the compaction that is due, for at most `budget_rows` rows. Best in a batch of its own,
    /// or ahead of the batch's transactions: it does not begin before the revision is committed.
    pub fn compaction_slice(&mut self, budget_rows: usize) -> Result<Progress, StorageError> {
        let start = Instant::now();
        defect::reach(Point::CompactAfterAcquiredBatchTxLock);
        let mut running = match (self.store.compactions.running.take(), &self.store.compactions.waiting) {
            (Some(running), _) => running,
            (None, None) => return Ok(Progress::Idle),
            (None, Some(waiting)) if waiting.target > self.store.last.revision => return Ok(Progress::Running),
            (None, Some(waiting)) => Running::start(waiting, &self.store.index, start),
        };
        let progress = match &running.phase {
            Phase::Rows { .. } => self.compact_rows(&mut running, budget_rows)?,
            Phase::Index { .. } => self.compact_index(&mut running, budget_rows),
        };
        let metrics = self.store.metrics();
        let pause = match running.phase {
            Phase::Rows { .. } => &metrics.compaction_pause_ms,
            Phase::Index { .. } => &metrics.index_compaction_pause_ms,
        };
        pause.observe(millis(start.elapsed()));
        match progress {
            Progress::Finished { .. } => self.report(&running),
            Progress::Running | Progress::Idle => self.store.compactions.running = Some(running),
        }
        Ok(progress)
    }

    fn compact_rows(&mut self, running: &mut Running, budget_rows: usize) -> Result<Progress, StorageError> {
        // Taken over only now, so that a batch that fails before leaves it waiting.
        self.store.compactions.waiting.take_if(|waiting| waiting.target == running.target);
        let (index, target, hasher) = (&self.store.index, running.target, &mut running.hasher);
        let Phase::Rows { after } = &running.phase else { return Ok(Progress::Running) };
        let from = after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let sweep = self.batch.sweep(Table::Key, (from, &end_of(target)), budget_rows, |row_key, row| {
            let key = parse_row_key(row_key)?;
            let is_old = key.revision().main < target || defect::on(Defect::TombstoneLost);
            let dead = key.is_tombstone() && is_old;
            let newest_at = if defect::on(Defect::CompactedVersionLost) { i64::MAX } else { target };
            let kept = !dead && is_newest(index, &key, row, newest_at)?;
            if let Some(hasher) = hasher {
                hasher.write(&key, row, kept);
            }
            Ok(if kept { Fate::Keep } else { Fate::Remove })
        })?;
        running.removed_rows += sweep.removed_rows;
        self.store.metrics().compacted_rows.inc_by(sweep.removed_rows as f64);
        if sweep.last.is_some() {
            running.phase = Phase::Rows { after: sweep.last };
        } else {
            defect::reach(Point::CompactBeforeSetFinishedCompact);
            self.set_mark(FINISHED_KEY, target);
            defect::reach(Point::CompactAfterSetFinishedCompact);
            running.phase = Phase::Index { from: Box::default() };
        }
        Ok(Progress::Running)
    }

    fn compact_index(&mut self, running: &mut Running, budget_rows: usize) -> Progress {
        let Phase::Index { from } = &mut running.phase else { return Progress::Running };
        match self.store.index.compact(running.target, from, budget_rows.div_ceil(ROWS_PER_LEAF)) {
            Some(next) => {
                *from = next;
                Progress::Running
            }
            None => Progress::Finished { revision: running.target },
        }
    }

    fn report(&self, running: &Running) {
        let hash = running.hasher.as_ref().map(KvHasher::finish);
        if let Some(hash) = hash {
            tracing::info!(
                hash = hash.hash,
                revision = hash.hash_revision,
                "compact-revision" = hash.compact_revision,
                "storing new hash"
            );
            self.store.last.shared.hashes.keep(hash);
        }
        let took = running.start.elapsed();
        let metrics = self.store.metrics();
        metrics.compaction_total_ms.observe(millis(took));
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        metrics.compaction_last.set(now.as_secs() as f64);
        let stats = self.store.storage.stats();
        tracing::info!(
            "compact-revision" = running.target,
            took = ?took,
            "number-of-keys-compacted" = running.removed_rows,
            hash = hash.map(|hash| hash.hash),
            "current-db-size-bytes" = stats.total_bytes,
            "current-db-size-in-use-bytes" = stats.in_use_bytes,
            "finished scheduled compaction"
        );
    }

    fn set_mark(&mut self, key: &[u8], revision: i64) {
        let mark = RowKey::new(Revision { main: revision, sub: 0 }, false);
        self.batch.put(Table::Meta, key, mark.as_bytes());
    }
}

impl Running {
    fn start(waiting: &Waiting, index: &KeyIndex, start: Instant) -> Self {
        let Waiting { target, previous, hashes } = *waiting;
        let hasher = hashes.then(|| {
            let keeps_any = index.keeps_any_at(target, |change| !change.is_dead_at(target));
            let mut hasher = KvHasher::new(previous, target, keeps_any);
            // A member that has not applied this compaction yet would not count a tombstone as something that is kept.
            hasher.is_comparable = !keeps_any || index.keeps_any_at(target, |change| !change.tombstone);
            hasher
        });
        Self { target, hasher, phase: Phase::Rows { after: None }, removed_rows: 0, start }
    }
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

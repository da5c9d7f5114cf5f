//! The only one that writes to the log. Takes all that is queued, one write, one sync, then the callbacks in order.
//! The sync before is the only wait for company.

use super::Settings;
use super::encode::{Encoder, segment_head};
use super::entry::{Entry, HardState, Identity};
use super::error::WalError;
use super::files::Files;
use super::places::to_units;
use super::shared::{Batch, Done, Finished, Job, Patience, Shared, Written};
use crate::defect::{self, Defect, Point};
use crate::threads::{Pace, Work};
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

/// Writes what handles of the log queue.
pub struct Writer {
    shared: Arc<Shared>,
    files: Files,
    encoder: Encoder,
    identity: Identity,
    /// As a reader of the files would find it.
    state: HardState,
    /// Index of the entry or snapshot record written last; entries behind it are void.
    last_written: u64,
    /// Up to which index a synced snapshot record stands for the entries.
    purged: u64,
    settings: Settings,
    // Reused by each batch.
    dones: Vec<Done>,
    written: Vec<Written>,
    units: Vec<u32>,
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").field("files", &self.files).field("last_written", &self.last_written).finish()
    }
}

/// What a writer goes on from.
pub(crate) struct Resume {
    pub(crate) files: Files,
    pub(crate) crc: u32,
    pub(crate) identity: Identity,
    pub(crate) state: HardState,
    pub(crate) last_written: u64,
}

impl Writer {
    pub(crate) fn new(shared: Arc<Shared>, resume: Resume, settings: Settings) -> Self {
        let Resume { files, crc, identity, state, last_written } = resume;
        let purged = shared.lock().log.purged().index;
        Self {
            shared,
            files,
            encoder: Encoder::new(crc),
            identity,
            state,
            last_written,
            purged,
            settings,
            dones: Vec::new(),
            written: Vec::new(),
            units: Vec::new(),
        }
    }

    /// Writes until the log is closed.
    pub(crate) fn run(&mut self) {
        // The commit index of a batch usually comes right after its callbacks. It is waited for once, so that an
        // idle log does not wake the processor.
        let mut patience = Patience::Endless;
        while let Some(batch) = self.shared.take(self.settings.batch_bytes, patience) {
            patience =
                if batch.jobs.is_empty() { Patience::Endless } else { Patience::Once(self.settings.commit_delay) };
            self.process(batch);
        }
        self.stop();
    }

    /// As [`Self::run`], as a task: each batch is written after the time that the pace says. Whoever closes the log
    /// writes what is left.
    pub(crate) async fn run_on_runtime(writer: Arc<Mutex<Writer>>, pace: Arc<dyn Pace>) {
        let (shared, commit_delay) = {
            let writer = writer.lock().unwrap_or_else(PoisonError::into_inner);
            (Arc::clone(&writer.shared), writer.settings.commit_delay)
        };
        let mut patience = Patience::Endless;
        while shared.await_work(patience).await {
            pace.wait(Work::Log).await;
            let worked = writer.lock().unwrap_or_else(PoisonError::into_inner).step();
            patience = if worked { Patience::Once(commit_delay) } else { Patience::Endless };
        }
    }

    /// Writes and syncs one batch of what is queued, or the commit index if nothing is. False if there was nothing
    /// to do. Callbacks run inside. After [`super::Wal::close`] it also ends the log.
    pub fn step(&mut self) -> bool {
        match self.shared.take(self.settings.batch_bytes, Patience::None) {
            Some(batch) => self.process(batch),
            None => {
                self.stop();
                false
            }
        }
    }

    fn process(&mut self, batch: Batch) -> bool {
        let idle = batch.jobs.is_empty();
        let begins_anew = batch.begins_anew();
        if let Err(failure) = self.shared.outcome() {
            for queued in batch.jobs {
                let (Job::Append { done, .. } | Job::HardState { done, .. } | Job::Snapshot { done, .. }) = queued.job;
                done(Err(io::Error::new(failure.kind(), failure.to_string())));
            }
            return !idle;
        }
        let worked = match self.write(batch) {
            Ok(worked) => worked,
            Err(error) => {
                self.fail(error);
                return true;
            }
        };
        for done in self.dones.drain(..) {
            done(Ok(()));
        }
        if let Err(error) = self.keep_house() {
            self.fail(error);
        }
        if begins_anew {
            defect::reach(Point::RaftAfterWALRelease);
        }
        worked
    }

    /// Brings a batch to the disk; its callbacks are in `dones` then.
    fn write(&mut self, batch: Batch) -> Result<bool, WalError> {
        let (jobs, before, begins_anew) = (batch.jobs.len(), self.state, batch.begins_anew());
        self.encoder.clear(self.settings.batch_bytes * 2);
        self.written.clear();
        self.units.clear();
        let mut valid = batch.written;
        let mut snapshot = 0;
        for (number, queued) in batch.jobs.into_iter().enumerate() {
            match queued.job {
                Job::Append { entries, done } => {
                    self.dones.push(done);
                    self.append(number, &entries);
                    if let (Some(first), Some(last)) = (entries.first(), entries.last()) {
                        valid = valid.min(first.index - 1);
                        if first.index <= queued.valid_to {
                            valid = last.index.min(queued.valid_to);
                        }
                    }
                }
                Job::HardState { state, done } => {
                    self.dones.push(done);
                    let commit = self.state.commit.max(state.commit.min(valid));
                    self.save(HardState { commit, ..state });
                }
                Job::Snapshot { position, conf_state, restart, done } => {
                    self.dones.push(done);
                    // Before the state: a torn write leaves a record beyond the commit index, which does not count.
                    // The other way round it would leave a commit index without its entries.
                    self.encoder.snapshot(position, &conf_state);
                    self.last_written = self.last_written.max(position.index);
                    snapshot = position.index;
                    valid = if restart { position.index } else { valid.max(position.index) };
                    self.save(HardState { commit: self.state.commit.max(position.index), ..self.state });
                }
            }
        }
        // A commit index that is not for this log's entries must not meet others in the files.
        let commit = batch.commit.min(valid);
        if commit > self.state.commit {
            self.save(HardState { commit, ..self.state });
        }
        if self.encoder.bytes().is_empty() && jobs == 0 {
            return Ok(false);
        }
        defect::reach(Point::RaftBeforeSave);
        if begins_anew {
            defect::reach(Point::RaftBeforeSaveSnap);
        }
        if !self.encoder.bytes().is_empty() {
            self.files.write(self.encoder.bytes())?;
        }
        let vote = |state: HardState| (state.term, state.vote, state.vote_committed);
        let has_entries = !self.units.is_empty() && !defect::on(Defect::AckBeforeSync);
        let has_vote = vote(before) != vote(self.state) && !defect::on(Defect::VoteNotSynced);
        if has_entries || has_vote || snapshot > 0 {
            defect::reach(Point::WalBeforeSync);
            self.files.sync()?;
            defect::reach(Point::WalAfterSync);
        }
        if begins_anew {
            defect::reach(Point::RaftAfterSaveSnap);
        }
        defect::reach(Point::RaftAfterSave);
        self.purged = self.shared.finish(Finished {
            jobs,
            written: &self.written,
            units: &self.units,
            segment: self.files.current(),
            snapshot,
        });
        Ok(true)
    }

    fn append(&mut self, job: usize, entries: &[Entry]) {
        let Some(first) = entries.first() else { return };
        let start = self.files.current().end();
        for entry in entries {
            let offset = start + self.encoder.bytes().len() as u64;
            self.units.push(to_units(offset).expect("records are aligned, and a segment is far below 32 GiB"));
            self.encoder.entry(entry);
            self.last_written = entry.index;
        }
        self.written.push(Written { job, first: first.index, len: entries.len() });
    }

    fn save(&mut self, state: HardState) {
        if state != self.state {
            self.encoder.hard_state(state);
            self.state = state;
        }
    }

    /// What nobody waits for: a full segment is cut, segments that are not needed go.
    fn keep_house(&mut self) -> Result<(), WalError> {
        if self.files.is_full() {
            self.encoder.clear(self.settings.batch_bytes * 2);
            segment_head(&mut self.encoder, self.identity, self.state);
            self.files.cut(self.last_written + 1, self.encoder.bytes())?;
        }
        self.files.delete_behind(self.purged, self.settings.max_segments)
    }

    fn fail(&mut self, error: WalError) {
        let (kind, text) = (error.kind(), error.to_string());
        self.shared.fail(error);
        for done in self.dones.drain(..) {
            done(Err(io::Error::new(kind, text.clone())));
        }
    }

    /// Writes the commit index that came last, syncs, and removes the spare segment.
    fn stop(&mut self) {
        if self.shared.outcome().is_err() {
            return;
        }
        let commit_only = self.shared.lock().take_batch(0);
        let written = self.write(commit_only);
        // Also what was written unsynced before.
        let stopped = written.and_then(|_| self.files.sync()).and_then(|()| self.files.stop());
        if let Err(error) = stopped {
            self.fail(error);
        }
    }
}

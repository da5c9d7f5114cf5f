//! The one thread that writes the log. It takes all that is queued, writes it with one write and one sync (cut by
//! bytes, never by count), then calls back in order. The sync that runs is the wait that fills the next batch.

use super::codec;
use super::log::{Place, Shared};
use super::record::{Encoder, Kind};
use super::segment::{self, Head, Segment};
use super::{Done, Entry, HardState, Identity, Metrics, OnFatal, Settings, WalError};
use crate::disk::{Disk, File};
use crate::types::LogPosition;
use keelstone_proto::raftpb::ConfState;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// A sync that takes longer is worth a line (etcd's warnSyncDuration).
const SLOW_SYNC: Duration = Duration::from_secs(1);

/// What the thread is asked.
pub(super) enum Job {
    Append { entries: Vec<Entry>, epoch: u64, done: Done },
    HardState { hard_state: HardState, done: Done },
    Truncate { after: u64 },
    Purge { upto: LogPosition, conf_state: ConfState, done: Done },
    Reset { at: LogPosition, conf_state: ConfState, done: Done },
    Close,
}

/// Jobs in order. Bounded by its users: consensus has a bounded number of proposals on their way.
#[derive(Default)]
pub(super) struct Queue {
    jobs: Mutex<Vec<Job>>,
    filled: Condvar,
}

impl Queue {
    pub fn push(&self, job: Job) {
        let mut jobs = self.jobs.lock().expect("no holder of this lock panics");
        jobs.push(job);
        if jobs.len() == 1 {
            self.filled.notify_one();
        }
    }

    fn take(&self) -> Vec<Job> {
        let jobs = self.jobs.lock().expect("no holder of this lock panics");
        let mut jobs =
            self.filled.wait_while(jobs, |jobs| jobs.is_empty()).expect("no holder of this lock panics");
        std::mem::take(&mut *jobs)
    }
}

/// Written but not yet synced.
#[derive(Default)]
struct Pending {
    done: Vec<Done>,
    /// Last entry of the batch and the epoch it belongs to.
    last: Option<(u64, u64)>,
    placed: Vec<(u64, u64, u32)>,
}

pub(super) struct Writer {
    shared: Arc<Shared>,
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    identity: Identity,
    settings: Settings,
    metrics: Metrics,
    on_fatal: OnFatal,
    file: Arc<dyn File>,
    path: PathBuf,
    sequence: u64,
    /// Where the data of the file ends.
    end: u64,
    encoder: Encoder,
    entry_buffer: Vec<u8>,
    pending: Pending,
    /// The last entry in the file.
    last_index: u64,
    /// As written last.
    hard_state: HardState,
}

impl Writer {
    #[expect(clippy::too_many_arguments, reason = "the parts of one construction, named at its one call")]
    pub fn new(
        shared: Arc<Shared>,
        disk: Arc<dyn Disk>,
        dir: PathBuf,
        identity: Identity,
        settings: Settings,
        (crc, end): (u32, u64),
        metrics: Metrics,
        on_fatal: OnFatal,
    ) -> Self {
        let (newest, hard_state, last_index) = {
            let state = shared.state();
            let newest = state.segments.back().cloned().expect("an open log has a segment");
            (newest, state.hard_state, state.last().index)
        };
        Self {
            shared,
            disk,
            dir,
            identity,
            settings,
            metrics,
            on_fatal,
            file: newest.file,
            path: newest.path,
            sequence: newest.sequence,
            end,
            encoder: Encoder::new(crc),
            entry_buffer: Vec::new(),
            pending: Pending::default(),
            last_index,
            hard_state,
        }
    }

    pub fn run(mut self) {
        loop {
            for job in self.shared.queue.take() {
                match self.take(job) {
                    Ok(true) => {}
                    Ok(false) => return self.finish(),
                    Err(error) => return self.fail(error),
                }
            }
            if let Err(error) = self.flush() {
                return self.fail(error);
            }
        }
    }

    /// False if it was the last job.
    fn take(&mut self, job: Job) -> Result<bool, WalError> {
        match job {
            Job::Append { entries, epoch, done } => {
                for entry in &entries {
                    self.append(entry)?;
                }
                if let Some(last) = entries.last() {
                    self.pending.last = Some((last.index, epoch));
                }
                self.pending.done.push(done);
            }
            Job::HardState { hard_state, done } => {
                self.write_hard_state(hard_state);
                self.pending.done.push(done);
            }
            Job::Truncate { after } => {
                self.flush()?;
                self.shared.state().forget_places_after(after);
                self.last_index = self.last_index.min(after);
            }
            Job::Purge { upto, conf_state, done } => self.purge(upto, conf_state, done)?,
            Job::Reset { at, conf_state, done } => {
                self.last_index = at.index;
                self.purge(at, conf_state, done)?;
            }
            Job::Close => return Ok(false),
        }
        if self.encoder.len() >= self.settings.batch_bytes {
            self.flush()?;
        }
        Ok(true)
    }

    fn append(&mut self, entry: &Entry) -> Result<(), WalError> {
        codec::encode_entry(entry, &mut self.entry_buffer);
        let offset = self.end + self.encoder.len() as u64;
        self.pending.placed.push((entry.index, offset, self.encoder.crc()));
        self.encoder.record(Kind::Entry, &self.entry_buffer);
        self.last_index = entry.index;
        Ok(())
    }

    /// Never with a commit index beyond the entries in the file: a reader would look for them.
    fn write_hard_state(&mut self, hard_state: HardState) {
        let hard_state = HardState { commit: hard_state.commit.min(self.last_index), ..hard_state };
        self.encoder.record(Kind::State, &codec::hard_state_to_bytes(hard_state));
        self.hard_state = hard_state;
    }

    /// One write, one sync, then the callbacks.
    fn flush(&mut self) -> Result<(), WalError> {
        if self.encoder.len() == 0 {
            return Ok(());
        }
        let remembered = self.shared.state().hard_state;
        let newer = HardState { commit: remembered.commit, ..self.hard_state };
        if newer.commit.min(self.last_index) > self.hard_state.commit {
            self.write_hard_state(newer);
        }
        self.write()?;
        self.sync()?;
        let pending = std::mem::take(&mut self.pending);
        {
            let mut state = self.shared.state();
            for (index, offset, crc) in pending.placed {
                state.place(index, Place::new(self.sequence, offset, crc));
            }
            if let Some((last, epoch)) = pending.last
                && epoch == state.epoch
            {
                self.shared.synced.fetch_max(last, Ordering::AcqRel);
            }
            state.shed();
        }
        for done in pending.done {
            done(Ok(()));
        }
        if self.end >= self.settings.segment_bytes {
            self.cut()?;
        }
        Ok(())
    }

    fn write(&mut self) -> Result<(), WalError> {
        let started = Instant::now();
        self.file.write_at(self.end, self.encoder.bytes()).map_err(WalError::io("write", &self.path))?;
        self.metrics.write_seconds.observe(started.elapsed().as_secs_f64());
        self.metrics.written_bytes.add(self.encoder.len() as f64);
        self.end += self.encoder.len() as u64;
        self.encoder.clear();
        Ok(())
    }

    fn sync(&self) -> Result<(), WalError> {
        let started = Instant::now();
        self.file.sync_data().map_err(WalError::io("sync", &self.path))?;
        let took = started.elapsed();
        self.metrics.fsync_seconds.observe(took.as_secs_f64());
        if took > SLOW_SYNC {
            tracing::warn!(took = ?took, "expected-duration" = ?SLOW_SYNC, "slow fdatasync");
        }
        Ok(())
    }

    /// Closes the segment and begins the next.
    fn cut(&mut self) -> Result<(), WalError> {
        self.file.set_len(self.end).map_err(WalError::io("truncate", &self.path))?;
        self.sync()?;
        let sequence = self.sequence + 1;
        let first_index = self.last_index + 1;
        let head = Head { crc: self.encoder.crc(), identity: self.identity, state: Some(self.hard_state) }.encode();
        let making = self.dir.join(format!("{}.tmp", sequence % 2));
        let file = segment::create(self.disk.as_ref(), &making, head.bytes(), self.settings.segment_bytes)?;
        let path = self.dir.join(segment::file_name(sequence, first_index));
        self.disk.rename(&making, &path).map_err(WalError::io("rename", &making))?;
        self.disk.sync_dir(&self.dir).map_err(WalError::io("sync", &self.dir))?;
        let segment = Segment { sequence, first_index, path: path.clone(), file: Arc::clone(&file) };
        self.shared.state().segments.push_back(segment);
        self.end = head.len() as u64;
        self.encoder = head;
        self.encoder.clear();
        self.file = file;
        self.path = path;
        self.sequence = sequence;
        Ok(())
    }

    /// Writes that `upto` is covered by a snapshot, then deletes what no reader needs.
    fn purge(&mut self, upto: LogPosition, conf_state: ConfState, done: Done) -> Result<(), WalError> {
        self.encoder.record(Kind::Snapshot, &codec::snapshot_to_bytes(upto, Some(conf_state)));
        // etcd's tools take no notice of a snapshot beyond the commit index.
        let hard_state = self.hard_state;
        self.last_index = self.last_index.max(upto.index);
        self.write_hard_state(HardState { commit: hard_state.commit.max(upto.index), ..hard_state });
        self.flush()?;
        let unneeded = {
            let mut state = self.shared.state();
            if upto.index > state.purged.index {
                state.purge(upto);
            }
            self.unneeded_segments(&mut state)
        };
        for segment in &unneeded {
            self.disk.remove_file(&segment.path).map_err(WalError::io("remove", &segment.path))?;
            self.disk.sync_dir(&self.dir).map_err(WalError::io("sync", &self.dir))?;
            tracing::info!(path = %segment.path.display(), "purged file");
        }
        done(Ok(()));
        Ok(())
    }

    /// The oldest segments whose entries are all purged, beyond those that the operator keeps.
    fn unneeded_segments(&self, state: &mut super::log::State) -> Vec<Segment> {
        let mut unneeded = Vec::new();
        if self.settings.max_wals == 0 {
            return unneeded;
        }
        while state.segments.len() as u64 > self.settings.max_wals
            && state.segments.get(1).is_some_and(|next| next.first_index <= state.purged.index + 1)
        {
            unneeded.extend(state.segments.pop_front());
        }
        unneeded
    }

    fn finish(mut self) {
        let remembered = self.shared.state().hard_state;
        if self.hard_state.commit < remembered.commit.min(self.last_index) {
            self.write_hard_state(HardState { commit: remembered.commit, ..self.hard_state });
        }
        if let Err(error) = self.flush() {
            self.fail(error);
        }
    }

    /// Nothing is tried again: what the kernel did with the data is unknown (DESIGN D9).
    fn fail(mut self, error: WalError) {
        tracing::error!(error = %error, "log write failed");
        (self.on_fatal)(&error);
        let refuse = |done: Done| done(Err(io::Error::other("log write failed")));
        self.pending.done.drain(..).for_each(refuse);
        loop {
            for job in self.shared.queue.take() {
                match job {
                    Job::Append { done, .. }
                    | Job::HardState { done, .. }
                    | Job::Purge { done, .. }
                    | Job::Reset { done, .. } => refuse(done),
                    Job::Truncate { .. } => {}
                    Job::Close => return,
                }
            }
        }
    }
}

//! Full backups: when one is due, taking it, and dropping those that are not kept any longer. Jobs of operators take their
//! turn here too, so that one thing happens at a time.

use super::{Retry, Shared};
use crate::api::BackupJob;
use crate::apply::StateSnapshot;
use crate::backup::SaveError;
use crate::backup::archive::{self, ArchiveError, Catalogue, Kind, Manifest, Pinned, Stopped};
use crate::backup::destination::Failure;
use crate::config::backup::Schedule;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

/// How often to see whether something is due.
const TICK: Duration = Duration::from_millis(200);

struct Maker {
    shared: Shared,
    /// The newest full backup at the destination, if that was looked at since this member leads.
    newest: Option<Option<Manifest>>,
    retry: Retry,
}

/// Runs until it is dropped.
pub async fn run(shared: Shared, mut jobs: mpsc::Receiver<BackupJob>) {
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut maker = Maker { shared, newest: None, retry: Retry::default() };
    loop {
        tokio::select! {
            job = jobs.recv() => match job {
                Some(job) => maker.job(job).await,
                None => return,
            },
            _ = tick.tick() => maker.look().await,
        }
    }
}

impl Maker {
    async fn job(&mut self, job: BackupJob) {
        // Whoever asked may have left.
        match job {
            BackupJob::Now(reply) => drop(reply.send(self.full("asked for").await)),
            BackupJob::Drill(reply) => drop(reply.send(self.shared.drill().await)),
        }
    }

    async fn look(&mut self) {
        let leads = self.shared.consensus.leads();
        self.shared.rhythm.send_if_modified(|rhythm| std::mem::replace(&mut rhythm.leads, leads) != leads);
        if !leads {
            self.newest = None;
            self.shared.metrics.age(None);
            return;
        }
        let Some(schedule) = self.shared.settings.schedule.clone() else { return };
        if self.retry.is_due(self.shared.clock.now())
            && let Some(reason) = self.due(&schedule).await
        {
            // Its failure is told and counted.
            drop(self.full(reason).await);
        }
    }

    /// Why a full backup is to be made now, if it is.
    async fn due(&mut self, schedule: &Schedule) -> Option<&'static str> {
        let newest = match &self.newest {
            Some(newest) => newest.clone(),
            None => {
                let found = self.find_newest().await?;
                self.newest.insert(found).clone()
            }
        };
        let now = self.shared.clock.wall();
        let created = newest.as_ref().map(Manifest::created);
        self.shared.metrics.age(created.map(|created| now.duration_since(created).unwrap_or_default()));
        let next = created.and_then(|created| schedule.next_after(created));
        self.shared.rhythm.send_if_modified(|rhythm| {
            let before = (rhythm.last_full, rhythm.next_full);
            (rhythm.last_full, rhythm.next_full) = (created, next);
            before != (created, next)
        });
        let Some(newest) = newest else { return Some("first") };
        if newest.to.index < self.shared.full_due_at.load(Ordering::Acquire) {
            return Some("segments begin anew");
        }
        // One of the future tells that the clock was set back.
        let is_due = next.is_some_and(|next| now >= next) || newest.created() > now;
        is_due.then_some("scheduled")
    }

    async fn find_newest(&mut self) -> Option<Option<Manifest>> {
        let (destination, prefix) = (self.shared.destination.clone(), self.shared.prefix());
        match self.shared.aside(move || Catalogue::read(destination.as_ref(), &prefix)).await.ok()? {
            Ok(catalogue) => {
                for damaged in &catalogue.damaged {
                    tracing::warn!(name = damaged.name, why = %damaged.why, "a backup is damaged and does not count");
                }
                Some(catalogue.newest_full().cloned())
            }
            Err(failure) => {
                self.failed(&ArchiveError::Store(failure));
                None
            }
        }
    }

    async fn full(&mut self, reason: &'static str) -> Result<Manifest, ArchiveError> {
        let began = self.shared.clock.now();
        let made = self.shared.full().await;
        let took = self.shared.clock.now().since(began);
        match made {
            Ok(backup) => {
                self.shared.succeeded(&backup, took);
                tracing::debug!(name = backup.name, reason, "why this backup was made");
                self.retry.succeeded();
                self.shared.rhythm.send_modify(|rhythm| rhythm.last_failure = None);
                if self.newest.is_some() {
                    self.newest = Some(Some(backup.clone()));
                }
                self.retain().await;
                Ok(backup)
            }
            Err(error) => {
                self.failed(&error);
                Err(error)
            }
        }
    }

    fn failed(&mut self, error: &ArchiveError) {
        let retry_in = self.retry.failed(self.shared.clock.now());
        self.shared.metrics.failed(Kind::Full, error.reason());
        self.shared.rhythm.send_modify(|rhythm| rhythm.last_failure = Some(error.to_string()));
        tracing::warn!(%error, ?retry_in, "failed to make a full backup");
    }

    /// Drops what the retention does not keep. The newest, which was just verified, stays in any case.
    async fn retain(&self) {
        let (shared, now) = (self.shared.clone(), self.shared.clock.wall());
        match self.shared.aside(move || shared.forget_expired(now)).await {
            Ok(Ok(names)) if names.is_empty() => {}
            Ok(Ok(names)) => tracing::info!(count = names.len(), names = names.join(","), "forgot backups"),
            Ok(Err(error)) => tracing::warn!(%error, "failed to forget backups; tried again after the next one"),
            Err(_stopping) => {}
        }
    }
}

impl Shared {
    async fn full(&self) -> Result<Manifest, ArchiveError> {
        let (shared, created) = (self.clone(), self.clock.wall());
        let state = self.worker.pin().await.map_err(|_| Stopped)?;
        self.aside(move || shared.take_full(state, created)).await.unwrap_or(Err(Stopped.into()))
    }

    /// Blocks for as long as it takes.
    fn take_full(&self, state: StateSnapshot, created: SystemTime) -> Result<Manifest, ArchiveError> {
        let fail = |error: SaveError| {
            if let SaveError::Storage(error) = &error {
                self.unreadable(error);
            }
            ArchiveError::Save(error)
        };
        let state = Pinned::of(state).map_err(|error| fail(error.into()))?;
        let taken = self.taken(&state, created, self.hash_kv(&state));
        match archive::store(&self.destination, &state.version, &taken, &self.stop) {
            Err(ArchiveError::Save(error)) => Err(fail(error)),
            stored => stored,
        }
    }

    fn forget_expired(&self, now: SystemTime) -> Result<Vec<String>, Failure> {
        let catalogue = Catalogue::read(self.destination.as_ref(), &self.prefix())?;
        let expired = archive::expired(&catalogue, &self.settings.retention, now);
        archive::forget(self.destination.as_ref(), &expired)?;
        Ok(expired.into_iter().map(|backup| backup.name).collect())
    }
}

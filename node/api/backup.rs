//! `keelstonepb.Backup`: what is at the destination is read here, what has to be made is handed to those who make it.
//! For root alone, once there is access control.

use super::node::Node;
use super::status::ApiError;
use crate::backup::archive::{self, ArchiveError, Catalogue, Forget, ForgetError, Manifest, Stop, Unknown};
use crate::backup::destination::{Destination, Failure};
use crate::config::backup::{Retention, RetentionError};
use keelstone_proto::keelstonepb as pb;
use keelstone_proto::keelstonepb::backup_server::Backup;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::{mpsc, oneshot, watch};
use tonic::{Request, Response, Status};

/// What this member can do with backups.
#[derive(Clone, Debug)]
pub struct BackupDoor {
    pub destination: Arc<dyn Destination>,
    /// Where those of this cluster lie.
    pub prefix: String,
    pub retention: Retention,
    pub jobs: mpsc::Sender<BackupJob>,
    pub rhythm: watch::Receiver<BackupRhythm>,
    /// Set when the member ends.
    pub stop: Stop,
}

/// Why a call of this service is not done.
#[derive(Debug, thiserror::Error)]
pub enum BackupRefused {
    #[error("this member has no place for backups (--backup-dir)")]
    NoPlace,
    #[error("others wait for a backup already")]
    Busy,
    #[error(transparent)]
    Unknown(#[from] Unknown),
    #[error("list backups: {0}")]
    List(Failure),
    #[error("no backup was made: {0}")]
    NotMade(ArchiveError),
    #[error(transparent)]
    Retention(#[from] RetentionError),
    #[error("nothing is forgotten: {0}")]
    Forget(ForgetError),
}

/// What takes its turn among the scheduled backups.
#[derive(Debug)]
pub enum BackupJob {
    Now(oneshot::Sender<Result<Manifest, ArchiveError>>),
    Drill(oneshot::Sender<Drilled>),
}

/// How a drill ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Drilled {
    /// None: it passed.
    pub failure: Option<String>,
    pub full: String,
    pub segments: usize,
    pub entries: u64,
    pub revision: i64,
    /// Hashes that were compared.
    pub hashes: u32,
    pub millis: u64,
}

/// What is known of scheduled backups here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BackupRhythm {
    /// Empty: only when asked.
    pub schedule: String,
    pub delta_interval_millis: u64,
    pub leads: bool,
    pub last_full: Option<SystemTime>,
    pub next_full: Option<SystemTime>,
    pub last_delta: Option<SystemTime>,
    /// Since the last success.
    pub last_failure: Option<String>,
}

#[derive(Clone, Debug)]
pub struct BackupService {
    node: Arc<Node>,
}

impl BackupService {
    pub fn new(node: Arc<Node>) -> Self {
        Self { node }
    }

    fn door(&self) -> Result<&BackupDoor, ApiError> {
        self.node.backups.as_ref().ok_or_else(|| BackupRefused::NoPlace.into())
    }

    /// Waits for its turn and its end.
    async fn job<T>(&self, job: impl FnOnce(oneshot::Sender<T>) -> BackupJob) -> Result<T, ApiError> {
        let (reply, answer) = oneshot::channel();
        let door = self.door()?;
        door.jobs.try_send(job(reply)).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => BackupRefused::Busy.into(),
            mpsc::error::TrySendError::Closed(_) => ApiError::Stopped,
        })?;
        answer.await.map_err(|_| ApiError::Stopped)
    }

    async fn catalogue(&self) -> Result<Catalogue, ApiError> {
        let BackupDoor { destination, prefix, .. } = self.door()?.clone();
        let read = self.node.aside(move || Catalogue::read(destination.as_ref(), &prefix)).await?;
        Ok(read.map_err(BackupRefused::List)?)
    }
}

fn millis(time: Option<SystemTime>) -> u64 {
    let since = time.and_then(|time| time.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn damaged(catalogue: Catalogue) -> Vec<pb::Damaged> {
    let of = |damaged: archive::Damaged| pb::Damaged { name: damaged.name, why: damaged.why.to_string() };
    catalogue.damaged.into_iter().map(of).collect()
}

#[tonic::async_trait]
impl Backup for BackupService {
    async fn now(&self, _: Request<pb::NowRequest>) -> Result<Response<pb::NowResponse>, Status> {
        let made = self.job(BackupJob::Now).await?;
        let manifest = made.map_err(BackupRefused::NotMade).map_err(ApiError::from)?.encode().into();
        Ok(Response::new(pb::NowResponse { manifest }))
    }

    async fn list(&self, _: Request<pb::ListRequest>) -> Result<Response<pb::ListResponse>, Status> {
        let catalogue = self.catalogue().await?;
        let manifests = catalogue.all().map(|manifest| manifest.encode().into()).collect();
        Ok(Response::new(pb::ListResponse { manifests, damaged: damaged(catalogue) }))
    }

    async fn verify(&self, request: Request<pb::VerifyRequest>) -> Result<Response<pb::VerifyResponse>, Status> {
        let names = request.into_inner().names;
        let catalogue = self.catalogue().await?;
        let backups = catalogue.named(&names).map_err(BackupRefused::from).map_err(ApiError::from)?;
        let BackupDoor { destination, stop, .. } = self.door()?.clone();
        let check = move || archive::check_all(&destination, &backups, &stop);
        let (sound, found) = self.node.aside(check).await?;
        let found = found.into_iter().map(|(name, why)| pb::Damaged { name, why: why.to_string() });
        let unreadable = if names.is_empty() { damaged(catalogue) } else { Vec::new() };
        let damaged = found.chain(unreadable).collect();
        Ok(Response::new(pb::VerifyResponse { sound, damaged }))
    }

    async fn forget(&self, request: Request<pb::ForgetRequest>) -> Result<Response<pb::ForgetResponse>, Status> {
        let pb::ForgetRequest { names, retention, dry_run } = request.into_inner();
        let BackupDoor { destination, retention: own, stop, .. } = self.door()?.clone();
        let rules = match retention.as_str() {
            "" => own,
            text => Retention::parse(text).map_err(BackupRefused::from).map_err(ApiError::from)?,
        };
        let catalogue = self.catalogue().await?;
        let now = UNIX_EPOCH + Duration::from_secs(self.node.consensus.unix_secs().unsigned_abs());
        let unwanted = match names[..] {
            [] => archive::expired(&catalogue, &rules, now),
            _ => catalogue.named(&names).map_err(BackupRefused::from).map_err(ApiError::from)?,
        };
        let gone = unwanted.iter().map(|backup| backup.name.clone()).collect();
        let what = if dry_run { Forget::DryRun } else { Forget::ForGood };
        let forget = move || archive::forget_safely(&destination, &catalogue, &unwanted, what, &stop);
        let forgotten = self.node.aside(forget).await?;
        forgotten.map_err(BackupRefused::Forget).map_err(ApiError::from)?;
        Ok(Response::new(pb::ForgetResponse { names: gone }))
    }

    async fn drill(&self, _: Request<pb::DrillRequest>) -> Result<Response<pb::DrillResponse>, Status> {
        let drilled = self.job(BackupJob::Drill).await?;
        Ok(Response::new(pb::DrillResponse {
            failure: drilled.failure.unwrap_or_default(),
            full: drilled.full,
            segments: u32::try_from(drilled.segments).unwrap_or(u32::MAX),
            entries: drilled.entries,
            revision: drilled.revision,
            hashes: drilled.hashes,
            millis: drilled.millis,
        }))
    }

    async fn schedule(&self, _: Request<pb::ScheduleRequest>) -> Result<Response<pb::ScheduleResponse>, Status> {
        let door = self.door()?;
        let rhythm = door.rhythm.borrow().clone();
        Ok(Response::new(pb::ScheduleResponse {
            destination: door.destination.profile().location,
            schedule: rhythm.schedule,
            retention: door.retention.to_string(),
            delta_interval_millis: rhythm.delta_interval_millis,
            leads: rhythm.leads,
            last_full_millis: millis(rhythm.last_full),
            next_full_millis: millis(rhythm.next_full),
            last_delta_millis: millis(rhythm.last_delta),
            last_failure: rhythm.last_failure.unwrap_or_default(),
        }))
    }
}

//! A drill: the newest backup with its segments becomes a state in a scratch file, as in a restore, and is held against the
//! hashes that were recorded, and against the live state where that can be told.

use super::{DRILL, Shared};
use crate::api::Drilled;
use crate::backup::archive::{Catalogue, Chain, NoChain, ReplayError, replay};
use crate::backup::destination::Failure;
use crate::disk::parent_of;
use crate::types::{HumanBytes, LogPosition};
use std::io;
use std::path::Path;

/// Left to the live state, beside what the scratch file needs.
const RESERVE_BYTES: u64 = 128 << 20;

/// Why a drill fails.
#[derive(Debug, thiserror::Error)]
enum DrillError {
    #[error("list backups: {0}")]
    List(#[from] Failure),
    #[error(transparent)]
    NoChain(#[from] NoChain),
    #[error("the scratch file may need {}, the disk of the data directory has {} to spare", HumanBytes(*.needed), HumanBytes(*.free))]
    NoRoom { needed: u64, free: u64 },
    #[error("scratch file: {0}")]
    Scratch(#[from] io::Error),
    #[error(transparent)]
    Replay(#[from] ReplayError),
    #[error("it ends with entry {}, recorded is {}", .found.index, .expected.index)]
    Place { expected: LogPosition, found: LogPosition },
    #[error("revision {revision} has the hash {restored} when restored and {live} here")]
    Live { revision: i64, restored: u32, live: u32 },
}

impl Shared {
    /// Takes as long as a restore.
    pub(super) async fn drill(&self) -> Drilled {
        let (shared, began) = (self.clone(), self.clock.now());
        let mut drilled = match self.aside(move || shared.drill_aside()).await {
            Ok(drilled) => drilled,
            Err(stopping) => Drilled { failure: Some(stopping.to_string()), ..Drilled::default() },
        };
        let took = self.clock.now().since(began);
        drilled.millis = took.as_millis() as u64;
        self.metrics.drilled(drilled.failure.is_none(), self.unix_secs());
        match &drilled.failure {
            None => tracing::info!(
                full = drilled.full,
                segments = drilled.segments,
                entries = drilled.entries,
                revision = drilled.revision,
                ?took,
                "a drill passed"
            ),
            Some(error) => tracing::warn!(full = drilled.full, error, ?took, "a drill failed"),
        }
        drilled
    }

    fn drill_aside(&self) -> Drilled {
        let mut drilled = Drilled::default();
        if let Err(error) = self.rehearse(&mut drilled) {
            drilled.failure = Some(error.to_string());
        }
        drilled
    }

    fn rehearse(&self, drilled: &mut Drilled) -> Result<(), DrillError> {
        let chain = Catalogue::read(self.destination.as_ref(), &self.prefix())?.chain_to(None)?;
        (drilled.full, drilled.segments) = (chain.full.name.clone(), chain.segments.len());
        let path = self.state_path.with_extension(DRILL);
        self.check_room(&path, &chain)?;
        self.remove_scratch(&path)?;
        let restored = self.restore_to(&path, &chain, drilled);
        self.remove_scratch(&path)?;
        restored
    }

    fn restore_to(&self, path: &Path, chain: &Chain, drilled: &mut Drilled) -> Result<(), DrillError> {
        let file = self.disk.create(path)?;
        let restored = replay(&self.destination, chain, None, file, &self.stop)?;
        let found = restored.state.at;
        (drilled.entries, drilled.revision, drilled.hashes) = (restored.entries, found.revision, restored.hashes);
        let expected = chain.end().to.position();
        if found.position() != expected {
            return Err(DrillError::Place { expected, found: found.position() });
        }
        let hash = restored.view.hash_kv(0).map_err(ReplayError::from)?;
        // The live state may be behind, or compacted since.
        let Ok(live) = self.views.load().hash_kv(found.revision) else { return Ok(()) };
        if live.compact_revision == hash.compact_revision {
            if live.hash != hash.hash {
                return Err(DrillError::Live { revision: found.revision, restored: hash.hash, live: live.hash });
            }
            drilled.hashes += 1;
        }
        Ok(())
    }

    fn check_room(&self, path: &Path, chain: &Chain) -> Result<(), DrillError> {
        let segments: u64 = chain.segments.iter().map(|segment| segment.bytes).sum();
        let needed = chain.full.bytes.saturating_mul(2).saturating_add(segments.saturating_mul(2));
        let needed = needed.saturating_add(RESERVE_BYTES);
        let free = self.disk.available_bytes(parent_of(path))?;
        if free < needed { Err(DrillError::NoRoom { needed, free }) } else { Ok(()) }
    }

    fn remove_scratch(&self, path: &Path) -> Result<(), DrillError> {
        match self.disk.remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }
}

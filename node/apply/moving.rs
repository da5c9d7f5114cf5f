//! The state goes on in another file that holds a copy of it, after a defragmentation (D11). The apply thread does the
//! last bit of the copy and changes over between two jobs, so nothing waits for longer than that bit takes.
//!
//! A crash at any time finds the old file or the new one. Both are behind the log, and neither is behind what the log
//! was purged for: the new one is taken only when its last durable commit is as new as the old one's; and until its
//! name is durable ([`Worker::moved`]), nothing that it commits counts as durable.

use super::Fatal;
use super::applier::Applier;
use super::worker::{Job, Stopped, Worker};
use crate::storage::{Copy, CopyError, Durability, Storage, StorageError};

/// What the apply thread may have left to copy, in bytes and in changed rows: a millisecond's work or two.
const LAST_BYTES: usize = 512 * 1024;
const LAST_CHANGES: usize = 2_000;

/// Gives the finished copy the name of the state file; not yet durably.
pub type Rename = Box<dyn FnOnce() -> Result<(), StorageError> + Send>;

/// What became of a copy.
#[derive(Debug)]
pub enum Move {
    /// It is the state now. The old file stays open for those who read it.
    Done { old: Storage },
    /// Too much has changed since: it has to catch up first.
    NotYet(Box<Copy>),
    /// The copy is of no use, and is not the state.
    Failed(CopyError),
    /// It is a copy of a state that is not this member's any more.
    Outdated,
}

/// The state file, and up to which revision a compaction was asked for (-1: none was).
#[derive(Clone, Debug)]
pub struct StateFile {
    pub storage: Storage,
    pub compact_revision: i64,
}

/// `durable` is what the log may have been purged behind, `log_synced` how far it is on disk.
pub(super) fn move_to(
    applier: &mut Applier,
    mut copy: Box<Copy>,
    rename: Rename,
    (durable, log_synced): (u64, u64),
) -> Result<Move, Fatal> {
    if !copy.is_of(applier.storage()) {
        return Ok(Move::Outdated);
    }
    let fits = copy.durable_at().is_some_and(|at| (durable..=log_synced).contains(&at.index));
    if !fits || copy.waiting_changes() > LAST_CHANGES {
        return Ok(Move::NotYet(copy));
    }
    match copy.step(LAST_BYTES, Durability::Volatile) {
        Ok(step) if step.is_whole => {}
        Ok(_) => return Ok(Move::NotYet(copy)),
        Err(CopyError::Source(error)) => return Err(error.into()),
        Err(error) => return Ok(Move::Failed(error)),
    }
    rename()?;
    let old = applier.storage().clone();
    applier.move_to(copy.into_storage())?;
    Ok(Move::Done { old })
}

impl Worker {
    /// The state file as it is now.
    pub async fn state_file(&self) -> Result<StateFile, Stopped> {
        self.call(|reply| Job::StateFile { reply }).await
    }

    /// Goes on in `copy` if it has, or nearly has, all of the state. After [`Move::Done`] the name that `rename` gave it
    /// must be made durable, and then [`Self::moved`] be called; until then no commit is durable.
    pub async fn move_to(&self, copy: Box<Copy>, rename: Rename) -> Result<Move, Stopped> {
        self.call(|reply| Job::MoveTo { copy, rename, reply }).await
    }

    /// The name of the new file is durable; if it is not, apply ends, since nothing can become durable any more.
    pub async fn moved(&self, synced: Result<(), StorageError>) -> Result<(), Stopped> {
        self.call(|reply| Job::Moved { synced, reply }).await
    }
}

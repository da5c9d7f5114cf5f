//! A log that is only looked at, such as one that etcd left: what its files say, by the rules of [`super::recover`], and
//! nothing in its folder changes.

use super::entry::{Entry, HardState, Identity};
use super::error::{Corruption, WalError};
use super::recover::{ReadFiles, read_files};
use super::shared::Shared;
use crate::disk::Disk;
use crate::types::LogPosition;
use keelstone_proto::raftpb::ConfState;
use std::fmt;
use std::path::{Path, PathBuf};

/// What a log holds.
pub struct Survey {
    pub identity: Identity,
    pub hard_state: HardState,
    /// The newest snapshot record that counts; index 0 if there is none. Entries before it are not read.
    pub snapshot: LogPosition,
    /// The members at that point, if the record names them.
    pub conf_state: ConfState,
    /// The last entry, or `snapshot` if there is none.
    pub last: LogPosition,
    /// A torn write at the end, which is passed over.
    pub cut: Option<Cut>,
    shared: Shared,
}

/// Where a log was cut by a power loss or a kill.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    pub file: PathBuf,
    pub offset: u64,
    pub what: Corruption,
}

impl fmt::Debug for Survey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Survey").field("snapshot", &self.snapshot).field("last", &self.last).finish_non_exhaustive()
    }
}

impl Survey {
    /// Reads the log in `dir`.
    ///
    /// # Errors
    /// As [`super::Wal::open`]: there is none, or it cannot be trusted.
    pub fn of(disk: &dyn Disk, dir: &Path) -> Result<Self, WalError> {
        let ReadFiles { found, current, bad, .. } = read_files(disk, dir, |path| disk.open_to_read(path))?;
        let cut = bad.map(|bad| Cut { file: current.path.clone(), offset: bad.offset, what: bad.what });
        let last = found.log.last();
        // Whoever reads is told of an error too.
        let shared = Shared::new(found.log, found.hard_state, 0, Box::new(|_| ()));
        Ok(Self {
            identity: found.identity,
            hard_state: found.hard_state,
            snapshot: found.snapshot,
            conf_state: found.conf_state,
            last,
            cut,
            shared,
        })
    }

    /// The term of an entry that is in the log, or of the snapshot.
    pub fn term_at(&self, index: u64) -> Option<u64> {
        self.shared.lock().log.term_at(index)
    }

    /// Entries from `start` on, which lies behind the snapshot, of about `max_bytes`; none behind the last.
    ///
    /// # Errors
    /// As [`super::Wal::read`].
    pub fn entries_from(&self, start: u64, max_bytes: u64) -> Result<Vec<Entry>, WalError> {
        self.shared.read(start..u64::MAX, max_bytes)
    }
}

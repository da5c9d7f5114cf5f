//! What commits change while somebody copies the state. Rows that are appended to the key table are left out: who
//! copies finds them behind the last row that he has.

use super::{Storage, StorageError, Table, Version};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Rows that were set, or removed (`None`); the last change of each.
pub(super) type Changes = BTreeMap<(Table, Vec<u8>), Option<Vec<u8>>>;

/// So many changes may wait before compactions, which could add millions, have to.
const MANY_CHANGES: usize = 32 * 1024;

/// Held over each commit, so that a version and the changes up to it can be taken together.
#[derive(Debug, Default)]
pub(super) struct Recorder(Mutex<Option<Changes>>);

impl Recorder {
    /// `None` if nobody copies.
    pub(super) fn lock(&self) -> MutexGuard<'_, Option<Changes>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Storage {
    /// Begins to record. False if somebody copies already.
    pub(super) fn begin_recording(&self) -> bool {
        let mut recorded = self.recorder.lock();
        let is_free = recorded.is_none();
        recorded.get_or_insert_default();
        is_free
    }

    pub(super) fn end_recording(&self) {
        *self.recorder.lock() = None;
    }

    /// The newest version, and all changes that led to it since the last call.
    pub(super) fn take_changes(&self) -> Result<(Version, Changes), StorageError> {
        let mut recorded = self.recorder.lock();
        let version = self.version()?;
        Ok((version, recorded.as_mut().map(std::mem::take).unwrap_or_default()))
    }

    /// True if somebody copies, and has more to catch up with than may become more by millions.
    pub fn copy_is_behind(&self) -> bool {
        self.waiting_changes() > MANY_CHANGES
    }

    pub(super) fn waiting_changes(&self) -> usize {
        self.recorder.lock().as_ref().map_or(0, BTreeMap::len)
    }
}

//! Index versions of old revisions that page readers still count in. Whoever lists by pages names the
//! revision of the first page and wants the count of the whole interval with every page: with the index of
//! then it costs O(log n), without it a walk over all keys (D5). Only the index is kept, never a storage
//! version, which would keep the file from reusing pages.

use super::key_index::KeyIndex;
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

/// Index versions kept at most.
const MAX_VERSIONS: usize = 64;
/// Bytes that the oldest kept version may pin.
const MAX_PINNED_BYTES: u64 = 64 << 20;
/// Calls of [`Retained::tick`] after which an unused version goes.
const MAX_AGE_TICKS: u32 = 6;
/// Fewer keys than this are walked in no time.
pub(super) const WORTH_KEYS: usize = 1000;

#[derive(Debug, Default)]
pub(super) struct Retained {
    /// By ascending revision.
    versions: Mutex<VecDeque<Kept>>,
}

#[derive(Debug)]
struct Kept {
    revision: i64,
    index: KeyIndex,
    age_ticks: u32,
}

impl Retained {
    /// Keeps the index of `revision`, since somebody will read more at it.
    pub(super) fn keep(&self, revision: i64, index: &KeyIndex) {
        let mut versions = self.lock();
        match versions.binary_search_by_key(&revision, |kept| kept.revision) {
            Ok(at) => versions[at].age_ticks = 0,
            Err(at) => versions.insert(at, Kept { revision, index: index.clone(), age_ticks: 0 }),
        }
        if versions.len() > MAX_VERSIONS {
            versions.pop_front();
        }
    }

    /// What `read` says of the index of exactly that revision; `None` if it is not kept.
    pub(super) fn read<R>(&self, revision: i64, read: impl FnOnce(&KeyIndex) -> R) -> Option<R> {
        let index = {
            let mut versions = self.lock();
            let at = versions.binary_search_by_key(&revision, |kept| kept.revision).ok()?;
            versions[at].age_ticks = 0;
            versions[at].index.clone()
        };
        Some(read(&index))
    }

    /// Drops versions that are compacted, or that pin too much beside `newest`.
    pub(super) fn published(&self, compacted: i64, newest: &KeyIndex) {
        let mut versions = self.lock();
        let pinned = |kept: &Kept| newest.copied_bytes().saturating_sub(kept.index.copied_bytes());
        while versions.front().is_some_and(|kept| kept.revision < compacted || pinned(kept) > MAX_PINNED_BYTES) {
            versions.pop_front();
        }
    }

    pub(super) fn tick(&self) {
        self.lock().retain_mut(|kept| {
            kept.age_ticks += 1;
            kept.age_ticks < MAX_AGE_TICKS
        });
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<Kept>> {
        // A panic ends the process, so a poisoned lock is never seen.
        self.versions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

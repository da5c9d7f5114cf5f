//! What all queues together hold in memory. An event is counted once however many streams it waits on, since they
//! share it; each delivery counts for itself.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts bytes. Nothing is refused here: when it is short, queues take less.
#[derive(Debug)]
pub(super) struct Budget {
    used_bytes: AtomicUsize,
    most_bytes: usize,
}

impl Budget {
    pub fn new(most_bytes: usize) -> Self {
        Self { used_bytes: AtomicUsize::new(0), most_bytes }
    }

    pub fn take(&self, bytes: usize) {
        self.used_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Gives back what was taken.
    pub fn give(&self, bytes: usize) {
        self.used_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    pub fn is_short(&self) -> bool {
        self.used_bytes.load(Ordering::Relaxed) > self.most_bytes
    }

    #[cfg(test)]
    pub fn used_bytes(&self) -> usize {
        self.used_bytes.load(Ordering::Relaxed)
    }
}

//! What a member finds around it.

use crate::clock::{Clock, SystemClock};
use crate::disk::{Disk, RealDisk};
use crate::net::Reach;
use crate::threads::Threads;
use crate::types::LogPosition;
use crate::wal;
use std::fmt;
use std::sync::Arc;

/// What a member finds around it and does not decide by itself (DESIGN D14): a process brings the real things, a
/// simulation its own.
#[derive(Clone, Debug)]
pub struct World {
    pub disk: Arc<dyn Disk>,
    pub clock: Arc<dyn Clock>,
    pub threads: Threads,
    /// How peers are reached.
    pub reach: Reach,
    /// Length of a file of the log.
    pub segment_bytes: u64,
    /// What redb may keep of the state file in memory.
    pub cache_bytes: usize,
    pub observer: Option<Observer>,
}

/// Is shown where this member's state stands after each applied batch, before its requests are answered.
#[derive(Clone)]
pub struct Observer(pub Arc<dyn Fn(LogPosition) + Send + Sync>);

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Observer")
    }
}

impl World {
    /// That of a process, which reaches its peers so. Within the runtime.
    pub fn real(reach: Reach) -> Self {
        Self {
            disk: Arc::new(RealDisk),
            clock: Arc::new(SystemClock::new()),
            threads: Threads::Own,
            reach,
            segment_bytes: wal::Settings::default().segment_bytes,
            cache_bytes: 32 * 1024 * 1024,
            observer: None,
        }
    }
}

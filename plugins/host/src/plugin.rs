//! What is known of a loaded plugin, whichever world it is of, and what its calls have in common.

use crate::breaker::Breaker;
use crate::cache::Compiled;
use crate::error::CallError;
use crate::grant::Grants;
use crate::imports::Import;
use crate::limits::{Limit, Limits};
use crate::log::{Level, Log};
use crate::manifest::About;
use crate::package::Hash;
use crate::stats::{Outcome, Stats};
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A loaded plugin. Cheap to share; the code goes with the last one.
#[derive(Debug)]
pub struct Plugin {
    pub(crate) about: About,
    pub(crate) hash: Hash,
    pub(crate) imports: Vec<Import>,
    pub(crate) compiled: Compiled,
    pub(crate) grants: Grants,
    pub(crate) limits: Limits,
    /// JSON.
    pub(crate) settings: String,
    pub(crate) log: Log,
    pub(crate) stats: Arc<Stats>,
    pub(crate) breaker: Mutex<Breaker>,
}

impl Plugin {
    /// What its author says.
    pub fn about(&self) -> &About {
        &self.about
    }

    /// SHA-256 of the package.
    pub fn hash(&self) -> Hash {
        self.hash
    }

    /// What it really imports.
    pub fn imports(&self) -> &[Import] {
        &self.imports
    }

    /// Whether its code came from the cache.
    pub fn compiled(&self) -> Compiled {
        self.compiled
    }

    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    pub fn log(&self) -> &Log {
        &self.log
    }

    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// It is given a rest, or about to be tried again.
    pub fn is_tripped(&self) -> bool {
        self.breaker().is_open()
    }

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Before a call.
    pub(crate) fn admit(&self, now: Instant) -> Result<(), CallError> {
        self.breaker().admit(now).map_err(|retry_in| CallError::Tripped { retry_in }).inspect_err(|error| {
            self.stats.called(error.outcome(), Duration::ZERO);
        })
    }

    /// After one.
    pub(crate) fn note(&self, function: &str, began: Instant, failed: Option<&CallError>, or: Outcome) {
        let now = Instant::now();
        let took = now.saturating_duration_since(began);
        let Some(error) = failed else {
            self.stats.called(or, took);
            self.breaker().succeeded();
            return;
        };
        self.stats.called(error.outcome(), took);
        if !error.is_failure() {
            return;
        }
        self.log.note(Level::Error, &format!("{function}: {error}"));
        if self.breaker().failed(now) {
            self.stats.breaker_trips.fetch_add(1, Relaxed);
            self.log.note(Level::Error, "it failed too often and is given a rest");
        }
    }

    /// A place for one more instance.
    pub(crate) fn slot(self: &Arc<Self>) -> Result<Slot, CallError> {
        let limit = self.limits.instances;
        let more = |there: i64| usize::try_from(there).is_ok_and(|there| there < limit).then_some(there + 1);
        let taken = self.stats.instances.fetch_update(AcqRel, Acquire, more);
        taken.map(|_| Slot(Arc::clone(self))).map_err(|_| CallError::Busy { instances: limit })
    }

    pub(crate) fn time_limit(&self) -> Limit {
        Limit::Time { limit: self.limits.time }
    }
}

/// An instance that is there.
#[derive(Debug)]
pub(crate) struct Slot(Arc<Plugin>);

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.stats.instances.fetch_sub(1, AcqRel);
    }
}

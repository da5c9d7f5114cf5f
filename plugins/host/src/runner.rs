//! Calls to checks and hooks: on the caller's thread, from start to end without a wait.

use crate::context::{Core, Keys, Time, limit};
use crate::engine::Engines;
use crate::error::CallError;
use crate::plugin::{Plugin, Slot};
use crate::settings::Problem;
use crate::stats::Outcome;
use std::fmt;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use wasmtime::component::InstancePre;
use wasmtime::{Store, UpdateDeadline};

/// A world whose calls do not wait.
pub(crate) trait World: Sized + Send + 'static {
    type Pre: Send + Sync;

    fn pre(pre: InstancePre<Core>) -> wasmtime::Result<Self::Pre>;
    fn instantiate(pre: &Self::Pre, store: &mut Store<Core>) -> wasmtime::Result<Self>;
    fn start(&self, store: &mut Store<Core>, settings: &str) -> wasmtime::Result<Result<(), Vec<Problem>>>;
}

pub(crate) struct Runner<W: World> {
    plugin: Arc<Plugin>,
    engines: Arc<Engines>,
    pre: W::Pre,
    /// Instances that have served fewer calls than they may.
    idle: Mutex<Vec<Live<W>>>,
}

struct Live<W> {
    store: Store<Core>,
    guest: W,
    uses: u32,
    _slot: Slot,
}

impl<W: World> fmt::Debug for Runner<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runner").field("plugin", &self.plugin).finish_non_exhaustive()
    }
}

impl<W: World> Runner<W> {
    pub fn new(plugin: Arc<Plugin>, engines: Arc<Engines>, pre: W::Pre) -> Self {
        Self { plugin, engines, pre, idle: Mutex::new(Vec::new()) }
    }

    pub fn plugin(&self) -> &Arc<Plugin> {
        &self.plugin
    }

    /// Makes an instance and starts it, to see whether it does.
    pub fn try_start(&self, within: Duration, keys: Arc<dyn Keys>) -> Result<(), CallError> {
        let _ticking = self.engines.check_ticker.tick();
        self.fresh(within, keys).map(drop)
    }

    /// One call. `work` makes it, and says no to an answer that cannot be taken.
    pub fn call<R>(
        &self,
        function: &str,
        keys: Arc<dyn Keys>,
        work: impl FnOnce(&W, &mut Store<Core>) -> wasmtime::Result<Result<R, CallError>>,
    ) -> Result<R, CallError> {
        let began = Instant::now();
        self.plugin.admit(began)?;
        let result = self.attempt(keys, work);
        self.plugin.note(function, began, result.as_ref().err(), Outcome::Ok);
        result
    }

    fn attempt<R>(
        &self,
        keys: Arc<dyn Keys>,
        work: impl FnOnce(&W, &mut Store<Core>) -> wasmtime::Result<Result<R, CallError>>,
    ) -> Result<R, CallError> {
        let _ticking = self.engines.check_ticker.tick();
        let idle = self.idle().pop();
        let mut live = match idle {
            Some(mut live) => {
                live.store.data_mut().begin(self.plugin.limits.time, keys);
                live
            }
            None => self.fresh(self.plugin.limits.time, keys)?,
        };
        // An instance that failed is dropped here, whatever was the matter.
        let result = work(&live.guest, &mut live.store).map_err(|error| self.sort(&error));
        live.store.data_mut().end();
        let answer = result??;
        live.uses += 1;
        if live.uses < self.plugin.limits.uses {
            self.idle().push(live);
        }
        Ok(answer)
    }

    fn fresh(&self, within: Duration, keys: Arc<dyn Keys>) -> Result<Live<W>, CallError> {
        let slot = self.plugin.slot()?;
        let core = Core::new(&self.plugin, Time::Frozen, within, keys);
        let mut store = Store::new(&self.engines.check, core);
        limit(&mut store, &self.plugin, |core| core);
        store.epoch_deadline_callback(|store| store.data().check_time().map(|()| UpdateDeadline::Continue(1)));
        let guest = W::instantiate(&self.pre, &mut store).map_err(|error| self.sort(&error))?;
        self.plugin.stats.instance_starts.fetch_add(1, Relaxed);
        let started = guest.start(&mut store, &self.plugin.settings).map_err(|error| self.sort(&error))?;
        started.map_err(|problems| CallError::Settings { problems })?;
        Ok(Live { store, guest, uses: 0, _slot: slot })
    }

    fn sort(&self, error: &wasmtime::Error) -> CallError {
        CallError::of(error, self.plugin.limits.instances)
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Live<W>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

//! Places for backups. Calls wait for servers; what drives them should be a tokio runtime of its own, with timers and I/O,
//! since a guest computes on it.

use crate::bindings::destination::exports::keelstone::plugin::{destination, lifecycle};
use crate::bindings::destination::{BackupDestination, BackupDestinationPre};
use crate::context::{Core, NoKeys, Time, limit};
use crate::engine::Engines;
use crate::error::CallError;
use crate::http::Egress;
use crate::io::Io;
use crate::log;
use crate::plugin::{Plugin, Slot};
use crate::settings::Problem;
use crate::stats::Outcome;
use std::fmt;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use wasmtime::{Store, UpdateDeadline};

pub use destination::{Existing, Failure, Object, Page, Part, Profile, Upload};

/// A loaded destination.
pub struct Destination {
    plugin: Arc<Plugin>,
    engines: Arc<Engines>,
    pre: BackupDestinationPre<Io>,
    egress: Egress,
    idle: Mutex<Vec<Live>>,
}

struct Live {
    store: Store<Io>,
    guest: BackupDestination,
    uses: u32,
    _slot: Slot,
}

impl fmt::Debug for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Destination").field("plugin", &self.plugin).finish_non_exhaustive()
    }
}

/// What an operation came to: the destination's answer, or its failure.
pub type Answer<R> = Result<Result<R, Failure>, CallError>;

impl Destination {
    pub(crate) fn new(
        plugin: Arc<Plugin>,
        engines: Arc<Engines>,
        pre: BackupDestinationPre<Io>,
        egress: Egress,
    ) -> Self {
        Self { plugin, engines, pre, egress, idle: Mutex::new(Vec::new()) }
    }

    pub fn plugin(&self) -> &Arc<Plugin> {
        &self.plugin
    }

    /// Where it is and what it takes.
    ///
    /// # Errors
    /// The plugin did not answer, as in all operations. Its own failures stand inside.
    pub async fn describe(&self) -> Answer<Profile> {
        let work = async |guest: &BackupDestination, store: &mut Store<Io>| {
            guest.keelstone_plugin_destination().call_describe(store).await
        };
        let profile = self.call("describe", work).await?;
        Ok(profile.map(|profile| Profile { location: log::plain(&profile.location), ..profile }))
    }

    /// Stores a small object.
    ///
    /// # Errors
    /// As [`Self::describe`].
    pub async fn put(&self, key: &str, data: &[u8], existing: Existing) -> Answer<Object> {
        let work = async |guest: &BackupDestination, store: &mut Store<Io>| {
            guest.keelstone_plugin_destination().call_put(store, key, data, existing).await
        };
        self.call("put", work).await
    }

    /// Begins a large object.
    ///
    /// # Errors
    /// As [`Self::describe`].
    pub async fn begin_upload(&self, key: &str) -> Answer<Upload> {
        let work = async |guest: &BackupDestination, store: &mut Store<Io>| {
            guest.keelstone_plugin_destination().call_begin_upload(store, key).await
        };
        self.call("begin-upload", work).await
    }

    /// Hands over a part.
    ///
    /// # Errors
    /// As [`Self::describe`].
    pub async fn put_part(&self, upload: &Upload, index: u32, data: &[u8]) -> Answer<Part> {
        let work = async |guest: &BackupDestination, store: &mut Store<Io>| {
            guest.keelstone_plugin_destination().call_put_part(store, upload, index, data).await
        };
        self.call("put-part", work).await
    }

    /// Makes an object of all parts.
    ///
    /// # Errors
    /// As [`Self::describe`].
    pub async fn complete_upload(&self, upload: &Upload, parts: &[Part]) -> Answer<Object> {
        let work = async |guest: &BackupDestination, store: &mut Store<Io>| {
            guest.keelstone_plugin_destination().call_complete_upload(store, upload, parts).await
        };
        self.call("complete-upload", work).await
    }

    /// Drops what has arrived.
    ///
    /// # Errors
    /// As [`Self::describe`].
    pub async fn abort_upload(&self, upload: &Upload) -> Answer<()> {
        let work = async |guest: &BackupDestination, store: &mut Store<Io>| {
            guest.keelstone_plugin_destination().call_abort_upload(store, upload).await
        };
        self.call("abort-upload", work).await
    }

    /// Uploads that were begun and neither completed nor aborted.
    ///
    /// # Errors
    /// As [`Self::describe`].
    pub async fn list_uploads(&self, prefix: &str) -> Answer<Vec<Upload>> {
        let work = async |guest: &BackupDestination, store: &mut Store<Io>| {
            guest.keelstone_plugin_destination().call_list_uploads(store, prefix).await
        };
        self.call("list-uploads", work).await
    }

    /// # Errors
    /// As [`Self::describe`].
    pub async fn stat(&self, key: &str) -> Answer<Object> {
        let work = async |guest: &BackupDestination, store: &mut Store<Io>| {
            guest.keelstone_plugin_destination().call_stat(store, key).await
        };
        self.call("stat", work).await
    }

    /// Bytes from `offset` on, at most `length`.
    ///
    /// # Errors
    /// As [`Self::describe`]; more bytes than were asked for are a `Reply`.
    pub async fn read(&self, key: &str, offset: u64, length: u32) -> Answer<Vec<u8>> {
        let work = async |guest: &BackupDestination, store: &mut Store<Io>| {
            let read = guest.keelstone_plugin_destination().call_read(store, key, offset, length).await?;
            match &read {
                Ok(data) if data.len() > length as usize => {
                    wasmtime::bail!("{} bytes where {length} were asked for", data.len())
                }
                _ => Ok(read),
            }
        };
        self.call("read", work).await
    }

    /// Objects whose keys begin with `prefix`, at most `limit`.
    ///
    /// # Errors
    /// As [`Self::describe`].
    pub async fn list(&self, prefix: &str, cursor: Option<&str>, limit: u32) -> Answer<Page> {
        let work = async |guest: &BackupDestination, store: &mut Store<Io>| {
            guest.keelstone_plugin_destination().call_list(store, prefix, cursor, limit).await
        };
        self.call("list", work).await
    }

    /// Deletes each of them, with an outcome for each.
    ///
    /// # Errors
    /// As [`Self::describe`]; more or fewer outcomes than keys are a `Reply`.
    pub async fn delete(&self, keys: &[String]) -> Answer<Vec<Result<(), Failure>>> {
        let work = async |guest: &BackupDestination, store: &mut Store<Io>| {
            let outcomes = guest.keelstone_plugin_destination().call_delete(store, keys).await?;
            match &outcomes {
                Ok(each) if each.len() != keys.len() => {
                    wasmtime::bail!("{} outcomes for {} keys", each.len(), keys.len())
                }
                _ => Ok(outcomes),
            }
        };
        self.call("delete", work).await
    }

    /// Makes an instance and starts it, to see whether it does.
    pub(crate) async fn try_start(&self, within: Duration) -> Result<(), CallError> {
        let _ticking = self.engines.io_ticker.tick();
        let started = tokio::time::timeout(within, self.fresh(within)).await;
        started.map_err(|_| self.plugin.time_limit())?.map(drop)
    }

    async fn call<R>(
        &self,
        function: &str,
        work: impl AsyncFnOnce(&BackupDestination, &mut Store<Io>) -> wasmtime::Result<Result<R, Failure>>,
    ) -> Answer<R> {
        let began = Instant::now();
        self.plugin.admit(began)?;
        let _ticking = self.engines.io_ticker.tick();
        // The clock on the wall: the epoch stops a guest that computes, this one that waits. Its instance goes with the future.
        let answer = tokio::time::timeout(self.plugin.limits.time, Box::pin(self.attempt(work))).await;
        let answer = answer.unwrap_or_else(|_| Err(self.plugin.time_limit().into()));
        let or = if matches!(answer, Ok(Err(_))) { Outcome::Refused } else { Outcome::Ok };
        self.plugin.note(function, began, answer.as_ref().err(), or);
        answer.map(|answer| answer.map_err(shown))
    }

    async fn attempt<R>(
        &self,
        work: impl AsyncFnOnce(&BackupDestination, &mut Store<Io>) -> wasmtime::Result<Result<R, Failure>>,
    ) -> Answer<R> {
        let idle = self.idle().pop();
        let mut live = match idle {
            Some(mut live) => {
                live.store.data_mut().core.begin(self.plugin.limits.time, Arc::new(NoKeys));
                live
            }
            None => self.fresh(self.plugin.limits.time).await?,
        };
        let answer = work(&live.guest, &mut live.store).await.map_err(|error| self.sort(&error));
        live.store.data_mut().core.end();
        let answer = answer?;
        live.uses += 1;
        if live.uses < self.plugin.limits.uses {
            self.idle().push(live);
        }
        Ok(answer)
    }

    async fn fresh(&self, within: Duration) -> Result<Live, CallError> {
        let slot = self.plugin.slot()?;
        let core = Core::new(&self.plugin, Time::Real, within, Arc::new(NoKeys));
        let mut store = Store::new(&self.engines.io, Io::new(core, self.egress.clone()));
        limit(&mut store, &self.plugin, |io| &mut io.core);
        // Others get their turn at each tick.
        store.epoch_deadline_callback(|store| store.data().core.check_time().map(|()| UpdateDeadline::Yield(1)));
        let guest = self.pre.instantiate_async(&mut store).await.map_err(|error| self.sort(&error))?;
        self.plugin.stats.instance_starts.fetch_add(1, Relaxed);
        let started = guest.keelstone_plugin_lifecycle().call_start(&mut store, &self.plugin.settings).await;
        let problem = |found: lifecycle::Problem| Problem::shown(&found.setting, &found.message);
        started
            .map_err(|error| self.sort(&error))?
            .map_err(|problems| CallError::Settings { problems: problems.into_iter().map(problem).collect() })?;
        Ok(Live { store, guest, uses: 0, _slot: slot })
    }

    fn sort(&self, error: &wasmtime::Error) -> CallError {
        CallError::of(error, self.plugin.limits.instances)
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Live>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A failure whose words can be shown.
fn shown(failure: Failure) -> Failure {
    match failure {
        Failure::Denied(words) => Failure::Denied(log::plain(&words)),
        Failure::OutOfSpace(words) => Failure::OutOfSpace(log::plain(&words)),
        Failure::Retry(words) => Failure::Retry(log::plain(&words)),
        Failure::Failed(words) => Failure::Failed(log::plain(&words)),
        Failure::NotFound | Failure::AlreadyExists | Failure::Throttled(_) => failure,
    }
}

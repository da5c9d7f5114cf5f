//! What an instance is given by the node, the same in every world, and the budget of the call that it serves.

use crate::bindings::admission::keelstone::plugin::{clock, kv_read, log, metrics, types};
use crate::bindings::destination::keelstone::plugin::secrets;
use crate::limits::{Limit, Limiter, MAX_HANDLES, MAX_READ_BYTES, MAX_READ_KEYS, MAX_SECRET_BYTES};
use crate::log::Level;
use crate::plugin::Plugin;
use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use wasmtime::Store;

pub use types::KeyValue;

/// The keys that a call reads, at one revision.
pub trait Keys: Send + Sync {
    fn revision(&self) -> i64;

    /// Keys from `start` up to `end`, without it (all that follow if there is none), in order; as many as fit into `limit` keys
    /// and `max_bytes` bytes of keys and values, and whether there are more.
    ///
    /// # Errors
    /// The store cannot be read, in words.
    fn range(
        &self,
        start: &[u8],
        end: Option<&[u8]>,
        limit: usize,
        max_bytes: usize,
    ) -> Result<(Vec<KeyValue>, bool), String>;
}

/// For calls that read none.
#[derive(Clone, Copy, Debug)]
pub struct NoKeys;

impl Keys for NoKeys {
    fn revision(&self) -> i64 {
        0
    }

    fn range(&self, _: &[u8], _: Option<&[u8]>, _: usize, _: usize) -> Result<(Vec<KeyValue>, bool), String> {
        Ok((Vec::new(), false))
    }
}

/// What the clock of a world shows.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Time {
    Real,
    Frozen,
}

/// The part of an instance's state that is ours.
pub(crate) struct Core {
    pub plugin: Arc<Plugin>,
    pub limiter: Limiter,
    time: Time,
    call: Call,
}

/// The budget of one call.
struct Call {
    deadline: Instant,
    host_calls: u32,
    read_keys: usize,
    read_bytes: usize,
    began: SystemTime,
    keys: Arc<dyn Keys>,
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Core").field("plugin", &self.plugin.about.name).finish_non_exhaustive()
    }
}

impl Core {
    pub fn new(plugin: &Arc<Plugin>, time: Time, within: Duration, keys: Arc<dyn Keys>) -> Self {
        let limiter = Limiter::new(plugin.limits.memory_bytes);
        Self { call: Call::new(plugin, within, keys), plugin: Arc::clone(plugin), limiter, time }
    }

    /// Gives an instance that served a call the budget for another.
    pub fn begin(&mut self, within: Duration, keys: Arc<dyn Keys>) {
        self.call = Call::new(&self.plugin, within, keys);
    }

    /// Drops what was lent for the call.
    pub fn end(&mut self) {
        self.call.keys = Arc::new(NoKeys);
        let peak = self.limiter.memory_bytes() as u64;
        self.plugin.stats.memory_peak_bytes.fetch_max(peak, Relaxed);
    }

    /// # Errors
    /// The time of the call is over.
    pub fn check_time(&self) -> wasmtime::Result<()> {
        if Instant::now() < self.call.deadline { Ok(()) } else { Err(self.plugin.time_limit().into()) }
    }

    /// At the beginning of each call to the node.
    fn enter(&mut self) -> wasmtime::Result<()> {
        let limit = self.plugin.limits.host_calls;
        self.call.host_calls = self.call.host_calls.checked_sub(1).ok_or(Limit::HostCalls { limit })?;
        self.check_time()
    }

    fn may_read(&self, prefix: &[u8]) -> bool {
        self.plugin.grants.kv_read.iter().any(|granted| prefix.starts_with(granted.as_bytes()))
    }

    fn read(
        &mut self,
        start: &[u8],
        end: Option<&[u8]>,
        limit: usize,
    ) -> Result<(Vec<KeyValue>, bool), kv_read::ReadError> {
        let call = &mut self.call;
        let limit = limit.min(call.read_keys);
        if limit == 0 {
            return Err(kv_read::ReadError::OverLimit);
        }
        let read = call.keys.range(start, end, limit, call.read_bytes);
        let (items, more) = read.map_err(kv_read::ReadError::Unavailable)?;
        let bytes: usize = items.iter().map(|item| item.key.len() + item.value.len()).sum();
        // One that does not fit would be asked for without end.
        if items.is_empty() && more {
            return Err(kv_read::ReadError::OverLimit);
        }
        call.read_keys = call.read_keys.saturating_sub(items.len().max(1));
        call.read_bytes = call.read_bytes.saturating_sub(bytes);
        Ok((items, more))
    }
}

impl Call {
    fn new(plugin: &Plugin, within: Duration, keys: Arc<dyn Keys>) -> Self {
        Self {
            deadline: Instant::now() + within,
            host_calls: plugin.limits.host_calls,
            read_keys: MAX_READ_KEYS,
            read_bytes: MAX_READ_BYTES,
            began: SystemTime::now(),
            keys,
        }
    }
}

/// Sets what the engine itself enforces.
pub(crate) fn limit<T>(store: &mut Store<T>, plugin: &Plugin, core: fn(&mut T) -> &mut Core) {
    store.limiter(move |data| &mut core(data).limiter);
    store.set_hostcall_fuel(plugin.limits.call_bytes);
    store.set_max_component_handles(MAX_HANDLES);
    store.set_epoch_deadline(1);
}

impl log::Host for Core {
    fn write(&mut self, level: log::Level, message: String) -> wasmtime::Result<()> {
        self.enter()?;
        let level = match level {
            log::Level::Debug => Level::Debug,
            log::Level::Info => Level::Info,
            log::Level::Warn => Level::Warn,
            log::Level::Error => Level::Error,
        };
        self.plugin.log.write(Instant::now(), level, &message);
        Ok(())
    }
}

impl metrics::Host for Core {
    fn count(&mut self, name: String, delta: u64) -> wasmtime::Result<()> {
        self.enter()?;
        self.plugin.stats.count(&name, delta);
        Ok(())
    }

    fn gauge(&mut self, name: String, value: f64) -> wasmtime::Result<()> {
        self.enter()?;
        self.plugin.stats.gauge(&name, value);
        Ok(())
    }
}

impl clock::Host for Core {
    fn unix_millis(&mut self) -> wasmtime::Result<u64> {
        self.enter()?;
        let now = match self.time {
            Time::Real => SystemTime::now(),
            Time::Frozen => self.call.began,
        };
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }
}

impl types::Host for Core {}

impl kv_read::Host for Core {
    fn revision(&mut self) -> wasmtime::Result<i64> {
        self.enter()?;
        Ok(self.call.keys.revision())
    }

    fn get(&mut self, key: Vec<u8>) -> wasmtime::Result<Result<Option<KeyValue>, kv_read::ReadError>> {
        self.enter()?;
        if !self.may_read(&key) {
            return Ok(Err(kv_read::ReadError::NotGranted));
        }
        // The key that follows it is the same with a zero byte.
        let end = [key.as_slice(), b"\0"].concat();
        Ok(self.read(&key, Some(&end), 1).map(|(mut items, _)| items.pop()))
    }

    fn list(
        &mut self,
        prefix: Vec<u8>,
        start: Vec<u8>,
        limit: u32,
    ) -> wasmtime::Result<Result<kv_read::Page, kv_read::ReadError>> {
        self.enter()?;
        if !self.may_read(&prefix) {
            return Ok(Err(kv_read::ReadError::NotGranted));
        }
        let start = start.max(prefix.clone());
        let end = after_prefix(prefix);
        if limit == 0 || end.as_ref().is_some_and(|end| start >= *end) {
            return Ok(Ok(kv_read::Page { items: Vec::new(), more: false }));
        }
        let read = self.read(&start, end.as_deref(), usize::try_from(limit).unwrap_or(usize::MAX));
        Ok(read.map(|(items, more)| kv_read::Page { items, more }))
    }
}

/// The first key behind all that begin with this prefix; none if nothing can be.
fn after_prefix(mut prefix: Vec<u8>) -> Option<Vec<u8>> {
    while let Some(last) = prefix.pop() {
        if last < 0xff {
            prefix.push(last + 1);
            return Some(prefix);
        }
    }
    None
}

impl secrets::Host for Core {
    fn get(&mut self, name: String) -> wasmtime::Result<Result<Vec<u8>, secrets::SecretError>> {
        self.enter()?;
        let Some(path) = self.plugin.grants.secrets.get(&name) else {
            return Ok(Err(secrets::SecretError::NotGranted));
        };
        // The guest learns that it cannot be read, and the log why: paths are no business of guests.
        Ok(read_secret(path).map_err(|error| {
            self.plugin.log.note(Level::Error, &format!("read secret {name}: {}: {error}", path.display()));
            secrets::SecretError::Unavailable("it cannot be read".to_owned())
        }))
    }
}

fn read_secret(path: &Path) -> io::Result<Vec<u8>> {
    // A pipe would be waited for.
    if !path.metadata()?.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    let mut secret = Vec::new();
    File::open(path)?.take(MAX_SECRET_BYTES + 1).read_to_end(&mut secret)?;
    if secret.len() as u64 > MAX_SECRET_BYTES {
        return Err(io::Error::other(format!("it is larger than {MAX_SECRET_BYTES} bytes")));
    }
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_prefix_is_the_next_key_behind_it() {
        assert_eq!(after_prefix(b"/a/".to_vec()), Some(b"/a0".to_vec()));
        assert_eq!(after_prefix(vec![b'a', 0xff, 0xff]), Some(b"b".to_vec()));
        assert_eq!(after_prefix(vec![0xff]), None);
        assert_eq!(after_prefix(Vec::new()), None);
    }
}

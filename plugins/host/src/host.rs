//! Loading: from a package and a grant to something that can be called.

use crate::admission::Admission;
use crate::bindings::admission::AdmissionCheck;
use crate::bindings::destination::{BackupDestination, BackupDestinationPre};
use crate::bindings::restore::RestoreHook as RestoreHookGuest;
use crate::breaker::Breaker;
use crate::cache::{self, CodeCache};
use crate::context::{Core, NoKeys};
use crate::destination::Destination;
use crate::engine::{Allocation, Engines};
use crate::error::{CallError, HostError, LoadError, chain};
use crate::grant::Grant;
use crate::http::Egress;
use crate::imports;
use crate::io::{self, Io};
use crate::limits::{Limits, MAX_MEMORIES, MAX_TABLE_ELEMENTS, MAX_TABLES};
use crate::log::{Level, Log};
use crate::manifest::{ABI, Manifest, World};
use crate::package::Package;
use crate::plugin::Plugin;
use crate::restore::RestoreHook;
use crate::runner::{self, Runner};
use crate::settings;
use crate::stats::Stats;
use std::path::PathBuf;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use wasmtime::Engine;
use wasmtime::component::{Component, HasSelf, Linker};

/// For the first start of an instance, when a plugin is loaded: pages come from disk, and nobody waits.
const LOAD_TIME: Duration = Duration::from_secs(5);
const WASM_PAGE_BYTES: u64 = 64 << 10;

/// What plugins are run with. One is enough for a process.
#[derive(Debug)]
pub struct Host {
    engines: Arc<Engines>,
    cache: Option<CodeCache>,
    tls: Option<Arc<rustls::ClientConfig>>,
}

#[derive(Clone, Debug, Default)]
pub struct HostOptions {
    /// Where compiled code is kept; without it each start compiles.
    pub cache: Option<PathBuf>,
    /// How destinations speak to servers over TLS; without it they do not.
    pub tls: Option<Arc<rustls::ClientConfig>>,
}

impl Host {
    /// # Errors
    /// Engines, threads or the cache's directory cannot be made.
    pub fn new(options: HostOptions) -> Result<Self, HostError> {
        let cache = options.cache.as_deref().map(CodeCache::open).transpose()?;
        Ok(Self { engines: Arc::new(Engines::new()?), cache, tls: options.tls })
    }

    pub fn allocation(&self) -> Allocation {
        self.engines.allocation
    }

    /// Loads a check. Compiles, unless it is in the cache: that can take seconds, and belongs on no thread that serves.
    ///
    /// # Errors
    /// It is not what the grant says, or does not start.
    pub fn admission(&self, package: &Package, grant: &Grant) -> Result<Admission, LoadError> {
        let mut linker = Linker::new(&self.engines.check);
        let linked = AdmissionCheck::add_to_linker::<Core, HasSelf<Core>>(&mut linker, |core| core);
        self.load(package, grant, World::AdmissionCheck, linker, linked).map(Admission)
    }

    /// Loads a hook, as [`Self::admission`] does a check.
    ///
    /// # Errors
    /// As there.
    pub fn restore_hook(&self, package: &Package, grant: &Grant) -> Result<RestoreHook, LoadError> {
        let mut linker = Linker::new(&self.engines.check);
        let linked = RestoreHookGuest::add_to_linker::<Core, HasSelf<Core>>(&mut linker, |core| core);
        self.load(package, grant, World::RestoreHook, linker, linked).map(RestoreHook)
    }

    /// Loads a destination, as [`Self::admission`] does a check.
    ///
    /// # Errors
    /// As there.
    pub async fn destination(&self, package: &Package, grant: &Grant) -> Result<Destination, LoadError> {
        let world = World::BackupDestination;
        let shape = |error: wasmtime::Error| LoadError::Shape { world, reason: chain(&error) };
        let (plugin, component) = self.prepare(package, grant, world, &self.engines.io)?;
        let mut linker = Linker::new(&self.engines.io);
        io::link(&mut linker).map_err(shape)?;
        BackupDestination::add_to_linker::<Io, HasSelf<Core>>(&mut linker, |io| &mut io.core).map_err(shape)?;
        let pre = linker.instantiate_pre(&component).and_then(BackupDestinationPre::new).map_err(shape)?;
        let egress = Egress {
            origins: plugin.grants.http.clone().into(),
            tls: self.tls.clone(),
            max_response_bytes: plugin.limits.http_response_bytes,
            open: Arc::new(AtomicUsize::new(0)),
            stats: Arc::clone(&plugin.stats),
        };
        let destination = Destination::new(plugin, Arc::clone(&self.engines), pre, egress);
        destination.try_start(LOAD_TIME).await.map_err(not_started)?;
        Ok(destination)
    }

    fn load<W: runner::World>(
        &self,
        package: &Package,
        grant: &Grant,
        world: World,
        linker: Linker<Core>,
        linked: wasmtime::Result<()>,
    ) -> Result<Runner<W>, LoadError> {
        let shape = |error: wasmtime::Error| LoadError::Shape { world, reason: chain(&error) };
        linked.map_err(shape)?;
        let (plugin, component) = self.prepare(package, grant, world, &self.engines.check)?;
        let pre = linker.instantiate_pre(&component).and_then(W::pre).map_err(shape)?;
        let runner = Runner::new(plugin, Arc::clone(&self.engines), pre);
        runner.try_start(LOAD_TIME, Arc::new(NoKeys)).map_err(not_started)?;
        Ok(runner)
    }

    /// Everything before the component meets a linker.
    fn prepare(
        &self,
        package: &Package,
        grant: &Grant,
        world: World,
        engine: &Engine,
    ) -> Result<(Arc<Plugin>, Component), LoadError> {
        let manifest = package.manifest();
        let limits = Limits::of(world).with(grant.limits);
        check_manifest(package, grant, world, &limits)?;
        let settings = settings::resolve(&manifest.settings, &grant.settings);
        let settings = settings.map_err(|problems| LoadError::Settings { problems })?;
        let found = cache::component(self.cache.as_ref(), engine, package.hash(), package.bytes());
        let found = found.map_err(|error| LoadError::Compile { reason: chain(&error) })?;
        if let Some(found) = imports::other_abi(&found.component, engine) {
            return Err(LoadError::OtherAbi { found });
        }
        let imports = imports::of(&found.component, engine, world);
        let refused = imports::not_granted(&imports, &grant.grants);
        if !refused.is_empty() {
            return Err(LoadError::NotGranted { imports: refused });
        }
        check_size(&found.component, &limits)?;
        let plugin = Plugin {
            about: manifest.plugin.clone(),
            hash: package.hash(),
            imports,
            compiled: found.compiled,
            grants: grant.grants.clone(),
            limits,
            settings,
            log: Log::default(),
            stats: Arc::new(Stats::default()),
            breaker: Mutex::new(Breaker::new(grant.breaker)),
        };
        if let Some(reason) = found.not_stored {
            plugin.log.note(Level::Warn, &format!("its compiled code was not stored: {reason}"));
        }
        Ok((Arc::new(plugin), found.component))
    }
}

fn not_started(error: CallError) -> LoadError {
    match error {
        CallError::Settings { problems } => LoadError::Settings { problems },
        error => LoadError::Start(error),
    }
}

/// What can be said without the code.
fn check_manifest(package: &Package, grant: &Grant, world: World, limits: &Limits) -> Result<(), LoadError> {
    let Manifest { plugin, asks, .. } = package.manifest();
    if grant.plugin != plugin.name {
        return Err(LoadError::OtherPlugin { granted: grant.plugin.clone(), found: plugin.name.clone() });
    }
    let hash = package.hash().to_string();
    if let Some(wanted) = grant.sha256.as_ref().filter(|wanted| !wanted.eq_ignore_ascii_case(&hash)) {
        return Err(LoadError::OtherBytes { wanted: wanted.clone(), found: hash });
    }
    if plugin.world != world {
        return Err(LoadError::OtherWorld { found: plugin.world });
    }
    if plugin.abi != ABI {
        return Err(LoadError::OtherAbi { found: plugin.abi });
    }
    let grants = &grant.grants;
    let secrets = asks.secrets.iter().filter(|name| !grants.secrets.contains_key(*name));
    let mut missing: Vec<String> = secrets.map(|name| format!("secret {name}")).collect();
    if asks.kv_read && grants.kv_read.is_empty() {
        missing.push("kv-read".to_owned());
    }
    if asks.http && grants.http.is_empty() {
        missing.push("http".to_owned());
    }
    if !missing.is_empty() {
        return Err(LoadError::Asks { asks: missing });
    }
    match asks.memory {
        Some(asked) if asked.0 > limits.memory_bytes as u64 => {
            Err(LoadError::Memory { asked: asked.0, given: limits.memory_bytes })
        }
        _ => Ok(()),
    }
}

/// What the code needs to begin with.
fn check_size(component: &Component, limits: &Limits) -> Result<(), LoadError> {
    let too_large = |reason: String| Err(LoadError::TooLarge { reason });
    let Some(needs) = component.resources_required() else {
        return too_large("it imports core modules, so that what it needs cannot be told".to_owned());
    };
    let memory = needs.max_initial_memory_size.unwrap_or_default().saturating_mul(WASM_PAGE_BYTES);
    if memory > limits.memory_bytes as u64 {
        return too_large(format!("a memory of {memory} bytes is more than {}", limits.memory_bytes));
    }
    if needs.num_memories as usize > MAX_MEMORIES {
        return too_large(format!("{} memories are more than {MAX_MEMORIES}", needs.num_memories));
    }
    if needs.num_tables as usize > MAX_TABLES {
        return too_large(format!("{} tables are more than {MAX_TABLES}", needs.num_tables));
    }
    let elements = needs.max_initial_table_size.unwrap_or_default();
    if elements > MAX_TABLE_ELEMENTS as u64 {
        return too_large(format!("a table of {elements} elements is more than {MAX_TABLE_ELEMENTS}"));
    }
    Ok(())
}

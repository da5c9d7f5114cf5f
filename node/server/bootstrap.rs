//! What is on the disk decides how a member starts: new, or again. Nothing is served before this is done.

use super::backups::DRILL;
use super::import::{self, Places};
use super::{World, force_new_cluster, offline};
use crate::cluster::{self, InitialCluster, Member};
use crate::config::{Bootstrap, Settings, Url};
use crate::disk::{Disk, DiskLock, parent_of};
use crate::raft::{self, Identity, bootstrap_log};
use crate::storage::{self, Stats, Storage};
use crate::types::{ClusterId, HumanBytes, MemberId};
use crate::wal::{self, Opened, Wal, WalError};
use anyhow::{Context, bail};
use std::net::ToSocketAddrs;
use std::path::{Path, PathBuf};

/// The state file, beside etcd's own folders.
pub const STATE_FILE: &str = "state.redb";
/// Instead of the state file's extension while it is made.
const FRESH: &str = "redb.new";
/// Held by the one process that uses the directory.
pub(super) const LOCK_FILE: &str = "keelstone.lock";

/// A data directory, locked and read.
#[derive(Debug)]
pub struct Ground {
    pub identity: Identity,
    pub wal: Wal,
    pub storage: Storage,
    pub state_path: PathBuf,
    /// Last entry of the log as found: nothing is served before it is applied, or cut off by a leader.
    pub last_index: u64,
    /// There was a log, so that it is not the first start.
    pub has_run_before: bool,
    /// Dropped last.
    pub lock: Box<dyn DiskLock>,
}

/// What opening needs besides the settings.
#[derive(Debug)]
pub struct Tools<'a> {
    pub world: &'a World,
    pub wal_metrics: &'a wal::Metrics,
    pub storage_metrics: &'a storage::Metrics,
}

/// Locks the data directory, takes over what etcd left there, makes a log and a state if there are none, and opens both.
///
/// # Errors
/// Another process has the directory; what etcd left cannot be taken over; log or state is damaged or missing, or they do not belong
/// together.
pub fn open(
    settings: &Settings,
    tools: &Tools<'_>,
    joining: Option<wal::Identity>,
    on_fatal: wal::OnFatal,
) -> anyhow::Result<Ground> {
    let World { disk, threads, .. } = tools.world;
    let had_log = wal::exists(disk.as_ref(), &settings.member.wal_dir())?;
    let (mut ground, ()) = open_with(settings, tools, joining, |dir, log| {
        let (wal, opened) = Wal::open(disk.clone(), dir, log, tools.wal_metrics.clone(), on_fatal, threads)?;
        Ok((wal, opened, ()))
    })?;
    // As in etcd, a member that begins is no news.
    if had_log && force_new_cluster::is_due(settings, disk.as_ref())? {
        force_new_cluster::run(settings, disk.as_ref(), threads, &mut ground)?;
    }
    Ok(ground)
}

/// As [`open`], with a log that `open_log` opens in the folder that it is given, and what else comes of that.
///
/// # Errors
/// As [`open`].
pub fn open_with<W>(
    settings: &Settings,
    tools: &Tools<'_>,
    joining: Option<wal::Identity>,
    open_log: impl FnOnce(&Path, wal::Settings) -> Result<(Wal, Opened, W), WalError>,
) -> anyhow::Result<(Ground, W)> {
    let disk = tools.world.disk.as_ref();
    let member_dir = settings.member.member_dir();
    let wal_dir = settings.member.wal_dir();
    create_private_dir(disk, &member_dir)?;
    let lock = lock(disk, &member_dir)?;
    let state_path = member_dir.join(STATE_FILE);
    let import_tools = import::Tools {
        disk: &tools.world.disk,
        segment_bytes: tools.world.segment_bytes,
        cache_bytes: tools.world.cache_bytes,
        wal_metrics: tools.wal_metrics,
        storage_metrics: tools.storage_metrics,
    };
    import::take_over(&import_tools, &places(settings))?;
    let has_log = wal::exists(disk, &wal_dir)?;
    let has_state = is_there(disk, &state_path)?;
    if has_state && !has_log {
        bail!("{} has a state but no log in {}: the log was lost", state_path.display(), wal_dir.display());
    }
    if !has_log {
        create_log(settings, disk, &wal_dir, joining)?;
    }
    let log = wal::Settings {
        max_segments: usize::try_from(settings.storage.max_wals).unwrap_or(usize::MAX),
        segment_bytes: tools.world.segment_bytes,
        ..wal::Settings::default()
    };
    let (wal, opened, writing) =
        open_log(&wal_dir, log).with_context(|| format!("open log in {}", wal_dir.display()))?;
    remove_leftovers(disk, &state_path)?;
    let storage = open_state(tools, &state_path, has_state, &wal)?;
    let storage = match settings.storage.defragment_above_bytes {
        Some(threshold) => defragment_at_start(tools, &state_path, storage, threshold),
        None => storage,
    };
    join(&wal, &storage).with_context(|| format!("{} and {}", state_path.display(), wal_dir.display()))?;
    let identity =
        Identity { cluster: ClusterId(opened.identity.cluster_id), member: MemberId(opened.identity.node_id) };
    let last_index = wal.last().index;
    Ok((Ground { identity, wal, storage, state_path, last_index, has_run_before: has_log, lock }, writing))
}

/// The folders of this member.
pub(super) fn places(settings: &Settings) -> Places {
    Places { member_dir: settings.member.member_dir(), wal_dir: settings.member.wal_dir() }
}

/// The log must go on where the state stands. A state that came as a snapshot may be ahead of the log, or stand where
/// the log has entries of another leader: the crash came before the log learned of it, which is made good here.
fn join(wal: &Wal, storage: &Storage) -> anyhow::Result<()> {
    let meta = storage.version()?.meta()?;
    let (applied, first_index, last) = (meta.applied, wal.first_index(), wal.last());
    let term = wal.term_at(applied.index);
    if applied.index + 1 < first_index {
        bail!("the state ends with entry {}, the log begins with entry {first_index}", applied.index);
    }
    if applied.index == 0 || term == Some(applied.term) {
        return Ok(());
    }
    let committed = wal.hard_state().commit;
    if applied.index <= committed.min(last.index) {
        let term = term.unwrap_or_default();
        bail!("entry {} is of term {} in the state and of term {term} in the log", applied.index, applied.term);
    }
    tracing::warn!(
        applied_index = applied.index,
        last_index = last.index,
        "the state is a snapshot that the log does not lead to; the log starts again behind it"
    );
    // In order before all that comes. A failure ends the process, as of any write.
    let conf_state = raft::conf_state(meta.membership.as_deref()).context("read membership")?;
    wal.reset_to(applied, conf_state, Box::new(|_| ()));
    Ok(())
}

/// `--bootstrap-defrag-threshold-megabytes` (etcd `maybeDefragBackend`). Where the disk has no room for a copy the member
/// starts as it is.
fn defragment_at_start(tools: &Tools<'_>, path: &Path, storage: Storage, threshold_bytes: u64) -> Storage {
    let Stats { total_bytes, in_use_bytes } = storage.stats();
    let freeable = total_bytes.saturating_sub(in_use_bytes);
    if freeable < threshold_bytes {
        tracing::info!(
            "current-db-size-bytes" = total_bytes,
            "current-db-size" = %HumanBytes(total_bytes),
            "current-db-size-in-use-bytes" = in_use_bytes,
            "current-db-size-in-use" = %HumanBytes(in_use_bytes),
            "bootstrap-defrag-threshold-bytes" = threshold_bytes,
            "bootstrap-defrag-threshold" = %HumanBytes(threshold_bytes),
            "Skipping defragmentation"
        );
        return storage;
    }
    let World { disk, cache_bytes, .. } = tools.world;
    match offline::defragment(disk.as_ref(), path, storage, *cache_bytes, &mut |_, _| ()) {
        Ok(storage) => storage,
        Err((error, storage)) => {
            tracing::warn!(path = %path.display(), error = format!("{error:#}"), "failed to defragment");
            storage
        }
    }
}

pub(super) fn is_there(disk: &dyn Disk, path: &Path) -> anyhow::Result<bool> {
    disk.exists(path).with_context(|| format!("look for {}", path.display()))
}

/// `None` if another process has the lock.
pub(super) fn try_lock(disk: &dyn Disk, file: &Path) -> anyhow::Result<Option<Box<dyn DiskLock>>> {
    match disk.lock(file) {
        Ok(lock) => Ok(Some(lock)),
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error).with_context(|| format!("lock {}", file.display())),
    }
}

fn create_private_dir(disk: &dyn Disk, dir: &Path) -> anyhow::Result<()> {
    disk.create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
    for made in [dir, parent_of(dir), parent_of(parent_of(dir))] {
        disk.sync_dir(made).with_context(|| format!("sync {}", made.display()))?;
    }
    Ok(())
}

fn lock(disk: &dyn Disk, member_dir: &Path) -> anyhow::Result<Box<dyn DiskLock>> {
    let lock = try_lock(disk, &member_dir.join(LOCK_FILE))?;
    lock.with_context(|| format!("data directory {} is in use by another process", member_dir.display()))
}

/// One that joins begins with an empty log: the leader sends it all, or a snapshot.
fn create_log(
    settings: &Settings,
    disk: &dyn Disk,
    wal_dir: &Path,
    joining: Option<wal::Identity>,
) -> anyhow::Result<()> {
    let create = |identity, entries: &[wal::Entry], hard_state| {
        wal::create(disk, wal_dir, identity, entries, hard_state)
            .with_context(|| format!("create log in {}", wal_dir.display()))
    };
    if let Some(identity) = joining {
        return create(identity, &[], wal::HardState::default());
    }
    let members = members_of(settings)?;
    let local = members.iter().find(|member| member.name == settings.member.name);
    let local = local.with_context(|| {
        format!("couldn't find local name {:?} in the initial cluster configuration", settings.member.name)
    })?;
    let identity = wal::Identity {
        node_id: local.id.0,
        cluster_id: cluster::cluster_id(members.iter().map(|member| member.id)).0,
    };
    tracing::info!(
        "local-member-id" = %local.id,
        "cluster-id" = %ClusterId(identity.cluster_id),
        "starting local member"
    );
    // The name belongs to the attributes that each member publishes once it runs.
    let unnamed: Vec<Member> = members.iter().map(|m| Member { name: String::new(), ..m.clone() }).collect();
    let (entries, hard_state) = bootstrap_log(&unnamed);
    create(identity, &entries, hard_state)
}

pub(super) fn members_of(settings: &Settings) -> anyhow::Result<Vec<Member>> {
    initial_members(&settings.bootstrap, &settings.member.name, &settings.urls.advertise_peer)
}

/// The members that a new cluster begins with, sorted by id; the one of this name is among them.
pub(super) fn initial_members(
    bootstrap: &Bootstrap,
    name: &str,
    advertise_peer: &[Url],
) -> anyhow::Result<Vec<Member>> {
    bootstrap.members(name, advertise_peer, &resolve)?;
    let cluster = InitialCluster::parse(&bootstrap.initial_cluster)?;
    Ok(cluster.members(&bootstrap.token)?)
}

pub(super) fn parse_urls(urls: &[String]) -> anyhow::Result<Vec<Url>> {
    let mut urls = urls.iter().map(|url| Url::parse(url)).collect::<Result<Vec<_>, _>>()?;
    urls.sort();
    Ok(urls)
}

/// The URL with its host replaced by the first address that the system's resolver gives.
pub(super) fn resolve(url: &Url) -> Result<Url, String> {
    let host_port = url.host_port();
    let mut addresses = host_port.to_socket_addrs().map_err(|error| error.to_string())?;
    let address = addresses.next().ok_or_else(|| format!("no address for {host_port}"))?;
    let scheme = if url.scheme().is_secure() { "https" } else { "http" };
    Url::parse(&format!("{scheme}://{address}")).map_err(|error| error.to_string())
}

/// A crash before a rename leaves a file that nobody relies on, as large as the state at worst.
fn remove_leftovers(disk: &dyn Disk, state_path: &Path) -> anyhow::Result<()> {
    for extension in [FRESH, raft::RECEIVED, raft::COPIED, DRILL] {
        let left = state_path.with_extension(extension);
        if is_there(disk, &left)? {
            disk.remove_file(&left).with_context(|| format!("remove {}", left.display()))?;
        }
    }
    Ok(())
}

fn open_state(tools: &Tools<'_>, path: &Path, exists: bool, wal: &Wal) -> anyhow::Result<Storage> {
    let World { disk, cache_bytes, .. } = tools.world;
    let metrics = tools.storage_metrics.clone();
    if exists {
        let file = disk.open(path).with_context(|| format!("open {}", path.display()))?;
        return Storage::open(file, *cache_bytes, metrics).with_context(|| format!("open {}", path.display()));
    }
    // The log alone gives the state back as long as it goes back to the first entry.
    if wal.purged().index > 0 {
        bail!("{} is missing and the log begins after entry {}", path.display(), wal.purged().index);
    }
    let fresh = path.with_extension(FRESH);
    let file = disk.create(&fresh).with_context(|| format!("create {}", fresh.display()))?;
    let storage =
        Storage::create(file, *cache_bytes, metrics).with_context(|| format!("create {}", fresh.display()))?;
    disk.rename(&fresh, path).with_context(|| format!("rename {}", fresh.display()))?;
    let dir = parent_of(path);
    disk.sync_dir(dir).with_context(|| format!("sync {}", dir.display()))?;
    Ok(storage)
}

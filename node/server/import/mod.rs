//! A data directory that etcd left, of 3.4 to 3.7, becomes one of ours at the first start on it: stopped cleanly, killed, or
//! made by `etcdutl snapshot restore` (DESIGN D10).
//!
//! The state is the database at its consistent index, and the log is etcd's with every entry at its term and index; what lies
//! behind the state is applied by the start that follows, and what was not committed stays so. Ids, term and vote are kept.
//! Ours is built beside and takes the place by renames ([`places`]); etcd's folders are kept under another name, whole.
//!
//! Refused before anything is touched: another process has the database; damage; a log that does not lead to the
//! state. Knows nothing of how the directory came to be.

mod compare;
mod entry;
mod log;
mod members;
mod places;
mod snap_file;
mod source;

pub use compare::{Rehearsed, rehearse};
pub use places::Places;

use crate::apply;
use crate::backup::{LoadError, load_observed};
use crate::cluster::{Member, MemberTable};
use crate::disk::{Disk, DiskLock};
use crate::logging::notify_delay;
use crate::mvcc;
use crate::server::bootstrap::{STATE_FILE, is_there, try_lock};
use crate::storage::{self, Batch, Durability, Import, Storage, Table};
use crate::types::{HumanBytes, LogPosition, MemberId, OnProgress};
use crate::wal::{self, Cut, HardState, Survey, WalError};
use anyhow::Context;
use log::Plan;
use members::{RaftMembers, Settled};
use snap_file::SnapFile;
use source::{DATABASE, Source};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What systemd is told that an import takes at most; that of 8 GB takes minutes.
const IMPORT_TIME: Duration = Duration::from_secs(3_600);
/// Between two lines that say how far it is.
const BETWEEN_LINES: Duration = Duration::from_secs(10);
/// Entries of the log that are in memory at once, in bytes of data, about.
const ENTRIES_BYTES: u64 = 4 << 20;

/// What an import needs besides the directory.
#[derive(Clone, Copy, Debug)]
pub struct Tools<'a> {
    pub disk: &'a Arc<dyn Disk>,
    pub segment_bytes: u64,
    pub cache_bytes: usize,
    pub wal_metrics: &'a wal::Metrics,
    pub storage_metrics: &'a storage::Metrics,
}

/// What came of an import.
#[derive(Clone, Debug)]
pub struct Imported {
    pub identity: wal::Identity,
    /// The database that was read: a snapshot that etcd had received and not put in its place may be newer than `db`.
    pub database: PathBuf,
    pub revision: i64,
    /// Where the state stands.
    pub applied: LogPosition,
    /// Our log begins behind this entry.
    pub begin: LogPosition,
    pub last: LogPosition,
    pub hard_state: HardState,
    pub members: Vec<Member>,
    /// Rows that were no members, and rows that were wrong.
    pub dropped: Vec<MemberId>,
    pub mended: Vec<MemberId>,
    /// A torn write at the end of etcd's log, which was passed over.
    pub cut: Option<Cut>,
    /// Buckets of the database that etcd does not know, which were passed over.
    pub unknown_buckets: Vec<String>,
}

/// True if an import has begun to take the place of what etcd left: the start that follows finishes it.
///
/// # Errors
/// The directory cannot be read.
pub fn is_unfinished(disk: &dyn Disk, places: &Places) -> anyhow::Result<bool> {
    Ok(is_there(disk, &places.member_dir)? && places.unfinished(disk)?.is_some())
}

/// Makes the directory ours if etcd left it, or if an import was not finished. The caller holds the directory's lock.
///
/// # Errors
/// Why it cannot be; etcd's files are as they were, unless the renames at the end have begun, which the next start finishes.
pub fn take_over(tools: &Tools<'_>, places: &Places) -> anyhow::Result<()> {
    let disk = &**tools.disk;
    if let Some(index) = places.unfinished(disk)? {
        tracing::info!("member-dir" = %places.member_dir.display(), index, "finishing the import of etcd's data");
        places.finish(disk, index)?;
    }
    if !is_left_by_etcd(disk, places)? {
        return Ok(());
    }
    let member_dir = places.member_dir.display();
    tracing::info!(%member_dir, "taking over the data directory that etcd left");
    notify_delay(IMPORT_TIME);
    let lock = lock_database(disk, places)?;
    let taken = build_and_replace(tools, places);
    if taken.is_err()
        && let Err(error) = places.clear(disk)
    {
        // It is as large as the state at worst, and the next start removes it.
        tracing::warn!(%error, "could not remove what was made of the import");
    }
    let imported = taken.with_context(|| format!("take over {member_dir}, which etcd left"))?;
    drop(lock);
    say(&imported, places);
    Ok(())
}

fn build_and_replace(tools: &Tools<'_>, places: &Places) -> anyhow::Result<Imported> {
    let disk = &**tools.disk;
    places.clear(disk)?;
    let imported = build(tools, places, (&places.building_state(), &places.building_log()), &mut say_now_and_then())?;
    places.check_kept_are_free(disk, imported.applied.index)?;
    places.call_whole(disk, imported.applied.index)?;
    places.finish(disk, imported.applied.index)?;
    Ok(imported)
}

/// A line for those who wait.
fn say_now_and_then() -> impl FnMut(u64, u64) {
    let mut said = Instant::now();
    move |done, total| {
        if said.elapsed() >= BETWEEN_LINES {
            said = Instant::now();
            tracing::info!(done = %HumanBytes(done), total = %HumanBytes(total), "taking over etcd's data");
        }
    }
}

fn say(imported: &Imported, places: &Places) {
    if let Some(Cut { file, offset, what }) = &imported.cut {
        tracing::warn!(file = %file.display(), offset, reason = %what, "left out a torn write at the end of etcd's log");
    }
    for (ids, what) in [
        (&imported.dropped, "left out members that are in etcd's database and not in its Raft"),
        (&imported.mended, "mended members whose rows in etcd's database differ from its Raft"),
    ] {
        if !ids.is_empty() {
            tracing::warn!(members = %joined(ids.iter()), "{what}");
        }
    }
    if !imported.unknown_buckets.is_empty() {
        tracing::warn!(buckets = imported.unknown_buckets.join(","), "left out buckets that etcd does not know");
    }
    let [kept_snap, kept_log] = places.kept(imported.applied.index);
    tracing::info!(
        "local-member-id" = %MemberId(imported.identity.node_id),
        "cluster-id" = %crate::types::ClusterId(imported.identity.cluster_id),
        revision = imported.revision,
        "applied-index" = imported.applied.index,
        "commit-index" = imported.hard_state.commit,
        "last-index" = imported.last.index,
        term = imported.hard_state.term,
        members = %joined(imported.members.iter().map(|member| member.id)),
        database = %imported.database.display(),
        "original-snap" = %kept_snap.display(),
        "original-wal" = %kept_log.display(),
        "took over etcd's data; the original is kept"
    );
}

fn joined(ids: impl Iterator<Item = impl ToString>) -> String {
    ids.map(|id| id.to_string()).collect::<Vec<_>>().join(",")
}

fn is_left_by_etcd(disk: &dyn Disk, places: &Places) -> anyhow::Result<bool> {
    if is_there(disk, &places.member_dir.join(STATE_FILE))? || !is_there(disk, &places.snap_dir())? {
        return Ok(false);
    }
    Ok(is_there(disk, &places.snap_dir().join(DATABASE))? || wal::exists(disk, &places.wal_dir)?)
}

/// etcd locks its database in the same way (bbolt, `flock`).
fn lock_database(disk: &dyn Disk, places: &Places) -> anyhow::Result<Option<Box<dyn DiskLock>>> {
    let path = places.snap_dir().join(DATABASE);
    if !is_there(disk, &path)? {
        return Ok(None);
    }
    let in_use = || format!("{} is in use by another process: etcd still runs on this directory", path.display());
    try_lock(disk, &path)?.with_context(in_use).map(Some)
}

/// Makes a state file and a log of what etcd left in `from`, where nothing changes. Both are durable; on an error what there
/// is of them is of no use.
///
/// # Errors
/// As [`take_over`].
pub fn build(
    tools: &Tools<'_>,
    from: &Places,
    (state, log): (&Path, &Path),
    on_progress: OnProgress<'_>,
) -> anyhow::Result<Imported> {
    let disk = &**tools.disk;
    let survey = Survey::of(disk, &from.wal_dir).map_err(|error| match error {
        missing @ WalError::Missing { .. } => {
            anyhow::Error::new(missing).context("a database without its log cannot be taken over")
        }
        other => other.into(),
    })?;
    let source = Source::find(disk, &from.snap_dir(), survey.snapshot)?;
    let applied = source.position(&survey)?;

    let mut first = RaftMembers::of(&survey.conf_state);
    let mut file = SnapFile::default();
    let needs_file = survey.snapshot.index > 0 && (first.is_none() || !source.has_rows_of(first.as_ref())?);
    if needs_file && let Some(found) = SnapFile::read(disk, &from.snap_dir(), survey.snapshot)? {
        first = first.or_else(|| RaftMembers::of(&found.conf_state));
        file = found;
    }
    let plan = Plan::of(&survey, applied.index, first.as_ref())?;

    let fresh = disk.create(state).with_context(|| format!("create {}", state.display()))?;
    let import = Import::new(fresh, tools.cache_bytes, tools.storage_metrics.clone())
        .with_context(|| format!("create {}", state.display()))?;
    let loaded = load_observed(&source.database, import, &[], on_progress).map_err(|error| match error {
        LoadError::Storage(error) => anyhow::Error::new(error).context(format!("write {}", state.display())),
        other => anyhow::Error::new(other).context(format!("read {}", source.path.display())),
    })?;
    let rows = member_rows(&loaded.storage).with_context(|| format!("read {}", source.path.display()))?;
    let settled = match &plan.members {
        Some(members) => members.settle(&rows, first.as_ref().unwrap_or(&RaftMembers::default()), &file.members)?,
        None => Settled { members: rows.clone(), ..Settled::default() },
    };
    let revision =
        place(&loaded.storage, &plan, applied, &settled).with_context(|| format!("write {}", state.display()))?;
    // Closed before it gets another name.
    drop(loaded.storage);

    let hard_state = log::hard_state(&survey, applied.index);
    log::write(tools, log, &survey, &plan, &settled.members, hard_state)?;
    Ok(Imported {
        identity: survey.identity,
        database: source.path,
        revision,
        applied,
        begin: plan.begin,
        last: survey.last,
        hard_state,
        members: settled.members.iter().cloned().collect(),
        dropped: settled.dropped,
        mended: settled.mended,
        cut: survey.cut,
        unknown_buckets: loaded.unknown_buckets,
    })
}

fn member_rows(storage: &Storage) -> anyhow::Result<MemberTable> {
    let version = storage.version()?;
    let (members, removed) = (version.rows(Table::Members)?, version.rows(Table::MembersRemoved)?);
    let members = members.iter().map(|(key, value)| (key.as_slice(), value.as_slice()));
    Ok(MemberTable::from_rows(members, removed.iter().map(|(key, _)| key.as_slice()))?)
}

/// Lets the state stand where it does in the log, durably; answers its revision.
fn place(storage: &Storage, plan: &Plan, applied: LogPosition, settled: &Settled) -> anyhow::Result<i64> {
    let mut batch = storage.begin()?;
    // The membership holds since the entry that set it, or since before the log begins.
    apply::place(&mut batch, plan.begin, &settled.members);
    batch.set_applied(applied);
    write_members(&mut batch, settled);
    batch.commit(Durability::Durable)?;
    Ok(mvcc::revisions(&storage.version()?)?.0)
}

fn write_members(batch: &mut Batch, settled: &Settled) {
    for id in &settled.dropped {
        batch.remove(Table::Members, &MemberTable::row_key(*id));
    }
    for member in settled.mended.iter().filter_map(|id| settled.members.get(*id)) {
        batch.put(Table::Members, &MemberTable::row_key(member.id), &member.to_json());
    }
}

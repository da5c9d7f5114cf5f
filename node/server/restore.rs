//! `snapshot restore`: the data directory of a member of a new cluster, whose state is that of a snapshot file (etcd
//! `etcdutl/snapshot/v3_snapshot.go`).
//!
//! Invariants: what a server starts on is there as a whole or not at all. It is made in a folder that no server looks into,
//! synced, and given its name at the end. A log outside of the data directory comes before that: a server refuses one
//! whose state is missing. What fails leaves nothing behind; what is killed leaves a folder that the next attempt removes.

use super::bootstrap::{STATE_FILE, initial_members, is_there};
use super::workshop::{UNFINISHED, Workshop};
use crate::apply;
use crate::backup::bolt::Database;
use crate::backup::{self, Loaded};
use crate::cluster::{Member, MemberTable, cluster_id};
use crate::config::bootstrap::parse_members;
use crate::config::{Bootstrap, Url, go_io_error};
use crate::disk::{Disk, RealDisk, open_to_read};
use crate::logging::Strings;
use crate::mvcc;
use crate::raft::{self, bootstrap_log};
use crate::storage::{self, Durability, Import, Storage, Table};
use crate::types::{ClusterId, LogPosition, MemberId, OnProgress};
use crate::wal;
use anyhow::{Context, bail};
use std::path::PathBuf;

/// What redb may keep of the state file in memory.
const CACHE_BYTES: usize = 32 << 20;

/// Whether the file is compared with the digest behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Digest {
    Compare,
    Skip,
}

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Restore {
    pub snapshot: PathBuf,
    pub data_dir: PathBuf,
    pub wal_dir: PathBuf,
    pub name: String,
    pub bootstrap: Bootstrap,
    pub advertise_peer: Vec<Url>,
    pub digest: Digest,
    /// By how much the revision is moved on; all before is compacted then. Zero leaves both.
    pub bump_revision: u64,
    /// Has no effect: nothing is mapped.
    pub initial_memory_map_bytes: u64,
}

/// The members of the new cluster, and which of them this one is.
struct NewCluster {
    members: Vec<Member>,
    local: MemberId,
    id: ClusterId,
}

/// Makes the data directory on the machine's disk.
///
/// # Errors
/// As [`run_on`].
pub fn run(restore: &Restore, on_progress: OnProgress<'_>) -> anyhow::Result<()> {
    run_on(&RealDisk, restore, on_progress)
}

/// Makes the data directory.
///
/// # Errors
/// In etcdutl's words where it has some: the flags do not fit together; there is a data directory; the file is damaged, or
/// none; the disk fails. Nothing is left of what was begun.
pub fn run_on(disk: &dyn Disk, restore: &Restore, on_progress: OnProgress<'_>) -> anyhow::Result<()> {
    let cluster = new_cluster(restore)?;
    check_targets(disk, restore)?;
    tracing::info!(
        path = %restore.snapshot.display(),
        "wal-dir" = %restore.wal_dir.display(),
        "data-dir" = %restore.data_dir.display(),
        "initial-memory-map-size" = restore.initial_memory_map_bytes,
        "restoring snapshot"
    );
    let database = open_snapshot(restore)?;
    let mut workshop = Workshop::open(disk, &restore.data_dir)?;
    if let Err(error) = make(&mut workshop, restore, &cluster, &database, on_progress) {
        workshop.clear();
        return Err(error);
    }
    tracing::info!(
        path = %restore.snapshot.display(),
        "wal-dir" = %restore.wal_dir.display(),
        "data-dir" = %restore.data_dir.display(),
        "initial-memory-map-size" = restore.initial_memory_map_bytes,
        "restored snapshot"
    );
    Ok(())
}

fn new_cluster(restore: &Restore) -> anyhow::Result<NewCluster> {
    // Without the words that the server puts before it.
    parse_members(&restore.bootstrap.initial_cluster)?;
    let members = initial_members(&restore.bootstrap, &restore.name, &restore.advertise_peer)?;
    let local = members.iter().find(|member| member.name == restore.name).map(|member| member.id);
    let local = local.context("the members have been checked to hold this one")?;
    let id = cluster_id(members.iter().map(|member| member.id));
    Ok(NewCluster { members, local, id })
}

fn check_targets(disk: &dyn Disk, restore: &Restore) -> anyhow::Result<()> {
    let data_dir = &restore.data_dir;
    let is_free = match disk.list(data_dir) {
        Ok(names) => names.iter().all(|name| name == UNFINISHED),
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    };
    if !is_free {
        bail!("data-dir {:?} not empty or could not be read", data_dir.display().to_string());
    }
    if is_there(disk, &restore.wal_dir)? {
        bail!("wal-dir {:?} exists", restore.wal_dir.display().to_string());
    }
    Ok(())
}

fn open_snapshot(restore: &Restore) -> anyhow::Result<Database> {
    let path = &restore.snapshot;
    let file =
        open_to_read(path).map_err(|error| anyhow::anyhow!("open {}: {}", path.display(), go_io_error(&error)))?;
    let (bytes, has_digest) = backup::database_bytes(file.len()?);
    match restore.digest {
        Digest::Compare if has_digest => drop(backup::verify(file.as_ref())?),
        Digest::Compare => bail!("snapshot missing hash but --skip-hash-check=false"),
        Digest::Skip => {}
    }
    Database::open(file, bytes).with_context(|| path.display().to_string())
}

fn make(
    workshop: &mut Workshop<'_>,
    restore: &Restore,
    cluster: &NewCluster,
    database: &Database,
    on_progress: OnProgress<'_>,
) -> anyhow::Result<()> {
    let (entries, hard_state) = bootstrap_log(&cluster.members);
    let position = LogPosition { term: hard_state.term, index: hard_state.commit };
    let storage = load(workshop, restore, database, on_progress)?;
    let membership = settle(&storage, restore, cluster, position)?;
    drop(storage);
    let identity = wal::Identity { node_id: cluster.local.0, cluster_id: cluster.id.0 };
    let members = raft::conf_state(Some(&membership)).context("read membership")?;
    let wal_dir = workshop.wal_dir(&restore.wal_dir)?;
    wal::create_behind(workshop.disk, &wal_dir, identity, &entries, hard_state, &members)
        .with_context(|| format!("create log in {}", wal_dir.display()))?;
    workshop.finish()
}

/// The rows of the file as a state in the workshop, without those of members.
fn load(
    workshop: &Workshop<'_>,
    restore: &Restore,
    database: &Database,
    on_progress: OnProgress<'_>,
) -> anyhow::Result<Storage> {
    let path = workshop.path().join(STATE_FILE);
    let file = workshop.disk.create(&path).with_context(|| format!("create {}", path.display()))?;
    let metrics = storage::Metrics::detached();
    let import = Import::new(file, CACHE_BYTES, metrics).with_context(|| format!("create {}", path.display()))?;
    let Loaded { storage, unknown_buckets, .. } =
        backup::load_observed(database, import, &[Table::Members, Table::MembersRemoved], on_progress)
            .with_context(|| format!("restore {}", restore.snapshot.display()))?;
    if !unknown_buckets.is_empty() {
        tracing::warn!(
            buckets = Strings(unknown_buckets).field(),
            "the snapshot has buckets that etcd does not know; they are left out"
        );
    }
    Ok(storage)
}

/// Makes it the state of a member of the new cluster. Returns the row of the membership.
fn settle(
    storage: &Storage,
    restore: &Restore,
    cluster: &NewCluster,
    position: LogPosition,
) -> anyhow::Result<Vec<u8>> {
    let mut batch = storage.begin()?;
    if restore.bump_revision > 0 {
        let bump = mvcc::bump(&storage.version()?, &mut batch, restore.bump_revision)?;
        tracing::info!(
            "latest-revision" = bump.from,
            "bump-amount" = restore.bump_revision,
            "new-latest-revision" = bump.to,
            "bumping latest revision"
        );
        tracing::info!(revision = bump.to, "marking revision compacted");
    }
    for member in &cluster.members {
        batch.put(Table::Members, &MemberTable::row_key(member.id), &member.to_json());
        tracing::info!(
            "cluster-id" = %cluster.id,
            "local-member-id" = "0",
            "added-peer-id" = %member.id,
            "added-peer-peer-urls" = Strings::new(&member.peer_urls).field(),
            "added-peer-is-learner" = false,
            "added member"
        );
    }
    apply::place(&mut batch, position, &MemberTable::with_members(cluster.members.iter().cloned()));
    batch.commit(Durability::Durable)?;
    storage.version()?.meta()?.membership.context("the membership was written")
}

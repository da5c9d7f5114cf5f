//! `--force-new-cluster`: a member goes on alone with all that it has, when the others are lost for good. Cluster and
//! member keep their ids; the others are removed by entries at the end of the log (etcd `server/etcdserver/bootstrap.go`).
//!
//! Other than in etcd, the end of the log that this member does not know to be committed stays, and is committed: some of
//! it may have been acknowledged by those that are lost, and nobody can contradict it any more.
//!
//! A mark in the directory is durable before the first entry and until the last, so that a crash leaves a member of the
//! old cluster, or one that goes on with this at its next start. Nothing is served before the mark is gone.

use super::bootstrap::{Ground, is_there};
use crate::apply::{conf_change, stored_members};
use crate::cluster::MemberTable;
use crate::config::Settings;
use crate::disk::{Disk, parent_of};
use crate::raft::lone_member_log;
use crate::storage::Storage;
use crate::threads::Threads;
use crate::types::LogPosition;
use crate::wal::{self, Wal};
use anyhow::{Context, ensure};
use std::path::{Path, PathBuf};
use std::sync::mpsc;

const MARK: &str = "force-new-cluster";

/// What is read of the log at once, in bytes of data.
const READ_BYTES: u64 = 8 << 20;

fn mark(settings: &Settings) -> PathBuf {
    settings.member.member_dir().join(MARK)
}

/// True if the operator wants it, or wanted it before a crash.
///
/// # Errors
/// The directory cannot be read.
pub fn is_due(settings: &Settings, disk: &dyn Disk) -> anyhow::Result<bool> {
    Ok(settings.bootstrap.force_new_cluster || is_there(disk, &mark(settings))?)
}

/// Makes this member the only one. Durable on return.
///
/// # Errors
/// The member was removed from its cluster; log or directory cannot be written.
pub fn run(settings: &Settings, disk: &dyn Disk, threads: &Threads, ground: &mut Ground) -> anyhow::Result<()> {
    // Who shares its thread with the log's cannot wait for it.
    ensure!(matches!(threads, Threads::Own), "--force-new-cluster needs a log with a thread of its own");
    let Ground { identity, wal, storage, .. } = &*ground;
    let (local, found) = (identity.member, wal.hard_state());
    let table = members(wal, storage)?;
    ensure!(
        table.get(local).is_some(),
        "member {local} is not in its cluster any more: a new one cannot be made of its data by --force-new-cluster"
    );
    let last = wal.last();
    let entries = lone_member_log(table, local, LogPosition { term: last.term.max(found.term), ..last });
    let commit = entries.last().map_or(last.index, |entry| entry.index);

    let mark = mark(settings);
    if !is_there(disk, &mark)? {
        disk.create(&mark).with_context(|| format!("create {}", mark.display()))?;
    }
    sync_folder(disk, &mark)?;
    write(wal, entries, wal::HardState { commit, ..found }).context("write log")?;
    disk.remove_file(&mark).with_context(|| format!("remove {}", mark.display()))?;
    sync_folder(disk, &mark)?;
    tracing::info!(
        "cluster-id" = %identity.cluster,
        "local-member-id" = %local,
        "wal-commit-index" = found.commit,
        "last-index" = last.index,
        "commit-index" = commit,
        "forcing restart member"
    );
    ground.last_index = commit;
    Ok(())
}

fn sync_folder(disk: &dyn Disk, file: &Path) -> anyhow::Result<()> {
    let folder = parent_of(file);
    disk.sync_dir(folder).with_context(|| format!("sync {}", folder.display()))
}

/// Who belongs to the cluster once all entries of the log are applied.
fn members(wal: &Wal, storage: &Storage) -> anyhow::Result<MemberTable> {
    let mut table = stored_members(storage).context("read members")?;
    let mut next = storage.version()?.meta()?.applied.index + 1;
    let end = wal.last().index + 1;
    while next < end {
        for entry in wal.read_limited(next, end, READ_BYTES).context("read log")? {
            next = entry.index + 1;
            if entry.kind != wal::EntryKind::ConfChange {
                continue;
            }
            let (_, change) =
                conf_change::decode(&entry.data).with_context(|| format!("read entry {}", entry.index))?;
            // As apply does: what the table refuses changes nothing.
            if table.check(&change, usize::MAX).is_ok() {
                table.change(&change);
            }
        }
    }
    Ok(table)
}

/// Waits until both are on the disk.
fn write(wal: &Wal, entries: Vec<wal::Entry>, state: wal::HardState) -> std::io::Result<()> {
    let (sender, written) = mpsc::channel();
    let report = || -> wal::Done {
        let sender = sender.clone();
        // The receiver leaves only with an error that was reported before.
        Box::new(move |result| drop(sender.send(result)))
    };
    wal.append(entries, report());
    wal.save_hard_state(state, report());
    drop(sender);
    (0..2).try_for_each(|_| written.recv().map_err(std::io::Error::other)?)
}

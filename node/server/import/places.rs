//! Where an import builds, and the order in which what it built takes the place of what etcd left.
//!
//! ```text
//! built beside     member/state.importing         <wal>.import
//! whole            member/state.imported-<index>                      renamed
//! the point        <wal> -> <wal>.etcd-<index>                        from here on it is only finished
//! the rest         <wal>.import -> <wal>
//!                  member/snap -> member/snap.etcd-<index>
//! the end          member/state.redb                                  renamed
//! ```
//! Each rename is synced before the next. A start that finds less than the point removes it and begins again: etcd's files
//! are untouched, and etcd may have run on them meanwhile. One that finds the point passed does the rest. Renames stay within
//! a folder: nothing is copied, and nothing of etcd's is ever deleted.

use crate::disk::{Disk, parent_of};
use crate::server::bootstrap::{STATE_FILE, is_there};
use anyhow::{Context, bail};
use std::path::{Path, PathBuf};

const BUILDING: &str = "state.importing";
const BUILT: &str = "state.imported-";
const SNAP: &str = "snap";

/// The two folders that a member has.
#[derive(Clone, Debug)]
pub struct Places {
    pub member_dir: PathBuf,
    pub wal_dir: PathBuf,
}

impl Places {
    /// Etcd's folder of snapshots, with its database.
    pub fn snap_dir(&self) -> PathBuf {
        self.member_dir.join(SNAP)
    }

    pub(super) fn building_state(&self) -> PathBuf {
        self.member_dir.join(BUILDING)
    }

    pub(super) fn building_log(&self) -> PathBuf {
        extended(&self.wal_dir, ".import")
    }

    /// Where etcd's folders are kept: its snapshots and its log.
    pub fn kept(&self, index: u64) -> [PathBuf; 2] {
        let extension = format!(".etcd-{index}");
        [extended(&self.snap_dir(), &extension), extended(&self.wal_dir, &extension)]
    }

    /// The index in the name of an import that passed the point and was not finished.
    pub(super) fn unfinished(&self, disk: &dyn Disk) -> anyhow::Result<Option<u64>> {
        let index = self.whole(disk)?.iter().find_map(|name| name.strip_prefix(BUILT)?.parse().ok());
        let is_before = is_there(disk, &self.wal_dir)? && is_there(disk, &self.building_log())?;
        Ok(index.filter(|_| !is_before))
    }

    /// Names of states that are whole.
    fn whole(&self, disk: &dyn Disk) -> anyhow::Result<Vec<String>> {
        let mut names = disk.list(&self.member_dir).with_context(|| format!("list {}", self.member_dir.display()))?;
        names.retain(|name| name.starts_with(BUILT));
        Ok(names)
    }

    /// Removes what an import left, unless it passed the point.
    pub(super) fn clear(&self, disk: &dyn Disk) -> anyhow::Result<()> {
        if self.unfinished(disk)?.is_some() {
            return Ok(());
        }
        let whole = self.whole(disk)?.into_iter().map(|name| self.member_dir.join(name));
        for state in whole.chain([self.building_state()]) {
            if is_there(disk, &state)? {
                disk.remove_file(&state).with_context(|| format!("remove {}", state.display()))?;
            }
        }
        // Before the log: with it alone gone, a whole state would look like one behind the point.
        sync_dir(disk, &self.member_dir)?;
        let log = self.building_log();
        // The second one has this name while it is created.
        for dir in [extended(&log, ".tmp"), log] {
            if is_there(disk, &dir)? {
                disk.remove_dir_all(&dir).with_context(|| format!("remove {}", dir.display()))?;
            }
        }
        Ok(())
    }

    /// Fails while there is something where etcd's folders are to be kept.
    pub(super) fn check_kept_are_free(&self, disk: &dyn Disk, index: u64) -> anyhow::Result<()> {
        for kept in self.kept(index) {
            if is_there(disk, &kept)? {
                bail!("{} is there already: move it away to import again", kept.display());
            }
        }
        Ok(())
    }

    /// What was built is whole and durable.
    pub(super) fn call_whole(&self, disk: &dyn Disk, index: u64) -> anyhow::Result<()> {
        rename(disk, &self.building_state(), &self.built(index))
    }

    /// Passes the point, or does what is left to do behind it.
    pub(super) fn finish(&self, disk: &dyn Disk, index: u64) -> anyhow::Result<()> {
        let [kept_snap, kept_log] = self.kept(index);
        let (log, snap) = (self.building_log(), self.snap_dir());
        if is_there(disk, &log)? {
            if is_there(disk, &self.wal_dir)? {
                rename(disk, &self.wal_dir, &kept_log)?;
            }
            rename(disk, &log, &self.wal_dir)?;
        }
        if is_there(disk, &snap)? {
            rename(disk, &snap, &kept_snap)?;
        }
        rename(disk, &self.built(index), &self.member_dir.join(STATE_FILE))
    }

    fn built(&self, index: u64) -> PathBuf {
        self.member_dir.join(format!("{BUILT}{index}"))
    }
}

/// `path` with more behind its last name.
fn extended(path: &Path, extension: &str) -> PathBuf {
    // A trailing slash would make it a name of its own.
    let mut extended = path.components().as_path().as_os_str().to_owned();
    extended.push(extension);
    PathBuf::from(extended)
}

fn rename(disk: &dyn Disk, from: &Path, to: &Path) -> anyhow::Result<()> {
    disk.rename(from, to).with_context(|| format!("rename {} to {}", from.display(), to.display()))?;
    sync_dir(disk, parent_of(to))
}

fn sync_dir(disk: &dyn Disk, dir: &Path) -> anyhow::Result<()> {
    disk.sync_dir(dir).with_context(|| format!("sync {}", dir.display()))
}

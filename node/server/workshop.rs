//! Where the folder `member` of a data directory is made before it gets its name: beside it, so that the name is given by one
//! rename, and never to a half.

use super::bootstrap::{LOCK_FILE, is_there, try_lock};
use crate::disk::{Disk, DiskLock, parent_of};
use anyhow::Context;
use std::io;
use std::path::{Path, PathBuf};

/// The folder's name until then.
pub const UNFINISHED: &str = "member.restoring";
const MEMBER: &str = "member";

/// A folder that is being made. Nobody else makes one here.
#[derive(Debug)]
pub struct Workshop<'d> {
    pub disk: &'d dyn Disk,
    data_dir: PathBuf,
    /// What was not there before and is not in the folder: the folders above it, outermost first, and then a log that is
    /// kept elsewhere.
    above: Vec<PathBuf>,
    log: Vec<PathBuf>,
    has_name: bool,
    _lock: Box<dyn DiskLock>,
}

impl<'d> Workshop<'d> {
    /// Makes the folder, and those above it. What a killed attempt has left in it is removed.
    ///
    /// # Errors
    /// Somebody makes one, or has just made it; the disk fails.
    pub fn open(disk: &'d dyn Disk, data_dir: &Path) -> anyhow::Result<Self> {
        let above = missing(disk, data_dir)?;
        match lock_empty(disk, &data_dir.join(UNFINISHED)) {
            Ok(lock) => {
                Ok(Self { disk, data_dir: data_dir.to_owned(), above, log: Vec::new(), has_name: false, _lock: lock })
            }
            Err(error) => {
                told(data_dir, remove_empty(disk, &data_dir.join(UNFINISHED)));
                above.iter().rev().for_each(|dir| told(dir, remove_empty(disk, dir)));
                Err(error)
            }
        }
    }

    pub fn path(&self) -> PathBuf {
        self.data_dir.join(UNFINISHED)
    }

    /// Where to make the log that is to be at `wal_dir` in the end: in here, if it is to be in the folder `member`.
    ///
    /// # Errors
    /// The disk fails.
    pub fn wal_dir(&mut self, wal_dir: &Path) -> anyhow::Result<PathBuf> {
        if let Ok(inside) = wal_dir.strip_prefix(self.data_dir.join(MEMBER)) {
            let wal_dir = self.path().join(inside);
            let parent = parent_of(&wal_dir);
            self.disk.create_dir_all(parent).with_context(|| format!("create {}", parent.display()))?;
            return Ok(wal_dir);
        }
        let parent = parent_of(wal_dir);
        let mut above = missing(self.disk, parent)?;
        self.disk.create_dir_all(parent).with_context(|| format!("create {}", parent.display()))?;
        self.above.append(&mut above);
        let mut beside = wal_dir.as_os_str().to_owned();
        beside.push(".tmp");
        self.log = vec![PathBuf::from(beside), wal_dir.to_owned()];
        Ok(wal_dir.to_owned())
    }

    /// Gives the folder its name. All in it must be durable; this is durable on return.
    ///
    /// # Errors
    /// The disk fails.
    pub fn finish(&mut self) -> anyhow::Result<()> {
        let (path, member) = (self.path(), self.data_dir.join(MEMBER));
        let sync = |dir: &Path| self.disk.sync_dir(dir).with_context(|| format!("sync {}", dir.display()));
        sync(&path)?;
        sync(&self.data_dir)?;
        self.above.iter().try_for_each(|dir| sync(parent_of(dir)))?;
        self.disk.rename(&path, &member).with_context(|| format!("rename {}", path.display()))?;
        self.has_name = true;
        sync(&self.data_dir)
    }

    /// Removes what was made. What cannot be removed stays and is told: the error that led here counts.
    pub fn clear(self) {
        let made = if self.has_name { self.data_dir.join(MEMBER) } else { self.path() };
        let remove = |path: &PathBuf| {
            let there = self.disk.exists(path)?;
            if there { self.disk.remove_dir_all(path) } else { Ok(()) }
        };
        for path in [made].iter().chain(&self.log) {
            told(path, remove(path));
        }
        for dir in self.above.iter().rev() {
            told(dir, remove_empty(self.disk, dir));
        }
    }
}

/// The right to the folder, made if it is not there, with nothing else in it.
fn lock_empty(disk: &dyn Disk, path: &Path) -> anyhow::Result<Box<dyn DiskLock>> {
    let lock = lock(disk, path)?;
    let found = disk.list(path).with_context(|| format!("list {}", path.display()))?;
    if found.iter().all(|name| name == LOCK_FILE) {
        return Ok(lock);
    }
    disk.remove_dir_all(path).with_context(|| format!("remove {}", path.display()))?;
    drop(lock);
    self::lock(disk, path)
}

fn lock(disk: &dyn Disk, path: &Path) -> anyhow::Result<Box<dyn DiskLock>> {
    disk.create_dir_all(path).with_context(|| format!("create {}", path.display()))?;
    let lock = try_lock(disk, &path.join(LOCK_FILE))?;
    lock.with_context(|| format!("{} is being made by another process", path.display()))
}

fn told(path: &Path, removed: io::Result<()>) {
    if let Err(error) = removed {
        tracing::warn!(path = %path.display(), %error, "could not remove what an unfinished restore has made");
    }
}

/// Others may have put something there since.
fn remove_empty(disk: &dyn Disk, dir: &Path) -> io::Result<()> {
    match disk.list(dir) {
        Ok(names) if names.is_empty() => disk.remove_dir_all(dir),
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// The path and the folders above it that are not there, outermost first.
fn missing(disk: &dyn Disk, path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut missing = Vec::new();
    for dir in path.ancestors().filter(|dir| !dir.as_os_str().is_empty()) {
        if is_there(disk, dir)? {
            break;
        }
        missing.insert(0, dir.to_owned());
    }
    Ok(missing)
}

//! A fresh log. It is built beside its place and renamed into it, so that it is whole or absent.

use super::encode::{Encoder, segment_head};
use super::entry::{Entry, HardState, Identity};
use super::error::WalError;
use super::segment::SegmentName;
use crate::disk::{Disk, parent_of};
use crate::types::LogPosition;
use keelstone_proto::raftpb::ConfState;
use std::io;
use std::path::{Path, PathBuf};

/// True if there is a log in `dir`.
///
/// # Errors
/// [`WalError::Io`] if the directory cannot be read.
pub fn exists(disk: &dyn Disk, dir: &Path) -> Result<bool, WalError> {
    match disk.list(dir) {
        Ok(names) => Ok(names.iter().any(|name| SegmentName::parse(name).is_some())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(WalError::Io { action: "list", path: dir.to_owned(), source }),
    }
}

/// Makes a log with these entries (from index 1, contiguous) and this state; both may be empty. Durable on return.
/// The commit index must not be beyond the last entry.
///
/// # Errors
/// [`WalError::Exists`] if `dir` is there and not empty, and [`WalError::Io`].
pub fn create(
    disk: &dyn Disk,
    dir: &Path,
    identity: Identity,
    entries: &[Entry],
    hard_state: HardState,
) -> Result<(), WalError> {
    let records = records(dir, identity, entries, hard_state)?;
    write(disk, dir, &records)
}

/// As [`create`], for a member whose state holds already what all these entries did, with `members`: a snapshot record
/// stands behind them, so that the log goes on from there and gives them to nobody.
///
/// # Errors
/// As [`create`].
pub fn create_behind(
    disk: &dyn Disk,
    dir: &Path,
    identity: Identity,
    entries: &[Entry],
    hard_state: HardState,
    members: &ConfState,
) -> Result<(), WalError> {
    let mut records = records(dir, identity, entries, hard_state)?;
    if let Some(last) = entries.last() {
        records.snapshot(LogPosition { term: last.term, index: last.index }, members);
    }
    write(disk, dir, &records)
}

fn records(dir: &Path, identity: Identity, entries: &[Entry], hard_state: HardState) -> Result<Encoder, WalError> {
    let last = entries.last().map_or(0, |entry| entry.index);
    let contiguous = (1..).zip(entries).all(|(index, entry)| entry.index == index);
    if !contiguous || hard_state.commit > last {
        return Err(fail("fill", dir)(io::ErrorKind::InvalidInput.into()));
    }
    let mut encoder = Encoder::new(0);
    segment_head(&mut encoder, identity, HardState::default());
    encoder.snapshot(LogPosition::default(), &ConfState::default());
    for entry in entries {
        encoder.entry(entry);
    }
    if hard_state != HardState::default() {
        encoder.hard_state(hard_state);
    }
    Ok(encoder)
}

fn write(disk: &dyn Disk, dir: &Path, records: &Encoder) -> Result<(), WalError> {
    let mut temporary = dir.as_os_str().to_owned();
    temporary.push(".tmp");
    let temporary = PathBuf::from(temporary);
    if disk.exists(&temporary).map_err(fail("look for", &temporary))? {
        disk.remove_dir_all(&temporary).map_err(fail("delete", &temporary))?;
    }
    disk.create_dir_all(&temporary).map_err(fail("create", &temporary))?;
    let path = temporary.join(SegmentName { sequence: 0, first_index: 0 }.to_string());
    let file = disk.create(&path).map_err(fail("create", &path))?;
    file.write_at(0, records.bytes()).map_err(fail("write", &path))?;
    file.sync_data().map_err(fail("sync", &path))?;
    disk.sync_dir(&temporary).map_err(fail("sync directory", &temporary))?;

    if disk.exists(dir).map_err(fail("look for", dir))? {
        if !disk.list(dir).map_err(fail("list", dir))?.is_empty() {
            return Err(WalError::Exists { dir: dir.to_owned() });
        }
        disk.remove_dir_all(dir).map_err(fail("delete", dir))?;
    }
    disk.rename(&temporary, dir).map_err(fail("rename to", dir))?;
    let parent = parent_of(dir);
    disk.sync_dir(parent).map_err(fail("sync directory", parent))
}

fn fail(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> WalError {
    let path = path.to_owned();
    move |source| WalError::Io { action, path, source }
}

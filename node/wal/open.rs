//! Reading a log back (etcd `server/storage/wal/wal.go`, ReadAll, and `repair.go`). A zero length ends the data. In the
//! last segment a record that a crash cut off is cut away, once, and a copy of the file is kept; anything else that
//! cannot be read refuses the start and says where.

use super::codec;
use super::log::{Place, State};
use super::record::{self, Found, Kind, NoRecord};
use super::segment::{self, Head, Segment};
use super::{Entry, HardState, Identity, Metrics, OnFatal, Settings, Wal, WalError};
use crate::disk::{Disk, File};
use crate::types::LogPosition;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    pub identity: Identity,
    pub hard_state: HardState,
    /// Entries up to here were purged.
    pub purged: LogPosition,
    pub last: LogPosition,
    /// The copy of a file whose end a crash had cut off.
    pub broken_copy: Option<PathBuf>,
}

/// True if there is a log in `dir`.
///
/// # Errors
/// The directory cannot be read.
pub fn exists(disk: &dyn Disk, dir: &Path) -> Result<bool, WalError> {
    if !disk.exists(dir).map_err(WalError::io("look for", dir))? {
        return Ok(false);
    }
    let names = disk.list(dir).map_err(WalError::io("list", dir))?;
    Ok(names.iter().any(|name| segment::parse_name(name).is_some()))
}

/// Makes a log in `dir`: written beside it and renamed, so that a crash leaves all of it or nothing.
///
/// # Errors
/// A file operation failed, or `entries` do not begin at 1.
pub fn create(
    disk: &dyn Disk,
    dir: &Path,
    identity: Identity,
    entries: &[Entry],
    hard_state: HardState,
) -> Result<(), WalError> {
    let settings = Settings::default();
    let making = with_suffix(dir, ".tmp");
    if disk.exists(&making).map_err(WalError::io("look for", &making))? {
        disk.remove_dir_all(&making).map_err(WalError::io("remove", &making))?;
    }
    disk.create_dir_all(&making).map_err(WalError::io("create", &making))?;
    let mut content = Head { crc: 0, identity, state: None }.encode();
    let mut buffer = Vec::new();
    for entry in entries {
        codec::encode_entry(entry, &mut buffer);
        content.record(Kind::Entry, &buffer);
    }
    content.record(Kind::State, &codec::hard_state_to_bytes(hard_state));
    let path = making.join(segment::file_name(0, 0));
    segment::create(disk, &path, content.bytes(), settings.segment_bytes)?;
    disk.sync_dir(&making).map_err(WalError::io("sync", &making))?;
    // A directory without a segment is what a crash before this may have left, or the operator made.
    if disk.exists(dir).map_err(WalError::io("look for", dir))? {
        disk.remove_dir_all(dir).map_err(WalError::io("remove", dir))?;
    }
    disk.rename(&making, dir).map_err(WalError::io("rename", &making))?;
    let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    disk.sync_dir(parent).map_err(WalError::io("sync", parent))
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(suffix);
    path.with_file_name(name)
}

impl Wal {
    /// Opens the log in `dir` and starts its thread.
    ///
    /// # Errors
    /// There is none, it is damaged, or a file operation failed.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        settings: Settings,
        metrics: Metrics,
        on_fatal: OnFatal,
    ) -> Result<(Wal, Opened), WalError> {
        let segments = find_segments(disk.as_ref(), dir)?;
        let mut reading = Reading::default();
        let last = segments.len() - 1;
        for (at, segment) in segments.iter().enumerate() {
            reading.segment(disk.as_ref(), segment, at == last)?;
        }
        // Without a purge the log begins with its first entry.
        if let Some(first) = reading.entries.front().map(|entry| entry.index)
            && first != reading.purged.index + 1
        {
            let path = segments.front().map_or_else(|| dir.to_path_buf(), |segment| segment.path.clone());
            return Err(WalError::Gap { path, offset: 0, last: reading.purged.index, found: first });
        }
        let Reading { identity, hard_state, purged, entries, places, crc, end, broken_copy, .. } = reading;
        let identity = identity.ok_or_else(|| WalError::Missing { path: dir.to_path_buf() })?;
        let last = entries.back().map_or(purged, Entry::position);
        // A commit index beyond the entries was written for some that a crash took.
        let hard_state = HardState { commit: hard_state.commit.min(last.index), ..hard_state };
        let opened = Opened { identity, hard_state, purged, last, broken_copy };
        let state = State::new(segments, entries, places, purged, hard_state, settings.tail_bytes);
        let wal = Wal::start(disk, dir.to_path_buf(), identity, settings, state, (crc, end), metrics, on_fatal);
        Ok((wal, opened))
    }
}

fn find_segments(disk: &dyn Disk, dir: &Path) -> Result<VecDeque<Segment>, WalError> {
    let names = disk.list(dir).map_err(WalError::io("list", dir))?;
    let mut segments = VecDeque::<Segment>::new();
    for name in names {
        let Some((sequence, first_index)) = segment::parse_name(&name) else {
            continue;
        };
        let path = dir.join(&name);
        if segments.back().is_some_and(|before| before.sequence + 1 != sequence) {
            return Err(WalError::MissingSegment { path });
        }
        let file = disk.open(&path).map_err(WalError::io("open", &path))?;
        segments.push_back(Segment { sequence, first_index, path, file });
    }
    if segments.is_empty() {
        return Err(WalError::Missing { path: dir.to_path_buf() });
    }
    Ok(segments)
}

/// What the records so far amount to.
#[derive(Debug, Default)]
struct Reading {
    identity: Option<Identity>,
    hard_state: HardState,
    purged: LogPosition,
    entries: VecDeque<Entry>,
    places: VecDeque<Place>,
    crc: u32,
    /// Where the data of the last segment read ends.
    end: u64,
    broken_copy: Option<PathBuf>,
    /// True once an entry was read or a purge: what comes must follow.
    began: bool,
}

impl Reading {
    fn segment(&mut self, disk: &dyn Disk, segment: &Segment, is_last: bool) -> Result<(), WalError> {
        let content = read_file(segment)?;
        let mut offset = 0;
        loop {
            let rest = content.get(offset..).unwrap_or_default();
            let crc_before = self.crc;
            match record::read(rest, offset as u64, self.crc) {
                Ok(found) => {
                    self.record(segment, offset as u64, crc_before, &found)?;
                    offset += found.total_bytes;
                }
                Err(NoRecord::End) => break,
                Err(NoRecord::Torn) if is_last => {
                    self.broken_copy = Some(keep_copy(disk, segment, &content)?);
                    tracing::warn!(path = %segment.path.display(), offset, "cut off the torn end of the log");
                    break;
                }
                Err(NoRecord::Torn) => {
                    return Err(WalError::TornInside { path: segment.path.clone(), offset: offset as u64 });
                }
                Err(NoRecord::Corrupt) => {
                    return Err(WalError::Corrupt { path: segment.path.clone(), offset: offset as u64 });
                }
            }
        }
        self.end = offset as u64;
        // A torn batch may have left bytes behind a zero length: the next append must not revive them.
        let stale = content.get(offset..).unwrap_or_default();
        if is_last && stale.iter().any(|byte| *byte != 0) {
            let zeros = vec![0; stale.len()];
            segment.file.write_at(self.end, &zeros).map_err(WalError::io("clear the end of", &segment.path))?;
            segment.file.sync_data().map_err(WalError::io("sync", &segment.path))?;
        }
        Ok(())
    }

    fn record(&mut self, segment: &Segment, offset: u64, crc_before: u32, found: &Found) -> Result<(), WalError> {
        let undecodable = |what| WalError::Undecodable { path: segment.path.clone(), offset, what };
        match found.kind {
            Kind::Crc => {
                // The first file of a log that lost its head by purge carries the checksum over.
                if self.began && self.crc != found.crc {
                    return Err(WalError::Corrupt { path: segment.path.clone(), offset });
                }
            }
            Kind::Metadata => {
                let identity = codec::identity_from_bytes(&found.data).ok_or_else(|| undecodable("metadata"))?;
                if self.identity.is_some_and(|known| known != identity) {
                    return Err(WalError::OtherIdentity { path: segment.path.clone() });
                }
                self.identity = Some(identity);
            }
            Kind::Entry => {
                let entry = codec::entry_from_bytes(&found.data).ok_or_else(|| undecodable("entry"))?;
                let place = Place::new(segment.sequence, offset, crc_before);
                self.entry(segment, offset, entry, place)?;
            }
            Kind::State => {
                self.hard_state =
                    codec::hard_state_from_bytes(&found.data).ok_or_else(|| undecodable("hard state"))?;
            }
            Kind::Snapshot => {
                let at = codec::snapshot_from_bytes(&found.data).ok_or_else(|| undecodable("snapshot"))?;
                self.purge(segment, offset, at)?;
            }
        }
        self.crc = found.crc;
        self.began = true;
        Ok(())
    }

    /// A later entry with an index that is there replaces the tail.
    fn entry(&mut self, segment: &Segment, offset: u64, entry: Entry, place: Place) -> Result<(), WalError> {
        if entry.index <= self.purged.index {
            return Ok(());
        }
        let first = self.entries.front().map(|entry| entry.index);
        let last = self.entries.back().map_or(self.purged.index, |entry| entry.index);
        // Entries that a purge covers may be gone with their segment, so the first one found may be any; a purge
        // record that comes later says what is missing.
        let follows = entry.index <= last + 1 || (first.is_none() && self.purged.index == 0);
        if !follows {
            return Err(WalError::Gap { path: segment.path.clone(), offset, last, found: entry.index });
        }
        if let Some(first) = first {
            let keep = usize::try_from(entry.index.saturating_sub(first)).unwrap_or(usize::MAX);
            self.entries.truncate(keep);
            self.places.truncate(keep);
        }
        self.entries.push_back(entry);
        self.places.push_back(place);
        Ok(())
    }

    fn purge(&mut self, segment: &Segment, offset: u64, at: LogPosition) -> Result<(), WalError> {
        if at.index < self.purged.index {
            return Ok(());
        }
        let first = self.entries.front().map_or(at.index + 1, |entry| entry.index);
        if first > at.index + 1 {
            return Err(WalError::Gap { path: segment.path.clone(), offset, last: at.index, found: first });
        }
        self.purged = at;
        while self.entries.front().is_some_and(|entry| entry.index <= at.index) {
            self.entries.pop_front();
            self.places.pop_front();
        }
        Ok(())
    }
}

fn read_file(segment: &Segment) -> Result<Vec<u8>, WalError> {
    let length = segment.file.len().map_err(WalError::io("read length of", &segment.path))?;
    let mut content = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
    segment.file.read_at(0, &mut content).map_err(WalError::io("read", &segment.path))?;
    Ok(content)
}

/// The file as it was found, for whoever wants to look into what the crash took.
fn keep_copy(disk: &dyn Disk, segment: &Segment, content: &[u8]) -> Result<PathBuf, WalError> {
    let path = with_suffix(&segment.path, ".broken");
    if disk.exists(&path).map_err(WalError::io("look for", &path))? {
        disk.remove_file(&path).map_err(WalError::io("remove", &path))?;
    }
    let copy: Arc<dyn File> = disk.create(&path).map_err(WalError::io("create", &path))?;
    copy.write_at(0, content).map_err(WalError::io("write", &path))?;
    copy.sync_data().map_err(WalError::io("sync", &path))?;
    Ok(path)
}

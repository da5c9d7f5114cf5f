//! Opening a log: reads all of it, decides what it says, and makes its end fit to be written on.
//!
//! Rules (etcd `server/storage/wal/wal.go` ReadAll, `repair.go`): a frame of zero ends a file. In the last segment a
//! record that does not check and looks torn is cut off, after a copy of the file was kept; any other failure is
//! corruption. A later entry replaces those from its index on. A snapshot record counts if the last hard state
//! covers its index.

use super::encode::kind;
use super::entry::{HardState, Identity};
use super::error::{Corruption, WalError};
use super::files::Files;
use super::log::Log;
use super::places::{Places, Terms, to_units};
use super::prepare::{Background, Preparer};
use super::reader::{
    Bad, EntryView, ReadError, Record, RecordReader, parse_hard_state, parse_metadata, parse_snapshot,
};
use super::segment::{Segment, SegmentName};
use super::shared::Shared;
use super::writer::{Resume, Writer};
use super::{Metrics, OnFatal, Settings};
use crate::disk::Disk;
use crate::types::LogPosition;
use keelstone_proto::raftpb::ConfState;
use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What one read of a file fetches while scanning.
const CHUNK_BYTES: u64 = 1 << 20;

/// More would not fit the places kept in memory.
const MAX_SEGMENT_BYTES: u64 = 16 << 30;

/// What the files say.
#[derive(Clone, Debug, PartialEq)]
pub struct Opened {
    pub identity: Identity,
    pub hard_state: HardState,
    /// The newest snapshot record that counts: what is before it was purged or came as a snapshot.
    pub snapshot: Option<LogPosition>,
    /// The members at that point.
    pub conf_state: ConfState,
    /// Index of the first entry, or of the one to come.
    pub first_index: u64,
    /// The last entry, or `snapshot` if there is none.
    pub last: LogPosition,
    /// A torn write that was cut off.
    pub torn: Option<Torn>,
}

/// What was cut off the last segment. It was never synced, unless the file was damaged otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Torn {
    pub file: PathBuf,
    /// Where the file was cut.
    pub offset: u64,
    pub what: Corruption,
    /// The file as it was.
    pub copy: PathBuf,
}

pub(crate) fn open(
    disk: Arc<dyn Disk>,
    dir: &Path,
    settings: Settings,
    metrics: Metrics,
    on_fatal: OnFatal,
    background: Background,
) -> Result<(Arc<Shared>, Writer, Opened), WalError> {
    let names = segments(&*disk, dir)?;
    let mut scan = Scan::default();
    let mut end = None;
    for (at, &name) in names.iter().enumerate() {
        let path = dir.join(name.to_string());
        let file = disk.open(&path).map_err(fail("open", &path))?;
        let len = file.len().map_err(fail("measure", &path))?;
        let segment = Arc::new(Segment::new(name, path.clone(), file, len));
        if at == 0 && name.sequence > 0 {
            scan.head_missing(name);
        }
        let bad = scan.segment(&segment)?;
        match bad {
            Some(bad) if at + 1 < names.len() || !bad.torn => {
                return Err(WalError::Corrupt { file: path, offset: bad.offset, what: bad.what });
            }
            _ => end = Some((segment, bad)),
        }
    }
    let Some((current, bad)) = end else { return Err(WalError::Missing { dir: dir.to_owned() }) };
    let found = scan.finish(&current)?;

    let torn = match bad {
        Some(bad) => Some(keep_copy(&*disk, dir, &current, bad)?),
        None => None,
    };
    let segment_bytes = settings.segment_bytes.min(MAX_SEGMENT_BYTES);
    mend(&*disk, dir, &current, segment_bytes)?;

    let opened = Opened {
        identity: found.identity,
        hard_state: found.hard_state,
        snapshot: (found.snapshot.index > 0).then_some(found.snapshot),
        conf_state: found.conf_state,
        first_index: found.snapshot.index + 1,
        last: found.log.last(),
        torn,
    };
    let shared = Arc::new(Shared::new(found.log, found.hard_state, settings.tail_bytes));
    let preparer = Preparer::start(disk.clone(), dir, segment_bytes, background);
    let resume = Resume {
        files: Files::new(disk, names, current, segment_bytes, preparer, metrics),
        crc: found.crc,
        identity: found.identity,
        state: found.hard_state,
        last_written: found.last_written,
    };
    let writer = Writer::new(shared.clone(), resume, settings, on_fatal);
    Ok((shared, writer, opened))
}

fn fail(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> WalError {
    let path = path.to_owned();
    move |source| WalError::Io { action, path, source }
}

/// The newest segments whose sequences have no gap. If the gap is a lost file, the entries before the first segment
/// will be missing.
fn segments(disk: &dyn Disk, dir: &Path) -> Result<VecDeque<SegmentName>, WalError> {
    let listed = match disk.list(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(WalError::Missing { dir: dir.to_owned() }),
        listed => listed.map_err(fail("list", dir))?,
    };
    let mut names: Vec<_> = listed.iter().filter_map(|name| SegmentName::parse(name)).collect();
    names.sort_unstable();
    let mut newest = VecDeque::new();
    for name in names.into_iter().rev() {
        if newest.front().is_some_and(|after: &SegmentName| name.sequence.checked_add(1) != Some(after.sequence)) {
            break;
        }
        newest.push_front(name);
    }
    Ok(newest)
}

/// Keeps the file as it is beside its name, as etcd does.
fn keep_copy(disk: &dyn Disk, dir: &Path, segment: &Segment, bad: Bad) -> Result<Torn, WalError> {
    let mut copy = segment.path.clone().into_os_string();
    copy.push(".broken");
    let copy = PathBuf::from(copy);
    tracing::warn!(file = %segment.path.display(), offset = bad.offset, reason = %bad.what, "cutting a torn write off the log");
    if disk.exists(&copy).map_err(fail("look for", &copy))? {
        disk.remove_file(&copy).map_err(fail("delete", &copy))?;
    }
    let to = disk.create(&copy).map_err(fail("create", &copy))?;
    let len = segment.file.len().map_err(fail("measure", &segment.path))?;
    let mut buffer = Vec::new();
    let mut offset = 0;
    while offset < len {
        buffer.resize(usize::try_from(CHUNK_BYTES.min(len - offset)).expect("a chunk"), 0);
        segment.file.read_at(offset, &mut buffer).map_err(fail("read", &segment.path))?;
        to.write_at(offset, &buffer).map_err(fail("write", &copy))?;
        offset += buffer.len() as u64;
    }
    to.sync_data().map_err(fail("sync", &copy))?;
    disk.sync_dir(dir).map_err(fail("sync directory", dir))?;
    Ok(Torn { file: segment.path.clone(), offset: bad.offset, what: bad.what, copy })
}

/// Makes all that was read durable, and the rest of the last segment zeros: a torn write may have left bytes behind
/// a frame of zero, which later records would join on to.
fn mend(disk: &dyn Disk, dir: &Path, current: &Segment, segment_bytes: u64) -> Result<(), WalError> {
    let (file, path) = (&current.file, &current.path);
    file.set_len(current.end()).map_err(fail("truncate", path))?;
    file.allocate(segment_bytes.max(current.end())).map_err(fail("allocate", path))?;
    file.sync_data().map_err(fail("sync", path))?;
    for name in disk.list(dir).map_err(fail("list", dir))? {
        if name == "0.tmp" || name == "1.tmp" {
            let path = dir.join(name);
            disk.remove_file(&path).map_err(fail("delete", &path))?;
        }
    }
    // The process before may have ended between a rename and the sync of its directory.
    disk.sync_dir(dir).map_err(fail("sync directory", dir))?;
    match dir.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => disk.sync_dir(parent).map_err(fail("sync directory", parent)),
        _ => Ok(()),
    }
}

/// The log as far as it was read.
#[derive(Debug, Default)]
struct Scan {
    crc: Option<u32>,
    identity: Option<Identity>,
    hard_state: HardState,
    snapshots: Vec<(LogPosition, ConfState)>,
    entries: Option<Entries>,
    /// The entries before a snapshot record that they do not lead to, until a hard state confirms it.
    before_restart: Option<Option<Entries>>,
    /// The first segment does not begin the log.
    head: Option<SegmentName>,
    last_written: u64,
}

/// Entries found, from the first one seen.
#[derive(Debug)]
struct Entries {
    first: u64,
    places: Places,
    terms: Terms,
}

/// The result of a scan.
struct Found {
    crc: u32,
    identity: Identity,
    hard_state: HardState,
    snapshot: LogPosition,
    conf_state: ConfState,
    log: Log,
    last_written: u64,
}

impl Entries {
    fn from(first: u64) -> Self {
        Self { first, places: Places::starting_at(first), terms: Terms::default() }
    }

    fn has(&self, position: LogPosition) -> bool {
        (self.first..self.places.end()).contains(&position.index)
            && self.terms.get(position.index) == Some(position.term)
    }
}

impl Scan {
    /// The log begins with segment `name`; the ones before were deleted.
    fn head_missing(&mut self, name: SegmentName) {
        self.head = Some(name);
        self.last_written = name.first_index.saturating_sub(1);
    }

    /// Reads one segment; sets its end. Returns the record at which it stopped, if one did not check.
    fn segment(&mut self, segment: &Arc<Segment>) -> Result<Option<Bad>, WalError> {
        let corrupt = |offset, what| WalError::Corrupt { file: segment.path.clone(), offset, what };
        let mut reader = RecordReader::new(segment.file.clone(), 0, segment.end(), self.crc, CHUNK_BYTES);
        let bad = loop {
            match reader.next() {
                Ok(Some(record)) => {
                    let offset = record.offset;
                    self.record(record, segment).map_err(|what| corrupt(offset, what))?;
                }
                Ok(None) => break None,
                Err(ReadError::Bad(bad)) => break Some(bad),
                Err(ReadError::Io(source)) => return Err(fail("read", &segment.path)(source)),
            }
        };
        // A segment gets its name only once its head is synced.
        if reader.offset() == 0 {
            return Err(corrupt(0, bad.map_or(Corruption::NoSeed, |bad| bad.what)));
        }
        self.crc = reader.crc();
        segment.set_end(reader.offset());
        Ok(bad)
    }

    fn record(&mut self, record: Record<'_>, segment: &Arc<Segment>) -> Result<(), Corruption> {
        match record.kind {
            kind::METADATA => {
                let identity = parse_metadata(record.data)?;
                if self.identity.is_some_and(|known| known != identity) {
                    return Err(Corruption::Identity);
                }
                self.identity = Some(identity);
            }
            kind::ENTRY => {
                let entry = EntryView::parse(record.data)?;
                let units = to_units(record.offset).ok_or(Corruption::Misplaced(entry.index))?;
                self.entry(entry.term, entry.index, units, segment)?;
            }
            kind::HARD_STATE => {
                self.hard_state = parse_hard_state(record.data)?;
                let newest = self.snapshots.last().map_or(0, |(position, _)| position.index);
                if self.hard_state.commit >= newest {
                    self.before_restart = None;
                }
            }
            kind::SNAPSHOT => {
                let (position, conf_state) = parse_snapshot(record.data)?;
                self.snapshot(position, conf_state);
            }
            kind::CHECKSUM => {}
            other => return Err(Corruption::RecordType(other)),
        }
        Ok(())
    }

    fn entry(&mut self, term: u64, index: u64, units: u32, segment: &Arc<Segment>) -> Result<(), Corruption> {
        if index == 0 {
            return Err(Corruption::ZeroIndex);
        }
        // The first entry of a log whose head is gone may replace some that went with it.
        if self.entries.is_none() && index > self.known_from() {
            return Err(Corruption::Gap { expected: self.known_from(), found: index });
        }
        let entries = self.entries.get_or_insert_with(|| Entries::from(index));
        if index < entries.first {
            *entries = Entries::from(index);
        }
        if !entries.places.put(index, units, segment) {
            return Err(Corruption::Gap { expected: entries.places.end(), found: index });
        }
        entries.terms.put(index, term);
        self.last_written = index;
        Ok(())
    }

    /// From which index on the files hold what was written.
    fn known_from(&self) -> u64 {
        let head = self.head.map_or(1, |name| name.first_index.max(1));
        self.entries.as_ref().map_or(head, |entries| entries.first)
    }

    fn snapshot(&mut self, position: LogPosition, conf_state: ConfState) {
        if position.index == 0 {
            return;
        }
        self.last_written = self.last_written.max(position.index);
        self.snapshots.push((position, conf_state));
        // Whether the log led to a record that is older than what is left of it cannot be seen, and does not
        // matter: if it did not, the next entry replaces those seen, and a newer record stands for the rest.
        let leads_here = self.entries.as_ref().is_some_and(|entries| entries.has(position));
        if !leads_here && position.index >= self.known_from() {
            let before = self.entries.replace(Entries::from(position.index + 1));
            if position.index > self.hard_state.commit {
                self.before_restart.get_or_insert(before);
            }
        }
    }

    /// Draws the conclusions; `last` is the last segment, to be named in errors.
    fn finish(mut self, last: &Segment) -> Result<Found, WalError> {
        let corrupt = |what| WalError::Corrupt { file: last.path.clone(), offset: last.end(), what };
        if let Some(before) = self.before_restart.take() {
            let restarted = std::mem::replace(&mut self.entries, before);
            if let Some(restarted) = restarted.filter(|entries| !entries.places.is_empty()) {
                return Err(corrupt(Corruption::UncommittedSnapshot(restarted.first - 1)));
            }
        }
        let commit = self.hard_state.commit;
        let counts = |(position, _): &(LogPosition, ConfState)| position.index <= commit;
        let (snapshot, conf_state) = self.snapshots.into_iter().rev().find(counts).unwrap_or_default();
        let identity = self.identity.ok_or_else(|| corrupt(Corruption::NoIdentity))?;
        let crc = self.crc.ok_or_else(|| corrupt(Corruption::NoSeed))?;

        let mut entries = self.entries.unwrap_or_else(|| Entries::from(snapshot.index + 1));
        if entries.first > snapshot.index + 1 {
            return Err(corrupt(Corruption::MissingHead { first: entries.first }));
        }
        entries.places.drop_before(snapshot.index + 1);
        entries.terms.drop_before(snapshot.index + 1);
        let log = Log::found(snapshot, entries.terms, entries.places);
        let last_index = log.last().index;
        if commit > last_index {
            return Err(corrupt(Corruption::Commit { commit, last: last_index }));
        }
        Ok(Found {
            crc,
            identity,
            hard_state: self.hard_state,
            snapshot,
            conf_state,
            log,
            last_written: self.last_written,
        })
    }
}

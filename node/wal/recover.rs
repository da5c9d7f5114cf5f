//! Opening a log: reads all of it, decides what it says, and makes its end fit to be written on.
//!
//! Rules (etcd `server/storage/wal/wal.go` ReadAll, `repair.go`): a frame of zero ends a file. In the last segment a
//! record that does not check and looks torn is cut off, after a copy of the file was kept; any other failure is
//! corruption. A later entry replaces those from its index on. A snapshot record counts if the last hard state
//! covers its index; one at the very end that it does not cover is part of a torn write too.

use super::entry::{HardState, Identity, MAX_NUMBER};
use super::error::{Corruption, WalError};
use super::files::Files;
use super::prepare::{Background, Preparer};
use super::reader::Bad;
use super::scan::{Found, Scan};
use super::segment::{Segment, SegmentName};
use super::shared::Shared;
use super::writer::{Resume, Writer};
use super::{Metrics, OnFatal, Settings};
use crate::disk::{Disk, File, parent_of};
use crate::types::LogPosition;
use keelstone_proto::raftpb::ConfState;
use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What one read fetches when a file is copied.
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

/// All files of a log, read; nothing is changed yet.
pub(crate) struct ReadFiles {
    names: VecDeque<SegmentName>,
    pub(crate) found: Found,
    /// The last segment, up to the last record that checks.
    pub(crate) current: Arc<Segment>,
    /// The record behind that, if there is one: it looks torn.
    pub(crate) bad: Option<Bad>,
}

/// Reads the log in `dir`, whose files `open` opens.
pub(crate) fn read_files(
    disk: &dyn Disk,
    dir: &Path,
    open: impl Fn(&Path) -> io::Result<Arc<dyn File>>,
) -> Result<ReadFiles, WalError> {
    let names = segments(disk, dir)?;
    let mut scan = Scan::default();
    let mut end = None;
    for (at, &name) in names.iter().enumerate() {
        let path = dir.join(name.to_string());
        let file = open(&path).map_err(fail("open", &path))?;
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
    Ok(ReadFiles { names, found, current, bad })
}

pub(crate) fn open(
    disk: Arc<dyn Disk>,
    dir: &Path,
    settings: Settings,
    metrics: Metrics,
    on_fatal: OnFatal,
    background: Background,
) -> Result<(Arc<Shared>, Writer, Opened), WalError> {
    let ReadFiles { names, found, current, bad } = read_files(&*disk, dir, |path| disk.open(path))?;
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
    let shared = Arc::new(Shared::new(found.log, found.hard_state, settings.tail_bytes, on_fatal));
    let preparer = Preparer::start(disk.clone(), dir, segment_bytes, background);
    let resume = Resume {
        files: Files::new(disk, names, current, segment_bytes, preparer, metrics),
        crc: found.crc,
        identity: found.identity,
        state: found.hard_state,
        last_written: found.last_written,
    };
    let writer = Writer::new(shared.clone(), resume, settings);
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
    for name in &names {
        let number = name.sequence.max(name.first_index);
        if number > MAX_NUMBER {
            let (file, what) = (dir.join(name.to_string()), Corruption::TooLarge(number));
            return Err(WalError::Corrupt { file, offset: 0, what });
        }
    }
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
    copy_bytes(segment, len, &*to, &copy)?;
    to.sync_data().map_err(fail("sync", &copy))?;
    disk.sync_dir(dir).map_err(fail("sync directory", dir))?;
    Ok(Torn { file: segment.path.clone(), offset: bad.offset, what: bad.what, copy })
}

/// Writes the first `len` bytes of a segment to `to`, whose path is for errors.
fn copy_bytes(segment: &Segment, len: u64, to: &dyn File, path: &Path) -> Result<(), WalError> {
    let mut buffer = Vec::new();
    let mut offset = 0;
    while offset < len {
        buffer.resize(usize::try_from(CHUNK_BYTES.min(len - offset)).expect("a chunk"), 0);
        segment.file.read_at(offset, &mut buffer).map_err(fail("read", &segment.path))?;
        to.write_at(offset, &buffer).map_err(fail("write", path))?;
        offset += buffer.len() as u64;
    }
    Ok(())
}

/// Makes all that was read durable, and the rest of the last segment zeros: a torn write may have left bytes behind
/// a frame of zero, which later records would join on to.
fn mend(disk: &dyn Disk, dir: &Path, current: &Segment, segment_bytes: u64) -> Result<(), WalError> {
    let (file, path) = (&current.file, &current.path);
    // The process before may have ended because a sync failed. What that sync was for is in the page cache, where it
    // was read from, and counts as clean: a sync brings it to the disk only once it is written again. The segments
    // before were synced when they were closed.
    copy_bytes(current, current.end(), &**file, path)?;
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
    let parent = parent_of(dir);
    disk.sync_dir(parent).map_err(fail("sync directory", parent))
}

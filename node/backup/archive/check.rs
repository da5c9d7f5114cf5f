//! Whether a backup is what its manifest says: every byte is read back and compared with the SHA-256, and what it holds is
//! opened: all rows of a full one by way of its pages, all entries of a segment.

use super::manifest::{Kind, Manifest, hex};
use super::segment::{Entries, SegmentError};
use super::stop::{Stop, Stopped};
use crate::backup::bolt::{BoltError, Database};
use crate::backup::destination::{Destination, Failure};
use crate::backup::verify::database_bytes;
use crate::disk::File;
use crate::types::LogPosition;
use sha2::{Digest, Sha256};
use std::io;
use std::sync::Arc;

const READ_BYTES: usize = 256 << 10;

/// What is wrong with a backup. Each names the object.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    #[error(transparent)]
    Read(#[from] Failure),
    #[error("{object}: {found} bytes, its manifest says {expected}")]
    Size { object: String, expected: u64, found: u64 },
    #[error("{object}: sha256 {found}, its manifest says {expected}")]
    Hash { object: String, expected: String, found: String },
    #[error("{object}: {source}")]
    Bolt { object: String, source: BoltError },
    #[error("{object}: {source}")]
    Segment { object: String, source: SegmentError },
    #[error("{object}: it holds the state after entry {}, its manifest says {}", .found.index, .expected.index)]
    Place { object: String, expected: LogPosition, found: LogPosition },
    #[error("{object}: it holds {found} rows or entries, its manifest says {expected}")]
    Count { object: String, expected: u64, found: u64 },
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// An object as a file that is only read.
#[derive(Clone, Debug)]
pub struct Stored {
    destination: Arc<dyn Destination>,
    object: String,
    bytes: u64,
}

impl Stored {
    pub fn of(destination: &Arc<dyn Destination>, manifest: &Manifest) -> Self {
        let (object, bytes) = (manifest.object.clone(), manifest.bytes);
        Self { destination: Arc::clone(destination), object, bytes }
    }
}

fn read_only() -> io::Error {
    io::ErrorKind::ReadOnlyFilesystem.into()
}

impl File for Stored {
    fn len(&self) -> io::Result<u64> {
        Ok(self.bytes)
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mut filled = 0;
        while filled < out.len() {
            let rest = &mut out[filled..];
            let read = self.destination.read(&self.object, offset + filled as u64, rest.len());
            let read = read.map_err(io::Error::other)?;
            if read.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            rest[..read.len()].copy_from_slice(&read);
            filled += read.len();
        }
        Ok(())
    }

    fn write_at(&self, _: u64, _: &[u8]) -> io::Result<()> {
        Err(read_only())
    }

    fn set_len(&self, _: u64) -> io::Result<()> {
        Err(read_only())
    }

    fn allocate(&self, _: u64) -> io::Result<()> {
        Err(read_only())
    }

    fn sync_data(&self) -> io::Result<()> {
        Err(read_only())
    }
}

/// Reads all of it, and returns how many rows or entries it holds. Blocks for as long as that takes.
///
/// # Errors
/// What is wrong, with the object that it is wrong with.
pub fn check(destination: &Arc<dyn Destination>, manifest: &Manifest, stop: &Stop) -> Result<u64, CheckError> {
    check_bytes(destination.as_ref(), manifest, stop)?;
    let object = || manifest.object.clone();
    let found = match manifest.kind {
        Kind::Full => {
            let rows =
                Rows::read(destination, manifest).map_err(|source| CheckError::Bolt { object: object(), source })?;
            if rows.applied != manifest.to.position() {
                let expected = manifest.to.position();
                return Err(CheckError::Place { object: object(), expected, found: rows.applied });
            }
            rows.count
        }
        Kind::Delta => {
            let mut entries = Entries::open(destination, manifest);
            let counted = entries.by_ref().try_fold(0, |count, entry| entry.map(|_| count + 1));
            counted.map_err(|source| CheckError::Segment { object: object(), source })?
        }
    };
    // It is not known before the first check of a new one.
    if manifest.count != 0 && manifest.count != found {
        return Err(CheckError::Count { object: object(), expected: manifest.count, found });
    }
    Ok(found)
}

/// Checks some: the names of those that are sound, and of the others why they are not.
pub fn check_all(
    destination: &Arc<dyn Destination>,
    backups: &[Manifest],
    stop: &Stop,
) -> (Vec<String>, Vec<(String, CheckError)>) {
    let (mut sound, mut damaged) = (Vec::new(), Vec::new());
    for backup in backups {
        match check(destination, backup, stop) {
            Ok(_) => sound.push(backup.name.clone()),
            Err(why) => damaged.push((backup.name.clone(), why)),
        }
    }
    (sound, damaged)
}

fn check_bytes(destination: &dyn Destination, manifest: &Manifest, stop: &Stop) -> Result<(), CheckError> {
    let (object, expected) = (manifest.object.clone(), manifest.bytes);
    let found = destination.stat(&object)?.bytes;
    if found != expected {
        return Err(CheckError::Size { object, expected, found });
    }
    let (mut digest, mut at) = (Sha256::new(), 0);
    loop {
        stop.check()?;
        let read = destination.read(&object, at, READ_BYTES)?;
        if read.is_empty() {
            break;
        }
        digest.update(&read);
        at += read.len() as u64;
    }
    let found = hex(&digest.finalize());
    if found == manifest.sha256 {
        Ok(())
    } else {
        Err(CheckError::Hash { object, expected: manifest.sha256.clone(), found })
    }
}

/// What a walk over all rows of a file found.
#[derive(Default)]
struct Rows {
    count: u64,
    applied: LogPosition,
}

impl Rows {
    fn read(destination: &Arc<dyn Destination>, manifest: &Manifest) -> Result<Self, BoltError> {
        let file = Stored::of(destination, manifest);
        let (bytes, _) = database_bytes(manifest.bytes);
        let database = Database::open(Arc::new(file), bytes)?;
        let mut found = Self::default();
        for bucket in database.buckets()? {
            for row in database.rows(&bucket)? {
                let (key, value) = row?;
                found.count += 1;
                let number = || value.as_ref().try_into().map(u64::from_be_bytes).unwrap_or_default();
                match (bucket.name.as_ref(), key.as_ref()) {
                    (b"meta", b"consistent_index") => found.applied.index = number(),
                    (b"meta", b"term") => found.applied.term = number(),
                    _ => {}
                }
            }
        }
        Ok(found)
    }
}

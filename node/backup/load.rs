//! A database of etcd's buckets becomes a state file: that of etcd 3.4 to 3.7, out of a snapshot file or a data directory, or
//! our own. Row by row, in the memory of a few pages and one row; nothing of the file is believed.
//!
//! A bucket that is missing has no rows, as for etcd, which makes all of them when it opens a file (`server/storage/backend`).
//! One that etcd does not know is left where it is and named. Rows keep their bytes, so that a state can be saved again as it
//! was.

use super::bolt::{BoltError, Bucket, Database};
use crate::apply;
use crate::cluster::ClusterVersion;
use crate::storage::{Chunk, Import, Meta, Storage, StorageError, Table, is_own_row};
use crate::types::OnProgress;
use bytes::Bytes;
use keelstone_proto::authpb;
use prost::Message;
use std::ops::RangeInclusive;

/// Rows that are written at once, in bytes of keys and values, about.
const CHUNK_BYTES: usize = 256 * 1024;
/// Rows of `meta` wait in memory for the commit. etcd has six of them, which are short.
const MAX_META_BYTES: usize = 1 << 20;
/// Schemas that can be read, without their last number; those before 3.6 do not say which they are.
const SCHEMAS: RangeInclusive<(u64, u64)> = (3, 5)..=(3, 7);

/// Why a database does not become a state.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error(transparent)]
    Bolt(#[from] BoltError),
    /// The state file cannot be written.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// In the words with which a server of etcd refuses it (`server/storage/schema`).
    #[error("version \"{0}\" is not supported")]
    Version(ClusterVersion),
    #[error("changing major storage version is not supported")]
    MajorVersion(ClusterVersion),
    #[error("bucket meta has more than {max} bytes", max = MAX_META_BYTES)]
    LargeMeta,
    #[error("bucket {table}: the row {row:02x?} is none of etcd's")]
    Row { table: Table, row: Vec<u8> },
    /// Found when the rows were read as a member reads them at its start.
    #[error("{}", with_source(.0))]
    State(#[from] apply::Fatal),
}

fn with_source(fatal: &apply::Fatal) -> String {
    match std::error::Error::source(fatal) {
        Some(source) => format!("{fatal}: {source}"),
        None => fatal.to_string(),
    }
}

/// A state that was loaded.
#[derive(Debug)]
pub struct Loaded {
    /// Durable, and read once as a member reads it at its start. The rows of `meta` that say where it stands in the log are
    /// those of the file: the caller's own go over them, by [`apply::place`].
    pub storage: Storage,
    /// What the file says of itself. Position zero: it knows no entry. Term zero: it is of etcd 3.4 or older.
    pub meta: Meta,
    /// Buckets that etcd does not know.
    pub unknown_buckets: Vec<String>,
}

/// Loads all rows but those of the tables `without` into the empty file of `import`. On an error that file is of no use.
///
/// # Errors
/// The database is damaged, of a later version of etcd, or holds a row that no member could read; the state file cannot be
/// written.
pub fn load(database: &Database, import: Import, without: &[Table]) -> Result<Loaded, LoadError> {
    load_observed(database, import, without, &mut |_, _| ())
}

/// As [`load`], and says how far it is.
///
/// # Errors
/// As [`load`].
pub fn load_observed(
    database: &Database,
    import: Import,
    without: &[Table],
    on_progress: OnProgress<'_>,
) -> Result<Loaded, LoadError> {
    let (mut import, mut unknown_buckets, mut done) = (import, Vec::new(), 0);
    let mut add = |bytes: usize| {
        done += bytes as u64;
        on_progress(done.min(database.total_bytes()), database.total_bytes());
    };
    let buckets = database.buckets()?;
    // First, so that nothing is written of what cannot be read.
    for bucket in buckets.iter().filter(|bucket| bucket.name == Table::Meta.name()) {
        check_version(database, bucket)?;
    }
    for bucket in &buckets {
        match std::str::from_utf8(&bucket.name).ok().and_then(Table::named) {
            Some(table) if without.contains(&table) => {}
            Some(table) => load_bucket(database, bucket, table, &mut import, &mut add)?,
            None => unknown_buckets.push(String::from_utf8_lossy(&bucket.name).into_owned()),
        }
    }
    let storage = import.finish()?;
    let meta = apply::check_state(&storage)?;
    Ok(Loaded { storage, meta, unknown_buckets })
}

fn load_bucket(
    database: &Database,
    bucket: &Bucket,
    table: Table,
    import: &mut Import,
    loaded: &mut dyn FnMut(usize),
) -> Result<(), LoadError> {
    let mut rows = database.rows(bucket)?;
    let mut meta_bytes = 0;
    loop {
        let (mut chunk, mut bytes) = (Chunk { table, rows: Vec::new() }, 0);
        while bytes < CHUNK_BYTES
            && let Some((key, value)) = rows.next().transpose()?
        {
            check_row(table, &key, &value)?;
            bytes += key.len() + value.len();
            // Whoever wrote such a row did not write it about the file that is made here.
            if !is_own_row(table, &key) && !is_no_version(table, &key, &value) {
                chunk.rows.push((key, value));
            }
        }
        if bytes == 0 {
            return Ok(());
        }
        meta_bytes += if table == Table::Meta { bytes } else { 0 };
        if meta_bytes > MAX_META_BYTES {
            return Err(LoadError::LargeMeta);
        }
        import.push(&chunk)?;
        loaded(bytes);
    }
}

/// Of access control; told by the row, where reading the state would tell that there is one.
fn check_row(table: Table, key: &[u8], value: &Bytes) -> Result<(), LoadError> {
    let is_right = match table {
        Table::Auth => key != b"authRevision" || value.len() == size_of::<u64>(),
        Table::AuthUsers => authpb::User::decode(value.clone()).is_ok_and(|user| user.name == key),
        Table::AuthRoles => authpb::Role::decode(value.clone()).is_ok_and(|role| role.name == key),
        Table::Alarm
        | Table::Cluster
        | Table::Key
        | Table::Lease
        | Table::Members
        | Table::MembersRemoved
        | Table::Meta => true,
    };
    if is_right { Ok(()) } else { Err(LoadError::Row { table, row: key.to_vec() }) }
}

const STORAGE_VERSION: &[u8] = b"storageVersion";

/// Etcd takes such a row for absent.
fn is_no_version(table: Table, key: &[u8], value: &[u8]) -> bool {
    table == Table::Meta && key == STORAGE_VERSION && version_of(value).is_none()
}

/// A version as etcd reads it: a part behind a dash, or of the build, may follow.
fn version_of(value: &[u8]) -> Option<ClusterVersion> {
    let text = std::str::from_utf8(value).ok()?;
    let numbers = text.split(['-', '+']).next()?;
    ClusterVersion::parse(numbers).ok()
}

fn check_version(database: &Database, meta: &Bucket) -> Result<(), LoadError> {
    for row in database.rows(meta)? {
        let (key, value) = row?;
        if key != STORAGE_VERSION {
            continue;
        }
        let Some(version) = version_of(&value) else { continue };
        let minor = ClusterVersion { patch: 0, ..version };
        if version.major != SCHEMAS.end().0 {
            return Err(LoadError::MajorVersion(minor));
        }
        if !SCHEMAS.contains(&(version.major, version.minor)) {
            return Err(LoadError::Version(minor));
        }
    }
    Ok(())
}

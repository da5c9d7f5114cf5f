//! etcd's database as it lies in a data directory, and where in the log it stands.

use super::members::RaftMembers;
use crate::backup::bolt::Database;
use crate::cluster::MemberTable;
use crate::disk::Disk;
use crate::server::bootstrap::is_there;
use crate::storage::Table;
use crate::types::LogPosition;
use crate::wal::Survey;
use anyhow::{Context, bail};
use bytes::Bytes;
use std::path::{Path, PathBuf};

/// Its name in the folder of snapshots.
pub(super) const DATABASE: &str = "db";

/// A database of etcd's.
pub(super) struct Source {
    pub(super) path: PathBuf,
    pub(super) database: Database,
    /// The last entry that it has applied; zero if it says none.
    index: u64,
    /// Zero up to etcd 3.4.
    term: u64,
}

impl Source {
    /// The database of a member whose log has a snapshot at `snapshot`: the one that came with the snapshot, if etcd ended
    /// before it took the other's place (etcd `server/storage/backend.go`).
    pub(super) fn find(disk: &dyn Disk, snap_dir: &Path, snapshot: LogPosition) -> anyhow::Result<Self> {
        let own = snap_dir.join(DATABASE);
        let received = snap_dir.join(format!("{:016x}.snap.db", snapshot.index));
        let mut index = None;
        if is_there(disk, &own)? {
            let source = Self::open(disk, own.clone())?;
            if source.index >= snapshot.index {
                return Ok(source);
            }
            index = Some(source.index);
        }
        if snapshot.index > 0 && is_there(disk, &received)? {
            let source = Self::open(disk, received)?;
            if source.index >= snapshot.index {
                return Ok(source);
            }
            index = Some(source.index);
        }
        match index {
            None => bail!("database file ({}) of the backend is missing", own.display()),
            Some(index) => bail!(
                "database file ({} index {index}) does not match with snapshot (index {})",
                own.display(),
                snapshot.index
            ),
        }
    }

    fn open(disk: &dyn Disk, path: PathBuf) -> anyhow::Result<Self> {
        let read = || -> anyhow::Result<_> {
            let file = disk.open_to_read(&path)?;
            let len = file.len()?;
            let database = Database::open(file, len)?;
            let number = |key: &str| -> anyhow::Result<u64> {
                let Some(row) = row_of(&database, Table::Meta, key.as_bytes())? else { return Ok(0) };
                let bytes = <[u8; 8]>::try_from(&row[..]);
                Ok(u64::from_be_bytes(bytes.with_context(|| format!("{key} has {} bytes and not 8", row.len()))?))
            };
            let (index, term) = (number("consistent_index")?, number("term")?);
            Ok((database, index, term))
        };
        let (database, index, term) = read().with_context(|| format!("read {}", path.display()))?;
        Ok(Self { path, database, index, term })
    }

    /// Where the database stands in the log, which must lead there.
    pub(super) fn position(&self, survey: &Survey) -> anyhow::Result<LogPosition> {
        let Source { path, index, .. } = self;
        if *index == 0 {
            return Ok(LogPosition::default());
        }
        if *index > survey.last.index {
            bail!(
                "database file ({} index {index}) is ahead of the log, which ends with entry {}: the log is of another \
                 time or of another member",
                path.display(),
                survey.last.index
            );
        }
        let term = survey.term_at(*index).unwrap_or_default();
        // Of what etcdctl 3.4 restored the term is still that of the file.
        let is_of_a_snapshot = *index == survey.snapshot.index;
        if self.term != 0 && self.term != term && !is_of_a_snapshot {
            bail!("entry {index} is of term {} in {} and of term {term} in the log", self.term, path.display());
        }
        Ok(LogPosition { term, index: *index })
    }

    pub(super) fn row(&self, table: Table, key: &[u8]) -> anyhow::Result<Option<Bytes>> {
        row_of(&self.database, table, key).with_context(|| format!("read {}", self.path.display()))
    }

    /// True if each of these members has a row.
    pub(super) fn has_rows_of(&self, members: Option<&RaftMembers>) -> anyhow::Result<bool> {
        let Some(members) = members else { return Ok(true) };
        for id in members.ids() {
            if self.row(Table::Members, &MemberTable::row_key(id))?.is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// A row of a small bucket.
pub(super) fn row_of(database: &Database, table: Table, key: &[u8]) -> anyhow::Result<Option<Bytes>> {
    let buckets = database.buckets()?;
    let Some(bucket) = buckets.iter().find(|bucket| bucket.name == table.name()) else { return Ok(None) };
    for row in database.rows(bucket)? {
        let (found, value) = row?;
        if found == key {
            return Ok(Some(value));
        }
    }
    Ok(None)
}

//! Is a state one that could be opened? Asked of what a peer sent, before it takes the place of the state that is there.

use super::{Fatal, StateError, cluster};
use crate::alarm::Alarm;
use crate::lease::LeaseRow;
use crate::mvcc;
use crate::storage::{Meta, Storage, Table};

/// Reads every row as [`super::Applier::open`] does, keeps none, and answers what the state says of itself.
///
/// # Errors
/// What `open` would stop at.
pub fn check_state(storage: &Storage) -> Result<Meta, Fatal> {
    let version = storage.version()?;
    let meta = version.meta()?;
    mvcc::check_rows(&version)?;
    let rows = |table| version.rows(table);
    cluster::load(rows)?;
    for (key, _) in rows(Table::Alarm)? {
        Alarm::from_row(&key).map_err(StateError::from)?;
    }
    for (key, value) in rows(Table::Lease)? {
        LeaseRow::from_row(&key, &value).map_err(StateError::from)?;
    }
    Ok(meta)
}

//! The dashboards, a file each.

mod backup;
mod internals;
mod overview;
mod requests;

use crate::grafana::Board;

pub fn all() -> Vec<Board> {
    vec![overview::board(), requests::board(), internals::board(), backup::board()]
}

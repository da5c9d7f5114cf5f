//! `etcdutl defrag`: the state file of a data directory that no server has, copied without gaps.

use super::{EXIT_ERROR, Failure, Outcome};
use crate::cli::etcdctl::flags::{Flag, Values};
use crate::cli::progress;
use crate::server::offline::Offline;
use std::path::Path;

pub const FLAGS: &[Flag] = &[Flag::text("data-dir", "Required. The data directory; no server may use it.")];

pub fn run(values: &Values) -> Outcome {
    super::require(values, &["data-dir"])?;
    let data_dir = values.text("data-dir");
    let opened = Offline::open(Path::new(data_dir), values.duration("timeout"));
    let defragment = |offline: Offline| progress::shown(|on_progress| offline.defragment(on_progress));
    super::logged(|| opened.and_then(defragment))?
        .map(|()| String::new())
        .map_err(|error| Failure::new(EXIT_ERROR, format!("Failed to defragment etcd data[{data_dir}] ({error:#})")))
}

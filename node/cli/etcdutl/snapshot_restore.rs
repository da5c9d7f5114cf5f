//! `etcdutl snapshot restore`: flags, defaults and refusals of etcdutl 3.7 (`etcdutl/snapshot_command.go`). `etcdctl` had the
//! command until 3.5.

use super::{EXIT_BAD_ARGS, EXIT_ERROR, Failure, Outcome};
use crate::cli::etcdctl::flags::{Flag, Kind, Values};
use crate::cli::progress;
use crate::config::{Bootstrap, ClusterState, Url, UrlError};
use crate::server::restore::{self, Digest, Restore};
use std::path::PathBuf;

/// Those that etcdctl had too.
pub const FLAGS: &[Flag] = &[
    Flag::text("data-dir", "where to make the data directory (default: the name with .etcd behind it)"),
    Flag::text("wal-dir", "where to put the log, if not into the data directory"),
    Flag::new(
        "initial-cluster",
        Kind::Text,
        "default=http://localhost:2380",
        "the members that the new cluster begins with, as name=url,name=url",
    ),
    Flag::new("initial-cluster-token", Kind::Text, "etcd-cluster", "part of what the new ids are made of"),
    Flag::new(
        "initial-advertise-peer-urls",
        Kind::Text,
        "http://localhost:2380",
        "this member's peer URLs, as the initial cluster has them",
    ),
    Flag::new("name", Kind::Text, "default", "this member's name"),
    Flag::switch("skip-hash-check", "do not compare the file with its SHA-256 (a copy from a data directory has none)"),
];

pub const FLAGS_SINCE_3_6: &[Flag] = &[
    Flag::new("initial-memory-map-size", Kind::Uint, "10737418240", "has no effect here: nothing is mapped"),
    Flag::new("bump-revision", Kind::Uint, "0", "by how much to increase the revision"),
    Flag::switch(
        "mark-compacted",
        "let the increased revision be compacted (needed with --bump-revision, else refused)",
    ),
];

/// Of a revision that is moved on, as etcdutl is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bump {
    by: u64,
    is_marked: bool,
}

/// With all flags.
pub fn run(values: &Values) -> Outcome {
    let bump = Bump { by: values.uint("bump-revision"), is_marked: values.switch("mark-compacted") };
    restore(values, bump, values.uint("initial-memory-map-size"))
}

/// With those that etcdctl 3.5 has.
pub fn run_as_3_5(values: &Values) -> Outcome {
    restore(values, Bump { by: 0, is_marked: false }, 0)
}

fn restore(values: &Values, bump: Bump, initial_memory_map_bytes: u64) -> Outcome {
    let [snapshot] = &values.words[..] else {
        return Err(Failure::new(EXIT_BAD_ARGS, "snapshot restore requires exactly one argument"));
    };
    if (bump.by > 0) != bump.is_marked {
        return Err(Failure::new(EXIT_BAD_ARGS, "--mark-compacted required if --revision-bump > 0"));
    }
    let failed = |error: UrlError| Failure::new(EXIT_ERROR, error.to_string());
    let mut advertise_peer = values
        .text("initial-advertise-peer-urls")
        .split(',')
        .map(Url::parse)
        .collect::<Result<Vec<_>, _>>()
        .map_err(failed)?;
    advertise_peer.sort();
    let name = values.text("name").to_owned();
    let data_dir = match values.text("data-dir") {
        "" => PathBuf::from(format!("{name}.etcd")),
        dir => PathBuf::from(dir),
    };
    let wal_dir = match values.text("wal-dir") {
        "" => data_dir.join("member").join("wal"),
        dir => PathBuf::from(dir),
    };
    let restore = Restore {
        snapshot: PathBuf::from(snapshot),
        data_dir,
        wal_dir,
        name,
        bootstrap: Bootstrap {
            initial_cluster: values.text("initial-cluster").to_owned(),
            token: values.text("initial-cluster-token").to_owned(),
            state: ClusterState::New,
            discovery: None,
            force_new_cluster: false,
        },
        advertise_peer,
        digest: if values.switch("skip-hash-check") { Digest::Skip } else { Digest::Compare },
        bump_revision: bump.by,
        initial_memory_map_bytes,
    };
    match super::logged(|| progress::shown(|on_progress| restore::run(&restore, on_progress)))? {
        Ok(()) => Ok(String::new()),
        Err(error) => Err(Failure::new(EXIT_ERROR, format!("{error:#}"))),
    }
}

//! `etcdutl hashkv`: the hash that members compare, of a file (`etcdutl/hashkv_command.go`). Of a snapshot file, of the
//! database of etcd, or of a state file of ours.

use super::{EXIT_BAD_FEATURE, EXIT_ERROR, Failure, Outcome};
use crate::cli::etcdctl::flags::{Flag, Values};
use crate::cli::form::Form;
use crate::cli::table::Table;
use crate::config::go_io_error;
use crate::mvcc::{KvHash, ReadError};
use crate::server::file_hash::hash_kv_of_file;
use serde::Serialize;
use std::path::Path;

pub const FLAGS: &[Flag] = &[Flag::int("rev", "the last revision that counts (default: the newest)")];

/// Checks, in etcdutl's order, the arguments, the form and the file's being there, and prints.
pub fn run(values: &Values) -> Outcome {
    let [file] = &values.words[..] else {
        return Err(Failure::new(EXIT_ERROR, format!("accepts 1 arg(s), received {}", values.words.len())));
    };
    let form = super::supported(Form::find(values.text("write-out")))?;
    let path = Path::new(file);
    if let Err(error) = std::fs::metadata(path) {
        return Err(Failure::new(EXIT_ERROR, format!("stat {file}: {}", go_io_error(&error))));
    }
    let hash = hash_kv_of_file(path, values.int("rev")).map_err(|error| match error.downcast_ref::<ReadError>() {
        Some(ReadError::Compacted { .. }) => Failure::new(EXIT_ERROR, "mvcc: required revision has been compacted"),
        Some(ReadError::FutureRevision { .. }) => {
            Failure::new(EXIT_ERROR, "mvcc: required revision is a future revision")
        }
        Some(ReadError::TooLarge | ReadError::Storage(_)) | None => Failure::new(EXIT_ERROR, format!("{error:#}")),
    })?;
    print(&hash, form)
}

fn print(hash: &KvHash, form: Form) -> Outcome {
    let KvHash { hash, compact_revision, hash_revision, .. } = hash;
    Ok(match form {
        Form::Json => {
            let shown = Shown { hash: *hash, hash_revision: *hash_revision, compact_revision: *compact_revision };
            serde_json::to_string(&shown).expect("three numbers") + "\n"
        }
        Form::Fields => format!(
            "\"Hash\" : {hash}\n\"Hash revision\" : {hash_revision}\n\"Compact revision\" : {compact_revision}\n"
        ),
        Form::Table => Table {
            titles: vec!["HASH", "HASH REVISION", "COMPACT REVISION"],
            rows: vec![vec![hash.to_string(), hash_revision.to_string(), compact_revision.to_string()]],
        }
        .draw(),
        Form::Simple => format!("{hash}, {hash_revision}, {compact_revision}\n"),
        Form::Protobuf => return Err(Failure::new(EXIT_BAD_FEATURE, "protobuf not supported as output format")),
    })
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    hash: u32,
    hash_revision: i64,
    compact_revision: i64,
}

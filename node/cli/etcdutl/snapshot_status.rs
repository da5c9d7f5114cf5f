//! `etcdutl snapshot status`: a file in five numbers, in the forms of etcdutl 3.7 (`etcdutl/printer*.go`).

use super::{EXIT_BAD_ARGS, EXIT_BAD_FEATURE, EXIT_ERROR, Failure, Outcome};
use crate::backup::{Status, StatusError, status_of_file};
use crate::cli::form::Form;
use crate::cli::table::Table;
use crate::config::go_io_error;
use crate::types::HumanBytes;
use serde::Serialize;
use std::path::Path;

const TITLES: [&str; 5] = ["HASH", "REVISION", "TOTAL KEYS", "TOTAL SIZE", "VERSION"];

/// Checks, in etcdutl's order, the arguments, the file's being there and the format, and prints.
pub fn run(files: &[&str], format: Result<Form, Failure>) -> Outcome {
    let [file] = files else {
        return Err(Failure::new(EXIT_BAD_ARGS, "snapshot status requires exactly one argument"));
    };
    let path = Path::new(file);
    if let Err(error) = std::fs::metadata(path) {
        return Err(Failure::new(EXIT_ERROR, format!("stat {file}: {}", go_io_error(&error))));
    }
    let format = format?;
    let status = status_of_file(path).map_err(|error| match error {
        StatusError::Open(error) => Failure::new(EXIT_ERROR, format!("open {file}: {}", go_io_error(&error))),
        other => Failure::new(EXIT_ERROR, other.to_string()),
    })?;
    print(&status, format)
}

fn print(status: &Status, format: Form) -> Outcome {
    let cells = [
        format!("{:x}", status.hash),
        status.revision.to_string(),
        status.total_keys.to_string(),
        HumanBytes(status.total_bytes).to_string(),
        status.version.clone(),
    ];
    match format {
        Form::Simple => Ok(cells.join(", ") + "\n"),
        Form::Table => Ok(Table { titles: TITLES.to_vec(), rows: vec![cells.to_vec()] }.draw()),
        Form::Json => Ok(json(status)),
        Form::Fields => Ok(format!(
            "\"Hash\" : {}\n\"Revision\" : {}\n\"Keys\" : {}\n\"Size\" : {}\n\"Version\" : {}\n",
            status.hash, status.revision, status.total_keys, status.total_bytes, status.version
        )),
        Form::Protobuf => Err(Failure::new(EXIT_BAD_FEATURE, "protobuf not supported as output format")),
    }
}

fn json(status: &Status) -> String {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Fields<'a> {
        hash: u32,
        revision: i64,
        total_key: u64,
        total_size: u64,
        version: &'a str,
    }
    let Status { hash, revision, total_keys, total_bytes, version } = status;
    let fields = Fields { hash: *hash, revision: *revision, total_key: *total_keys, total_size: *total_bytes, version };
    serde_json::to_string(&fields).expect("numbers and a text") + "\n"
}

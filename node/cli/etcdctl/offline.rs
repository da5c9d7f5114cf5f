//! Commands on files that etcdctl had until 3.5 and etcdutl has now: the same ones, under both names.

use super::failure::{Failure, Outcome};
use super::tree::Command;
use super::{Call, printer};
use crate::cli::form::Form;
use crate::cli::{etcdutl, not_built};

pub static STATUS: Command = Command {
    line: "status <filename>",
    short: "Prints what a snapshot file holds (as etcdctl until 3.5)",
    run: Some(|call| Box::pin(async { status(call) })),
    ..Command::PLAIN
};

pub static RESTORE: Command = Command {
    line: "restore <filename>",
    short: "Makes a data directory from a snapshot file (not built yet)",
    run: Some(|_| Box::pin(async { refuse_restore() })),
    ..Command::PLAIN
};

fn status(call: &Call) -> Outcome {
    let files: Vec<&str> = call.words().iter().map(String::as_str).collect();
    let form = etcdutl::supported(Form::find(call.values.text("write-out")));
    match etcdutl::snapshot_status::run(&files, form) {
        Ok(text) => printer::print(text.as_bytes()),
        Err(etcdutl::Failure { code, text }) => Err(Failure::new(code, text)),
    }
}

fn refuse_restore() -> Outcome {
    let text = "snapshot restore is not built yet in Keelstone; etcd's own etcdutl reads these files";
    Err(Failure::new(not_built::EXIT_NOT_BUILT, text))
}

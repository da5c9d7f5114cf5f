//! Commands on files that etcdctl had until 3.5 and etcdutl has now: the same ones, under both names.

use super::failure::{Failure, Outcome};
use super::tree::Command;
use super::{Call, printer};
use crate::cli::etcdutl::{self, snapshot_restore};
use crate::cli::form::Form;

pub static STATUS: Command = Command {
    line: "status <filename>",
    short: "Prints what a snapshot file holds (as etcdctl until 3.5)",
    run: Some(|call| Box::pin(async { status(call) })),
    ..Command::PLAIN
};

pub static RESTORE: Command = Command {
    line: "restore <filename> [options]",
    short: "Makes a data directory from a snapshot file (as etcdctl until 3.5)",
    flags: snapshot_restore::FLAGS,
    run: Some(|call| Box::pin(async { done(snapshot_restore::run_as_3_5(&call.values)) })),
    ..Command::PLAIN
};

fn status(call: &Call) -> Outcome {
    let files: Vec<&str> = call.words().iter().map(String::as_str).collect();
    let form = etcdutl::supported(Form::find(call.values.text("write-out")));
    done(etcdutl::snapshot_status::run(&files, form))
}

fn done(outcome: etcdutl::Outcome) -> Outcome {
    match outcome {
        Ok(text) => printer::print(text.as_bytes()),
        Err(etcdutl::Failure { code, text }) => Err(Failure::new(code, text)),
    }
}

//! Commands on files that etcdctl once had and etcdutl has now. The only place that names them: they are to be taken
//! from `cli/etcdutl` once that is built.

use super::failure::{Failure, Outcome};
use super::tree::Command;
use crate::cli::not_built;

pub static STATUS: Command = Command {
    line: "status <filename>",
    short: "Prints what a snapshot file holds (not built yet)",
    run: Some(|_| Box::pin(async { refuse("status") })),
    ..Command::PLAIN
};

pub static RESTORE: Command = Command {
    line: "restore <filename>",
    short: "Makes a data directory from a snapshot file (not built yet)",
    run: Some(|_| Box::pin(async { refuse("restore") })),
    ..Command::PLAIN
};

fn refuse(name: &str) -> Outcome {
    let text = format!("snapshot {name} is not built yet in Keelstone; etcd's own etcdutl reads these files");
    Err(Failure::new(not_built::EXIT_NOT_BUILT, text))
}

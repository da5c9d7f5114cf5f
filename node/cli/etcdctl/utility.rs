//! `etcdctl version`, `etcdctl options` and `etcdctl help`.

use super::failure::Outcome;
use super::tree::{Command, Group, Located};
use super::{Call, ROOT, global, go, printer, usage};
use crate::config::ETCD_VERSION;

pub static VERSION: Command = Command {
    line: "version",
    short: "Prints the version of etcdctl that this behaves as",
    group: Group::Utility,
    run: Some(|_| Box::pin(async { print(&versions()) })),
    ..Command::PLAIN
};

pub static OPTIONS: Command = Command {
    line: "options",
    short: "Prints the flags that every command takes",
    group: Group::Utility,
    run: Some(|_| Box::pin(async { print(&global::options()) })),
    ..Command::PLAIN
};

pub static HELP: Command = Command {
    line: "help [command]",
    short: "Prints what a command does and takes",
    group: Group::Utility,
    run: Some(|call| Box::pin(help(call))),
    ..Command::PLAIN
};

fn print(text: &str) -> Outcome {
    printer::print(text.as_bytes())
}

/// The API's version is major and minor of etcd's.
fn versions() -> String {
    let api = ETCD_VERSION.rsplit_once('.').map_or(ETCD_VERSION, |(api, _)| api);
    format!("etcdctl version: {ETCD_VERSION}\nAPI version: {api}\n")
}

async fn help(call: &mut Call) -> Outcome {
    match Located::root(&ROOT).find(call.words()) {
        Ok((command, _)) => print(&usage::help(&command)),
        Err((root, _)) => {
            let words: Vec<String> = call.words().iter().map(|word| format!("`{word}`")).collect();
            eprint!("Unknown help topic {}\n{}", go::list(&words), usage::usage(&root));
            Ok(())
        }
    }
}

//! The offline tool: work on files, without a server. Words, flags, texts and exit codes are those of etcdutl 3.7
//! (`etcdutl/ctl.go` and the files beside its commands).

mod command;
mod completion;
mod defrag;
mod hash_kv;
pub mod man;
mod migrate;
mod preflight;
pub mod snapshot_restore;
pub mod snapshot_status;

use super::etcdctl::flags::Values;
use super::form::Form;
use super::version;
use crate::config::{Log, LogFormat};
use crate::logging;
use command::{Command, Run};
use std::process::ExitCode;

/// Codes of etcd's `pkg/cobrautl/error.go`.
const EXIT_ERROR: u8 = 1;
const EXIT_BAD_FEATURE: u8 = 4;
const EXIT_BAD_ARGS: u8 = 128;

static COMMANDS: &[Command] = &[
    Command {
        words: &["completion"],
        arguments: "SHELL",
        short: "prints a script for bash, zsh or fish",
        flags: &[],
        run: Run::Values(completion::run),
    },
    Command {
        words: &["defrag"],
        arguments: "",
        short: "copies the state of a data directory without gaps",
        flags: &[defrag::FLAGS],
        run: Run::Values(defrag::run),
    },
    Command {
        words: &["migrate"],
        arguments: "",
        short: "sets the version that a state says of itself",
        flags: &[migrate::FLAGS],
        run: Run::Values(migrate::run),
    },
    Command {
        words: &["snapshot", "status"],
        arguments: "<filename>",
        short: "counts what a snapshot file holds, after checking its pages",
        flags: &[],
        run: Run::Values(|values| {
            snapshot_status::run(&files(values), supported(Form::find(values.text("write-out"))))
        }),
    },
    Command {
        words: &["snapshot", "restore"],
        arguments: "<filename> --data-dir {output dir} [options]",
        short: "makes a data directory from a snapshot file",
        flags: &[snapshot_restore::FLAGS, snapshot_restore::FLAGS_SINCE_3_6],
        run: Run::Values(snapshot_restore::run),
    },
    Command {
        words: &["hashkv"],
        arguments: "<filename>",
        short: "prints the hash of the keys in a file, as members compare it",
        flags: &[hash_kv::FLAGS],
        run: Run::Values(hash_kv::run),
    },
    Command {
        words: &["preflight"],
        arguments: "<manifest or flags> <copy of a data directory>",
        short: "says whether Keelstone would start on it",
        flags: &[],
        run: Run::Rest { help: preflight::HELP, run: preflight::run },
    },
    Command {
        words: &["version"],
        arguments: "",
        short: "prints the version of etcd whose tool this is",
        flags: &[],
        run: Run::Values(|_| Ok(version::etcdutl())),
    },
];

/// What a command came to.
pub type Outcome = Result<String, Failure>;

/// An error line, and the code that the process ends with.
#[derive(Debug, PartialEq, Eq)]
pub struct Failure {
    pub code: u8,
    pub text: String,
}

impl Failure {
    fn new(code: u8, text: impl Into<String>) -> Self {
        Self { code, text: text.into() }
    }
}

/// Runs the command that the words call for.
pub fn run(args: &[String]) -> ExitCode {
    let called = match command::find(COMMANDS, args) {
        Ok(called) => called,
        Err(text) => return fail(&Failure::new(EXIT_ERROR, text)),
    };
    let named: Vec<&str> = called.values.words.iter().map(String::as_str).collect();
    let outcome = match (called.command, &named[..]) {
        (Some(command), _) if called.values.wants_help => Ok(command.usage()),
        (Some(command), _) => match command.run {
            Run::Values(run) => run(&called.values),
            Run::Rest { run, .. } => return run(&called.values.words),
        },
        (None, _) if called.values.wants_help => Ok(command::help(COMMANDS)),
        // As cobra does for a word that a group of commands does not know.
        (None, [] | ["help" | "snapshot", ..]) => Ok(command::help(COMMANDS)),
        (None, [unknown, ..]) => Err(Failure::new(
            EXIT_ERROR,
            format!("unknown command {unknown:?} for \"etcdutl\"\nRun 'etcdutl --help' for usage."),
        )),
    };
    match outcome {
        Ok(text) => super::print_out(&text),
        Err(failure) => fail(&failure),
    }
}

/// As cobra says it of flags that a command must be given.
pub fn require(values: &Values, names: &[&str]) -> Result<(), Failure> {
    let missing: Vec<String> =
        names.iter().filter(|name| !values.is_set(name)).map(|name| format!("{name:?}")).collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(Failure::new(EXIT_ERROR, format!("required flag(s) {} not set", missing.join(", "))))
}

/// Does what logs on the way, as etcdutl's lines for people.
pub fn logged<R>(work: impl FnOnce() -> R) -> Result<R, Failure> {
    let log = Log { format: LogFormat::Console, ..Log::default() };
    logging::init(&log).map_err(|error| Failure::new(EXIT_ERROR, error.to_string()))?;
    let result = work();
    logging::flush();
    Ok(result)
}

/// What `--write-out` says.
pub fn supported(form: Option<Form>) -> Result<Form, Failure> {
    form.ok_or_else(|| Failure::new(EXIT_BAD_FEATURE, "unsupported output format"))
}

/// The words behind the command.
fn files(values: &Values) -> Vec<&str> {
    values.words.iter().map(String::as_str).collect()
}

fn fail(failure: &Failure) -> ExitCode {
    eprintln!("Error: {}", failure.text);
    ExitCode::from(failure.code)
}

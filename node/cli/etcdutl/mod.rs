//! The offline tool: work on files, without a server. Words, flags, texts and exit codes are those of etcdutl 3.7
//! (`etcdutl/ctl.go` and the files beside its commands).

mod completion;
mod defrag;
mod migrate;
pub mod snapshot_status;
mod words;

use super::etcdctl::flags::{Flag, FlagSet, Kind, Values};
use super::form::Form;
use super::not_built::EXIT_NOT_BUILT;
use super::version;
use std::process::ExitCode;
use words::Words;

/// Codes of etcd's `pkg/cobrautl/error.go`.
const EXIT_ERROR: u8 = 1;
const EXIT_BAD_FEATURE: u8 = 4;
const EXIT_BAD_ARGS: u8 = 128;

const HELP: &str = "Usage:
  etcdutl [command]

Commands:
  completion SHELL             prints a script for bash, zsh or fish
  defrag --data-dir DIR        copies the state of a data directory without gaps
  migrate --data-dir DIR --target-version X.Y [--force]
                               sets the version that a state says of itself
  snapshot status <filename>   counts what a snapshot file holds, after checking its pages
  version                      prints the version of etcd whose tool this is

Flags:
  -h, --help               help for etcdutl
      --timeout duration   how long to wait for the lock of a data directory, 0: without end (default 10s)
  -w, --write-out string   how to print: fields, json, simple, table (default \"simple\")
";

/// Commands of etcdutl that are not there yet.
const NOT_BUILT: [&[&str]; 2] = [&["snapshot", "restore"], &["hashkv"]];

/// What a command does with its words and flags.
type Run = fn(&Values) -> Outcome;

/// Commands with flags of their own, or that name all flags.
const FLAGGED: [(&str, &[Flag], Run); 3] = [
    ("completion", &[], completion::run),
    ("defrag", defrag::FLAGS, defrag::run),
    ("migrate", migrate::FLAGS, migrate::run),
];

/// What every command takes.
const GLOBAL: &[Flag] = &[
    Flag::new("timeout", Kind::Duration, "10s", "how long to wait for the lock of a data directory, 0: without end"),
    Flag::new("write-out", Kind::Text, "simple", "how to print: fields, json, simple, table").or_short('w'),
    Flag::switch("help", "help for etcdutl").or_short('h'),
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
    if let Some(outcome) = run_flagged(args) {
        return match outcome {
            Ok(text) => super::print_out(&text),
            Err(failure) => fail(&failure),
        };
    }
    let words = match words::parse(args) {
        Ok(words) => words,
        Err(text) => return fail(&Failure::new(EXIT_ERROR, text)),
    };
    let named: Vec<&str> = words.named.iter().map(String::as_str).collect();
    if let Some(command) = NOT_BUILT.iter().find(|command| named.starts_with(command)) {
        eprintln!("etcdutl {} is not built yet in Keelstone.", command.join(" "));
        return ExitCode::from(EXIT_NOT_BUILT);
    }
    match dispatch(&named, &words) {
        Ok(text) => super::print_out(&text),
        Err(failure) => fail(&failure),
    }
}

/// None if the line calls for no command of [`FLAGGED`].
fn run_flagged(args: &[String]) -> Option<Outcome> {
    let mut flags = FlagSet::default();
    flags.add(GLOBAL);
    FLAGGED.iter().for_each(|(_, own, _)| flags.add(own));
    let words = Values::parse(&flags, args).map(|values| values.words).unwrap_or_else(|_| args.to_vec());
    let (_, own, run) = FLAGGED.iter().find(|(name, ..)| words.first().is_some_and(|word| word == name))?;
    let mut flags = FlagSet::default();
    flags.add(GLOBAL);
    flags.add(own);
    Some(match Values::parse(&flags, args) {
        Ok(values) if values.wants_help => Ok(HELP.to_owned()),
        Ok(values) => run(&values),
        Err(text) => Err(Failure::new(EXIT_ERROR, text)),
    })
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

fn dispatch(named: &[&str], words: &Words) -> Outcome {
    match named {
        _ if words.help => Ok(HELP.to_owned()),
        [] | ["help", ..] | ["snapshot"] => Ok(HELP.to_owned()),
        ["version"] => Ok(version::etcdutl()),
        ["snapshot", "status", files @ ..] => snapshot_status::run(files, supported(words.format)),
        // As cobra does for a word that a group of commands does not know.
        ["snapshot", ..] => Ok(HELP.to_owned()),
        [unknown, ..] => Err(Failure::new(
            EXIT_ERROR,
            format!("unknown command {unknown:?} for \"etcdutl\"\nRun 'etcdutl --help' for usage."),
        )),
    }
}

/// What `--write-out` says.
pub fn supported(form: Option<Form>) -> Result<Form, Failure> {
    form.ok_or_else(|| Failure::new(EXIT_BAD_FEATURE, "unsupported output format"))
}

fn fail(failure: &Failure) -> ExitCode {
    eprintln!("Error: {}", failure.text);
    ExitCode::from(failure.code)
}

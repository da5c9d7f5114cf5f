//! The offline tool: work on files, without a server. Words, flags, texts and exit codes are those of etcdutl 3.7
//! (`etcdutl/ctl.go` and the files beside its commands).

mod preflight;
pub mod snapshot_status;
mod words;

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
  snapshot status <filename>   counts what a snapshot file holds, after checking its pages
  preflight <manifest or flags> <copy of a data directory>
                               says whether Keelstone would start in the place of an etcd
  version                      prints the version of etcd whose tool this is

Flags:
  -h, --help               help for etcdutl
      --timeout duration   has no effect here: no command waits for a lock
  -w, --write-out string   how to print: fields, json, simple, table (default \"simple\")
";

/// Commands of etcdutl that are not there yet.
const NOT_BUILT: [&[&str]; 5] = [&["snapshot", "restore"], &["hashkv"], &["defrag"], &["migrate"], &["completion"]];

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
    // Its flags are those of the server.
    if let [word, rest @ ..] = args
        && word == "preflight"
    {
        return preflight::run(rest);
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

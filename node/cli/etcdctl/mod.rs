//! The client's command line, as etcd's `etcdctl`: the same commands, flags, output and exit codes. A file per group
//! of commands declares what they take and does what they do. `tree`, `flags` and `usage` are cobra and pflag as far as
//! etcdctl shows them; `connection` says which cluster to call, `printer` knows the forms of the answers.
//!
//! It knows nothing of the server in the same binary: all goes over the wire, but for commands on files (`offline`, `backup`).

mod alarm;
mod auth;
mod backup;
mod check;
mod compaction;
pub mod completion;
mod connection;
mod defrag;
mod del;
mod discover;
mod downgrade;
mod elect;
mod endpoint;
mod failure;
pub mod flags;
mod get;
mod global;
mod go;
mod lease;
mod lock;
mod log;
pub mod man;
mod member;
mod mirror;
mod move_leader;
mod offline;
mod password;
mod printer;
mod put;
mod range;
mod role;
mod session;
mod snapshot;
mod tree;
mod txn;
mod usage;
mod user;
mod utility;
mod watch;
mod words;

pub use usage::flags as flag_lines;

use super::exit;
use crate::client::{Client, Deadline, Settings};
use failure::{BAD_FEATURE, Failure, Outcome};
use flags::Values;
use printer::{Form, Printer};
use std::process::ExitCode;
use tokio::time::Instant;
use tree::{Command, Located};

/// The program.
static ROOT: Command = Command {
    line: "etcdctl",
    short: "A client of etcd and of Keelstone on the command line.",
    persistent: global::FLAGS,
    children: &[
        &get::COMMAND,
        &put::COMMAND,
        &del::COMMAND,
        &txn::COMMAND,
        &compaction::COMMAND,
        &alarm::COMMAND,
        &defrag::COMMAND,
        &endpoint::COMMAND,
        &move_leader::COMMAND,
        &watch::COMMAND,
        &utility::VERSION,
        &lease::COMMAND,
        &member::COMMAND,
        &snapshot::COMMAND,
        &backup::COMMAND,
        &mirror::COMMAND,
        &lock::COMMAND,
        &elect::COMMAND,
        &auth::COMMAND,
        &user::COMMAND,
        &role::COMMAND,
        &check::COMMAND,
        &completion::COMMAND,
        &downgrade::COMMAND,
        &utility::OPTIONS,
        &utility::HELP,
    ],
    ..Command::PLAIN
};

/// A command line that was understood so far.
#[derive(Debug)]
struct Call {
    command: Located,
    values: Values,
    /// The words behind the program's name.
    line: Vec<String>,
}

impl Call {
    /// The words that are no flags.
    fn words(&self) -> &[String] {
        &self.values.words
    }

    /// Reads the environment and checks what the flags say about the connection and the form.
    async fn settings(&mut self) -> Result<(Settings, Printer), Failure> {
        global::take_environment(self)?;
        if self.values.switch("debug") {
            global::show_settings(self);
        }
        let settings = connection::settings(self).await?;
        let form = Form::find(self.values.text("write-out"))
            .ok_or_else(|| Failure::new(BAD_FEATURE, "unsupported output format"))?;
        Ok((settings, Printer { form, hex: self.values.switch("hex"), values_only: false }))
    }

    async fn client(&mut self) -> Result<(Client, Printer), Failure> {
        let (settings, printer) = self.settings().await?;
        Ok((connection::open(settings).await?, printer))
    }

    /// When a command that begins now has to be done.
    fn deadline(&self) -> Deadline {
        Some(Instant::now() + self.values.duration("command-timeout"))
    }
}

/// Runs `etcdctl` with the words behind its name.
pub fn run(args: &[String]) -> ExitCode {
    let ended = match Located::root(&ROOT).find(args) {
        Ok((command, rest)) => start(command, &rest, args),
        Err((at, text)) => {
            eprintln!("Error: {text}\nRun '{} --help' for usage.", at.path());
            return ExitCode::from(failure::ERROR);
        }
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure { code, text }) => {
            text.iter().for_each(|text| eprintln!("Error: {text}"));
            ExitCode::from(code)
        }
    }
}

/// Reads the flags of a command and runs it.
fn start(command: Located, args: &[String], line: &[String]) -> Outcome {
    let misused = |text: &str| {
        eprintln!("Error: {text}\n{}", usage::usage(&command));
        let code = if backup::is_own(&command.path()) { exit::USAGE } else { failure::ERROR };
        Err(Failure::silent(code))
    };
    let values = match Values::parse(&command.flags(), args) {
        Ok(values) => values,
        Err(text) => return misused(&text),
    };
    let Some(run) = command.command().run.filter(|_| !values.wants_help) else {
        return printer::print(usage::help(&command).as_bytes());
    };
    if command.command().name() == completion::COMMAND.name()
        && let Err(text) = completion::check("etcdctl", &values.words)
    {
        return misused(&text);
    }
    let mut call = Call { command, values, line: line.to_vec() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run(&mut call))
}

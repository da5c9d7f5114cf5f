//! Settings: etcd's flags, environment and file, parsed and checked before a port opens.
//!
//! One table ([`table::FLAGS`]) describes every flag; [`args`], [`env`] or [`file`] fill [`values::Values`] from it,
//! [`check`] applies etcd's rules and refuses what is not built yet, [`build`] makes [`Settings`]. Reads nothing by
//! itself: environment, file and the machine's address are handed in. Writes no log line: what is to be said is
//! returned as [`Notice`]s, since where to log is itself a setting.

pub mod args;
mod auth;
pub mod backup;
pub mod bootstrap;
mod build;
pub mod check;
pub mod discovery;
pub mod env;
pub mod file;
pub mod gates;
pub mod help;
pub mod kind;
pub mod log;
mod notice;
pub mod security;
mod settings;
pub mod table;
pub mod url;
pub mod value;
pub mod values;

pub use auth::{Auth, AuthTokenError, JwtChoice, TokenChoice};
pub use bootstrap::{Bootstrap, BootstrapError, ClusterState, same_urls};
pub use gates::{FeatureGates, Gate};
pub use notice::Notice;
pub use security::Security;
pub use settings::{
    AuditLog, AutoCompaction, Compaction, GrpcKeepalive, Http, Inflight, Limits, Log, LogFormat, LogLevel, LogOutput,
    Member, Observe, Raft, Rotation, ServerPing, Settings, Storage, Urls, Watch,
};
pub use url::{ListenAddress, ListenUrl, Url, UrlError};

use args::{ArgsError, Request};
use check::{SettingsError, Source};
use env::{Env, EnvError};
use file::FileError;
use std::io;

/// The version of etcd that we behave as. Tools choose what they do by it.
pub const ETCD_VERSION: &str = "3.7.3";

/// What the process has around it.
pub struct Surroundings<'a> {
    pub env: Env,
    pub read_file: &'a dyn Fn(&str) -> io::Result<String>,
    /// The address that others reach this machine by, or why there is none.
    pub default_host: build::DefaultHost<'a>,
}

impl std::fmt::Debug for Surroundings<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Surroundings").finish_non_exhaustive()
    }
}

/// What the command line asks for.
#[derive(Debug)]
pub enum Loaded {
    Help,
    Version,
    Run(Box<Settings>),
}

/// Why there are no settings.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    #[error(transparent)]
    Args(#[from] ArgsError),
    #[error(transparent)]
    Env(#[from] EnvError),
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Settings(#[from] SettingsError),
}

/// What loading found out before it ended, well or not.
#[derive(Debug, Default)]
pub struct Report {
    /// In the order in which etcd would have logged them.
    pub notices: Vec<Notice>,
    /// Where to log; the default until the settings of the log were read.
    pub log: Log,
}

/// Reads settings from the words after the program's name, the environment and, if one is named, the file.
pub fn load(args: &[String], surroundings: &Surroundings<'_>, report: &mut Report) -> Result<Loaded, LoadError> {
    let mut values = match args::parse(args)? {
        Request::Help => return Ok(Loaded::Help),
        Request::Run(values) if values.bool("version") => return Ok(Loaded::Version),
        Request::Run(values) => values,
    };
    let notices = &mut report.notices;
    let path = match values.text("config-file") {
        "" => env::lookup(&surroundings.env, "ETCD_CONFIG_FILE").map(str::to_owned),
        path => Some(path.to_owned()),
    };
    let source = match &path {
        Some(path) => {
            let text = (surroundings.read_file)(path)
                .map_err(|error| FileError::Open { path: path.clone(), why: go_io_error(&error) })?;
            values = values::Values::defaults();
            file::apply(&mut values, &text)?;
            Source::File
        }
        None => {
            env::apply(&mut values, &surroundings.env, notices)?;
            if values.text("discovery-fallback") == "proxy" {
                return Err(SettingsError::DiscoveryFallback.into());
            }
            Source::CommandLine
        }
    };
    report.log = log::read(&values).map_err(SettingsError::from)?;
    check::check(&values, source, notices)?;
    if let Some(path) = path {
        notices.push(Notice::FileLoaded { path });
    }
    let settings = build::build(&values, source, report.log.clone(), surroundings.default_host, notices);
    Ok(Loaded::Run(Box::new(settings?)))
}

/// An I/O error as Go prints it: the system's text in lower case, without the number.
pub(crate) fn go_io_error(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
}

impl Settings {
    /// Settings of a command line with nothing around it: no environment, no file, no address of the machine. For
    /// tests and tools; the server gets its settings from [`load`].
    pub fn from_args(args: &[&str]) -> Result<Settings, LoadError> {
        let args: Vec<String> = args.iter().map(|&arg| arg.to_owned()).collect();
        let surroundings = Surroundings {
            env: Env::new(),
            read_file: &|_| Err(io::ErrorKind::NotFound.into()),
            default_host: &|| Err("could not find default route".to_owned()),
        };
        match load(&args, &surroundings, &mut Report::default())? {
            Loaded::Run(settings) => Ok(*settings),
            Loaded::Help | Loaded::Version => {
                Err(ArgsError::Usage("help and version are no settings".to_owned()).into())
            }
        }
    }
}

#[cfg(test)]
mod tests;

//! The server's command line, as etcd's `etcdmain`: settings, the log, a look at the data directory, the server.
//! Exit codes are etcd's: 2 for a command line that Go's flag package refuses, 1 for all else that keeps the
//! server from running, and the signal's own status after SIGTERM or SIGINT.

use super::{absent, data_dir, default_host, notices, print_out, start_line, version};
use crate::config::args::ArgsError;
use crate::config::check::SettingsError;
use crate::config::env::EnvError;
use crate::config::file::FileError;
use crate::config::log::LogError;
use crate::config::{self, LoadError, Loaded, Log, Report, Settings, Surroundings};
use crate::fatal;
use crate::logging::{self, OutputError, Strings};
use crate::server::{DiscoveryError, Ended, log_failure};
use std::process::ExitCode;
use std::sync::Arc;
use tracing::{info, warn};

/// EX_IOERR of sysexits.h.
const EXIT_IO_ERROR: i32 = 74;

/// `command` is the whole command line, as it is logged; `args` what is left of it for the server.
pub fn run(command: &[String], args: &[String]) -> ExitCode {
    if let Some(said) = args.first().and_then(|word| absent::of(word)) {
        return absent::answer(said);
    }
    let surroundings = Surroundings {
        env: std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect(),
        read_file: &|path| std::fs::read_to_string(path),
        default_host: &default_host::find,
    };
    let mut report = Report::default();
    match config::load(args, &surroundings, &mut report) {
        Ok(Loaded::Help) => {
            eprintln!("{}", config::help::USAGE);
            print_out(&config::help::flags())
        }
        Ok(Loaded::Version) => print_out(&version::etcd()),
        Ok(Loaded::Run(settings)) => match logging::init(&settings.log) {
            Ok(()) => start(command, *settings, &report),
            Err(error) => refuse_output(command, &error),
        },
        Err(error) => refuse(command, &error, &report),
    }
}

/// Runs the member until it ends.
fn start(command: &[String], settings: Settings, report: &Report) -> ExitCode {
    report.notices.iter().for_each(notices::log);
    log_running(command);
    let dir = settings.member.data_dir.clone();
    match data_dir::identify(&dir) {
        Ok(found @ data_dir::DirType::Member) => info!(
            "data-dir" = %dir.display(),
            "dir-type" = found.as_str(),
            "server has already been initialized"
        ),
        Ok(found @ data_dir::DirType::Empty) => info!(
            "data-dir" = %dir.display(),
            "dir-type" = found.as_str(),
            "Initialize and start etcd server"
        ),
        Err(data_dir::DirError::List(error)) => {
            fatal!(dir = %dir.display(), %error, "failed to list data directory");
            return ExitCode::FAILURE;
        }
        Err(error) => {
            fatal!("{error}");
            return ExitCode::FAILURE;
        }
    }
    start_line::log(&settings);
    let code = match crate::server::run(&settings, Arc::new(end_process)) {
        Ok(Ended::BySignal(signal)) => logging::shutdown::reraise(signal),
        Ok(Ended::Removed) => ExitCode::SUCCESS,
        Err(error) => {
            match error.downcast_ref::<DiscoveryError>() {
                Some(error) => log_failure(error, &settings),
                // etcd's words for whatever kept its server from starting.
                None => fatal!(error = format!("{error:#}"), "discovery failed"),
            }
            ExitCode::FAILURE
        }
    };
    logging::flush();
    code
}

/// Log or state failed: nothing may be acknowledged or served from now on, so the process does not wait for anything.
fn end_process(error: &dyn std::error::Error) {
    fatal!(%error, "log or state failed; the process ends");
    std::process::exit(EXIT_IO_ERROR);
}

fn log_running(command: &[String]) {
    info!(args = Strings(command.to_vec()).field(), "Running: ");
}

/// Says why there are no settings, each kind where etcd says it.
fn refuse(command: &[String], error: &LoadError, report: &Report) -> ExitCode {
    match error {
        LoadError::Args(ArgsError::Usage(text)) => {
            eprintln!("{text}\n{}", config::help::USAGE);
            return ExitCode::from(2);
        }
        LoadError::Settings(SettingsError::Log(LogError::Level(_))) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
        LoadError::File(FileError::Url { .. }) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
        _ => {}
    }
    if let Err(error) = logging::init(&report.log) {
        return refuse_output(command, &error);
    }
    report.notices.iter().for_each(notices::log);
    if let LoadError::Env(EnvError::Conflict { name }) = error {
        fatal!({ "environment-variable" = name }, "{error}");
        return ExitCode::FAILURE;
    }
    log_running(command);
    warn!(%error, "failed to verify flags");
    if matches!(error, LoadError::Settings(SettingsError::AdvertiseClientUnset)) {
        warn!(%error, "advertise client URLs are not set");
    }
    logging::flush();
    ExitCode::FAILURE
}

/// The log that was asked for cannot be had: says so on stderr.
fn refuse_output(command: &[String], error: &OutputError) -> ExitCode {
    match logging::init(&Log::default()) {
        Ok(()) => {
            log_running(command);
            warn!(%error, "failed to verify flags");
            logging::flush();
        }
        Err(second) => eprintln!("{error}; {second}"),
    }
    ExitCode::FAILURE
}

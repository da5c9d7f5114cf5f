//! Log lines in the shape of etcd's (zap): one JSON object a line, or the console form. Everything goes through
//! `tracing`; this part owns how a line looks, who is heard, and where lines go. Also here, since both are ways of
//! talking with whoever runs the process: readiness for systemd, and the signals that end it.
//!
//! Keys: name fields as etcd does, in quotes where the name has a dash: `info!("local-member-id" = %id, "…")`.
//! A list of texts is written with [`Strings`], a duration with [`crate::config::value::GoDuration`]. A line that
//! ends the process is written with [`fatal!`](crate::fatal), which waits until it is out.
//!
//! Callers never wait for an output: lines pass through a bounded queue to a thread of their own; when it is full
//! lines are dropped, counted, and the loss is logged.

mod format;
mod layer;
mod rotating;
mod sampling;
pub mod shutdown;
mod systemd;
mod values;
mod writer;

pub use rotating::RotatingFile;
pub use systemd::{notify_delay, notify_ready};
pub use values::Strings;
pub use writer::OutputError;

use crate::config::{Log, LogLevel};
use layer::JsonLayer;
use std::sync::OnceLock;
use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use writer::Logger;

/// The target of lines that end the process; use [`fatal!`](crate::fatal).
pub const FATAL_TARGET: &str = "fatal";

/// Writes a line of level `fatal` and waits until it is out. The caller ends the process. A field whose name has a
/// dash stands in braces here: `fatal!({ "data-dir" = dir }, "…")`.
#[macro_export]
macro_rules! fatal {
    ($($line:tt)+) => {
        ::tracing::error!(target: $crate::logging::FATAL_TARGET, $($line)+)
    };
}

/// The one log of the process, as `tracing`'s own default is: whoever ends the process must be able to flush it.
static PROCESS_LOG: OnceLock<Logger> = OnceLock::new();

/// Opens the outputs and makes this the log of the whole process, panics included.
///
/// # Errors
/// An output cannot be opened; nothing was set up then. Setting up a second log is a bug and panics.
pub fn init(log: &Log) -> Result<(), OutputError> {
    let logger = writer::start(&log.outputs, log.rotation)?;
    let subscriber = tracing_subscriber::registry().with(layer(log, logger.clone()));
    tracing::subscriber::set_global_default(subscriber).expect("the log is set up once");
    PROCESS_LOG.set(logger).expect("the log is set up once");
    let previous = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let text = panic.payload_as_str().unwrap_or("panic");
        crate::fatal!(place, "{text}");
        previous(panic);
    }));
    Ok(())
}

/// Waits until what was logged before is out, at most a second. Call it before the process ends.
pub fn flush() {
    if let Some(logger) = PROCESS_LOG.get() {
        logger.flush();
    }
}

fn layer<S: Subscriber + for<'a> LookupSpan<'a>>(log: &Log, logger: Logger) -> impl Layer<S> {
    JsonLayer::new(log.format, logger).with_filter(targets(log.level))
}

/// Who is heard. Libraries know neither what is normal here nor what an operator can act on: only their errors are
/// heard (from INFO when debugging), and written as warnings.
fn targets(level: LogLevel) -> Targets {
    let (own, others) = match level {
        LogLevel::Debug => (LevelFilter::DEBUG, LevelFilter::INFO),
        LogLevel::Info => (LevelFilter::INFO, LevelFilter::ERROR),
        LogLevel::Warn => (LevelFilter::WARN, LevelFilter::ERROR),
        LogLevel::Error => (LevelFilter::ERROR, LevelFilter::OFF),
        LogLevel::Fatal => (LevelFilter::OFF, LevelFilter::OFF),
    };
    Targets::new().with_default(others).with_target("keelstone", own).with_target(FATAL_TARGET, LevelFilter::ERROR)
}

#[cfg(test)]
mod tests;

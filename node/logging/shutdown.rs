//! The signals that end the process, and how it ends after them: as etcd, by the same signal again, so that the
//! exit status says what happened (143 for SIGTERM, 130 for SIGINT).

use crate::fatal;
use std::io;
use tokio::signal::unix::{self, SignalKind};
use tracing::info;

/// A signal that asks the process to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    Interrupt,
    Terminate,
}

impl Signal {
    fn number(self) -> i32 {
        match self {
            Signal::Interrupt => SignalKind::interrupt().as_raw_value(),
            Signal::Terminate => SignalKind::terminate().as_raw_value(),
        }
    }

    /// Go's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Signal::Interrupt => "interrupt",
            Signal::Terminate => "terminated",
        }
    }
}

/// Both signals, caught from [`Signals::listen`] on. Until then they end the process at once, as in etcd.
#[derive(Debug)]
pub struct Signals {
    interrupt: unix::Signal,
    terminate: unix::Signal,
}

impl Signals {
    /// Must be called within the tokio runtime.
    pub fn listen() -> io::Result<Signals> {
        Ok(Signals {
            interrupt: unix::signal(SignalKind::interrupt())?,
            terminate: unix::signal(SignalKind::terminate())?,
        })
    }

    /// Waits for the next one and logs it in etcd's words.
    pub async fn wait(&mut self) -> Signal {
        let signal = tokio::select! {
            _ = self.interrupt.recv() => Signal::Interrupt,
            _ = self.terminate.recv() => Signal::Terminate,
        };
        info!(signal = signal.as_str(), "received signal; shutting down");
        signal
    }
}

/// Catches the signals from now on and waits for the first.
///
/// # Errors
/// The handlers cannot be installed.
pub async fn wait() -> io::Result<Signal> {
    Ok(Signals::listen()?.wait().await)
}

/// Ends the process by `signal`, with its default effect. The first process of a container ends with 0 instead,
/// since the kernel does not deliver such a signal to it (etcd `osutil`). The log
/// is flushed first.
pub fn reraise(signal: Signal) -> ! {
    super::flush();
    if std::process::id() == 1 {
        std::process::exit(0);
    }
    // It only returns if the signal is unknown to the crate or was blocked from outside.
    if signal_hook::low_level::emulate_default_handler(signal.number()).is_err() {
        fatal!(signal = signal.as_str(), "cannot end by the signal; exiting");
    }
    std::process::exit(128 + signal.number());
}

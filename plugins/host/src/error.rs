//! What can go wrong with a plugin, at loading and at calling.

use crate::cache::CacheError;
use crate::limits::Limit;
use crate::manifest::{Abi, Name, World};
use crate::settings::Problem;
use crate::stats::Outcome;
use std::time::Duration;
use wasmtime::{PoolConcurrencyLimitError, Trap};

/// The engines could not be made.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    #[error("make the engine for plugins: {reason}")]
    Engine { reason: String },
    #[error("start a thread: {0}")]
    Thread(#[from] std::io::Error),
    #[error(transparent)]
    Cache(#[from] CacheError),
}

/// A plugin could not be loaded. Nothing of it runs.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    #[error("the grant is for {granted}, the package is {found}")]
    OtherPlugin { granted: Name, found: Name },
    /// The package is not the one that was pinned.
    #[error("the package has SHA-256 {found}, {wanted} is wanted")]
    OtherBytes { wanted: String, found: String },
    #[error("it is for another world: {found}")]
    OtherWorld { found: World },
    /// It was built against a contract that this host does not speak.
    #[error("it speaks keelstone:plugin@{found}, this host {}", crate::manifest::ABI)]
    OtherAbi { found: Abi },
    #[error("it does not compile: {reason}")]
    Compile { reason: String },
    /// It takes more than an operator may give, before it does anything.
    #[error("it is too large: {reason}")]
    TooLarge { reason: String },
    #[error("it asks for {asked} bytes of memory and is given {given}")]
    Memory { asked: u64, given: usize },
    /// It imports what it was not granted.
    #[error("it imports what it is not granted: {}", imports.join(", "))]
    NotGranted { imports: Vec<String> },
    /// It asks for something in its manifest that the operator does not grant.
    #[error("it asks for what it is not granted: {}", asks.join(", "))]
    Asks { asks: Vec<String> },
    /// Its imports or exports are not of the shape that the contract says.
    #[error("it does not fit the world {world}: {reason}")]
    Shape { world: World, reason: String },
    #[error("its settings do not do: {}", list(problems))]
    Settings { problems: Vec<Problem> },
    /// It fails at its first step.
    #[error("it does not start: {0}")]
    Start(CallError),
}

fn list(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// A call that a plugin did not answer. Its instance is gone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// It broke off: `unreachable`, an access beyond its memory, a stack that is too deep.
    #[error("it broke off: {reason}")]
    Trap { reason: String },
    #[error(transparent)]
    Limit(#[from] Limit),
    /// What it handed over or returned cannot be taken: pointers beyond its memory, texts that are none, too many bytes, not as
    /// many answers as questions.
    #[error("its answer cannot be taken: {reason}")]
    Reply { reason: String },
    #[error("its settings do not do: {}", list(problems))]
    Settings { problems: Vec<Problem> },
    #[error("all {instances} of its instances are in use")]
    Busy { instances: usize },
    /// It failed too often.
    #[error("it is given a rest for {} ms", retry_in.as_millis())]
    Tripped { retry_in: Duration },
}

impl CallError {
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Trap { .. } => Outcome::Trap,
            Self::Limit(_) => Outcome::Limit,
            Self::Reply { .. } => Outcome::Reply,
            Self::Settings { .. } => Outcome::Settings,
            Self::Busy { .. } => Outcome::Busy,
            Self::Tripped { .. } => Outcome::Tripped,
        }
    }

    /// The guest is at fault, and the breaker counts it.
    pub(crate) fn is_failure(&self) -> bool {
        !matches!(self, Self::Busy { .. } | Self::Tripped { .. })
    }

    /// Sorts what the engine says.
    pub(crate) fn of(error: &wasmtime::Error, instances: usize) -> Self {
        if let Some(limit) = error.downcast_ref::<Limit>() {
            return Self::Limit(*limit);
        }
        if let Some(trap) = error.downcast_ref::<Trap>() {
            return Self::Trap { reason: trap.to_string() };
        }
        if let Some(wasmtime_wasi::I32Exit(status)) = error.downcast_ref() {
            return Self::Trap { reason: format!("it left with status {status}") };
        }
        // The pool is shared by all plugins.
        if error.downcast_ref::<PoolConcurrencyLimitError>().is_some() {
            return Self::Busy { instances };
        }
        Self::Reply { reason: chain(error) }
    }
}

/// An error and its causes, on one line.
pub(crate) fn chain(error: &wasmtime::Error) -> String {
    crate::log::plain(&format!("{error:#}"))
}

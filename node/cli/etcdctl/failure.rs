//! Why a command ended without success: the line on stderr and the exit code, both etcdctl's
//! (etcd `pkg/cobrautl/error.go`).

use std::fmt::Display;

pub const ERROR: u8 = 1;
pub const BAD_CONNECTION: u8 = 2;
/// A line of `txn` or `watch` that cannot be read.
pub const INVALID_INPUT: u8 = 3;
/// A known flag with a value that is not.
pub const BAD_FEATURE: u8 = 4;
pub const INTERRUPTED: u8 = 5;
pub const BAD_ARGS: u8 = 128;

/// How a command fails.
#[derive(Debug, PartialEq, Eq)]
pub struct Failure {
    pub code: u8,
    /// Printed behind `Error: `; `None` if all has been said.
    pub text: Option<String>,
}

impl Failure {
    pub fn new(code: u8, text: impl Display) -> Self {
        Self { code, text: Some(text.to_string()) }
    }

    pub fn args(text: impl Display) -> Self {
        Self::new(BAD_ARGS, text)
    }

    pub fn error(text: impl Display) -> Self {
        Self::new(ERROR, text)
    }

    /// What is wrong was printed already.
    pub fn silent(code: u8) -> Self {
        Self { code, text: None }
    }
}

/// stdout is gone, or full.
impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::error(error)
    }
}

pub type Outcome = Result<(), Failure>;

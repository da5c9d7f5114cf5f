//! Why a call failed, in the words of etcd's client: etcd's own texts stand alone, anything else with its code.

use super::Deadline;
use std::fmt;
use tokio::time::Instant;
use tonic::{Code, Status};

/// A failed call.
#[derive(Debug)]
pub struct CallError {
    status: Status,
    /// The time that the caller gave is over.
    late: bool,
}

impl CallError {
    pub fn from_status(status: Status, deadline: Deadline) -> Self {
        let is_context = matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled);
        // A timer of the server may fire a little before ours.
        let late = is_context && deadline.is_some_and(|at| at <= Instant::now() + std::time::Duration::from_millis(50));
        Self { status: in_words_of_go(status), late }
    }

    /// True for this text of etcd's.
    pub fn is(&self, text: &str) -> bool {
        self.status.message() == text
    }

    pub fn is_deadline(&self) -> bool {
        self.late
    }

    /// It may work elsewhere, or a little later.
    pub fn is_transient(&self) -> bool {
        self.status.code() == Code::Unavailable
    }

    /// A stream that ended so is not worth opening again.
    pub fn is_final(&self) -> bool {
        !matches!(self.status.code(), Code::Unavailable | Code::Internal)
    }

    /// The token is too old, or lost.
    pub fn asks_for_token(&self) -> bool {
        self.is("etcdserver: invalid auth token")
            || self.is("etcdserver: revision of auth store is old")
            || self.is("etcdserver: user name is empty")
    }

    pub fn code(&self) -> Code {
        self.status.code()
    }

    /// Without its code.
    pub fn text(&self) -> &str {
        self.status.message()
    }

    /// With its code, as gRPC tells it.
    pub fn as_rpc(&self) -> String {
        format!("rpc error: code = {} desc = {}", name_of(self.status.code()), self.status.message())
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.late {
            f.write_str("context deadline exceeded")
        } else if self.status.message().starts_with("etcdserver: ") {
            f.write_str(self.status.message())
        } else {
            f.write_str(&self.as_rpc())
        }
    }
}

/// What tonic itself refuses, as grpc-go says it.
fn in_words_of_go(status: Status) -> Status {
    let Some(sizes) = status.message().strip_prefix("Error, decoded message length too large: found ") else {
        return status;
    };
    let numbers: Vec<&str> = sizes.split(|c: char| !c.is_ascii_digit()).filter(|part| !part.is_empty()).collect();
    match numbers[..] {
        [found, limit] => {
            Status::resource_exhausted(format!("grpc: received message larger than max ({found} vs. {limit})"))
        }
        _ => status,
    }
}

/// As grpc-go spells it.
fn name_of(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "Canceled",
        Code::Unknown => "Unknown",
        Code::InvalidArgument => "InvalidArgument",
        Code::DeadlineExceeded => "DeadlineExceeded",
        Code::NotFound => "NotFound",
        Code::AlreadyExists => "AlreadyExists",
        Code::PermissionDenied => "PermissionDenied",
        Code::ResourceExhausted => "ResourceExhausted",
        Code::FailedPrecondition => "FailedPrecondition",
        Code::Aborted => "Aborted",
        Code::OutOfRange => "OutOfRange",
        Code::Unimplemented => "Unimplemented",
        Code::Internal => "Internal",
        Code::Unavailable => "Unavailable",
        Code::DataLoss => "DataLoss",
        Code::Unauthenticated => "Unauthenticated",
    }
}

//! May a request enter? Validity and limits, before anything is proposed.
//!
//! Plain checks on plain requests, in etcd's order, so that the first error is etcd's too. Advice only: apply
//! checks again whatever depends on the state. Texts and codes belong to the edge (`api/status.rs`).

mod budget;
mod intervals;
mod limit;
mod validate;

pub use budget::{Budget, Taken, WORTH_BYTES};
pub use limit::{Limits, MAX_GRPC_OVERHEAD_BYTES};
pub use validate::{
    check_delete_range, check_lease_grant, check_put, check_range, check_range_stream, check_txn, is_read_only,
    is_serializable,
};

/// Why a request may not enter, by etcd's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdmissionError {
    #[error("key is not provided")]
    EmptyKey,
    /// Also an operation of a transaction that says nothing.
    #[error("key not found")]
    KeyNotFound,
    #[error("value is provided")]
    ValueProvided,
    #[error("lease is provided")]
    LeaseProvided,
    #[error("too many operations in txn request")]
    TooManyOps,
    #[error("duplicate key given in txn request")]
    DuplicateKey,
    #[error("invalid sort option")]
    InvalidSortOption,
    #[error("too large lease TTL")]
    LeaseTtlTooLarge,
    #[error("request is too large")]
    RequestTooLarge,
    /// More committed entries than this wait to be applied.
    #[error("too many requests")]
    TooManyRequests,
    /// Requests and answers on their way take all that they may.
    #[error("out of memory for requests and answers")]
    OutOfMemory,
    #[error("RangeStream does not support custom sort orders")]
    RangeStreamSortOrder,
    #[error("RangeStream does not support revision filters")]
    RangeStreamRevisionFilters,
}

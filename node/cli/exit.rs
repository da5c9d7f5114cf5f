//! How our own commands end beside 0 and 1 (reference/observability.md D2); those of etcd's tools keep etcd's codes.

pub const USAGE: u8 = 2;
pub const VERIFICATION_FAILED: u8 = 3;
pub const NOT_FOUND: u8 = 4;
pub const PARTIAL: u8 = 5;
pub const RETRYABLE: u8 = 75;
/// Not here, or not yet. None of the codes of etcd's programs, so that a script can tell.
pub const NOT_BUILT: u8 = 4;

//! How large a request may be, and how far apply may lag before new ones are refused.

use super::AdmissionError;

/// What a gRPC message may be larger than a request (etcd `grpcOverheadBytes`).
pub const MAX_GRPC_OVERHEAD_BYTES: usize = 512 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// `--max-request-bytes`: of an encoded log entry.
    pub max_request_bytes: usize,
    /// Committed entries not applied yet (etcd `maxGapBetweenApplyAndCommitIndex`).
    pub max_apply_lag_entries: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_request_bytes: 1024 * 1024 * 3 / 2, max_apply_lag_entries: 5000 }
    }
}

impl Limits {
    /// `encoded_len` is that of the InternalRaftRequest.
    pub fn check_size(&self, encoded_len: usize) -> Result<(), AdmissionError> {
        if encoded_len > self.max_request_bytes { Err(AdmissionError::RequestTooLarge) } else { Ok(()) }
    }

    pub fn check_lag(&self, committed: u64, applied: u64) -> Result<(), AdmissionError> {
        let is_behind = committed.saturating_sub(applied) > self.max_apply_lag_entries;
        if is_behind { Err(AdmissionError::TooManyRequests) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limits_themselves_are_allowed() {
        let limits = Limits::default();
        assert_eq!(limits.check_size(1_572_864), Ok(()));
        assert_eq!(limits.check_size(1_572_865), Err(AdmissionError::RequestTooLarge));
        assert_eq!(limits.check_lag(5001, 1), Ok(()));
        assert_eq!(limits.check_lag(5002, 1), Err(AdmissionError::TooManyRequests));
        assert_eq!(limits.check_lag(1, 2), Ok(()));
    }
}

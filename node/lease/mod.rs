//! Leases: which exist, which keys hang on them and, on the leader, when they end.
//!
//! Two halves in one [`Lessor`]. The replicated half (grants, attachments, checkpoints) is changed by the apply
//! thread only and depends on nothing but the log. The leader's half (deadlines) lives in memory, is given the
//! time as an argument, and never writes: a lease ends when a replicated revoke is applied, on all members.
//!
//! Invariants: a key hangs on at most one lease; a lease is never due before its time to live has passed since
//! its grant, its last renewal or the start of this leader, whichever is latest (a checkpoint shortens only the
//! last); a lease that is due is not renewed any more. Knows nothing of Raft: whoever calls the leader's half
//! has proved the leadership (D7).

mod expiry;
mod lessor;
mod metrics;
mod row;

pub use expiry::ExpiryQueue;
pub use lessor::{Lease, LeaseTime, Lessor, NotPrimary, Renewal, RevokeWait};
pub use metrics::Metrics;
pub use row::{LeaseRow, LeaseRowError};

/// The longest time to live that a client may ask for, in seconds (etcd `lease.MaxLeaseTTL`).
pub const MAX_TTL_SECS: i64 = 9_000_000_000;

/// The shortest time to live that is granted: one and a half elections, in whole seconds rounded up, so that a
/// lease outlives a change of the leader.
pub fn min_ttl_secs(election_timeout: std::time::Duration) -> i64 {
    let millis = election_timeout.as_millis() * 3 / 2;
    i64::try_from(millis.div_ceil(1000)).unwrap_or(MAX_TTL_SECS)
}

/// Why a command on leases is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LeaseError {
    #[error("lease not found")]
    NotFound,
    #[error("lease already exists")]
    Exists,
    #[error("too large lease TTL")]
    TtlTooLarge,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_shortest_ttl_is_one_and_a_half_elections() {
        let min_for = |millis| min_ttl_secs(Duration::from_millis(millis));
        assert_eq!((min_for(1000), min_for(2000), min_for(100), min_for(3000)), (2, 3, 1, 5));
    }
}

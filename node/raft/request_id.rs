//! Ids of requests, unique over members and restarts: the member in the top 16 bits, then milliseconds of the
//! start, then a counter (etcd `pkg/idutil`).

use crate::types::MemberId;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

#[derive(Debug)]
pub struct RequestIds {
    next: AtomicU64,
}

impl RequestIds {
    /// `started` separates this run from earlier ones, whose entries may still be applied.
    pub fn new(member: MemberId, started: SystemTime) -> Self {
        let millis = started.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
        let prefix = member.0 << 48;
        Self { next: AtomicU64::new(prefix | ((millis << 8) & 0x0000_ffff_ffff_ffff)) }
    }

    /// Never zero.
    pub fn next(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed).wrapping_add(1).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn ids_of_two_members_and_of_two_runs_differ() {
        let start = UNIX_EPOCH + Duration::from_secs(1_000_000);
        let one = RequestIds::new(MemberId(1), start);
        let other = RequestIds::new(MemberId(2), start);
        let later = RequestIds::new(MemberId(1), start + Duration::from_secs(1));
        let ids = [one.next(), one.next(), other.next(), later.next()];
        let unique: std::collections::BTreeSet<u64> = ids.into_iter().collect();
        assert_eq!(unique.len(), ids.len());
    }
}

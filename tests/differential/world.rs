//! What both servers agreed on so far: the ground on which further requests are drawn.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// The extremes are among them.
pub const LEASE_IDS: [i64; 8] = [1, 2, 3, 4, 5, 0x7fff_ffff_ffff_ffff, -3, 1 << 40];

/// Leases that end within less than this of each other are in no order: etcd asks the clock anew for each of two
/// leases that it compares, and may be held up in between.
const LEASE_ORDER: Duration = Duration::from_millis(500);

/// A lease, and when it was granted or renewed.
#[derive(Debug, Clone, Copy)]
pub struct Lease {
    pub ttl_secs: i64,
    renewed: Instant,
}

/// Equal on both sides, or there would have been a difference.
#[derive(Debug, Clone)]
pub struct World {
    pub revision: i64,
    /// -1 before the first.
    pub compacted: i64,
    /// Revisions of compactions whose hash a restart may have lost, or not.
    pub uncertain_hashes: BTreeSet<i64>,
    /// Revisions of compactions since the last restart.
    compactions: BTreeSet<i64>,
    /// A compaction may still be at work.
    pub is_compacting: bool,
    pub leases: BTreeMap<i64, Lease>,
    /// Raised alarms: type and whose.
    pub alarms: BTreeSet<(i32, Whose)>,
    /// `--max-request-bytes` and `--max-txn-ops`.
    pub max_request_bytes: usize,
    pub max_txn_ops: usize,
}

/// A member id in a request. The two clusters' own differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Whose {
    Nobody,
    Own,
    Another,
}

impl World {
    pub fn new(max_request_bytes: usize, max_txn_ops: usize) -> Self {
        Self {
            revision: 1,
            compacted: -1,
            uncertain_hashes: BTreeSet::new(),
            compactions: BTreeSet::new(),
            is_compacting: false,
            leases: BTreeMap::new(),
            alarms: BTreeSet::new(),
            max_request_bytes,
            max_txn_ops,
        }
    }

    pub fn saw(&mut self, revision: i64) {
        self.revision = self.revision.max(revision);
    }

    pub fn renewed(&mut self, id: i64, ttl_secs: i64) {
        self.leases.insert(id, Lease { ttl_secs, renewed: Instant::now() });
    }

    /// Whether it is open which of two leases ends first.
    pub fn end_together(&self, one: i64, other: i64) -> bool {
        let (Some(one), Some(other)) = (self.leases.get(&one), self.leases.get(&other)) else { return false };
        let between = one.renewed.max(other.renewed).duration_since(one.renewed.min(other.renewed));
        one.ttl_secs == other.ttl_secs && between < LEASE_ORDER
    }

    pub fn compacted(&mut self, revision: i64, is_physical: bool) {
        self.compacted = revision;
        self.compactions.insert(revision);
        // From now on etcd answers for it when it is asked for the current hash (README, "How it differs from etcd").
        if revision == 0 {
            self.uncertain_hashes.insert(0);
        }
        self.is_compacting = !is_physical;
    }

    /// A new leader gives all leases their whole time again, at once.
    pub fn restarted(&mut self) {
        self.uncertain_hashes.append(&mut self.compactions);
        let now = Instant::now();
        self.leases.values_mut().for_each(|lease| lease.renewed = now);
    }
}

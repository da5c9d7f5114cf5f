//! A limit for lines that repeat, as zap's sampler in etcd: of each message and level the first hundred in a second
//! are written, then every hundredth.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};

const FIRST: u64 = 100;
const THEN_EVERY: u64 = 100;
/// Messages share a counter if their hashes meet, which costs a line at worst.
const COUNTERS: usize = 4096;

/// Counts lines by message.
#[derive(Debug)]
pub struct Sampler {
    /// Second (upper half) and lines in it (lower half).
    counters: Box<[AtomicU64]>,
}

impl Sampler {
    pub fn new() -> Sampler {
        Sampler { counters: (0..COUNTERS).map(|_| AtomicU64::new(0)).collect() }
    }

    /// True if the line may be written. `second` is wall time.
    pub fn admits(&self, level: &str, message: &str, second: u64) -> bool {
        let mut hasher = DefaultHasher::new();
        (level, message).hash(&mut hasher);
        let at = usize::try_from(hasher.finish() % COUNTERS as u64).unwrap_or(0);
        let second = second & 0xffff_ffff;
        let count_up = |counter: u64| {
            let lines = if counter >> 32 == second { counter & 0xffff_ffff } else { 0 };
            Some(second << 32 | (lines + 1).min(0xffff_ffff))
        };
        let before = self.counters[at].fetch_update(Ordering::Relaxed, Ordering::Relaxed, count_up);
        let before = before.unwrap_or_else(|same| same);
        let lines = if before >> 32 == second { (before & 0xffff_ffff) + 1 } else { 1 };
        lines <= FIRST || (lines - FIRST).is_multiple_of(THEN_EVERY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_one_message_is_thinned_and_others_pass() {
        let sampler = Sampler::new();
        let admitted = (0..1000).filter(|_| sampler.admits("warn", "slow", 7)).count();
        assert_eq!(admitted, 100 + 9);
        assert!(sampler.admits("warn", "other", 7));
        assert!(sampler.admits("warn", "slow", 8), "the next second starts anew");
    }
}

//! How fast a compaction goes on: after every batch of rows it rests, if the operator wants it to (etcd
//! `--compaction-sleep-interval`, between batches of `--compaction-batch-limit`).

use crate::clock::Ticks;
use std::time::Duration;

/// Told of every slice. Entries are applied during a rest as at any other time.
#[derive(Debug)]
pub(super) struct Pace {
    batch_rows: usize,
    rest: Duration,
    /// Of the batch; never zero.
    rows_left: usize,
    resting_until: Option<Ticks>,
}

impl Pace {
    pub fn new(batch_rows: usize, rest: Duration) -> Self {
        let batch_rows = batch_rows.max(1);
        Self { batch_rows, rest, rows_left: batch_rows, resting_until: None }
    }

    /// How long the next slice has to wait.
    pub fn wait(&self, now: Ticks) -> Duration {
        self.resting_until.map_or(Duration::ZERO, |until| until.since(now))
    }

    /// A slice of `rows` without what is beyond the batch.
    pub fn slice(&self, rows: usize) -> usize {
        rows.min(self.rows_left)
    }

    /// A slice of so many rows ended.
    pub fn did(&mut self, rows: usize, now: Ticks) {
        self.rows_left = self.rows_left.saturating_sub(rows);
        self.resting_until = None;
        if self.rows_left == 0 {
            self.rows_left = self.batch_rows;
            self.resting_until = (!self.rest.is_zero()).then(|| now.saturating_add(self.rest));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Whatever slices are asked for: as many rests as full batches, and no slice reaches over one.
        #[test]
        fn every_batch_of_rows_is_followed_by_one_rest(
            batch_rows in 1_usize..50,
            asked in proptest::collection::vec(1_usize..60, 0..40),
        ) {
            let rest = Duration::from_secs(7);
            let (mut pace, mut now) = (Pace::new(batch_rows, rest), Ticks(5));
            let (mut rows, mut rests) = (0, 0);
            for rows_asked in asked {
                let slice = pace.slice(rows_asked);
                prop_assert!(slice >= 1 && slice <= rows_asked);
                pace.did(slice, now);
                rows += slice;
                let wait = pace.wait(now);
                prop_assert_eq!(wait, if rows % batch_rows == 0 { rest } else { Duration::ZERO });
                rests += usize::from(!wait.is_zero());
                now = now.saturating_add(wait);
                prop_assert_eq!(pace.wait(now), Duration::ZERO);
            }
            prop_assert_eq!(rests, rows / batch_rows);
        }
    }

    #[test]
    fn without_a_rest_nothing_waits_and_the_longest_is_no_overflow() {
        let now = Ticks(5);
        let mut pace = Pace::new(0, Duration::ZERO);
        pace.did(pace.slice(9), now);
        assert_eq!(pace.wait(now), Duration::ZERO);
        let mut pace = Pace::new(1, Duration::MAX);
        pace.did(1, now);
        assert_eq!(pace.wait(now), Duration::from_millis(u64::MAX - 5));
    }
}

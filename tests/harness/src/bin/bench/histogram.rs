//! Counts of times with a bounded error: buckets 1/128 of their value wide, so that a percentile is at most 0.8 % too
//! high, whatever the number of times. The longest one is kept exactly.

use std::time::Duration;

/// Each power of two is cut into so many buckets; below it every nanosecond has its own.
const BUCKETS_OF_A_POWER: u64 = 128;
const SHIFT: u32 = BUCKETS_OF_A_POWER.trailing_zeros();
/// Longer times, from 18 minutes on, count as this.
const MOST_NANOS: u64 = (1 << 40) - 1;

#[derive(Debug)]
pub struct Histogram {
    counts: Vec<u64>,
    count: u64,
    longest: Duration,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; bucket(MOST_NANOS) + 1], count: 0, longest: Duration::ZERO }
    }
}

impl Histogram {
    pub fn record(&mut self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX).min(MOST_NANOS);
        self.counts[bucket(nanos)] += 1;
        self.count += 1;
        self.longest = self.longest.max(time);
    }

    pub fn longest(&self) -> Duration {
        self.longest
    }

    /// The time within which `part` (0 to 1) of all lie, in milliseconds; NaN if there are none.
    pub fn percentile_ms(&self, part: f64) -> f64 {
        let wanted = ((self.count as f64 * part).ceil() as u64).max(1);
        let mut seen = 0;
        let found = self.counts.iter().position(|count| {
            seen += count;
            seen >= wanted
        });
        found.map_or(f64::NAN, |at| (highest_nanos(at) as f64 / 1e6).min(self.longest.as_secs_f64() * 1e3))
    }
}

fn bucket(nanos: u64) -> usize {
    let power = (u64::BITS - nanos.leading_zeros()).saturating_sub(SHIFT + 1);
    (u64::from(power) * BUCKETS_OF_A_POWER + (nanos >> power)) as usize
}

fn highest_nanos(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    let power = (bucket / BUCKETS_OF_A_POWER).saturating_sub(1);
    ((bucket - power * BUCKETS_OF_A_POWER + 1) << power) - 1
}

#[cfg(test)]
mod tests {
    use super::{Histogram, MOST_NANOS, bucket, highest_nanos};
    use std::time::Duration;

    #[test]
    fn every_time_lies_in_a_bucket_that_ends_less_than_a_hundredth_above_it() {
        let mut nanos = 0;
        while nanos <= MOST_NANOS {
            let highest = highest_nanos(bucket(nanos));
            assert!(highest >= nanos && highest - nanos <= nanos / 128, "{nanos} lies below {highest}");
            assert_eq!(bucket(highest + 1), bucket(nanos) + 1, "{nanos}");
            nanos = nanos + nanos / 1000 + 1;
        }
    }

    #[test]
    fn percentiles_are_those_of_the_sorted_times() {
        let mut histogram = Histogram::default();
        assert!(histogram.percentile_ms(0.5).is_nan());
        for millis in 1..=1000 {
            histogram.record(Duration::from_millis(millis));
        }
        for (part, exact) in [(0.5, 500.0), (0.99, 990.0), (0.999, 999.0), (1.0, 1000.0)] {
            let found = histogram.percentile_ms(part);
            assert!((exact..exact * 1.008).contains(&found), "{part}: {found}");
        }
        assert_eq!(histogram.longest(), Duration::from_secs(1));
    }
}

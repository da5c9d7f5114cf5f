//! Looks for a shorter history that shows a difference too, by leaving out more and more of its steps.

use crate::run::{History, Outcome, Run};
use std::path::Path;
use std::time::{Duration, Instant};

/// A failure should be told soon, even if it could be told shorter.
const PATIENCE: Duration = Duration::from_secs(240);

/// The shortest history found in time that ends in a difference, and how.
pub async fn minimise(etcd: &Path, failed: &History, found: Outcome) -> (History, Outcome) {
    let deadline = Instant::now() + PATIENCE;
    // What came after the difference did not matter.
    let steps = failed.steps.iter().copied().take(found.steps.len()).collect();
    let (mut shortest, mut outcome) = (History { seed: failed.seed, steps }, found);
    let mut chunk = shortest.steps.len().div_ceil(2);
    let mut end = shortest.steps.len();
    while Instant::now() < deadline {
        let Some(start) = end.checked_sub(chunk).filter(|_| chunk < shortest.steps.len()) else {
            if chunk <= 1 {
                break;
            }
            chunk = chunk.div_ceil(2).min(chunk - 1);
            end = shortest.steps.len();
            continue;
        };
        let mut shorter = shortest.clone();
        shorter.steps.drain(start..end);
        let tried = Run::run(etcd, &shorter).await;
        if tried.is_like(&outcome) {
            shorter.steps.truncate(tried.steps.len());
            (shortest, outcome) = (shorter, tried);
            end = start.min(shortest.steps.len());
        } else {
            end -= chunk.min(end);
        }
    }
    (shortest, outcome)
}

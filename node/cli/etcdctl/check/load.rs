//! Writes by many clients, and how long they took.

use crate::client::{Client, methods};
use keelstone_proto::etcdserverpb::PutRequest;
use rand::Rng;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

/// When the next write is due, and when there is none.
#[derive(Clone, Copy, Debug)]
pub enum Pace {
    /// So many a second, for so long.
    Each { per_second: u64, until: Duration },
    /// So many in all, as fast as they go.
    Total(u64),
}

impl Pace {
    /// How long after the start; `None` after the last.
    fn due(self, number: u64) -> Option<Duration> {
        match self {
            Pace::Each { per_second, until } => {
                let due = Duration::from_secs(1).mul_f64(f64::from(u32::try_from(number).ok()?))
                    / u32::try_from(per_second).ok()?;
                Some(due).filter(|due| *due < until)
            }
            Pace::Total(count) => (number < count).then_some(Duration::ZERO),
        }
    }
}

/// What is written.
#[derive(Clone, Debug)]
pub struct Load {
    pub prefix: String,
    /// Of the key behind the prefix, in bytes.
    pub key_size: usize,
    pub value_size: usize,
    pub pace: Pace,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Stats {
    /// Writes that were answered.
    pub per_second: f64,
    pub slowest_secs: f64,
    pub deviation_secs: f64,
    /// How often each was met.
    pub errors: BTreeMap<String, u64>,
}

/// Results on their way to be counted.
const QUEUE: usize = 1024;

impl Load {
    /// Writes with all clients at once; `told` hears how many writes are done, and after how long.
    pub async fn run(&self, clients: &[Client], told: impl Fn(u64, Duration)) -> Stats {
        let (results, mut counted) = mpsc::channel(QUEUE);
        let (next, begun) = (Arc::new(AtomicU64::new(0)), Instant::now());
        let writers = clients.iter().map(|client| {
            let (load, client, results, next) = (self.clone(), client.clone(), results.clone(), next.clone());
            tokio::spawn(async move { load.write(&client, begun, &next, &results).await })
        });
        let writers = Writers(writers.collect());
        drop(results);
        let (mut times, mut errors, mut done) = (Vec::new(), BTreeMap::new(), 0);
        while let Some(result) = counted.recv().await {
            done += 1;
            told(done, begun.elapsed());
            match result {
                Ok(took) => times.push(Duration::as_secs_f64(&took)),
                Err(text) => *errors.entry(text).or_insert(0) += 1,
            }
        }
        drop(writers);
        Stats { errors, ..stats(&times, begun.elapsed()) }
    }

    async fn write(
        &self,
        client: &Client,
        begun: Instant,
        next: &AtomicU64,
        results: &mpsc::Sender<Result<Duration, String>>,
    ) {
        while let Some(due) = self.pace.due(next.fetch_add(1, Ordering::Relaxed)) {
            sleep_until(begun + due).await;
            let mut key = self.prefix.as_bytes().to_vec();
            let number: u64 = rand::rng().random();
            key.extend(number.to_le_bytes());
            key.resize(self.prefix.len() + self.key_size, 0);
            let put = PutRequest { key: key.into(), value: vec![0; self.value_size].into(), ..PutRequest::default() };
            let started = Instant::now();
            let result = client.call(methods::PUT, put, None).await;
            let result = result.map(|_| started.elapsed()).map_err(|error| error.to_string());
            if results.send(result).await.is_err() {
                return;
            }
        }
    }
}

/// They end with whoever started them.
struct Writers(Vec<tokio::task::JoinHandle<()>>);

impl Drop for Writers {
    fn drop(&mut self) {
        self.0.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

/// `times` in seconds.
fn stats(times: &[f64], took: Duration) -> Stats {
    #[expect(clippy::cast_precision_loss, reason = "a few millions at most")]
    let count = times.len() as f64;
    let mean = times.iter().sum::<f64>() / count.max(1.0);
    let variance = times.iter().map(|time| (time - mean).powi(2)).sum::<f64>() / count.max(1.0);
    Stats {
        per_second: count / took.as_secs_f64(),
        slowest_secs: times.iter().copied().fold(0.0, f64::max),
        deviation_secs: variance.sqrt(),
        errors: BTreeMap::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_are_due_at_even_intervals() {
        let pace = Pace::Each { per_second: 10, until: Duration::from_secs(1) };
        assert_eq!(pace.due(3), Some(Duration::from_millis(300)));
        assert_eq!(pace.due(10), None);
        assert_eq!(Pace::Total(2).due(2), None);
    }

    #[test]
    fn times_are_summed_up() {
        let stats = stats(&[1.0, 3.0], Duration::from_secs(2));
        assert_eq!((stats.per_second, stats.slowest_secs, stats.deviation_secs), (1.0, 3.0, 1.0));
    }
}

//! Open loop: operations are due at a fixed rate, whether or not the server keeps up, and their latency counts from
//! when they were due. A stall is then paid for by every operation that fell into it, not by one.

use crate::load::{Client, Load, finish};
use crate::report::Sample;
use crate::ticker::Ticker;
use keelstone_harness::Cluster;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// How long after the window's end operations of the window are still begun. What is then left counts as having
/// waited until then.
const BACKLOG_LIMIT: Duration = Duration::from_secs(5);

/// At most as many operations are outstanding as there are clients.
pub async fn open_loop<C: Client>(cluster: &Cluster, clients: Vec<C>, per_sec: u32, window: Duration) -> Sample {
    let load = Load::new();
    let task = tokio::spawn(at_rate(Arc::clone(&load), clients, per_sec));
    let spent = load.window(cluster, window).await;
    finish(vec![task]).await;
    load.sample(&spent)
}

/// Works until the load is stopped and everything that was due before has ended.
pub async fn at_rate<C: Client>(load: Arc<Load>, clients: Vec<C>, per_sec: u32) {
    let (interval, mut due) = (Duration::from_secs(1) / per_sec, Instant::now());
    // Taken in turn, so that all connections are used at any rate.
    let mut idle = VecDeque::from(clients);
    let (mut ticker, mut busy) = (Ticker::new(), JoinSet::new());
    loop {
        let now = Instant::now();
        let end = load.is_stopped().then(|| load.window_end().unwrap_or(now));
        while due <= now && end.is_none_or(|end| due < end) {
            if end.is_some_and(|end| now > end + BACKLOG_LIMIT) {
                load.record(due, now);
            } else if let Some(mut client) = idle.pop_front() {
                let intended = due;
                busy.spawn(async move {
                    client.once().await;
                    (client, intended, Instant::now())
                });
            } else {
                break;
            }
            due += interval;
        }
        if end.is_some_and(|end| due >= end) && busy.is_empty() {
            return;
        }
        tokio::select! {
            Some(ended) = busy.join_next() => {
                let (client, intended, at) = ended.expect("a client that did not fail");
                load.record(intended, at);
                idle.push_back(client);
            }
            () = ticker.until(due), if !idle.is_empty() && end.is_none() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::at_rate;
    use crate::load::{Client, Load, finish};
    use keelstone_harness::wait;
    use std::sync::Arc;
    use std::time::Duration;

    const WORK: Duration = Duration::from_millis(20);

    struct Slow;

    impl Client for Slow {
        async fn once(&mut self) {
            wait::pass(WORK).await;
        }
    }

    /// Ten are due in 100 ms and each takes 20 ms: the last, due at 90 ms, ends at 200 ms.
    #[tokio::test]
    async fn what_waits_for_a_slow_server_counts_from_when_it_was_due() {
        let load = Load::new();
        load.open_window();
        let task = tokio::spawn(at_rate(Arc::clone(&load), vec![Slow], 100));
        wait::pass(WORK * 5).await;
        load.close_window();
        load.stop();
        finish(vec![task]).await;
        let longest = load.counts().latencies.longest();
        assert!(longest >= WORK * 5, "{longest:?}");
    }
}

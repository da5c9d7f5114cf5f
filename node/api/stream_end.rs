//! When open streams must end although neither side asked for it: the node stops, or no leader is known for so
//! long that clients which need one should look elsewhere.

use super::status::ApiError;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;
use tokio::sync::watch;

/// Consecutive looks without a leader before streams are ended. Reconnecting costs clients more than waiting, so they
/// are given more time than new calls (etcd `v3rpc/interceptor.go`, maxNoLeaderCnt).
const MAX_LEADERLESS_PERIODS: u32 = 3;
/// Looks in one election timeout. etcd looks once; a member here says that it is cut off within two election timeouts,
/// of which the first has passed before it knows of no leader.
const LOOKS_PER_ELECTION: u32 = 4;

#[derive(Clone, Copy, Debug, Default)]
struct News {
    /// Grows each time the leader has been missed for too long.
    leader_losses: u64,
    stopping: bool,
}

/// The side that decides. Dropping it ends nothing.
#[derive(Debug)]
pub struct StreamEnder {
    news: watch::Sender<News>,
}

/// The side that streams hold.
#[derive(Clone, Debug)]
pub struct StreamEnds {
    news: watch::Receiver<News>,
}

pub type Ended = Pin<Box<dyn Future<Output = ApiError> + Send>>;

impl StreamEnder {
    pub fn new() -> (Self, StreamEnds) {
        let (sender, receiver) = watch::channel(News::default());
        (Self { news: sender }, StreamEnds { news: receiver })
    }

    /// Ends all streams, those of the future too.
    pub fn stop(&self) {
        self.news.send_modify(|news| news.stopping = true);
    }

    /// Watches the leader until dropped.
    pub async fn follow_leader(&self, election_timeout: Duration, has_leader: impl Fn() -> bool) {
        let mut leaderless_periods = 0;
        loop {
            tokio::time::sleep(election_timeout / LOOKS_PER_ELECTION).await;
            leaderless_periods = if has_leader() { 0 } else { leaderless_periods + 1 };
            if leaderless_periods >= MAX_LEADERLESS_PERIODS {
                self.news.send_modify(|news| news.leader_losses += 1);
            }
        }
    }
}

impl StreamEnds {
    /// Resolves when a stream that is opened now has to end. One that `needs_leader` ends with the leader.
    pub fn ended(&self, needs_leader: bool) -> Ended {
        let mut news = self.news.clone();
        let losses_before = news.borrow_and_update().leader_losses;
        Box::pin(async move {
            let found = news
                .wait_for(|news| news.stopping || (needs_leader && news.leader_losses > losses_before))
                .await
                .map(|news| *news);
            match found {
                Ok(news) if news.stopping => ApiError::Stopped,
                Ok(_) => ApiError::NoLeader,
                // Nobody is left to end streams.
                Err(_closed) => std::future::pending().await,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};

    #[tokio::test]
    async fn only_streams_that_need_a_leader_end_without_one_and_only_after_three_periods() {
        let (ender, ends) = StreamEnder::new();
        let has_leader = AtomicBool::new(true);
        let period = Duration::from_millis(5);
        let mut needing = ends.ended(true);
        let mut content = ends.ended(false);
        tokio::select! {
            () = ender.follow_leader(period * LOOKS_PER_ELECTION, || has_leader.load(Ordering::Relaxed)) => unreachable!(),
            () = tokio::time::sleep(period * 10) => {}
            _ = &mut needing => panic!("there is a leader"),
        }
        has_leader.store(false, Ordering::Relaxed);
        let lost = tokio::time::Instant::now();
        tokio::select! {
            () = ender.follow_leader(period * LOOKS_PER_ELECTION, || has_leader.load(Ordering::Relaxed)) => unreachable!(),
            error = &mut needing => assert_eq!(error, ApiError::NoLeader),
            _ = &mut content => panic!("this stream needs no leader"),
        }
        assert!(lost.elapsed() >= period * 3);
        ender.stop();
        assert_eq!(content.await, ApiError::Stopped);
        assert_eq!(ends.ended(false).await, ApiError::Stopped, "also a stream opened later");
    }
}

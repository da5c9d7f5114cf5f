//! Sleeps that end to the microsecond. tokio's own timers tick once a millisecond, which would be added to every time
//! that is counted from an intended start.

use rustix::io::read;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use std::os::fd::OwnedFd;
use std::time::Instant;
use tokio::io::unix::AsyncFd;

#[derive(Debug)]
pub struct Ticker(AsyncFd<OwnedFd>);

impl Ticker {
    /// To be called within a runtime.
    #[expect(deprecated, reason = "its successor is unsafe, for descriptors that change; an OwnedFd's does not")]
    pub fn new() -> Self {
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC);
        Self(AsyncFd::new(timer.expect("a timer")).expect("watch a timer"))
    }

    /// Returns at `at`, or at once if that is past. May be dropped and called again.
    pub async fn until(&mut self, at: Instant) {
        let left = at.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        let value = Timespec::try_from(left).expect("a wait of less than centuries");
        let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: value };
        timerfd_settime(self.0.get_ref(), TimerfdTimerFlags::empty(), &once).expect("set a timer");
        loop {
            let mut ready = self.0.readable().await.expect("wait for a timer");
            // Readiness may be that of an earlier wait, which was dropped; setting the timer took it back.
            if let Ok(count) = ready.try_io(|timer| Ok(read(timer.get_ref(), &mut [0; 8])?)) {
                count.expect("read a timer");
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Ticker;
    use keelstone_harness::wait;
    use std::time::{Duration, Instant};

    #[tokio::test]
    async fn a_wait_that_was_dropped_does_not_end_the_next_one() {
        let mut ticker = Ticker::new();
        let (soon, later) = (Duration::from_millis(1), Duration::from_millis(20));
        tokio::select! {
            biased;
            () = ticker.until(Instant::now() + later) => {}
            () = tokio::task::yield_now() => {}
        }
        tokio::select! {
            biased;
            () = ticker.until(Instant::now() + soon) => {}
            () = tokio::task::yield_now() => {}
        }
        wait::pass(soon * 3).await;
        let begun = Instant::now();
        ticker.until(begun + later).await;
        assert!(begun.elapsed() >= later);
    }
}

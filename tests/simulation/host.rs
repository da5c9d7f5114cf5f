//! A machine: a runtime with a paused clock of its own. It runs from one point of simulated time to the next and then
//! stands still, so that many machines share one thread and one of them can be stopped while the others go on.

use keelstone::clock::{Clock, Ticks};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};
use tokio::runtime::{Builder, Runtime};
use tokio::time::Instant;

/// Who sends and receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostId(pub usize);

impl HostId {
    /// The address that others know it by.
    pub fn ip(self) -> String {
        format!("127.0.0.{}", self.0 + 1)
    }
}

/// Simulated time as a machine sees it; only on its own runtime.
#[derive(Clone, Copy, Debug)]
pub struct HostTime {
    origin: Instant,
    started: Duration,
}

impl HostTime {
    /// Since the simulation began.
    pub fn now(&self) -> Duration {
        self.started + self.origin.elapsed()
    }

    pub fn instant(&self, at: Duration) -> Instant {
        self.origin + at.saturating_sub(self.started)
    }
}

/// A member's clocks: monotonic time as above, wall time as far off as the plan wants.
#[derive(Debug)]
pub struct HostClock {
    pub time: HostTime,
    pub wall_offset_ms: Arc<AtomicI64>,
}

/// 2026-01-01; any time after etcd's first release would do.
const WALL_START_SECS: u64 = 1_767_225_600;

impl Clock for HostClock {
    fn now(&self) -> Ticks {
        Ticks(u64::try_from(self.time.now().as_millis()).unwrap_or(u64::MAX))
    }

    fn wall(&self) -> SystemTime {
        let millis = i64::try_from(self.time.now().as_millis()).unwrap_or(i64::MAX);
        let shifted = millis.saturating_add(self.wall_offset_ms.load(Ordering::Relaxed));
        let start = SystemTime::UNIX_EPOCH + Duration::from_secs(WALL_START_SECS);
        let shift = Duration::from_millis(shifted.unsigned_abs());
        if shifted < 0 { start - shift } else { start + shift }
    }
}

pub type Program<T> = Pin<Box<dyn Future<Output = T>>>;

/// A machine that runs one program.
pub struct Host<T> {
    // Dropped first, while the runtime is there.
    program: Option<Program<T>>,
    runtime: Runtime,
    time: HostTime,
    reached: Duration,
}

impl<T> Host<T> {
    /// Boots at `now`; `program` is called on the machine's runtime.
    pub fn boot(now: Duration, program: impl FnOnce(HostTime) -> Program<T>) -> Self {
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
        let (time, program) = runtime.block_on(async {
            let time = HostTime { origin: Instant::now(), started: now };
            (time, program(time))
        });
        Self { program: Some(program), runtime, time, reached: now }
    }

    /// Runs until `until`, or until the program ends, which it says.
    pub fn run(&mut self, until: Duration) -> Option<T> {
        let (time, program) = (self.time, self.program.as_mut()?);
        let slept = self.reached;
        let ended = self.runtime.block_on(async {
            // After a stop all of its time has passed at once, as after SIGCONT.
            let behind = slept.saturating_sub(time.now());
            if !behind.is_zero() {
                tokio::time::advance(behind).await;
            }
            tokio::select! {
                biased;
                ended = program => Some(ended),
                () = tokio::time::sleep_until(time.instant(until)) => None,
            }
        });
        self.reached = until;
        if ended.is_some() {
            self.program = None;
        }
        ended
    }

    /// Time passes and the machine does not notice.
    pub fn stand_still(&mut self, until: Duration) {
        self.reached = until;
    }
}

impl<T> Drop for Host<T> {
    fn drop(&mut self) {
        // Timers and tasks belong to the runtime.
        let _inside = self.runtime.enter();
        self.program = None;
    }
}
